//! `groundwork schema`

use clap::Args;

use super::Outcome;
use crate::plan::schema;
use crate::review;
use crate::ui;

/// Print the JSON Schema of plan files, for editors.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// The schema of what `plan --format json` prints instead
    #[arg(long)]
    changeset: bool,
}

/// Prints a JSON Schema.
pub fn run(args: &SchemaArgs) -> Outcome {
    match args.changeset {
        true => ui::console::json(&review::schema()),
        false => ui::console::json(&schema::plan_schema()),
    }
    Outcome::Done
}
