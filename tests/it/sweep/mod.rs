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
mod properties;
mod proxy;
mod scene;
mod snapshot;
mod table;
mod wire;

use std::path::Path;

use groundwork::sandbox::{Seal, Settings};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use case::{Reference, Trouble, judge};
use fault::Fault;
use scene::Subject;

/// Calls whose answer comes only once.
const ONCE_ONLY: [&str; 2] = ["POST sys/init", "iam:CreateAccessKey"];
/// What is tried on those in the bounded part.
const TELLING: [Fault; 5] =
    [Fault::ResponseLost, Fault::KilledBefore, Fault::KilledAfter, Fault::Truncated, Fault::ErrorAfter];
/// Other calls that cannot simply be repeated.
const DELICATE: [&str; 4] = [
    "kms:CreateKey",
    "POST sys/unseal",
    "POST auth/token/revoke-self",
    "POST auth/approle/role/groundwork/secret-id",
];
/// Of the other cases, the bounded part takes every n-th.
const STRIDE: usize = 181;
/// The random sequences of the bounded part.
const SEEDS: std::ops::Range<u64> = 0..2;
/// Those of the full one, unless `SWEEP_SEED` names one.
const MORE_SEEDS: std::ops::Range<u64> = 0..60;

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

/// A sequence of two to four runs in which something goes wrong, determined by `seed`.
fn random(reference: &Reference, seed: u64) -> Vec<Trouble> {
    let mut random = StdRng::seed_from_u64(seed);
    let all: Vec<Trouble> = calls(reference).into_iter().chain(disk(reference)).collect();
    let count = random.random_range(2..=4);
    (0..count).map(|_| all[random.random_range(0..all.len())].clone()).collect()
}

/// The cases that `SWEEP_ONLY` and `SWEEP_EVERY` leave.
fn wanted(cases: impl IntoIterator<Item = Trouble>) -> Vec<Vec<Trouble>> {
    let only = std::env::var("SWEEP_ONLY").unwrap_or_default();
    let every = std::env::var("SWEEP_EVERY").ok().and_then(|every| every.parse().ok()).unwrap_or(1);
    let named = |case: &Trouble| only.split(',').any(|words| case.to_string().contains(words));
    cases.into_iter().filter(named).step_by(every).map(|trouble| vec![trouble]).collect()
}

fn require_none(results: &table::Results) {
    let of = |(troubles, verdict): &(Vec<Trouble>, case::Verdict)| {
        let name = table::name(troubles);
        verdict.violations.iter().map(move |violation| format!("{name}: {violation}")).collect::<Vec<_>>()
    };
    let broken: Vec<String> = results.iter().flat_map(of).collect();
    assert!(broken.is_empty(), "{} violations:\n{}", broken.len(), broken.join("\n"));
    assert!(!results.is_empty(), "no case was left to run");
}

/// Whether the bounded part tries this whatever the stride.
fn is_chosen(case: &Trouble) -> bool {
    let Trouble::Call(place, fault) = case else { return false };
    let among = |labels: &[&str]| labels.iter().any(|label| place.label.starts_with(label));
    let telling = among(&ONCE_ONLY) && TELLING.contains(fault);
    let delicate = among(&DELICATE) && *fault == Fault::KilledAfter;
    place.occurrence == 1 && (telling || delicate)
}

#[test]
fn bounded() {
    let subject = quickstart();
    let reference = Reference::of(&subject);
    let (chosen, others): (Vec<_>, Vec<_>) = calls(&reference).into_iter().partition(is_chosen);
    let sample = others.into_iter().chain(disk(&reference)).step_by(STRIDE);
    let mut cases = wanted(chosen.into_iter().chain(sample));
    cases.extend(SEEDS.map(|seed| random(&reference, seed)));
    require_none(&table::run(&subject, &reference, cases));
}

#[test]
#[ignore = "takes hours; `make sweep`"]
fn full() {
    let only = std::env::var("SWEEP_PLAN").unwrap_or_default();
    let mut all = table::Results::new();
    for subject in [quickstart(), keys()].into_iter().filter(|subject| subject.name.contains(&only)) {
        let reference = Reference::of(&subject);
        let cases = wanted(calls(&reference).into_iter().chain(disk(&reference)));
        let results = table::run(&subject, &reference, cases);
        println!("{}", table::matrix(&results));
        all.extend(results);
    }
    require_none(&all);
}

#[test]
#[ignore = "takes a quarter of an hour; `make sweep`"]
fn random_sequences() {
    let named = std::env::var("SWEEP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = named.map_or(MORE_SEEDS, |seed| seed..seed + 1);
    let subject = quickstart();
    let reference = Reference::of(&subject);
    for seed in seeds {
        let verdict = judge(&subject, &reference, &random(&reference, seed));
        println!("seed {seed}: {:?}", verdict.ending);
        let case = table::name(&random(&reference, seed));
        assert!(verdict.violations.is_empty(), "SWEEP_SEED={seed}: {case}: {:#?}", verdict.violations);
    }
}
