//! HTTP to live systems: which addresses are allowed, through which proxy, for how long.

pub mod endpoint;
pub mod http;
pub mod timeout;
