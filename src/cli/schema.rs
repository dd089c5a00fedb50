//! `groundwork schema`

use clap::Args;

use super::Outcome;
use crate::console;
use crate::providers::PROVIDERS;
use crate::review;
use crate::schema;

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
        true => console::json(&review::schema()),
        false => console::json(&schema::plan_schema(&PROVIDERS)),
    }
    Outcome::Done
}
