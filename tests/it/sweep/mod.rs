//! The fault sweep: every call of a run × everything that can go wrong with it.
//!
//! `bounded` is the part that every test run does; `full` is all of it:
//! `cargo test --test it sweep::full_sweep_is_clean -- --ignored --nocapture`. `SWEEP_PLAN` (a plan's name),
//! `SWEEP_ONLY` (words of which a case's name must contain one, with commas
//! between them), `SWEEP_EVERY` (a number: every n-th case) and `SWEEP_JOBS` narrow it down.
//! `SWEEP_RESUME` names a file that keeps the verdicts: a sweep that was broken off goes on from it.
//! `SWEEP_PROGRAM` is another build of the program, such as one that no compiler replaces meanwhile.

mod backups;
mod break_glass;
mod call;
mod canary;
mod case;
mod fault;
pub mod http;
mod kms_keys;
mod places;
mod properties;
mod proxy;
mod record;
mod recoveries;
mod rekey;
mod rotations;
mod scene;
mod seal;
mod snapshot;
mod stage;
mod table;
mod wire;

use std::path::Path;

use groundwork::sandbox::{OpenBao, Seal, Settings, VaultServer};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use case::{Reference, Trouble};
use fault::Fault;
use record::Record;
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

/// Two access keys, and a Vault that unseals itself with a key in its configuration.
fn keys() -> Subject {
    subject("keys", "tests/plans/keys.yaml", Settings { seal: Seal::Static, ..Settings::default() })
}

/// The same with a Vault that unseals itself through KMS.
fn keys_by_kms() -> Subject {
    let settings = Settings {
        vault: VaultServer::Pinned(OpenBao::WithKmsSeal),
        seal: Seal::AwsKms { key: "alias/vault-unseal".to_owned() },
        ..Settings::default()
    };
    Subject { settings, ..keys() }
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

/// A lost answer whose effect IAM does not show in the whole run after it.
fn stale(reference: &Reference) -> Vec<Vec<Trouble>> {
    let lost = calls(reference).into_iter().filter(|case| match case {
        Trouble::Call(place, fault) => {
            place.label.starts_with("iam:CreateAccessKey") && fault.leaves_doubt() && !fault.kills()
        }
        _ => false,
    });
    lost.map(|case| vec![case, Trouble::Stale]).collect()
}

/// A sequence of two to four runs in which something goes wrong, determined by `seed`.
fn random(reference: &Reference, seed: u64) -> Vec<Trouble> {
    let mut random = StdRng::seed_from_u64(seed);
    let all: Vec<Trouble> = calls(reference).into_iter().chain(disk(reference)).collect();
    let count = random.random_range(2..=4);
    (0..count).map(|_| all[random.random_range(0..all.len())].clone()).collect()
}

/// The cases that `SWEEP_ONLY` and `SWEEP_EVERY` leave.
fn wanted(cases: impl IntoIterator<Item = Vec<Trouble>>) -> Vec<Vec<Trouble>> {
    let only = std::env::var("SWEEP_ONLY").unwrap_or_default();
    let every = std::env::var("SWEEP_EVERY").ok().and_then(|every| every.parse().ok()).unwrap_or(1);
    let named = |case: &Vec<Trouble>| only.split(',').any(|words| table::name(case).contains(words));
    cases.into_iter().filter(named).step_by(every).collect()
}

fn alone(trouble: Trouble) -> Vec<Trouble> {
    vec![trouble]
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

/// Of the cases of a sweep, every n-th is tried: all of them, or a number, as the variable says.
fn every(variable: &str, usual: usize) -> usize {
    match std::env::var(variable).as_deref() {
        Ok("all") => 1,
        Ok(number) => number.parse().unwrap_or(usual),
        Err(_) => usual,
    }
}

#[test]
fn bounded_sweep_is_clean() {
    let subject = quickstart();
    let reference = Reference::of(&subject);
    let (chosen, others): (Vec<_>, Vec<_>) = calls(&reference).into_iter().partition(is_chosen);
    let sample = others.into_iter().chain(disk(&reference)).step_by(STRIDE);
    let mut cases = wanted(chosen.into_iter().chain(sample).map(alone));
    cases.extend(SEEDS.map(|seed| random(&reference, seed)));
    require_none(&table::run(&subject, &reference, cases, &Record::default()));
}

#[test]
#[ignore = "takes hours; `make sweep`"]
fn full_sweep_is_clean() {
    let only = std::env::var("SWEEP_PLAN").unwrap_or_default();
    let mut all = table::Results::new();
    for subject in [quickstart(), keys_by_kms()].into_iter().filter(|subject| subject.name.contains(&only)) {
        let reference = Reference::of(&subject);
        let singles = calls(&reference).into_iter().chain(disk(&reference)).map(alone);
        let mut cases = wanted(singles.chain(stale(&reference)));
        // What a sweep that is broken off has done is then what tells most, and a fair sample of it.
        cases.shuffle(&mut StdRng::seed_from_u64(0));
        cases.sort_by_key(|case| !reference.writes_in(&case[0]));
        let results = table::run(&subject, &reference, cases, &Record::of(subject.name));
        println!("{}", table::matrix(&results));
        all.extend(results);
    }
    require_none(&all);
}

#[test]
#[ignore = "takes a quarter of an hour; `make sweep`"]
fn random_sequences_are_clean() {
    let named = std::env::var("SWEEP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = named.map_or(MORE_SEEDS, |seed| seed..seed + 1).collect();
    let subject = quickstart();
    let reference = Reference::of(&subject);
    let cases = seeds.iter().map(|seed| random(&reference, *seed)).collect();
    let results = table::run(&subject, &reference, cases, &Record::of("random"));
    for seed in seeds {
        let case = table::name(&random(&reference, seed));
        let found = results.iter().find(|(troubles, _)| table::name(troubles) == case);
        let violations = found.map(|(_, verdict)| verdict.violations.clone()).unwrap_or_default();
        assert!(violations.is_empty(), "SWEEP_SEED={seed}: {case}: {violations:#?}");
    }
}
