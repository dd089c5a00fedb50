//! `groundwork validate`

use clap::{Args, ValueEnum};

use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::console;
use crate::lint::{self, told};
use crate::plan::{Diagnostic, Diagnostics, Severity};
use crate::session::{self, Checked, Purpose, Wanted};
use crate::ui;

/// Check everything about a plan that needs no network.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// How to show what is found
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Fail because of warnings too
    #[arg(long)]
    strict: bool,
}

/// An output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Human,
    /// For programs
    Json,
    /// For code scanning: SARIF 2.1.0
    Sarif,
}

/// Checks, judges, and says what was found.
pub fn run(args: &ValidateArgs) -> Outcome {
    match args.plan.check() {
        Ok(checked) => judge(args, &checked),
        Err(session::Error::Plan(mistakes)) if args.format != Format::Human => {
            show_mistakes(args, &mistakes);
            Outcome::Failed
        }
        Err(error) => failed(&error),
    }
}

fn judge(args: &ValidateArgs, checked: &Checked) -> Outcome {
    let document = &checked.resolved.document;
    let report = lint::run(&checked.resolved, &checked.instances, &checked.outputs);
    let notes = checked.missing(Purpose::Everything).map(Wanted::note);
    let remarks: Vec<Diagnostic> = checked.warnings.iter().cloned().chain(notes).collect();
    match args.format {
        Format::Human => {
            ui::findings::show(document, checked.resolved.steps.len(), &report, &remarks);
        }
        Format::Json => {
            let told = told::of_report(&report, &remarks);
            console::json(&ui::findings::json(Some(document), &told, &told::silenced(&report)));
        }
        Format::Sarif => {
            let told = told::of_report(&report, &remarks);
            console::json(&ui::sarif::log(&args.plan.plan, &told));
        }
    }
    let has_warnings = report.count(Severity::Warning) + checked.warnings.len() > 0;
    match report.count(Severity::Error) {
        0 if !(args.strict && has_warnings) => Outcome::Done,
        _ => Outcome::Failed,
    }
}

fn show_mistakes(args: &ValidateArgs, mistakes: &Diagnostics) {
    let told = told::of_mistakes(mistakes);
    match args.format {
        Format::Sarif => console::json(&ui::sarif::log(&args.plan.plan, &told)),
        _ => console::json(&ui::findings::json(None, &told, &[])),
    }
}
