//! Locks that other machines and Terraform see, and the journal's copy.

use std::path::Path;

use aws_sdk_s3::types::ServerSideEncryption;
use serde_json::{Value, json};

use crate::aws::{delete_object, lock_item, object, put_lock_item, put_object};
use crate::intrude::intrude;
use crate::support::{Ran, TestEnvironment, block_on, step, summary};

const TERRAFORM: &str = r#"{"ID":"0a1b2c3d-aaaa-bbbb-cccc-000000000001","Operation":"OperationTypeApply","Info":"",
"Who":"ann@build-7","Version":"1.15.5","Created":"2026-01-02T03:04:05.678901Z","Path":"gw-state/env/terraform.tfstate"}"#;
const TERRAFORM_ID: &str = "0a1b2c3d-aaaa-bbbb-cccc-000000000001";

/// A plan that makes its own bucket and table and keeps its journal and lock there.
fn plan(lock: &Value, team: &str) -> String {
    let plan = json!({
        "version": 1, "name": "locks", "aws": { "region": "us-east-1" },
        "journal": { "s3": "s3://{{ state.name }}/groundwork" },
        "lock": lock,
        "steps": {
            "state": { "kind": "aws.s3_bucket", "name": "gw-state" },
            "table": { "kind": "aws.dynamodb_table", "name": "gw-locks", "preset": "terraform_lock" },
            "user": { "kind": "aws.iam_user", "name": "gw-user", "tags": { "Team": team },
                      "needs": ["state", "table"] },
        },
    });
    plan.to_string()
}

fn by_item() -> Value {
    json!({ "dynamodb": "{{ table.name }}", "key": "gw-state/env/terraform.tfstate" })
}

fn journal_file(environment: &TestEnvironment, folder: &Path) -> String {
    let path = environment.folder.join(folder).join(".groundwork/journal/locks.jsonl");
    std::fs::read_to_string(path).expect("a journal")
}

fn entries(environment: &TestEnvironment, plan: &str) -> Value {
    let ran = environment.run(&["journal", plan, "--format", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    serde_json::from_str::<Value>(&ran.stdout).expect("JSON")["entries"].clone()
}

#[test]
fn terraform_lock_is_respected_and_ours_is_compatible() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &plan(&by_item(), "one"));
    environment.apply("plan.yaml");
    let id = "gw-state/env/terraform.tfstate";
    assert_eq!(lock_item(&environment, "gw-locks", id), None, "given back");
    let again = environment.apply("plan.yaml");
    assert_eq!(summary(&again)["api_calls"]["write"], 0, "nothing to write, nothing to lock");

    put_lock_item(&environment, "gw-locks", id, TERRAFORM);
    environment.apply("plan.yaml");
    environment.write("plan.yaml", &plan(&by_item(), "two"));
    let refused = environment.run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    for told in
        ["ann@build-7", "2026-01-02T03:04:05", "ago", &format!("unlock plan.yaml --id {TERRAFORM_ID}")]
    {
        assert!(refused.stderr.contains(told), "{told} in {refused:?}");
    }
    assert_eq!(step(&environment.plan("plan.yaml"), "user")["action"], "update", "nothing was written");

    let wrong = environment.run(&["unlock", "plan.yaml", "--id", &TERRAFORM_ID[..8]]);
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert_eq!(lock_item(&environment, "gw-locks", id).as_deref(), Some(TERRAFORM));
    let unlocked = environment.run(&["unlock", "plan.yaml", "--id", TERRAFORM_ID]);
    assert_eq!(unlocked.code, 0, "{unlocked:?}");
    assert!(unlocked.stdout.contains("ann@build-7"), "{unlocked:?}");
    environment.apply("plan.yaml");
    assert_eq!(lock_item(&environment, "gw-locks", id), None, "given back");
}

