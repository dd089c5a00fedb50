//! `groundwork validate`

use std::collections::HashSet;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::plan_args::PlanArgs;
use super::{Outcome, failed, stages};
use crate::console;
use crate::lint::told::Told;
use crate::lint::{self, Report, told};
use crate::plan::{Diagnostic, Severity};
use crate::session::{self, Checked, Purpose, Wanted};
use crate::ui;
use crate::ui::findings::Seen;

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

/// Checks, judges, and says what was found. A plan with stages is checked in each of them, unless one is
/// chosen.
pub fn run(args: &ValidateArgs) -> Outcome {
    let whole = check(args, None);
    // A plan that is well-formed has no stages to choose from, or one is chosen.
    let stages = if whole.checked.is_ok() { Vec::new() } else { args.plan.open_stages() };
    match stages.as_slice() {
        [] => finish(args, vec![whole]),
        stages => finish(args, stages.iter().map(|stage| check(args, Some(stage))).collect()),
    }
}

/// One stage, or the plan, after the check.
struct Verdict {
    stage: Option<String>,
    checked: Result<(Checked, Report), session::Error>,
}

fn check(args: &ValidateArgs, stage: Option<&str>) -> Verdict {
    let checked = stage.map_or_else(|| args.plan.check(), |stage| args.plan.in_stage(stage).check());
    let checked = checked.map(|checked| {
        let report = lint::run(&checked.resolved, &checked.instances, &checked.outputs);
        (checked, report)
    });
    Verdict { stage: stage.map(str::to_owned), checked }
}

fn finish(args: &ValidateArgs, mut verdicts: Vec<Verdict>) -> Outcome {
    add_overlaps(&mut verdicts);
    match args.format {
        Format::Human => {
            let mut seen = Seen::default();
            for verdict in &verdicts {
                show(verdict, &mut seen);
            }
        }
        Format::Json => console::json(&json(&verdicts)),
        Format::Sarif => {
            let mut fingerprints = HashSet::new();
            let told =
                verdicts.iter().flat_map(told).filter(|one| fingerprints.insert(one.fingerprint.clone()));
            console::json(&ui::sarif::log(&args.plan.plan, &told.collect::<Vec<_>>()));
        }
    }
    verdicts.iter().map(|verdict| outcome(args, verdict)).fold(Outcome::Done, stages::worse)
}

/// Adds what stages must not share to the warnings of the first.
fn add_overlaps(verdicts: &mut [Verdict]) {
    let all: Vec<(String, &Checked)> = verdicts
        .iter()
        .filter_map(|verdict| Some((verdict.stage.clone()?, &verdict.checked.as_ref().ok()?.0)))
        .collect();
    let found = session::stages::overlaps(&all);
    if let Some((checked, _)) = verdicts.iter_mut().find_map(|verdict| verdict.checked.as_mut().ok()) {
        checked.warnings.extend(found);
    }
}

fn remarks(checked: &Checked) -> Vec<Diagnostic> {
    let notes = checked.missing(Purpose::Everything).map(Wanted::note);
    checked.warnings.iter().cloned().chain(notes).collect()
}

/// Shows the findings of a stage that were not shown for an earlier one.
fn show(verdict: &Verdict, seen: &mut Seen) {
    match &verdict.checked {
        Ok((checked, report)) => {
            let (document, steps) = (&checked.resolved.document, checked.resolved.steps.len());
            ui::findings::show(document, steps, report, &remarks(checked), seen);
        }
        Err(session::Error::Plan(mistakes)) => {
            ui::findings::show_mistakes(verdict.stage.as_deref(), mistakes, seen);
        }
        Err(error) => drop(failed(error)),
    }
}

fn told(verdict: &Verdict) -> Vec<Told> {
    match &verdict.checked {
        Ok((checked, report)) => told::of_report(report, &remarks(checked)),
        Err(session::Error::Plan(mistakes)) => told::of_mistakes(mistakes),
        Err(error) => {
            failed(error);
            Vec::new()
        }
    }
}

/// The findings as one JSON value; those of several stages by the stage's name.
fn json(verdicts: &[Verdict]) -> Value {
    let one = |verdict: &Verdict| {
        let told = told(verdict);
        match &verdict.checked {
            Ok((checked, report)) => {
                ui::findings::json(Some(&checked.resolved.document), &told, &told::silenced(report))
            }
            Err(_) => ui::findings::json(None, &told, &[]),
        }
    };
    if let [Verdict { stage: None, .. }] = verdicts {
        return one(&verdicts[0]);
    }
    let stages: Map<String, Value> =
        verdicts.iter().map(|verdict| (verdict.stage.clone().unwrap_or_default(), one(verdict))).collect();
    json!({ "format_version": "1", "stages": stages })
}

fn outcome(args: &ValidateArgs, verdict: &Verdict) -> Outcome {
    let Ok((checked, report)) = &verdict.checked else { return Outcome::Failed };
    let has_warnings = report.count(Severity::Warning) + checked.warnings.len() > 0;
    match report.count(Severity::Error) {
        0 if !(args.strict && has_warnings) => Outcome::Done,
        _ => Outcome::Failed,
    }
}
