//! A verification for people: findings in full, and a line for each group of steps that is proven.

use std::fmt::Write;

use super::super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use super::totals;
use crate::proof::{Finding, Outcome};
use crate::verify::{AS_DECLARED, Report, StepReport};
use crate::visible::first_few;

/// How many things a line about a proven group says.
const SAID: usize = 4;

/// The text.
pub fn human(report: &Report) -> String {
    let mut text = paint(STRONG, &report.plan.name);
    for step in &report.steps {
        step.findings.iter().for_each(|finding| open(&mut text, step, finding));
    }
    for group in groups(report) {
        line(&mut text, "proven", GOOD, &group.title(), &group.said());
    }
    let only_in_sync = report.steps.iter().filter(|step| step.proof.is_some() && step.is_proven()).count();
    if only_in_sync > 0 {
        let said = match only_in_sync {
            1 => "1 step is as declared, which is its proof".to_owned(),
            count => format!("{count} steps are as declared, which is their proof"),
        };
        let _ = write!(text, "\n  {}    {said}", paint(GOOD, "proven"));
    }
    for (provider, load) in &report.load {
        let _ = write!(
            text,
            "\n  load      {provider}: {} reads, {} at once: p50 {:.1} ms, p99 {:.1} ms, {} reads per second",
            load.reads, load.at_once, load.p50_ms, load.p99_ms, load.reads_per_second
        );
    }
    if let Some(machine) = &report.machine {
        let _ = write!(
            text,
            "\n            this machine has {} processors, and its load was {:.2} before and {:.2} after",
            machine.processors, machine.load_before, machine.load_after
        );
    }
    let calls = report.api_calls;
    let requests = calls.read + calls.write + calls.login;
    let seconds = format!("{}.{}", report.ms / 1000, report.ms % 1000 / 100);
    let _ = write!(text, "\n\n{}; {requests} requests, {seconds} s", totals(report));
    if report.stopped {
        let _ = write!(
            text,
            "\n{}",
            paint(BAD, "stopped before everything was tried; everything that was made is removed")
        );
    }
    text
}

fn line(text: &mut String, word: &str, style: anstyle::Style, title: &str, said: &str) {
    let _ = write!(text, "\n  {}{} {title}: {said}", paint(style, word), " ".repeat(9 - word.len()));
}

/// A finding that is not a proof.
fn open(text: &mut String, step: &StepReport, finding: &Finding) {
    let title = match step.kind {
        Some(kind) => format!("{} ({kind})", step.id),
        None => step.id.clone(),
    };
    match &finding.outcome {
        Outcome::Proven => {}
        Outcome::Failed { expected, seen, advice } => {
            line(text, "failed", BAD, &title, &finding.tried);
            detail(text, "expected", expected);
            detail(text, "seen", seen);
            detail(text, "to do", advice);
        }
        Outcome::Untried { needs } => {
            line(text, "untried", CHANGE, &title, &finding.tried);
            detail(text, "needs", needs);
        }
    }
}

fn detail(text: &mut String, word: &str, what: &str) {
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = write!(text, "\n              {}{what}", paint(FAINT, format!("{word:<10}")));
}

/// Steps that differ only in their key, all of them proven by being tried.
struct Group<'a> {
    name: &'a str,
    steps: Vec<&'a StepReport>,
}

impl Group<'_> {
    fn title(&self) -> String {
        match (self.steps.as_slice(), self.steps.first().and_then(|step| step.kind)) {
            ([step], Some(kind)) => format!("{} ({kind})", step.id),
            ([step], None) => step.id.clone(),
            (steps, kind) => format!("{} ({} × {})", self.name, steps.len(), kind.unwrap_or_default()),
        }
    }

    /// The trials; being as declared is true of each step.
    fn said(&self) -> String {
        let mut said: Vec<&str> = Vec::new();
        for finding in self.steps.iter().flat_map(|step| &step.findings) {
            if finding.tried != AS_DECLARED && !said.contains(&finding.tried.as_str()) {
                said.push(&finding.tried);
            }
        }
        match said.is_empty() {
            true => AS_DECLARED.to_owned(),
            false => first_few(said.into_iter().map(str::to_owned), SAID, "; "),
        }
    }
}

fn groups(report: &Report) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for step in report.steps.iter().filter(|step| step.proof.is_none() && step.is_proven()) {
        let name = step.id.split('[').next().unwrap_or_default();
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.steps.push(step),
            None => groups.push(Group { name, steps: vec![step] }),
        }
    }
    groups
}
