//! `groundwork explain`

use clap::Args;

use super::Outcome;
use crate::plan::closest;
use crate::resource::registry;
use crate::ui;

/// Describe the kinds of steps.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The kind; without it, all kinds are listed
    kind: Option<String>,
}

/// Describes one kind, or lists all.
pub fn run(args: &ExplainArgs) -> Outcome {
    let Some(name) = &args.kind else {
        ui::console::out(ui::explain::list());
        return Outcome::Done;
    };
    if let Some(kind) = registry::find(name) {
        ui::console::out(ui::explain::kind(kind));
        return Outcome::Done;
    }
    let hint = closest(name, registry::names()).map_or_else(
        || "`groundwork explain` lists all kinds".to_owned(),
        |candidate| format!("did you mean `{candidate}`?"),
    );
    ui::console::note(format_args!("error: there is no kind `{name}`; {hint}"));
    Outcome::Usage
}
