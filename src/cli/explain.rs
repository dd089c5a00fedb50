//! `groundwork explain`

use clap::Args;

use super::Outcome;
use crate::lint;
use crate::plan::closest;
use crate::resource::registry;
use crate::ui;

/// Describe the kinds of steps.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The kind, or the rule of `validate`; without it, all kinds are listed
    kind: Option<String>,
    /// List the rules of `validate`
    #[arg(long, conflicts_with = "kind")]
    rules: bool,
    /// Print the rules as a page of documentation
    #[arg(long, requires = "rules", hide = true)]
    markdown: bool,
}

/// Describes one kind, or lists all.
pub fn run(args: &ExplainArgs) -> Outcome {
    if args.rules {
        let text = if args.markdown { ui::rules::markdown() } else { ui::rules::list() };
        ui::console::out(text.trim_end());
        return Outcome::Done;
    }
    let Some(name) = &args.kind else {
        ui::console::out(ui::explain::list());
        return Outcome::Done;
    };
    if let Some(kind) = registry::find(name) {
        ui::console::out(ui::explain::kind(kind));
        return Outcome::Done;
    }
    if let Some(rule) = lint::find(name) {
        ui::console::out(ui::rules::rule(rule));
        return Outcome::Done;
    }
    let hint = closest(name, registry::names().chain(lint::all().map(|rule| rule.id))).map_or_else(
        || "`groundwork explain` lists all kinds, `explain --rules` all rules".to_owned(),
        |candidate| format!("did you mean `{candidate}`?"),
    );
    ui::console::note(format_args!("error: there is no kind or rule `{name}`; {hint}"));
    Outcome::Usage
}
