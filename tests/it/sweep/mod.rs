//! The fault sweep: every call of a run × everything that can go wrong with it.
//!
//! `bounded` is the part that every test run does; `full` is all of it:
//! `cargo test --test it sweep::full -- --ignored --nocapture`. `SWEEP_PLAN` (a plan's name),
//! `SWEEP_ONLY` (words of which a case's name must contain one, with commas
//! between them), `SWEEP_EVERY` (a number: every n-th case) and `SWEEP_JOBS` narrow it down.

mod call;
mod canary;
mod case;
mod fault;
mod http;
mod proxy;
mod scene;
mod snapshot;
mod table;
mod wire;

use std::path::Path;

use groundwork::sandbox::{Seal, Settings};

use case::{Reference, Trouble};
use fault::Fault;
use scene::Subject;

/// Calls that cannot simply be repeated, or whose answer is needed.
const DELICATE: [&str; 7] = [
    "POST sys/init",
    "iam:CreateAccessKey",
    "kms:CreateKey",
    "POST sys/unseal",
    "POST auth/token/revoke-self",
    "POST auth/approle/role/groundwork/secret-id",
    "POST sys/mounts/secret",
];
/// What is tried on those in the bounded part.
const TELLING: [Fault; 5] =
    [Fault::ResponseLost, Fault::KilledBefore, Fault::KilledAfter, Fault::Truncated, Fault::ErrorAfter];
/// Of the other cases, the bounded part takes every n-th.
const STRIDE: usize = 97;

fn subject(name: &'static str, file: &str, settings: Settings) -> Subject {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    Subject { name, plan: std::fs::read_to_string(path).expect("the plan"), settings }
}

fn quickstart() -> Subject {
    subject("quickstart", "plans/quickstart.yaml", Settings::default())
}

/// Two access keys, and a Vault that unseals itself.
fn keys() -> Subject {
    subject("keys", "tests/plans/keys.yaml", Settings { seal: Seal::Static, ..Settings::default() })
}

/// Every call × every fault that suits it.
fn calls(reference: &Reference) -> Vec<Trouble> {
    let pairs = reference.trace.iter().flat_map(|(call, place)| {
        let suiting = Fault::ALL.into_iter().filter(|fault| fault.suits(call));
        suiting.map(|fault| Trouble::Call(place.clone(), fault))
    });
    pairs.collect()
}

/// Every durable write × everything that can happen to it.
fn disk(reference: &Reference) -> Vec<Trouble> {
    let kinds = ["full", "fsync", "torn", "before", "after"];
    (1..=reference.writes).flat_map(|n| kinds.map(|kind| Trouble::Disk(kind, n))).collect()
}

/// The cases that `SWEEP_ONLY` and `SWEEP_EVERY` leave.
fn wanted(cases: Vec<Trouble>) -> Vec<Trouble> {
    let only = std::env::var("SWEEP_ONLY").unwrap_or_default();
    let every = std::env::var("SWEEP_EVERY").ok().and_then(|every| every.parse().ok()).unwrap_or(1);
    let named = |case: &Trouble| only.split(',').any(|words| case.to_string().contains(words));
    cases.into_iter().filter(named).step_by(every).collect()
}

fn require_none(results: &table::Results) {
    let broken: Vec<String> = results
        .iter()
        .flat_map(|(case, verdict)| {
            verdict.violations.iter().map(move |violation| format!("{case}: {violation}"))
        })
        .collect();
    assert!(broken.is_empty(), "{} violations:\n{}", broken.len(), broken.join("\n"));
    assert!(!results.is_empty(), "no case was left to run");
}

#[test]
fn bounded() {
    let subject = quickstart();
    let reference = Reference::of(&subject);
    let delicate = |case: &Trouble| match case {
        Trouble::Call(place, fault) => {
            place.occurrence == 1
                && TELLING.contains(fault)
                && DELICATE.iter().any(|label| place.label.starts_with(label))
        }
        Trouble::Disk(..) => false,
    };
    let (chosen, others): (Vec<_>, Vec<_>) = calls(&reference).into_iter().partition(delicate);
    let sample = others.into_iter().chain(disk(&reference)).step_by(STRIDE);
    let results = table::run(&subject, &reference, wanted(chosen.into_iter().chain(sample).collect()));
    require_none(&results);
}

#[test]
#[ignore = "takes an hour; `make sweep`"]
fn full() {
    let only = std::env::var("SWEEP_PLAN").unwrap_or_default();
    let mut all = table::Results::new();
    for subject in [quickstart(), keys()].into_iter().filter(|subject| subject.name.contains(&only)) {
        let reference = Reference::of(&subject);
        let cases = calls(&reference).into_iter().chain(disk(&reference)).collect();
        let results = table::run(&subject, &reference, wanted(cases));
        println!("{}", table::matrix(&results));
        all.extend(results);
    }
    require_none(&all);
}
