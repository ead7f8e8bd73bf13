//! Nothing here: this package holds examples alone.
