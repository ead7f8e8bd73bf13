//! Shared memory and what lives in it: robust locks, values, arrays, events, named segments
