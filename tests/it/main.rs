//! Everything that runs against real servers, in one program so that it is linked once.

mod aws;
mod contract;
mod hygiene;
mod intrude;
mod locks;
mod signals;
mod support;
