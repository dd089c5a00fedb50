//! Everything that runs against real servers, in one program so that it is linked once.

mod canary;
mod contract;
mod messages;
mod quickstart;
mod sandbox;
mod support;