#[test]
fn missing_container_that_no_step_makes_stops_the_run() {
    let environment = TestEnvironment::new();
    let user = json!({ "user": { "kind": "aws.iam_user", "name": "gw-user" } });
    for (section, place, words) in [
        ("lock", json!({ "dynamodb": "nope" }), "nothing to keep the lock"),
        ("lock", json!({ "s3": "s3://gw-nope/x.tflock" }), "nothing to keep the lock"),
        ("journal", json!({ "s3": "s3://gw-nope/journal" }), "no step of the plan makes it"),
    ] {
        let mut text =
            json!({ "version": 1, "name": "nowhere", "aws": { "region": "us-east-1" }, "steps": user });
        text[section] = place;
        environment.write("plan.yaml", &text.to_string());
        let warned = environment.run(&["validate", "plan.yaml"]);
        assert!(warned.stderr.contains("container-not-in-plan"), "{warned:?}");
        let refused = environment.run(&["apply", "plan.yaml", "--yes"]);
        assert!(refused.code == 1 && format!("{refused:?}").contains(words), "{refused:?}");
        let users = crate::iam::iam(&environment, crate::aws::OWN).list_users().send();
        assert!(block_on(users).expect("listed").users().is_empty(), "nothing is written");
    }
}

#[test]
fn s3_lock_object_is_respected_beside_the_journal() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &plan(&json!({ "s3": true }), "one"));
    environment.apply("plan.yaml");
    let key = "groundwork/locks.jsonl.tflock";
    assert_eq!(object(&environment, "gw-state", key), None, "given back");
    put_object(&environment, "gw-state", key, TERRAFORM);
    environment.write("plan.yaml", &plan(&json!({ "s3": true }), "two"));
    let refused = environment.run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("ann@build-7") && refused.stderr.contains(TERRAFORM_ID), "{refused:?}");
    assert_eq!(environment.run(&["unlock", "plan.yaml", "--id", "other"]).code, 1);
    assert_eq!(environment.run(&["unlock", "plan.yaml", "--id", TERRAFORM_ID]).code, 0);
    environment.apply("plan.yaml");
    assert_eq!(object(&environment, "gw-state", key), None, "given back");
}

#[test]
fn another_machine_continues_journal_and_divergence_is_refused() {
    let environment = TestEnvironment::new();
    let at = |folder: &str| format!("{folder}/plan.yaml");
    environment.write(&at("one"), &plan(&by_item(), "one"));
    environment.apply(&at("one"));
    let copy = object(&environment, "gw-state", "groundwork/locks.jsonl").expect("a copy");
    assert_eq!(copy, journal_file(&environment, Path::new("one")), "from before the bucket to the end");

    environment.write(&at("two"), &plan(&by_item(), "two"));
    assert_eq!(entries(&environment, &at("two")), entries(&environment, &at("one")));
    assert!(!environment.folder.join("two/.groundwork").exists(), "looking writes nothing");
    environment.apply(&at("two"));
    let longer = journal_file(&environment, Path::new("two"));
    assert!(longer.starts_with(&copy) && longer.len() > copy.len());

    environment.write(&at("one"), &plan(&by_item(), "three"));
    environment.apply(&at("one"));
    assert!(journal_file(&environment, Path::new("one")).starts_with(&longer));

    let torn = journal_file(&environment, Path::new("two")).replace("run_finished", "run_endedxxx");
    put_object(&environment, "gw-state", "groundwork/locks.jsonl", &torn);
    let refused = environment.run(&["plan", &at("one")]);
    assert!(refused.code == 1 && refused.stderr.contains("changed by hand"), "{refused:?}");

    // A machine that has written under the same name without seeing the copy.
    put_object(&environment, "gw-state", "groundwork/locks.jsonl", &longer);
    let alone = plan(&by_item(), "four").replace("journal", "vars").replace("s3:\\/\\/", "");
    environment.write(&at("three"), &alone.replace("s3://{{ state.name }}/groundwork", "x"));
    environment.apply(&at("three"));
    environment.write(&at("three"), &plan(&by_item(), "five"));
    let refused = environment.run(&["apply", &at("three"), "--yes"]);
    assert!(refused.code == 1 && refused.stderr.contains("separate ways"), "{refused:?}");
    let shown = environment.run(&["journal", &at("three")]);
    assert!(shown.code == 0 && shown.stderr.contains("only this machine's journal"), "{shown:?}");
}

