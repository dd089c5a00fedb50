//! Everything that runs against real servers, in one program so that it is linked once.

mod contract;
mod support;
mod sweep;
