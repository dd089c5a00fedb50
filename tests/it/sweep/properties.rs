//! Properties that take more than one thing going wrong with one call.

use std::process::Stdio;
use std::time::{Duration, Instant};

use groundwork::sandbox::Settings;
use serde_json::json;

use super::fault::Fault;
use super::scene::{Scene, Subject};
use super::wire::Place;
use super::{keys, quickstart, snapshot};
use crate::support::{Ran, block_on};

fn first(label: &str) -> Place {
    Place { label: label.to_owned(), occurrence: 1 }
}

fn calls(scene: &Scene, label: &str) -> usize {
    scene.wire.trace().iter().filter(|(call, _)| call.label.starts_with(label)).count()
}

/// P8. The first run hangs in a call while the second one is started.
#[test]
fn of_two_runs_at_once_one_proceeds_and_the_other_names_it() {
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
fn a_plan_writes_nothing_anywhere() {
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

/// P4 while IAM still answers as it did before the key was made.
#[test]
fn a_lost_access_key_is_found_in_a_list_that_lags_behind() {
    let mut scene = Scene::new(&keys());
    let lost = scene.apply(Some((first("iam:CreateAccessKey keys-ci"), Fault::ResponseLost)));
    assert_eq!(lost.code, 4, "{lost:?}");
    // One answer is for the look before the plan, two are for the step.
    scene.wire.stale_lists("iam:ListAccessKeys keys-ci", 3);
    let ran = scene.apply(None);
    assert_eq!(ran.code, 0, "{ran:?}");
    let state = block_on(snapshot::take(&scene));
    for user in ["keys-ci", "keys-deploy"] {
        assert_eq!(state["users"][user]["keys"], json!(["Active"]), "P4: {user}");
        assert_eq!(state["users"][user]["delivered_key_works"], json!(true), "P4: {user}");
    }
}

/// P3: custody that cannot be opened is noticed before anything irreplaceable is asked for.
#[test]
fn nothing_once_only_is_asked_for_while_custody_cannot_be_opened() {
    // This key needs no Vault, whose own shares are put into custody before it is initialised.
    let mut subject = keys();
    subject.plan += "  lone_user: { kind: aws.iam_user, name: keys-lone }\n  \
                       lone_key: { kind: aws.iam_access_key, user: \"{{ lone_user.name }}\" }\n";
    let mut scene = Scene::new(&subject);
    scene.wire.deny(Some("kms:Decrypt"));
    let ran = scene.apply(None);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(calls(&scene, "POST sys/init") + calls(&scene, "iam:CreateAccessKey"), 0, "P3");
    scene.wire.deny(None);
    let ran = scene.apply(None);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// P1 with three nodes, the leading one of which goes down in the middle and comes back sealed.
#[test]
fn a_leader_lost_midway_costs_a_run_and_nothing_else() {
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
fn what_is_done_was_announced_and_is_done_once() {
    let mut scene = Scene::new(&keys());
    let ran = scene.apply(None);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(scene.wire.unlawful(), Vec::<String>::new());
    let ran = scene.apply(None);
    assert_eq!((ran.code, scene.wire.writes()), (0, Vec::new()), "P2");
}

/// P7: the search looks where the tool writes, for what the servers issue.
#[test]
fn a_leak_planted_in_a_file_of_the_tool_is_caught() {
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
