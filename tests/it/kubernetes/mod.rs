//! Kinds of Kubernetes against a real API server, where the contract cannot go: other managers, other plans,
//! callers that may only do half, and what is not there yet.

mod cluster;
mod deliveries;
mod faults;
mod managers;
mod manifests;
mod relay;
mod rendered;
mod sandbox;
mod secrets;
mod vault;

pub use cluster::{ApiServer, KubeCluster, is_left_out};
pub use relay::Relay;
