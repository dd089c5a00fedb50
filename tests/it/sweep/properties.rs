//! Properties that take more than one thing going wrong with one call.

use std::process::Stdio;
use std::time::{Duration, Instant};

use groundwork::net::timeout::HASTE;
use groundwork::sandbox::Settings;
use serde_json::json;

use super::case::{Reference, Trouble};
use super::fault::Fault;
use super::scene::{Scene, Subject};
use super::wire::Place;
use super::{keys, quickstart, snapshot};
use crate::aws::create_user;
use crate::support::{Ran, block_on};

fn first(label: &str) -> Place {
    Place { label: label.to_owned(), occurrence: 1 }
}

fn calls(scene: &Scene, label: &str) -> usize {
    scene.wire.trace().iter().filter(|(call, _)| call.label.starts_with(label)).count()
}

/// P8. The first run hangs in a call while the second one is started.
#[test]
fn second_run_is_refused_and_names_the_first() {
    let scene = Scene::new(&keys());
    scene.wire.begin(Some((first("kms:CreateKey"), Fault::Hung)));
    let mut holder = scene.command(&["apply", "--yes"]).stdout(Stdio::null()).spawn().expect("it starts");
    while !scene.wire.met() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = scene.wire.writes();
    let refused = Ran::of(scene.command(&["apply", "--yes"]).output().expect("it starts"));
    let after = scene.wire.writes();
    assert_eq!(refused.code, 1, "{refused:?}");
    let named = format!("process {}", holder.id());
    assert!(refused.stderr.contains("holds the lock") && refused.stderr.contains(&named), "{refused:?}");
    // The holder may have gone on in the meantime, but never twice with the same thing.
    assert!(after.len() <= before.len() + 2, "P8: {before:?} became {after:?}");
    holder.kill().expect("it is ours");
    holder.wait().expect("it has ended");
}

/// P9.
#[test]
fn plan_writes_nothing_anywhere() {
    let mut scene = Scene::new(&quickstart());
    for _ in 0..2 {
        let before = scene.files();
        scene.run(&["plan"], None, &[]);
        assert_eq!(scene.wire.writes(), Vec::<String>::new());
        let names =
            |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let after = scene.files();
        assert_eq!(names(&before), names(&after));
        assert!(before == after, "a file was changed");
        assert_eq!(scene.apply(None).code, 0);
    }
}

/// P1. A secret takes two requests; the second one is refused.
#[test]
fn next_run_finishes_a_partly_refused_creation() {
    let mut scene = Scene::new(&quickstart());
    let refused = scene.apply(Some((first("POST secret/metadata/app/database"), Fault::Denied)));
    assert_eq!(refused.code, 1, "{refused:?}");
    let ran = scene.apply(None);
    assert_eq!(ran.code, 0, "P1: {ran:?}");
}

/// What somebody else makes between the look and the creation is theirs, also for the next run.
#[test]
fn conflicting_creation_does_not_adopt_existing_thing() {
    let mut scene = Scene::new(&lone_key());
    scene.run(&["plan"], None, &[]);
    create_user(scene.sandbox(), "keys-lone");
    // For the look before the plan.
    scene.wire.stale_answers("iam:GetUser keys-lone", 1);
    let conflict = scene.apply(None);
    assert_eq!(conflict.code, 1, "{conflict:?}");
    assert!(
        format!("{}{}", conflict.stdout, conflict.stderr).contains("EntityAlreadyExists"),
        "{conflict:?}"
    );
    let blocked = scene.apply(None);
    assert_eq!((blocked.code, scene.wire.writes()), (3, Vec::new()), "{blocked:?}");
    assert!(format!("{}{}", blocked.stdout, blocked.stderr).contains("adopt: true"), "{blocked:?}");
}

/// P4 while IAM still answers as it did before the key was made.
#[test]
fn lost_access_key_is_found_in_lagging_list() {
    let mut scene = Scene::new(&keys());
    let lost = scene.apply(Some((first("iam:CreateAccessKey keys-ci"), Fault::ResponseLost)));
    assert_eq!(lost.code, 4, "{lost:?}");
    // One answer is for the look before the plan, two are for the step.
    scene.wire.stale_answers("iam:ListAccessKeys keys-ci", 3);
    let ran = scene.apply(None);
    assert_eq!(ran.code, 0, "{ran:?}");
    let state = block_on(snapshot::take(&scene));
    for user in ["keys-ci", "keys-deploy"] {
        assert_eq!(state["users"][user]["keys"], json!(["Active"]), "P4: {user}");
        assert_eq!(state["users"][user]["delivered_key_works"], json!(true), "P4: {user}");
    }
}

/// A key of KMS has no name of its own and no token: a second one would stay unnoticed.
#[test]
fn lost_kms_key_is_found_in_lagging_list() {
    let mut scene = Scene::new(&keys());
    // The first list comes before the request; three more know nothing of the key.
    scene.wire.stale_answers("kms:ListKeys", 3);
    let ran = scene.apply(Some((first("kms:CreateKey"), Fault::ResponseLost)));
    assert_eq!((ran.code, calls(&scene, "kms:CreateKey")), (0, 1), "{ran:?}");
    assert_eq!(block_on(snapshot::take(&scene))["kms"].as_array().map(Vec::len), Some(1));
}

