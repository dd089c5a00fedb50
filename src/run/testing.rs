//! A run for unit tests.

use std::path::Path;
use std::sync::Arc;

use super::Run;
use crate::environment::Environment;
use crate::journal::{Journal, Who};
use crate::signing::testing::authority;
use crate::trust::Trust;

/// A run of the plan `demo` in this folder, without connections.
///
/// # Panics
/// When the folder cannot be written.
pub fn run(folder: &Path, trust: Trust) -> Run {
    let authority = authority(&folder.join("config"), "demo");
    let journal = Journal::of_plan(folder, "demo", Who::here("sha256:0", &Environment::default()), authority)
        .expect("a journal");
    Run::new("demo", folder, trust, Arc::new(journal))
}
