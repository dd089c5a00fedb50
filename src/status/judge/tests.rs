use super::*;
use crate::changeset::{Counts, PlanIdentity};
use crate::drill::Measure;
use crate::health::{Keys, Storage, StorageServer};
use crate::status::{KeptBackup, LastDrill, Locks, StoreOfBackups, StoreOfCustody};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn node(address: &str, state: NodeState) -> Node {
    Node { address: address.to_owned(), state, version: Some("2.7.2".to_owned()), ..Node::default() }
}

fn backup(taken: &str, proof: State) -> KeptBackup {
    KeptBackup { name: format!("c/{taken}.snap"), taken: at(taken), proof, signed: true, bytes: 1 }
}

/// An environment in which all is well.
fn healthy() -> Report {
    let server = |id: &str, status: &str| StorageServer {
        id: id.to_owned(),
        status: status.to_owned(),
        healthy: true,
    };
    let system = System {
        provider: "vault",
        nodes: vec![
            node("https://a:8200", NodeState::Active),
            node("https://b:8200", NodeState::Standby),
            node("https://c:8200", NodeState::Standby),
        ],
        storage: Some(Storage {
            healthy: true,
            failure_tolerance: 1,
            servers: vec![server("a", "leader"), server("b", "voter"), server("c", "voter")],
        }),
        keys: Some(Keys { threshold: Some(3), shares: 5, ..Keys::default() }),
        ..System::default()
    };
    let kept = backup("2026-11-28T07:00:00Z", State::Proven);
    Report {
        plan: PlanIdentity { name: "shop".to_owned(), stage: None, digest: "sha256:0".to_owned() },
        command_line: "shop.yaml --stage dev".to_owned(),
        at: at("2026-11-28T08:00:00Z"),
        systems: vec![system],
        custody: Seen::Known(Custody {
            objects: 4,
            obtainable: 4,
            recipients: Vec::new(),
            stores: vec![StoreOfCustody { store: "one".to_owned(), whole: 4, ..StoreOfCustody::default() }],
        }),
        backups: Seen::Known(Backups {
            stores: vec![StoreOfBackups {
                store: "backups".to_owned(),
                count: 1,
                newest: Some(kept.clone()),
                newest_proven: Some(kept),
                silent: None,
            }],
            generations: Vec::new(),
        }),
        drill: Seen::Known(None),
        has_targets: false,
        rpo: None,
        due: Seen::Known(Vec::new()),
        locks: Locks { here: Seen::Known(None), everywhere: Seen::Absent },
        outcomes: Seen::Known(Vec::new()),
        drift: Seen::Known(Drift { counts: Counts { none: 9, ..Counts::default() }, ..Drift::default() }),
        findings: Vec::new(),
    }
}

const LIMITS: Limits = Limits {
    backup_age: None,
    drill_age: Duration::from_hours(24 * 90),
    key_age: Duration::from_hours(24 * 90),
    due_within: Duration::from_hours(24 * 14),
};

/// What a change of the healthy environment makes of it.
fn found(change: impl FnOnce(&mut Report)) -> Vec<(Severity, &'static str, String)> {
    let mut report = healthy();
    change(&mut report);
    let found = judge(&report, &LIMITS);
    found.into_iter().map(|finding| (finding.severity, finding.area, finding.message)).collect()
}

