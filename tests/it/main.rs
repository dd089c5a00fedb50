//! Tests against real servers.

mod sandbox;