/// P4: a person's key is not taken for one that an interrupted run has made.
#[test]
fn manually_created_key_after_killed_run_stays() {
    let mut scene = Scene::new(&lone_key());
    let killed = scene.apply(Some((first("iam:CreateAccessKey keys-lone"), Fault::KilledBefore)));
    assert_ne!(killed.code, 0, "{killed:?}");
    let theirs = block_on(snapshot::make_access_key(&scene, "keys-lone"));
    scene.wire.redate_keys("2020-01-01T00:00:00Z");
    let ran = scene.apply(None);
    assert_eq!(ran.code, 3, "{ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains(&theirs) && said.contains("never touched"), "{said}");
    assert_eq!(calls(&scene, "iam:DeleteAccessKey") + calls(&scene, "iam:UpdateAccessKey"), 0);
}

/// P4 while IAM answers as it did before the key was made, for longer than a run.
#[test]
fn lagging_list_never_leads_to_second_access_key() {
    let mut scene = Scene::new(&lone_key());
    let lost = scene.apply(Some((first("iam:CreateAccessKey keys-lone"), Fault::ResponseLost)));
    assert_eq!(lost.code, 4, "{lost:?}");
    scene.wire.stale_answers("iam:ListAccessKeys", usize::MAX);
    let unsure = scene.run(&["apply", "--yes"], None, &[(HASTE, "4".to_owned())]);
    assert_eq!((unsure.code, calls(&scene, "iam:CreateAccessKey")), (4, 0), "P4: {unsure:?}");
    assert!(format!("{}{}", unsure.stdout, unsure.stderr).contains("the list may lag behind"), "{unsure:?}");
    scene.wire.stale_answers("iam:ListAccessKeys", 0);
    let ran = scene.apply(None);
    assert_eq!(ran.code, 0, "{ran:?}");
    require_one_proven_key(&scene);
    // From now on the list lags behind the key that is in custody, which works.
    scene.wire.stale_answers("iam:ListAccessKeys", usize::MAX);
    let ran = scene.apply(None);
    assert_eq!((ran.code, scene.wire.writes()), (0, Vec::new()), "P4: {ran:?}");
    assert_eq!(scene.wire.unlawful(), Vec::<String>::new());
}

/// P4 with `kill -9` before and after every durable write of an access key's life, and before and
/// after the request itself.
#[test]
fn run_recovers_key_after_kill_at_any_boundary() {
    let subject = lone_key();
    let reference = Reference::of(&subject);
    let kills = [Fault::KilledBefore, Fault::KilledAfter];
    let request = kills.map(|fault| Trouble::Call(first("iam:CreateAccessKey keys-lone"), fault));
    let boundaries = (1..=reference.writes).flat_map(|n| ["before", "after"].map(|at| Trouble::Disk(at, n)));
    let mut stage = None;
    let mut struck = 0;
    for trouble in request.into_iter().chain(boundaries) {
        let used = stage.take();
        let mut scene = used.map_or_else(|| Scene::new(&subject), |stage| Scene::after(stage, &subject));
        struck += usize::from(trouble.strike(&mut scene).code == -1);
        let ran = scene.apply(None);
        assert_eq!(ran.code, 0, "{trouble}: {ran:?}");
        require_one_proven_key(&scene);
        assert_eq!(scene.wire.unlawful(), Vec::<String>::new(), "{trouble}");
        assert_eq!(scene.leaks(), Vec::<String>::new(), "{trouble}");
        stage = Some(scene.into_stage());
    }
    assert!(struck > 20, "only {struck} runs were killed");
}

/// Exactly one active key; each store has its secret; the journal says that it was proven.
fn require_one_proven_key(scene: &Scene) {
    let keys = scene.wire.active_keys("keys-lone");
    assert_eq!(keys.len(), 1, "P4: {keys:?}");
    let end = format!("aws/keys-lone/access-key/{}.1.json", keys[0].to_lowercase());
    let copies = scene.files().into_iter().filter(|(name, _)| name.ends_with(&end)).count();
    assert_eq!(copies, 2, "P4: copies in custody of {}", keys[0]);
    let about = |entry: &&serde_json::Value| entry["operation"] == "iam:CreateAccessKey";
    let said: Vec<_> =
        scene.wire.entries().iter().filter(about).map(|entry| entry["entry"].clone()).collect();
    assert!(said.ends_with(&[json!("verified"), json!("committed")]), "P4: {said:?}");
}

/// A user with an access key, which needs no Vault.
fn lone_key() -> Subject {
    let mut subject = keys();
    let (head, _) = subject.plan.split_once("  ci_user:").expect("the first user");
    subject.plan = format!("{head}{LONE_KEY}");
    subject
}

const LONE_KEY: &str = "  lone_user: { kind: aws.iam_user, name: keys-lone }\n  \
                        lone_key: { kind: aws.iam_access_key, user: \"{{ lone_user.name }}\" }\n";

/// P3: custody that cannot be sealed or opened is noticed before anything irreplaceable is asked
/// for.
#[test]
fn unopenable_custody_stops_every_once_only_request() {
    // This key needs no Vault, whose own shares are put into custody before it is initialised.
    let mut subject = keys();
    subject.plan += LONE_KEY;
    let mut scene = Scene::new(&subject);
    for label in ["kms:Encrypt", "kms:Decrypt"] {
        for fault in [Fault::Denied, Fault::Disabled] {
            scene.wire.refuse(Some((label, fault)));
            let ran = scene.apply(None);
            assert_eq!(ran.code, 1, "{label} {fault}: {ran:?}");
            assert!(calls(&scene, label) > 0, "{label} {fault}: {ran:?}");
            let once = calls(&scene, "POST sys/init") + calls(&scene, "iam:CreateAccessKey");
            assert_eq!(once, 0, "P3: {label} {fault}");
        }
    }
    scene.wire.refuse(None);
    let ran = scene.apply(None);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// P1 with a Vault that somebody seals in the middle. One that unseals itself does not do so then: it
/// wants the recovery keys.
#[test]
fn vault_sealed_midway_is_unsealed_by_next_run() {
    for (subject, label) in
        [(quickstart(), "POST sys/policies/acl/groundwork"), (keys(), "POST sys/mounts/secret")]
    {
        let mut scene = Scene::new(&subject);
        let ran = scene.apply(Some((first(label), Fault::Sealed)));
        assert!(scene.wire.met(), "nobody has sealed it: {ran:?}");
        // A run that plans once more, because something had to wait, may have unsealed it itself.
        let told = format!("{}{}", ran.stdout, ran.stderr).contains("sealed");
        assert!(ran.code == 0 || (ran.code == 1 && told), "{ran:?}");
        let ran = scene.apply(None);
        assert_eq!(ran.code, 0, "P1: {ran:?}");
        let ran = scene.apply(None);
        assert_eq!((ran.code, scene.wire.writes()), (0, Vec::new()), "P2");
    }
}

/// P1 with three nodes, the leading one of which goes down in the middle and comes back sealed.
#[test]
fn leader_lost_midway_costs_only_one_run() {
    let Subject { name, plan, .. } = quickstart();
    let plan = plan.replace("  auth: { approle", "  nodes: NODES\n  auth: { approle");
    let mut scene =
        Scene::new(&Subject { name, plan, settings: Settings { nodes: 3, ..Settings::default() } });
    let wire = std::sync::Arc::clone(&scene.wire);
    let victim = scene.vault_pid();
    let killer = std::thread::spawn(move || {
        while !wire.met() {
            std::thread::sleep(Duration::from_millis(5));
        }
        super::stage::end(victim);
    });
    scene.apply(Some((first("POST sys/policies/acl/groundwork"), Fault::RequestLost)));
    killer.join().expect("the leader has ended");
    scene.restart_vault();
    // Nodes that had not become voters yet take half a minute to elect one of them.
    let started = Instant::now();
    let mut ran = scene.apply(None);
    while ran.code != 0 && started.elapsed() < Duration::from_mins(1) {
        ran = scene.apply(None);
    }
    assert_eq!(ran.code, 0, "P1: {ran:?}");
    scene.apply(None);
    assert_eq!(scene.wire.writes(), Vec::<String>::new(), "P2");
    let state = block_on(snapshot::take(&scene));
    assert_eq!(state["users"]["quickstart-app"]["keys"], json!(["Active"]), "P4");
    assert_eq!(scene.leaks(), Vec::<String>::new());
}

/// P2, P5 and P6 of a run in which nothing goes wrong.
#[test]
fn every_write_is_announced_and_done_once() {
    let mut scene = Scene::new(&keys());
    let ran = scene.apply(None);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(scene.wire.unlawful(), Vec::<String>::new());
    let ran = scene.apply(None);
    assert_eq!((ran.code, scene.wire.writes()), (0, Vec::new()), "P2");
}

/// P7: the search looks where the tool writes, for what the servers issue.
#[test]
fn leak_planted_in_a_tool_file_is_caught() {
    let mut scene = Scene::new(&keys());
    assert_eq!(scene.apply(None).code, 0);
    assert_eq!(scene.leaks(), Vec::<String>::new());
    for secret in scene.wire.secrets() {
        let planted = scene.home().join("tmp/left-behind");
        std::fs::write(&planted, hex::encode(&secret)).expect("written");
        assert_eq!(scene.leaks(), ["P7: a secret is in tmp/left-behind"]);
        std::fs::remove_file(planted).expect("removed");
    }
    assert!(scene.wire.secrets().len() > 8, "hardly any secret was seen");
}
