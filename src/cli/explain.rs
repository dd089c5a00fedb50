//! `groundwork explain`

use clap::{Args, ValueEnum};

use super::Outcome;
use crate::plan::closest;
use crate::resource::erased::Kind;
use crate::resource::registry;
use crate::ui;

/// Describe the kinds of steps.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The kind; without it, all kinds are listed
    kind: Option<String>,
    /// How it is written; Markdown without a kind describes every kind
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How a description is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For the terminal
    #[default]
    Text,
    /// As docs/kinds.md
    Markdown,
}

/// Describes one kind, or lists all.
pub fn run(args: &ExplainArgs) -> Outcome {
    let Some(name) = &args.kind else {
        ui::console::out(match args.format {
            Format::Text => ui::explain::list(),
            Format::Markdown => ui::explain::markdown(),
        });
        return Outcome::Done;
    };
    match registry::find(name) {
        Some(kind) => describe(kind, args.format),
        None => unknown(name),
    }
}

fn describe(kind: &dyn Kind, format: Format) -> Outcome {
    ui::console::out(match format {
        Format::Text => ui::explain::kind(kind),
        Format::Markdown => ui::explain::kind_markdown(kind).trim_end().to_owned(),
    });
    Outcome::Done
}

fn unknown(name: &str) -> Outcome {
    let hint = closest(name, registry::names()).map_or_else(
        || "`groundwork explain` lists all kinds".to_owned(),
        |candidate| format!("did you mean `{candidate}`?"),
    );
    ui::console::note(format_args!("error: there is no kind `{name}`; {hint}"));
    Outcome::Usage
}
