//! Typed connections between processes: pipe, simplex, and wait over many of them