/// Somebody has encrypted the copy under a key; the journal's next lines replace the object.
#[test]
fn journal_copy_stays_under_its_key() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &plan(&by_item(), "one"));
    environment.apply("plan.yaml");
    let (s3, bucket, key) = (crate::aws::s3(&environment), "gw-state", "groundwork/locks.jsonl");
    let text = object(&environment, bucket, key).expect("a copy").into_bytes();
    let kms = "arn:aws:kms:us-east-1:000000000000:key/4f1c0b6e-0000-4000-8000-000000000001";
    let request = s3.put_object().bucket(bucket).key(key).body(text.into());
    let request = request.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(kms);
    block_on(request.send()).expect("stored");
    environment.write("plan.yaml", &plan(&by_item(), "two"));
    environment.apply("plan.yaml");
    let live = block_on(s3.head_object().bucket(bucket).key(key).send()).expect("it is there");
    assert_eq!(live.ssekms_key_id(), Some(kms));
    let shown = environment.run(&["journal", "plan.yaml"]);
    assert_eq!(shown.code, 0, "{shown:?}");
}

#[test]
fn journal_shows_who_did_what_when() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &plan(&by_item(), "one"));
    let empty = environment.run(&["journal", "plan.yaml"]);
    assert!(empty.code == 0 && empty.stdout.contains("locks has never been applied."), "{empty:?}");
    environment.apply("plan.yaml");
    let shown = environment.run(&["journal", "plan.yaml"]);
    for told in ["UTC", "@", "plan sha256:", "intent", "aws.iam_user gw-user", "Nothing is open."] {
        assert!(shown.stdout.contains(told), "{told} in {shown:?}");
    }
    let entries = entries(&environment, "plan.yaml");
    let first = &entries[0];
    assert_eq!((&first["seq"], &first["entry"]), (&json!(1), &json!("run_started")));
    assert!(first["plan"].as_str().is_some_and(|plan| plan.starts_with("sha256:")), "{first}");
    assert!(first["who"].is_string() && first["time"].is_string() && first["pid"].is_u64(), "{first}");
}

#[test]
fn invalid_lock_places_are_found_offline() {
    let environment = TestEnvironment::new();
    for lock in [json!({}), json!({ "dynamodb": "a", "s3": true }), json!({ "s3": "nowhere" })] {
        environment.write("plan.yaml", &plan(&lock, "one"));
        let ran = environment.run(&["validate", "plan.yaml"]);
        assert!(ran.code == 1 && ran.stderr.contains("lock"), "{lock}: {ran:?}");
    }
}

/// Applies the plan with somebody between the program and AWS.
fn apply_through(environment: &TestEnvironment, address: &str) -> Ran {
    let mut command = environment.command(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    Ran::of(command.env("AWS_ENDPOINT_URL", address).output().expect("the program starts"))
}

#[test]
fn change_between_approval_and_lock_stops_the_run() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &plan(&by_item(), "one"));
    environment.apply("plan.yaml");
    environment.write("plan.yaml", &plan(&by_item(), "two"));
    let mut other = environment.command(&["apply", "other.yaml", "--yes"]);
    // Another machine's plan of the same name, without a lock or a journal that are seen.
    let careless = json!({
        "version": 1, "name": "locks", "aws": { "region": "us-east-1" },
        "steps": { "user": { "kind": "aws.iam_user", "name": "gw-user", "tags": { "Team": "three" } } },
    });
    environment.write("elsewhere/other.yaml", &careless.to_string());
    other.current_dir(environment.folder.join("elsewhere"));
    let deed = move || assert!(other.output().expect("it starts").status.success());
    let address = intrude(&environment.sandbox.aws_url(), "DynamoDB_20120810.PutItem", deed);
    let refused = apply_through(&environment, &address);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("have changed: user"), "{refused:?}");
    assert_eq!(lock_item(&environment, "gw-locks", "gw-state/env/terraform.tfstate"), None, "given back");
    let changes = step(&environment.plan("plan.yaml"), "user")["changes"].clone();
    assert_eq!(
        (&changes[0]["before"], &changes[0]["after"]),
        (&json!("three"), &json!("two")),
        "nothing was written"
    );
    environment.apply("plan.yaml");
}

