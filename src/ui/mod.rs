//! The only place that prints.

pub mod changeset;
pub mod console;
pub mod custody;
pub mod diagnostics;
pub mod error;
pub mod explain;
pub mod graph;
pub mod journal;
pub mod progress;
pub mod prompt;
mod style;
pub mod trace;
mod value;
