//! `groundwork explain`

use clap::{Args, ValueEnum};

use super::Outcome;
use crate::console;
use crate::lint;
use crate::providers::PROVIDERS;
use crate::schema::section;
use crate::suggest::closest;
use crate::ui;

/// Describe the kinds of steps, the sections of a plan, and the rules of `validate`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The kind, the section of a plan (`aws`, `custody`), or the rule of `validate`; without it, all
    /// kinds are listed
    kind: Option<String>,
    /// List the rules of `validate`
    #[arg(long, conflicts_with = "kind")]
    rules: bool,
    /// List the sections of a plan
    #[arg(long, conflicts_with_all = ["kind", "rules"])]
    sections: bool,
    /// How it is written; Markdown without a name describes all of them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How a description is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For the terminal
    #[default]
    Text,
    /// As docs/kinds.md, docs/lint.md and docs/guide/src/sections.md
    Markdown,
}

/// Describes one kind or rule, or lists all.
pub fn run(args: &ExplainArgs) -> Outcome {
    let text = match (&args.kind, args.format) {
        (Some(name), format) => match describe(name, format) {
            Some(text) => text,
            None => return unknown(name),
        },
        (None, Format::Text) if args.rules => ui::rules::list(),
        (None, Format::Markdown) if args.rules => ui::rules::markdown(),
        (None, Format::Text) if args.sections => ui::explain::section_list(&PROVIDERS),
        (None, Format::Markdown) if args.sections => ui::explain::sections_markdown(&PROVIDERS),
        (None, Format::Text) => ui::explain::list(&PROVIDERS),
        (None, Format::Markdown) => ui::explain::markdown(&PROVIDERS),
    };
    console::out(text.trim_end());
    Outcome::Done
}

fn describe(name: &str, format: Format) -> Option<String> {
    if let Some(kind) = PROVIDERS.find(name) {
        return Some(match format {
            Format::Text => ui::explain::kind(kind),
            Format::Markdown => ui::explain::kind_markdown(kind),
        });
    }
    if let Some(section) = section::all(&PROVIDERS).iter().find(|section| section.name == name) {
        return Some(match format {
            Format::Text => ui::explain::section(section),
            Format::Markdown => ui::explain::section_markdown(section),
        });
    }
    lint::find(name).map(ui::rules::rule)
}

fn unknown(name: &str) -> Outcome {
    if let Some(left_out) = PROVIDERS.left_out(name) {
        console::note(format_args!("error: {left_out}; {}", left_out.advice()));
        return Outcome::Usage;
    }
    let sections = section::all(&PROVIDERS);
    let mut known: Vec<&str> = PROVIDERS.names().chain(lint::all().map(|rule| rule.id)).collect();
    known.extend(sections.iter().map(|section| section.name.as_str()));
    let hint = closest(name, known).map_or_else(
        || "`groundwork explain` lists all kinds, `--sections` all sections, `--rules` all rules".to_owned(),
        |candidate| format!("did you mean `{candidate}`?"),
    );
    console::note(format_args!("error: there is no kind, section or rule `{name}`; {hint}"));
    Outcome::Usage
}