/// The only finding that a change makes.
fn only(change: impl FnOnce(&mut Report)) -> (Severity, &'static str, String) {
    let mut found = found(change);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

fn known<T>(seen: &mut Seen<T>) -> &mut T {
    match seen {
        Seen::Known(part) => part,
        _ => panic!("it is known"),
    }
}

#[test]
fn healthy_environment_has_no_findings() {
    assert_eq!(found(|_| {}), []);
    let mut report = healthy();
    assert_eq!((report.worst(), report.word()), (None, "healthy"));
    report.systems[0].nodes[2].state = NodeState::Sealed;
    report.findings = judge(&report, &LIMITS);
    assert_eq!((report.worst(), report.word()), (Some(Severity::Broken), "broken"));
    assert!(report.findings[0].advice.contains("`groundwork unseal shop.yaml --stage dev`"));
}

#[test]
fn each_fault_of_a_node_is_broken_and_named() {
    for (state, expected) in [
        (NodeState::Sealed, "https://c:8200 is sealed"),
        (NodeState::Uninitialised, "https://c:8200 is empty"),
        (NodeState::Unreachable, "https://c:8200 does not answer: no answer"),
    ] {
        let found = only(|report| report.systems[0].nodes[2].state = state);
        assert_eq!(found, (Severity::Broken, "nodes", expected.to_owned()));
    }
    let all = only(|report| {
        report.systems[0].nodes.iter_mut().for_each(|node| node.state = NodeState::Uninitialised);
        report.systems[0].storage = None;
    });
    assert_eq!(all.2, "every server is empty");
    let led = only(|report| report.systems[0].nodes[0].state = NodeState::Standby);
    assert_eq!(led.2, "0 servers lead, and one should");
    let mixed = only(|report| report.systems[0].nodes[1].version = Some("2.6.2".to_owned()));
    assert_eq!(
        (mixed.0, mixed.2.as_str()),
        (Severity::Attention, "the servers run different versions: 2.6.2, 2.7.2")
    );
    let unseen = only(|report| report.systems[0] = System::unseen("vault", "no address".to_owned()));
    assert_eq!(unseen.0, Severity::Broken);
}

#[test]
fn storage_that_cannot_lose_a_server_needs_attention() {
    let found = found(|report| {
        let storage = report.systems[0].storage.as_mut().expect("a storage");
        storage.servers.remove(2);
        storage.failure_tolerance = 0;
    });
    let told: Vec<&str> = found.iter().map(|(_, _, message)| message.as_str()).collect();
    assert_eq!(
        told,
        ["1 of 3 servers are not part of the storage", "2 servers vote, and none of them may be lost now"]
    );
}

#[test]
fn keys_below_the_threshold_are_broken_unless_none_is_at_hand() {
    let problem = "only 2 of the 3 shares that are needed can be obtained".to_owned();
    let lack = |report: &mut Report| {
        report.systems[0].keys.as_mut().expect("keys").problems.push(problem.clone());
    };
    assert_eq!(only(lack), (Severity::Broken, "keys", problem.clone()));
    let closed = found(|report| {
        lack(report);
        let custody = known(&mut report.custody);
        (custody.obtainable, custody.stores[0].closed, custody.stores[0].whole) = (0, 4, 0);
    });
    assert!(closed.iter().all(|(severity, _, _)| *severity == Severity::Attention), "{closed:?}");
}

#[test]
fn silent_store_needs_attention_and_all_of_them_are_broken() {
    let silence = |report: &mut Report| {
        let stores = &mut known(&mut report.custody).stores;
        let silent = Some("refused".to_owned());
        stores.push(StoreOfCustody { store: "s3://x".to_owned(), silent, ..StoreOfCustody::default() });
    };
    assert_eq!(
        only(silence),
        (Severity::Attention, "custody", "the store s3://x does not answer: refused".to_owned())
    );
    let all = found(|report| {
        silence(report);
        known(&mut report.custody).stores.remove(0);
    });
    assert_eq!(all[0].2, "no store of custody answers");
    let lost = only(|report| known(&mut report.custody).obtainable = 3);
    assert_eq!(lost, (Severity::Broken, "custody", "1 of 4 objects open from no store".to_owned()));
}

#[test]
fn backup_that_is_missing_old_or_unproven_is_told() {
    let none = only(|report| known(&mut report.backups).stores[0] = StoreOfBackups::default());
    assert_eq!(none, (Severity::Broken, "backups", "there is no backup".to_owned()));
    let old = only(|report| report.at = at("2026-11-29T10:00:00Z"));
    assert_eq!(
        old,
        (
            Severity::Broken,
            "backups",
            "the newest proven backup is 27 h old, and 26 h is the limit".to_owned()
        )
    );
    let beyond_rpo = only(|report| report.rpo = Some(Duration::from_mins(15)));
    assert_eq!(beyond_rpo.2, "the newest proven backup is 1 h old, and 15 min is the limit");
    let unproven = only(|report| {
        known(&mut report.backups).stores[0].newest = Some(backup("2026-11-28T07:30:00Z", State::Whole));
    });
    assert_eq!((unproven.0, unproven.1), (Severity::Attention, "backups"));
    let never = only(|report| known(&mut report.backups).stores[0].newest_proven = None);
    assert_eq!(never.0, Severity::Broken);
    let behind = only(|report| {
        let stores = &mut known(&mut report.backups).stores;
        stores.push(StoreOfBackups { store: "s3://b".to_owned(), ..StoreOfBackups::default() });
    });
    assert_eq!(behind, (Severity::Attention, "backups", "the newest backup is not in s3://b".to_owned()));
    let silent = only(|report| {
        known(&mut report.backups).stores[0] = StoreOfBackups {
            store: "s3://b".to_owned(),
            silent: Some("refused".to_owned()),
            ..StoreOfBackups::default()
        }
    });
    assert_eq!(silent.0, Severity::Attention, "nobody knows that there is none");
}

#[test]
fn backup_that_does_not_open_now_is_told_by_its_keys() {
    let opens = |opens_now, not_tried: Option<&str>| {
        found(|report| {
            let taken = at("2026-11-28T07:00:00Z");
            known(&mut report.backups).generations.push(Generation {
                id: None,
                seal: "shamir".to_owned(),
                key_id: None,
                backups: 1,
                first: taken,
                last: taken,
                threshold: 3,
                in_custody: Some(true),
                opens_now,
                not_tried: not_tried.map(str::to_owned),
            });
        })
    };
    assert_eq!(opens(Some(State::Proven), None), []);
    let locked =
        "the keys at hand do not open the newest backup that 3 shares open, of 2026-11-28".to_owned();
    assert_eq!(opens(Some(State::Locked), None), [(Severity::Broken, "backups", locked)]);
    assert_eq!(opens(Some(State::Flawed), None)[0].0, Severity::Broken);
    assert_eq!(opens(Some(State::Whole), None)[0].0, Severity::Attention);
    let late = opens(None, Some("no answer within 60 s"));
    assert!(late[0].0 == Severity::Attention && late[0].2.ends_with("was not opened: no answer within 60 s"));
}

#[test]
fn drill_is_told_when_it_is_old_or_has_not_passed() {
    let after = |verdict, started: &str| {
        let started = at(started);
        found(move |report| {
            let last = LastDrill {
                started,
                verdict,
                backup: None,
                rto: Measure::default(),
                rpo: Measure::default(),
            };
            report.drill = Seen::Known(Some(last));
        })
    };
    let today = "2026-11-28T06:00:00Z";
    assert_eq!(after(Verdict::Passed, today), []);
    let missed = "the drill of 2026-11-28 missed a target".to_owned();
    assert_eq!(after(Verdict::Missed, today), [(Severity::Attention, "drill", missed)]);
    assert_eq!(after(Verdict::Failed, today)[0].0, Severity::Broken);
    let old = after(Verdict::Passed, "2026-08-01T06:00:00Z");
    assert_eq!((old[0].0, old[0].2.as_str()), (Severity::Attention, "the last drill is 119 days ago"));
    assert_eq!(only(|report| report.has_targets = true).2, "a recovery has never been rehearsed");
}

#[test]
fn lost_outcome_is_unknown_and_an_interrupted_run_is_not_while_another_goes_on() {
    let open = |is_lost| OpenOutcome {
        operation: "iam:CreateAccessKey".to_owned(),
        target: "ci".to_owned(),
        since: at("2026-11-28T07:00:00Z"),
        who: "ann@build".to_owned(),
        is_lost,
    };
    let lost = only(|report| known(&mut report.outcomes).push(open(true)));
    assert_eq!((lost.0, lost.1), (Severity::Unknown, "outcomes"));
    let ended = only(|report| known(&mut report.outcomes).push(open(false)));
    assert_eq!(ended.0, Severity::Attention);
    let running = found(|report| {
        known(&mut report.outcomes).push(open(false));
        let holder = "bob@laptop, process 7".to_owned();
        report.locks.here = Seen::Known(Some(LockHeld { holder, since: None, id: None }));
    });
    assert_eq!(running, []);
}

#[test]
fn due_dates_are_told_from_their_limit_on() {
    let due = |days: i64| {
        found(move |report| {
            let since = at("2026-11-01T08:00:00Z");
            let due = Due { of: "db".to_owned(), ..Due::after_days("secret", since, days) };
            known(&mut report.due).push(due);
        })
    };
    assert_eq!(due(90), []);
    assert_eq!(due(41)[0].2, "the secret of db is due in 14 days");
    assert_eq!(due(20)[0].2, "the secret of db is overdue by 7 days");
    let certificate =
        only(|report| report.systems[0].nodes[1].certificate_ends = Some(at("2026-11-30T09:00:00Z")));
    assert_eq!(certificate.2, "the certificate of https://b:8200 is due in 2 days");
}

#[test]
fn drift_is_told_in_one_line_and_what_was_not_seen_too() {
    let drifted = only(|report| {
        known(&mut report.drift).counts = Counts { update: 2, blocked: 1, ..Counts::default() }
    });
    assert_eq!(drifted, (Severity::Attention, "drift", "steps: 2 not as declared, 1 blocked".to_owned()));
    let unseen = only(|report| {
        report.drift = Seen::Unseen("no credentials".to_owned());
        report.due = Seen::Unseen("no credentials".to_owned());
    });
    assert_eq!(unseen.2, "the plan was not compared: no credentials");
    assert_eq!(found(|report| report.drift = Seen::Absent), [], "nobody asked");
}
