//! `groundwork schema`

use super::Outcome;
use crate::plan::schema;
use crate::ui;

/// Prints the JSON Schema of plan files.
pub fn run() -> Outcome {
    ui::console::json(&schema::plan_schema());
    Outcome::Done
}
