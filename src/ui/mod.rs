//! The only place that prints.

pub mod access;
pub mod backup;
pub mod changeset;
pub mod custody;
pub mod diagnostics;
pub mod drill;
pub mod error;
pub mod explain;
pub mod findings;
pub mod graph;
pub mod journal;
mod page;
pub mod permissions;
pub mod progress;
pub mod rebuild;
pub mod rotate;
pub mod rotate_keys;
pub mod rules;
pub mod runbook;
pub mod sarif;
pub mod stages;
pub mod status;
mod style;
pub mod trace;
mod undeclared;
pub mod verify;
