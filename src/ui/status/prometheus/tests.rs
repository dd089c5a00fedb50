use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::changeset::{Counts, PlanIdentity};
use crate::drill::Measure;
use crate::health::{Due, Keys, Node, Storage, System};
use crate::status::{Backups, Custody, Drift, LastDrill, Locks, OpenOutcome, StoreOfBackups, StoreOfCustody};

/// A name with everything that has to be escaped.
const NASTY: &str = "a \"folder\" in C:\\new\nline, {x=\"1\"} 7";

/// A sample: its name, its labels, its value.
type Sample = (String, BTreeMap<String, String>, i64);

/// Reads the text format as its description says, and refuses what is not in it.
fn parse(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'), "the last line has an end");
    let (mut samples, mut current, mut closed) = (Vec::new(), None::<String>, BTreeSet::new());
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and its help");
            assert!(!help.is_empty() && helped.insert(name.to_owned()), "{name} has one help");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and its type");
            assert_eq!(kind, "gauge");
            assert!(helped.contains(name) && closed.insert(name.to_owned()), "{name} has one block");
            current = Some(name.to_owned());
            continue;
        }
        let (name, labels, value) = sample(line);
        assert_eq!(Some(&name), current.as_ref(), "samples are below their type");
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(is_name) && labels.keys().all(|label| label.chars().all(is_name)), "{line}");
        samples.push((name, labels, value));
    }
    let series: BTreeSet<_> = samples.iter().map(|(name, labels, _)| (name, labels)).collect();
    assert_eq!(series.len(), samples.len(), "no series is given twice");
    samples
}

fn sample(line: &str) -> Sample {
    let (name, mut rest) = line.split_once('{').expect("labels");
    let mut labels = BTreeMap::new();
    while !rest.starts_with('}') {
        let (label, value) = rest.split_once("=\"").expect("a label");
        let mut text = String::new();
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().expect("the value ends") {
                (end, '"') => break end,
                (_, '\\') => text.push(match chars.next().expect("an escape").1 {
                    'n' => '\n',
                    same @ ('\\' | '"') => same,
                    other => panic!("\\{other} is no escape"),
                }),
                (_, plain) => text.push(plain),
            }
        };
        assert!(labels.insert(label.to_owned(), text).is_none(), "{label} is given once");
        rest = value[end + 1..].strip_prefix(',').unwrap_or(&value[end + 1..]);
    }
    let value = rest.strip_prefix("} ").expect("a value").parse().expect("a number");
    (name.to_owned(), labels, value)
}

fn report() -> Report {
    let at: Timestamp = "2026-11-28T08:00:00Z".parse().expect("a time");
    let node = |address: &str, state| Node {
        address: address.to_owned(),
        state,
        version: Some("2.7.2".to_owned()),
        lag: Some(3),
        certificate_ends: Some(at),
        ..Node::default()
    };
    let since = Due { of: "db".to_owned(), ..Due::after_days("secret", at, 1) };
    Report {
        plan: PlanIdentity { name: NASTY.to_owned(), stage: Some("dev".to_owned()), digest: String::new() },
        command_line: "plan.yaml".to_owned(),
        at,
        systems: vec![System {
            provider: "vault",
            nodes: vec![node("https://a", NodeState::Active), node("https://b", NodeState::Sealed)],
            storage: Some(Storage { failure_tolerance: 1, ..Storage::default() }),
            keys: Some(Keys { threshold: Some(3), shares: 5, ..Keys::default() }),
            ..System::default()
        }],
        custody: Seen::Known(Custody {
            recipients: Vec::new(),
            stores: vec![StoreOfCustody { store: NASTY.to_owned(), whole: 6, ..StoreOfCustody::default() }],
            ..Custody::default()
        }),
        backups: Seen::Known(Backups {
            stores: vec![StoreOfBackups {
                store: "s3://b".to_owned(),
                silent: Some("refused".to_owned()),
                ..StoreOfBackups::default()
            }],
            generations: Vec::new(),
        }),
        drill: Seen::Known(Some(LastDrill {
            started: at,
            verdict: Verdict::Missed,
            backup: None,
            rto: Measure::default(),
            rpo: Measure::default(),
        })),
        has_targets: true,
        rpo: None,
        due: Seen::Known(vec![since, Due { of: "ci".to_owned(), ..Due::ages("access key", at) }]),
        locks: Locks { here: Seen::Known(None), everywhere: Seen::Absent },
        outcomes: Seen::Known(vec![OpenOutcome {
            operation: "sys/init".to_owned(),
            target: "a".to_owned(),
            since: at,
            who: "ann".to_owned(),
            is_lost: true,
        }]),
        drift: Seen::Known(Drift { counts: Counts { none: 7, ..Counts::default() }, ..Drift::default() }),
        findings: Vec::new(),
    }
}

#[test]
fn metrics_are_read_back_with_every_label_as_it_was() {
    let samples = parse(&prometheus(&report()));
    let value = |name: &str, wanted: &[(&str, &str)]| {
        let has = |labels: &BTreeMap<String, String>| {
            wanted.iter().all(|(label, value)| labels.get(*label).is_some_and(|has| has == value))
        };
        let found: Vec<i64> = samples
            .iter()
            .filter(|(one, labels, _)| *one == format!("groundwork_{name}") && has(labels))
            .map(|(_, _, value)| *value)
            .collect();
        found
    };
    assert!(samples.iter().all(|(_, labels, _)| labels["plan"] == NASTY && labels["stage"] == "dev"));
    assert_eq!(value("status_timestamp_seconds", &[]), [1_795_852_800]);
    assert_eq!(value("healthy", &[]), [1]);
    assert_eq!(value("node_state", &[("node", "https://b"), ("state", "sealed")]), [1]);
    assert_eq!(value("node_state", &[("node", "https://b"), ("state", "active")]), [0]);
    assert_eq!(value("node_lag_entries", &[("node", "https://a")]), [3]);
    assert_eq!(value("key_shares_obtainable", &[("system", "vault")]), [5]);
    assert_eq!(value("custody_copies", &[("store", NASTY), ("state", "whole")]), [6]);
    assert_eq!(value("backup_store_answers", &[("store", "s3://b")]), [0]);
    assert_eq!(value("backups", &[]), [0; 0], "nobody knows how many a silent store has");
    assert_eq!(value("due_timestamp_seconds", &[("of", "db")]), [1_795_852_800 + 86_400]);
    assert_eq!(value("due_timestamp_seconds", &[("of", "ci")]), [0; 0], "it has no date");
    assert_eq!(
        (value("drill_timestamp_seconds", &[]), value("drill_passed", &[])),
        (vec![1_795_852_800], vec![0])
    );
    assert_eq!(value("lock_held", &[]), [0]);
    assert_eq!(value("outcomes", &[("kind", "lost")]), [1]);
    assert_eq!(value("steps", &[("action", "none")]), [7]);
}
