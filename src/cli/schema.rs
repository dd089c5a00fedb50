//! `groundwork schema`

use clap::Args;

use super::Outcome;
use crate::console;
use crate::providers::PROVIDERS;
use crate::review;
use crate::schema;
use crate::ui;

/// Print the JSON Schema of plan files, for editors.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// The schema of what `plan --format json` prints instead
    #[arg(long)]
    changeset: bool,
    /// The schema of what `access --format json` prints instead
    #[arg(long, conflicts_with = "changeset")]
    access: bool,
}

/// Prints a JSON Schema.
pub fn run(args: &SchemaArgs) -> Outcome {
    match (args.changeset, args.access) {
        (true, _) => console::json(&review::schema()),
        (_, true) => console::json(&ui::access::schema()),
        (false, false) => console::json(&schema::plan_schema(&PROVIDERS)),
    }
    Outcome::Done
}
