//! A pool of worker processes: map, imap, apply, and a dead worker costs one task