/// Ends another run a moment later.
fn soon(deed: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        deed();
    });
}

#[test]
fn lock_timeout_waits_for_local_and_remote_lock() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &plan(&json!({ "s3": true }), "one"));
    environment.apply("plan.yaml");
    environment.write("plan.yaml", &plan(&json!({ "s3": true }), "two"));
    let key = "groundwork/locks.jsonl.tflock";
    put_object(&environment, "gw-state", key, TERRAFORM);
    let late = environment.run(&["apply", "plan.yaml", "--yes", "--lock-timeout", "1s"]);
    assert_eq!(late.code, 1, "{late:?}");
    for told in
        ["waiting up to 1s for the lock", "ann@build-7", &format!("unlock plan.yaml --id {TERRAFORM_ID}")]
    {
        assert!(late.stderr.contains(told), "{told} in {late:?}");
    }
    let client = crate::aws::s3(&environment);
    soon(move || delete_object(&client, "gw-state", key));
    let ran = environment.run(&["apply", "plan.yaml", "--yes", "--lock-timeout", "1m"]);
    assert!(ran.code == 0 && ran.stderr.contains("ann@build-7"), "{ran:?}");

    // The same on this machine, where another process holds the file.
    environment.write("plan.yaml", &plan(&json!({ "s3": true }), "three"));
    let file = environment.folder.join(".groundwork/locks.lock");
    let held = std::fs::File::options().read(true).write(true).open(file).expect("a lock");
    held.lock().expect("free");
    let refused = environment.run(&["apply", "plan.yaml", "--yes"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("another run of locks holds the lock"),
        "{refused:?}"
    );
    soon(move || drop(held));
    let ran = environment.run(&["apply", "plan.yaml", "--yes", "--lock-timeout", "1m"]);
    assert!(ran.code == 0 && ran.stderr.contains("waiting up to 60s for the lock"), "{ran:?}");
    let wrong = environment.run(&["apply", "plan.yaml", "--lock-timeout", "soon"]);
    assert!(wrong.code == 64 && wrong.stderr.contains("write it as"), "{wrong:?}");
}

#[test]
fn lost_lock_stops_further_writes() {
    let environment = TestEnvironment::new();
    let lock = json!({ "s3": true });
    environment.write("plan.yaml", &plan(&lock, "one"));
    environment.apply("plan.yaml");
    let second = plan(&lock, "one").replace(
        "\"steps\":{",
        "\"steps\":{\"first\":{\"kind\":\"aws.iam_user\",\"name\":\"gw-first\"},\
         \"second\":{\"kind\":\"aws.iam_user\",\"name\":\"gw-second\",\"needs\":[\"first\"]},",
    );
    environment.write("plan.yaml", &second);
    let client = crate::aws::s3(&environment);
    let deed = move || {
        delete_object(&client, "gw-state", "groundwork/locks.jsonl.tflock");
        // Longer than a lock is taken to be ours without looking.
        std::thread::sleep(std::time::Duration::from_millis(1200));
    };
    let address = intrude(&environment.sandbox.aws_url(), "Action=CreateUser", deed);
    let stopped = apply_through(&environment, &address);
    assert_eq!(stopped.code, 1, "{stopped:?}");
    assert!(stopped.stdout.contains("this run no longer holds the lock"), "{stopped:?}");
    let left = environment.plan("plan.yaml");
    assert_eq!(step(&left, "first")["action"], "none", "what had begun was finished");
    assert_eq!(step(&left, "second")["action"], "create", "nothing more was begun");
}
