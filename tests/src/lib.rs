//! Nothing here: this package holds tests alone.
