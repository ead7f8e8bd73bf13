//! A server process that holds shared objects, and typed proxies to them
