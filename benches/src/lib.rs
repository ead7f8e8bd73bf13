//! Nothing here: this package holds benches alone.
