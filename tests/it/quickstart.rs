//! The environment that a newcomer sets up, from nothing, through drift, and back.

use serde_json::{Value, json};

use crate::support::{Quickstart, files, paths, step, summary, text_of};

#[test]
fn first_plan_is_complete_and_leaves_no_trace() {
    let quickstart = Quickstart::new();
    let before = files(&quickstart.environment.folder);
    let changeset = quickstart.plan();
    let steps = changeset["steps"].as_array().expect("steps");
    let actions: Vec<&Value> = steps.iter().map(|step| &step["action"]).collect();
    assert!(actions.iter().all(|action| *action == "create"), "{changeset:#}");
    let role = step(&changeset, "terraform_role");
    assert!(
        role.to_string().contains("arn:aws:s3:::quickstart-terraform-state/*"),
        "a predicted ARN: {role:#}"
    );
    assert!(role.to_string().contains("table/quickstart-terraform-lock"), "a predicted ARN: {role:#}");
    let bucket = step(&changeset, "state_bucket");
    assert!(bucket.to_string().contains("(known after apply: custody_key.arn)"), "{bucket:#}");

    assert_eq!(files(&quickstart.environment.folder), before, "a plan leaves no file");
    assert!(!quickstart.vault_is_initialised(), "a plan initialises nothing");
    assert_eq!(quickstart.aws_keys(), 0, "a plan makes no key");
}

#[test]
fn second_apply_writes_nothing_to_the_server() {
    let quickstart = Quickstart::applied();
    let logged = quickstart.vault_writes();
    assert!(logged > 10, "the first apply wrote to Vault: {logged}");

    let events = quickstart.apply();
    assert_eq!(summary(&events)["api_calls"]["write"], 0, "{events:#?}");
    assert_eq!(summary(&events)["done"], 0);
    assert_eq!(quickstart.vault_writes(), logged, "Vault's audit log has no write more");

    let ran = quickstart.run(&["plan", "quickstart.yaml", "--detailed-exitcode"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("Nothing to do. 18 steps are as declared."), "{}", ran.stdout);

    // The contract does not go through the ceremonies. The journal leads to their things, which stay.
    let declared = std::fs::read_to_string(quickstart.environment.folder.join("quickstart.yaml"));
    let declared = declared.expect("the plan");
    for id in ["vault_init", "root_token"] {
        let begin = declared.find(&format!("  {id}:")).expect("the step");
        let end = declared[begin..].find("\n\n").map_or(declared.len(), |length| begin + length);
        quickstart.edit(&declared[begin..end], "");
    }
    let changeset = quickstart.plan();
    let undeclared = changeset["undeclared"].as_array().expect("undeclared things");
    let ids: Vec<&str> = undeclared.iter().map(|step| text_of(&step["id"])).collect();
    assert_eq!(ids, ["vault_init", "root_token"], "{changeset:#}");
    for step in undeclared {
        assert_eq!(step["action"], "none", "{step:#}");
        assert!(text_of(&step["reason"]).starts_with("stays: "), "{step:#}");
    }
}

#[test]
fn drift_is_named_and_repaired_exactly() {
    let quickstart = Quickstart::applied();
    quickstart.suspend_versioning("quickstart-terraform-state");
    quickstart.untag_user("quickstart-app", "Environment");
    let policy = json!({ "policy": "path \"secret/data/app/*\" { capabilities = [\"read\", \"list\"] }" });
    quickstart.vault("POST", "sys/policies/acl/app-read", &policy);
    quickstart.vault("PATCH", "secret/data/app/session", &json!({ "data": { "key": null } }));
    let database = quickstart.vault("GET", "secret/data/app/database", &Value::Null);

    let changeset = quickstart.plan();
    let steps = changeset["steps"].as_array().expect("steps");
    let changed: Vec<(&str, Vec<&str>)> = steps
        .iter()
        .filter(|step| step["action"] != "none")
        .map(|step| (step["id"].as_str().expect("an id"), paths(step)))
        .collect();
    let expected = [
        ("state_bucket", vec!["versioning"]),
        ("app_user", vec!["tags.Environment"]),
        ("app_policy", vec!["rules"]),
        ("app_session_key", vec!["data.key"]),
    ];
    assert_eq!(changed.len(), expected.len(), "{changed:?}");
    for change in &expected {
        assert!(changed.contains(change), "{change:?} is missing in {changed:?}");
    }
    let ran = quickstart.run(&["plan", "quickstart.yaml", "--detailed-exitcode"]);
    assert_eq!(ran.code, 2, "{ran:?}");

    let events = quickstart.apply();
    assert_eq!(summary(&events)["done"], 4, "{events:#?}");
    assert_eq!(summary(&quickstart.apply())["api_calls"]["write"], 0);
    let untouched = quickstart.vault("GET", "secret/data/app/database", &Value::Null);
    assert_eq!(untouched["data"], database["data"], "what had not drifted is the same, version included");
}

#[test]
fn existing_thing_is_adopted_only_when_declared() {
    let quickstart = Quickstart::new();
    quickstart.create_user("quickstart-app");
    let changeset = quickstart.plan();
    let user = step(&changeset, "app_user");
    assert_eq!(user["action"], "blocked", "{user:#}");
    assert!(user["reason"].as_str().is_some_and(|reason| reason.contains("adopt: true")), "{user:#}");
    let ran = quickstart.run(&["plan", "quickstart.yaml"]);
    assert_eq!(ran.code, 3, "{ran:?}");

    quickstart.edit("kind: aws.iam_user\n", "kind: aws.iam_user\n    adopt: true\n");
    assert_eq!(step(&quickstart.plan(), "app_user")["action"], "adopt");
    quickstart.apply();
    assert_eq!(step(&quickstart.plan(), "app_user")["action"], "none");
}

#[test]
fn another_account_is_refused_before_any_write() {
    let quickstart = Quickstart::new();
    quickstart.edit("account_id: \"000000000000\"", "account_id: \"123456789012\"");
    let ran = quickstart.run(&["apply", "quickstart.yaml", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("123456789012") && ran.stderr.contains("000000000000"), "{}", ran.stderr);
    assert_eq!(quickstart.aws_keys(), 0);
}

#[test]
fn failed_step_stops_only_its_dependents() {
    let quickstart = Quickstart::new();
    // A folder stands where the file should go: the write fails, and nothing needs that file.
    std::fs::create_dir_all(quickstart.environment.folder.join("rendered/backend.hcl/x")).expect("a folder");
    let ran = quickstart.run(&["apply", "quickstart.yaml", "--yes", "--format", "json"]);
    assert!(ran.code == 1 || ran.code == 3, "{ran:?}");
    let changeset = quickstart.plan();
    let undone: Vec<&str> = changeset["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter(|step| step["action"] != "none")
        .filter_map(|step| step["id"].as_str())
        .collect();
    assert_eq!(undone, ["backend_file"], "{changeset:#}");
}
