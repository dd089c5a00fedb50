//! Tests against real servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod sandbox;
