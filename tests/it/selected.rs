//! A part of a plan, and things that are made anew: `--target` and `--replace`.

use std::process::Command;
use std::sync::{Arc, OnceLock};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::aws::users;
use crate::canary::{leaking_files, leaks};
use crate::intrude::intrude;
use crate::lifecycle::{Life, changing};
use crate::removal::reason;
use crate::support::{Ran, TestEnvironment, paths, step, summary, text_of};

fn write(environment: &TestEnvironment, steps: &Value) {
    let plan = json!({ "version": 1, "name": "part", "aws": { "region": "us-east-1" }, "steps": steps });
    environment.write("plan.yaml", &plan.to_string());
}

fn steps() -> Value {
    json!({
        "group": { "kind": "aws.iam_group", "name": "gw-group" },
        "user": { "kind": "aws.iam_user", "name": "gw-{{ each.key }}", "for_each": ["a", "b"],
                  "groups": ["{{ group.name }}"] },
        "note": { "kind": "file.template", "path": "note.txt", "content": "{{ group.arn }}" },
        "other": { "kind": "file.template", "path": "other.txt", "content": "x" },
    })
}

#[test]
fn target_applies_a_step_with_its_needs_and_nothing_else() {
    let environment = TestEnvironment::new();
    let mut all = steps();
    all["gone"] = json!({ "kind": "file.template", "path": "gone.txt", "content": "x" });
    write(&environment, &json!({ "gone": all["gone"] }));
    environment.apply("plan.yaml");
    write(&environment, &steps());

    let shown = environment.run(&["plan", "plan.yaml", "--target", "user[a]"]);
    assert!(shown.stdout.contains("Only a part of the plan, as `--target` says: user[a]"), "{shown:?}");
    assert!(
        shown.stdout.contains("2 to create") && !shown.stdout.contains("No longer declared"),
        "{shown:?}"
    );
    for format in ["markdown", "html"] {
        let shown = environment.run(&["plan", "plan.yaml", "--target", "user[a]", "--format", format]);
        assert!(shown.stdout.contains("Only a part of the plan"), "{format}: {shown:?}");
    }
    let ran = environment.run(&["apply", "plan.yaml", "--yes", "--target", "user[a]"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(users(&environment), ["gw-a"]);
    let left = environment.plan("plan.yaml");
    assert_eq!(changing(&left), [("note", "create"), ("other", "create"), ("user[b]", "create")]);
    assert_eq!(left["undeclared"][0]["id"], "gone", "{left:#}");

    // All instances, and one more step; saved, and applied to the same part only.
    let saved = ["plan", "plan.yaml", "--target", "user", "--target", "note", "--out", "saved.json"];
    assert_eq!(environment.run(&saved).code, 0);
    let ran = environment.run(&["apply", "saved.json", "--yes", "--target", "other"]);
    assert!(ran.code == 64 && ran.stderr.contains("leave --prune, --target"), "{ran:?}");
    let ran = environment.run(&["apply", "saved.json", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(users(&environment), ["gw-a", "gw-b"]);
    let there = |file: &str| environment.folder.join(file).exists();
    assert!(there("note.txt") && there("gone.txt") && !there("other.txt"));

    for (arguments, told) in [
        (vec!["--target", "usr"], "did you mean `user`"),
        (vec!["--target", "user[c]"], "the plan has no such instance"),
        (vec!["--target", "note", "--replace", "other"], "is outside of what `--target` names"),
    ] {
        let ran = environment.run(&[vec!["plan", "plan.yaml"], arguments].concat());
        assert!(ran.code == 1 && ran.stderr.contains(told), "{told}: {ran:?}");
    }
    let ran = environment.run(&["apply", "plan.yaml", "--prune", "--target", "note"]);
    assert!(ran.code == 64, "{ran:?}");
}

/// Runs the program with somebody between it and AWS who kills it just before this request.
pub fn killed_at(environment: &TestEnvironment, mut command: Command, moment: &'static str) -> Ran {
    let child: Arc<OnceLock<Pid>> = Arc::default();
    let victim = Arc::clone(&child);
    let deed = move || kill_process(*victim.wait(), Signal::KILL).expect("it runs");
    let address = intrude(&environment.sandbox.aws_url(), moment, deed);
    let piped = || std::process::Stdio::piped();
    let command = command.env("AWS_ENDPOINT_URL", address).stdout(piped()).stderr(piped());
    let running = command.spawn().expect("the program starts");
    child.set(Pid::from_child(&running)).expect("once");
    Ran::of(running.wait_with_output().expect("it ends"))
}

#[test]
fn replaced_thing_is_deleted_and_created_with_its_dependents_after_it() {
    let environment = TestEnvironment::new();
    let declared = json!({
        "policy": { "kind": "aws.iam_policy", "name": "gw-policy",
                    "document": { "Version": "2012-10-17", "Statement": [
                        { "Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*" } ] } },
        "user": { "kind": "aws.iam_user", "name": "gw-user", "managed_policies": ["{{ policy.arn }}"] },
        "note": { "kind": "file.template", "path": "note.txt", "content": "{{ user.arn }}" },
        "table": { "kind": "aws.dynamodb_table", "name": "gw-table", "preset": "terraform_lock" },
        "bucket": { "kind": "aws.s3_bucket", "name": "gw-bucket" },
    });
    write(&environment, &declared);
    environment.apply("plan.yaml");
    let anew = ["--replace", "user"];
    let ran = environment.run(&[&["plan", "plan.yaml", "--format", "json"][..], &anew].concat());
    let shown: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(changing(&shown), [("note", "update"), ("user", "replace")], "{shown:#}");
    assert_eq!(shown["summary"]["replace"], 1);
    assert!(reason(&shown, "note").contains("looked at again"), "{shown:#}");
    let risks: Vec<&Value> =
        shown["risks"].as_array().expect("risks").iter().filter(|risk| risk["step"] == "user").collect();
    assert!(risks.iter().any(|risk| risk["category"] == "destroy"), "{shown:#}");
    let human = environment.run(&[&["plan", "plan.yaml"][..], &anew].concat());
    assert!(human.stdout.contains("± user") && human.stdout.contains("1 to replace"), "{human:?}");

    let ran = environment.run(&[&["apply", "plan.yaml", "--yes", "--format", "json"][..], &anew].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let events = ran.events();
    let started: Vec<(&str, &str)> = events
        .iter()
        .filter(|event| event["event"] == "step_started")
        .map(|event| (text_of(&event["id"]), text_of(&event["action"])))
        .collect();
    assert_eq!(started, [("user", "delete"), ("user", "create"), ("note", "update")]);
    assert_eq!(summary(&events)["done"], 2, "{events:#?}");
    assert_eq!(summary(&environment.apply("plan.yaml"))["api_calls"]["write"], 0);

    // What is attached elsewhere stands in the way, and is said to.
    let refusals = [
        ("policy", "replace these with it: `--replace user`"),
        ("table", "every item in it would be lost"),
        ("bucket", "protected"),
    ];
    for (id, told) in refusals {
        let ran = environment.run(&["plan", "plan.yaml", "--replace", id, "--format", "json"]);
        let shown: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert!(ran.code == 3 && reason(&shown, id).contains(told), "{id}: {shown:#}");
    }
    let both = ["apply", "plan.yaml", "--yes", "--replace", "policy", "--replace", "user"];
    let ran = environment.run(&both);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(summary(&environment.apply("plan.yaml"))["api_calls"]["write"], 0);

    // A death anywhere leaves what the next run brings to an end.
    for moment in
        ["Action=DetachUserPolicy", "Action=DeleteUser", "Action=CreateUser", "Action=AttachUserPolicy"]
    {
        let command = environment.command(&["apply", "plan.yaml", "--yes", "--replace", "user"]);
        assert_eq!(killed_at(&environment, command, moment).code, -1, "{moment}");
        environment.apply("plan.yaml");
        let again = environment.apply("plan.yaml");
        assert_eq!(summary(&again)["api_calls"]["write"], 0, "{moment}");
        assert_eq!(users(&environment), ["gw-user"], "{moment}");
        let journal = environment.run(&["journal", "plan.yaml"]);
        assert!(journal.stdout.contains("Nothing is open."), "{moment}: {journal:?}");
    }
}

fn bucket_with_objects(environment: &TestEnvironment) {
    let declared = json!({
        "bucket": { "kind": "aws.s3_bucket", "name": "gw-bucket", "protect": false },
    });
    write(environment, &declared);
    environment.apply("plan.yaml");
    crate::aws::put_object(environment, "gw-bucket", "theirs.txt", "theirs");
}

#[test]
fn replacement_that_would_lose_data_is_refused() {
    let environment = TestEnvironment::new();
    bucket_with_objects(&environment);
    let ran = environment.run(&["apply", "plan.yaml", "--yes", "--replace", "bucket"]);
    assert!(ran.code == 3 && ran.stdout.contains("cannot be replaced"), "{ran:?}");
    assert!(crate::aws::object(&environment, "gw-bucket", "theirs.txt").is_some());
}

/// Values that were made once, and a key that is delivered.
fn values() -> Value {
    json!({
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2, "protect": false },
        "db": { "kind": "vault.kv_secret", "mount": "secret", "path": "db",
                "data": { "user": "app", "password": { "generate": {} },
                          "uri": { "template": "//{{ data.user }}:{{ data.password }}@db" } } },
        "plain": { "kind": "vault.kv_secret", "mount": "secret", "path": "plain", "data": { "user": "app" } },
        "kept": { "kind": "vault.kv_secret", "mount": "secret", "path": "kept", "protect": true,
                  "data": { "password": { "generate": {} } } },
        "approle": { "kind": "vault.auth_method", "type": "approle" },
        "role": { "kind": "vault.approle_role", "name": "runner" },
        "secret_id": { "kind": "vault.approle_secret_id", "role": "runner", "name": "one",
                       "deliver": { "file": "secrets/one.json" } },
        "user": { "kind": "aws.iam_user", "name": "gw-user" },
        "key": { "kind": "aws.iam_access_key", "user": "{{ user.name }}",
                 "deliver": [ { "vault_kv": { "mount": "secret", "path": "aws" } } ] },
    })
}

fn kv(life: &Life, path: &str) -> Value {
    life.vault("GET", &format!("secret/data/{path}"), &Value::Null).1["data"].clone()
}

#[test]
fn generated_values_and_secret_ids_are_made_anew_and_delivered() {
    let life = Life::with(&values());
    let (old, first) =
        (kv(&life, "db"), std::fs::read(life.folder().join("secrets/one.json")).expect("delivered"));
    let anew = ["--replace", "db", "--replace", "secret_id"];
    let shown = life.plan(&anew);
    assert_eq!(changing(&shown), [("db", "update"), ("secret_id", "update")], "{shown:#}");
    assert_eq!(paths(step(&shown, "db")), ["data.password", "data.uri"], "{shown:#}");
    let ran = life.run(&[&["apply", "plan.yaml", "--yes"][..], &anew].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let new = kv(&life, "db");
    assert_eq!(new["metadata"]["version"], 2, "{new:#}");
    assert!(new["data"]["password"] != old["data"]["password"] && new["data"]["user"] == "app");
    assert!(text_of(&new["data"]["uri"]).contains(text_of(&new["data"]["password"])), "the template follows");
    let second = std::fs::read(life.folder().join("secrets/one.json")).expect("delivered");
    let accessor =
        |text: &[u8]| serde_json::from_slice::<Value>(text).expect("JSON")["secret_id_accessor"].clone();
    assert_ne!(accessor(&first), accessor(&second));
    let listed = life.vault("LIST", "auth/approle/role/runner/secret-id", &Value::Null).1;
    assert_eq!(listed["data"]["keys"], json!([accessor(&second)]), "the old one is destroyed");
    let again = life.run(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    assert_eq!(summary(&again.events())["api_calls"]["write"], 0, "{again:?}");

    let secrets = [("new".to_owned(), text_of(&new["data"]["password"]).as_bytes().to_vec())];
    assert_eq!(leaks(format!("{ran:?}").as_bytes(), &secrets), Vec::<&str>::new());
    assert_eq!(leaking_files(&life.folder().join(".groundwork"), &secrets), Vec::<String>::new());

    for (id, told) in [
        ("plain", "none of its values is generated"),
        ("kept", "protected"),
        ("kv", "would be lost with it"),
        ("server", "cannot be made uninitialised"),
    ] {
        let shown = life.plan(&["--replace", id]);
        assert!(reason(&shown, id).contains(told), "{id}: {shown:#}");
    }
}

#[test]
fn replaced_access_key_survives_a_death_at_any_point() {
    let life = Life::with(&values());
    let delivered = || text_of(&kv(&life, "aws")["data"]["aws_access_key_id"]).to_owned();
    let keys = |environment: &TestEnvironment| {
        let iam = aws_sdk_iam::Client::new(&crate::aws::config(&environment.sandbox));
        let listed =
            crate::support::block_on(iam.list_access_keys().user_name("gw-user").send()).expect("listed");
        let ids = listed.access_key_metadata.into_iter().filter_map(|key| key.access_key_id);
        ids.collect::<Vec<String>>()
    };
    let first = delivered();
    let ran = life.run(&["apply", "plan.yaml", "--yes", "--replace", "key"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let second = delivered();
    assert_ne!(first, second);
    assert_eq!(keys(life.environment()), std::slice::from_ref(&second));
    let settled = |what: &str| {
        let ran = life.run(&["apply", "plan.yaml", "--yes"]);
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
        let now = delivered();
        assert_eq!(keys(life.environment()), std::slice::from_ref(&now), "{what}");
        let journal = life.run(&["journal", "plan.yaml"]);
        assert!(journal.stdout.contains("Nothing is open."), "{what}: {journal:?}");
        now
    };
    let mut last = second;
    for moment in ["Action=CreateAccessKey", "Action=UpdateAccessKey", "Action=DeleteAccessKey"] {
        let command = life.command(&["apply", "plan.yaml", "--yes", "--replace", "key"]);
        assert_eq!(killed_at(life.environment(), command, moment).code, -1, "{moment}");
        let now = settled(moment);
        assert_ne!(now, last, "{moment}: the next run makes the key that was asked for");
        last = now;
    }
    // Each durable write: intents, the key in custody, what is noted of it.
    for write in 2..9 {
        let fault = format!("after@{write}");
        let mut command = life.command(&["apply", "plan.yaml", "--yes", "--replace", "key"]);
        let ran = Ran::of(command.env("GROUNDWORK_FAULT", &fault).output().expect("it starts"));
        assert_ne!(ran.code, 0, "{fault}: {ran:?}");
        settled(&fault);
    }
    let again = life.run(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    assert_eq!(summary(&again.events())["api_calls"]["write"], 0, "{again:?}");
}
