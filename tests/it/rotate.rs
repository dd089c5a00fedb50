//! `rotate`: secrets in use get new values, and everything that takes something of them follows.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::canary::{leaking_files, leaks};
use crate::lifecycle::{Life, changing};
use crate::support::{Ran, block_on, paths, step, text_of};

/// A generated secret, a copy of it in another place, and a user whose password it is.
fn secrets(days: u64) -> Value {
    json!({
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "db": { "kind": "vault.kv_secret", "mount": "secret", "path": "db", "metadata": { "rotation_days": days },
                "data": { "user": "app", "password": { "generate": { "length": 24 } } } },
        "copy": { "kind": "vault.kv_secret", "mount": "secret", "path": "copy",
                  "data": { "password": { "secret": "db.data.password" }, "note": "kept" } },
        "parameter": { "kind": "aws.ssm_parameter", "name": "/gw/db", "type": "secure_string",
                       "value": { "secret": "db.data.password" } },
        "people": { "kind": "vault.auth_method", "type": "userpass" },
        "app": { "kind": "vault.userpass_user", "name": "app", "password": { "secret": "db.data.password" } },
        "other": { "kind": "vault.kv_secret", "mount": "secret", "path": "other",
                   "data": { "password": { "generate": { "length": 24 } } } },
    })
}

fn kv(life: &Life, path: &str) -> Value {
    life.vault("GET", &format!("secret/data/{path}"), &Value::Null).1["data"].clone()
}

fn password(life: &Life, path: &str) -> String {
    text_of(&kv(life, path)["data"]["password"]).to_owned()
}

fn can_log_in(life: &Life, password: &str) -> bool {
    life.vault("POST", "auth/userpass/login/app", &json!({ "password": password })).0 == 200
}

fn nothing_is_open(life: &Life, at: &str) {
    let journal = life.run(&["journal", "plan.yaml"]);
    assert!(journal.stdout.contains("Nothing is open."), "{at}: {journal:?}");
}

fn nothing_differs(life: &Life, at: &str) {
    assert_eq!(changing(&life.plan(&[])), Vec::<(&str, &str)>::new(), "{at}");
}

