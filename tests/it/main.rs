//! Everything that runs against real servers, in one program so that it is linked once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]
#![allow(clippy::print_stdout, reason = "the output of a failed test is what a person reads")]

mod aws;
mod canary;
mod contract;
mod custody;
mod hygiene;
mod intrude;
mod layers;
mod locks;
mod messages;
mod partial;
mod quickstart;
mod sandbox;
mod saved;
mod schema;
mod signals;
mod support;
mod sweep;
mod terraform;
