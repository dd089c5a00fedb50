//! Everything that runs against real servers, in one program so that it is linked once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]
#![allow(clippy::print_stdout, reason = "the output of a failed test is what a person reads")]

mod accounts;
mod aws;
mod browser;
mod budget;
mod canary;
mod ci;
mod cluster;
mod confirm;
mod contract;
mod custody;
mod fuzz;
mod hostile;
mod hygiene;
mod iam;
mod intrude;
mod json_schema;
mod kms;
mod layers;
mod lifecycle;
mod lint;
mod locks;
mod messages;
mod methods;
mod namespaces;
mod notations;
mod partial;
mod postgres;
mod quickstart;
mod read_back;
mod removal;
mod removal_vault;
mod sandbox;
mod saved;
mod scenario_b;
mod schema;
mod secret_id;
mod server_config;
mod signals;
mod support;
mod survival;
mod sweep;
mod terraform;
mod vault_state;
mod walk;