#[test]
fn due_secret_rotates_with_everything_that_takes_it() {
    let life = Life::with(&secrets(30));
    let ran = life.run(&["rotate", "plan.yaml", "--due", "--yes"]);
    assert!(ran.code == 0 && ran.stdout.contains("Nothing is to be rotated."), "{ran:?}");
    let shown = life.run(&["rotate", "plan.yaml"]);
    // Within its first second, all 30 are left.
    let is_due = ["due in 29 days", "due in 30 days"].iter().any(|due| shown.stdout.contains(due));
    assert!(shown.code == 0 && is_due, "{shown:?}");

    life.declare(&secrets(0), &json!({}));
    // Drift of a step that has nothing to do with it stays as it is.
    life.vault("POST", "secret/data/other", &json!({ "data": { "password": "" } }));
    let before = password(&life, "db");
    assert!(can_log_in(&life, &before));
    assert_eq!(life.run(&["apply", "plan.yaml", "--yes", "--target", "db"]).code, 0);
    let shown = life.run(&["rotate", "plan.yaml", "--due", "--dry-run", "--format", "json"]);
    assert_eq!(shown.code, 2, "{shown:?}");
    let changeset = serde_json::from_str::<Value>(&shown.stdout).expect("JSON")["changeset"].take();
    let all = [("app", "update"), ("copy", "update"), ("db", "update"), ("parameter", "update")];
    assert_eq!(changing(&changeset), all, "{changeset:#}");
    assert_eq!(paths(step(&changeset, "copy")), ["data.password"]);
    assert_eq!(password(&life, "db"), before, "a dry run writes nothing");

    let ran = life.run(&["rotate", "plan.yaml", "--due", "--yes"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let after = password(&life, "db");
    assert_ne!(after, before);
    assert_eq!(password(&life, "copy"), after);
    assert!(can_log_in(&life, &after) && !can_log_in(&life, &before), "the user's password follows");
    assert_eq!(kv(&life, "other")["data"]["password"], "", "nothing else is written");
    nothing_is_open(&life, "rotated");
    assert_eq!(changing(&life.plan(&[])), [("other", "update")]);

    let secrets = [("new".to_owned(), after.into_bytes()), ("old".to_owned(), before.into_bytes())];
    assert_eq!(leaks(format!("{ran:?}{shown:?}").as_bytes(), &secrets), Vec::<&str>::new());
    assert_eq!(leaking_files(&life.folder().join(".groundwork"), &secrets), Vec::<String>::new());
}

#[test]
fn rotation_refuses_what_it_cannot_rotate() {
    let mut steps = secrets(30);
    steps["plain"] =
        json!({ "kind": "vault.kv_secret", "mount": "secret", "path": "plain", "data": { "user": "app" } });
    let life = Life::with(&steps);
    steps["new"] = json!({ "kind": "vault.kv_secret", "mount": "secret", "path": "new",
                           "data": { "password": { "generate": { "length": 24 } } } });
    life.declare(&steps, &json!({}));
    for (id, told) in [
        ("plain", "none of its values is generated"),
        ("app", "rotate `db`, and it follows"),
        ("kv", "cannot be rotated"),
        ("new", "it does not exist yet"),
    ] {
        let ran = life.run(&["rotate", "plan.yaml", id, "--yes"]);
        assert!(ran.code == 3 && ran.stdout.contains(told), "{id}: {ran:?}");
    }
    let ran = life.run(&["rotate", "plan.yaml", "dbb", "--yes"]);
    assert!(ran.code == 1 && ran.stderr.contains("did you mean `db`"), "{ran:?}");
    let ran = life.run(&["rotate", "plan.yaml", "db"]);
    assert!(ran.code == 1 && ran.stderr.contains("Use --yes"), "{ran:?}");
    let ran = life.run(&["rotate", "plan.yaml", "db", "--format", "json"]);
    assert_eq!(ran.code, 64, "{ran:?}");
    assert_eq!(kv(&life, "db")["metadata"]["version"], 1, "nothing was rotated");
}

fn killed(mut command: Command, write: usize) -> Ran {
    Ran::of(command.env("GROUNDWORK_FAULT", format!("after@{write}")).output().expect("it starts"))
}

/// After a death at any durable write one clean run ends in the new state, and a value is not made twice once it
/// was made.
#[test]
fn interrupted_rotation_is_completed_by_the_next_run() {
    let life = Life::with(&secrets(30));
    let mut version = 1;
    for write in 1..12 {
        let at = format!("after@{write}");
        let ran = killed(life.command(&["rotate", "plan.yaml", "db", "--yes"]), write);
        if ran.code == 0 {
            assert!(write > 3, "{at}: {ran:?}");
            break;
        }
        let cut = kv(&life, "db")["metadata"]["version"].as_u64().expect("a version");
        assert!(cut <= version + 1, "{at}");
        let is_over =
            cut > version && life.run(&["journal", "plan.yaml"]).stdout.contains("Nothing is open.");
        let again = if is_over { "apply" } else { "rotate" };
        let more: &[&str] = if is_over { &[] } else { &["db"] };
        let ran = life.run(&[&[again, "plan.yaml", "--yes"][..], more].concat());
        assert_eq!(ran.code, 0, "{at}: {ran:?}");
        let now = kv(&life, "db")["metadata"]["version"].as_u64().expect("a version");
        assert_eq!(now, version + 1, "{at}: rotated exactly once");
        version = now;
        assert_eq!(password(&life, "copy"), password(&life, "db"), "{at}");
        assert!(can_log_in(&life, &password(&life, "db")), "{at}");
        nothing_is_open(&life, &at);
        nothing_differs(&life, &at);
    }
}

/// An access key whose old one is kept for a moment only.
fn access_key(rotation: &Value) -> Value {
    json!({
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "user": { "kind": "aws.iam_user", "name": "gw-user" },
        "key": { "kind": "aws.iam_access_key", "user": "{{ user.name }}", "rotation": rotation,
                 "deliver": [ { "vault_kv": { "mount": "secret", "path": "aws" } } ] },
    })
}

/// The user's keys, with whether they are active.
fn keys(life: &Life) -> BTreeMap<String, bool> {
    let iam = aws_sdk_iam::Client::new(&crate::aws::config(&life.environment().sandbox));
    let listed = block_on(iam.list_access_keys().user_name("gw-user").send()).expect("listed");
    let key = |key: aws_sdk_iam::types::AccessKeyMetadata| {
        let active = key.status == Some(aws_sdk_iam::types::StatusType::Active);
        Some((key.access_key_id?, active))
    };
    listed.access_key_metadata.into_iter().filter_map(key).collect()
}

/// The delivered key: its id and its secret.
fn delivered(life: &Life) -> (String, String) {
    let data = kv(life, "aws")["data"].take();
    let field = |name: &str| text_of(&data[name]).to_owned();
    (field("aws_access_key_id"), field("aws_secret_access_key"))
}

fn works(life: &Life, (id, secret): &(String, String)) -> bool {
    crate::aws::is_taken(&life.environment().sandbox, id, secret)
}

const ROTATE: [&str; 4] = ["rotate", "plan.yaml", "key", "--yes"];

#[test]
fn access_key_rotates_in_phases_and_back() {
    let life = Life::with(&access_key(&json!({ "days": 0 })));
    let first = delivered(&life);
    assert!(works(&life, &first), "the first key works");
    let ran = life.run(&["rotate", "plan.yaml", "--due", "--yes"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stdout.contains(&format!("{} still exists", first.0)), "{ran:?}");
    let second = delivered(&life);
    assert!(works(&life, &second) && second.0 != first.0);
    let both = |old: bool| BTreeMap::from([(first.0.clone(), old), (second.0.clone(), true)]);
    assert_eq!(keys(&life), both(true), "the old key works until its users have changed over");
    nothing_differs(&life, "a plan leaves a rotation that is under way alone");

    // Within the hour nothing can be done.
    let ran = life.run(&ROTATE);
    assert!(ran.code == 0 && ran.stdout.contains("Nothing can be done now"), "{ran:?}");
    let status = life.run(&["status", "plan.yaml", "--format", "json"]);
    let report: Value = serde_json::from_str(&status.stdout).expect("JSON");
    let due = report["due"].as_array().or_else(|| report["due"]["known"].as_array()).expect("dates");
    assert!(due.iter().any(|due| due["what"] == "rotation under way" && due["of"] == "key"), "{report:#}");

    // Back to the first, and the second is now on its way out.
    let ran = life.run(&["rotate", "plan.yaml", "--rollback", "key", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(delivered(&life), first);
    assert_eq!(keys(&life), both(true));
    nothing_differs(&life, "rolled back");
    let ran = life.run(&["rotate", "plan.yaml", "--rollback", "key", "--yes"]);
    assert_eq!((ran.code, delivered(&life)), (0, second.clone()), "and forth again: {ran:?}");

    // An hour later, and a day.
    life.declare(&access_key(&json!({ "quiet_minutes": 0 })), &json!({}));
    let ran = life.run(&ROTATE);
    assert_eq!((ran.code, keys(&life)), (0, both(false)), "{ran:?}");
    assert!(works(&life, &second) && !works(&life, &first), "the old key is refused");
    nothing_differs(&life, "inactive");
    let ran = life.run(&["rotate", "plan.yaml", "--rollback", "key", "--yes"]);
    assert_eq!((ran.code, delivered(&life)), (0, first.clone()), "an inactive key comes back: {ran:?}");
    assert!(works(&life, &first));
    let ran = life.run(&["rotate", "plan.yaml", "--rollback", "key", "--yes"]);
    assert_eq!((ran.code, delivered(&life)), (0, second.clone()), "{ran:?}");
    assert_eq!(life.run(&ROTATE).code, 0);
    life.declare(&access_key(&json!({ "wait_hours": 0 })), &json!({}));
    let ran = life.run(&["rotate", "plan.yaml", "--due", "--yes"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(keys(&life), BTreeMap::from([(second.0.clone(), true)]));
    nothing_is_open(&life, "the old key is gone");
    let ran = life.run(&["rotate", "plan.yaml", "--rollback", "key", "--yes"]);
    assert!(ran.code == 3 && ran.stdout.contains("no rotation is under way"), "{ran:?}");
    assert_eq!(delivered(&life), second);
}

/// After a death before any request that changes something, and after any durable write, the delivered key works, and
/// clean runs end with one key.
#[test]
fn access_key_rotation_survives_a_death_at_any_point() {
    let at_once = json!({ "quiet_minutes": 0, "wait_hours": 0 });
    let life = Life::with(&access_key(&at_once));
    let mut last = delivered(&life).0;
    let mut ends = |at: &str, ran: &Ran| {
        assert!(works(&life, &delivered(&life)), "{at}: the delivered key works after the death: {ran:?}");
        for _ in 0..4 {
            let ran = life.run(&ROTATE);
            assert_eq!(ran.code, 0, "{at}: {ran:?}");
            assert!(works(&life, &delivered(&life)), "{at}: the delivered key works");
            if life.run(&["journal", "plan.yaml"]).stdout.contains("Nothing is open.") {
                break;
            }
        }
        nothing_is_open(&life, at);
        nothing_differs(&life, at);
        let now = delivered(&life);
        assert_eq!(keys(&life), BTreeMap::from([(now.0.clone(), true)]), "{at}");
        assert_ne!(now.0, last, "{at}");
        last = now.0;
    };
    for moment in ["Action=CreateAccessKey", "Action=UpdateAccessKey", "Action=DeleteAccessKey"] {
        for _ in 0..3 {
            let ran = crate::selected::killed_at(life.environment(), life.command(&ROTATE), moment);
            if ran.code == -1 {
                ends(moment, &ran);
                break;
            }
        }
    }
    for write in 2..9 {
        let at = format!("after@{write}");
        let ran = killed(life.command(&ROTATE), write);
        assert_ne!(ran.code, 0, "{at}: {ran:?}");
        ends(&at, &ran);
    }
}
