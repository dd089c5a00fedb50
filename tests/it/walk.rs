//! A review of the production environment: what two people changed, by hand and in the plan, is what
//! the reviewer sees in every format, and what is applied afterwards.

use serde_json::{Value, json};

use crate::json_schema::mistakes;
use crate::support::{Quickstart, paths, step, summary, text_of};

const PLAN: &str = "candlefish-production.yaml";
const BACKEND: &str = "rendered/candlefish/backend.hcl";

/// Steps and fields that are changed.
const CHANGED: [(&str, &str); 10] = [
    ("state_bucket", "versioning"),
    ("secrets_admin", "tags.Environment"),
    ("app_policies[jwt]", "rules"),
    ("smithery", "data.key"),
    ("app_role", "token_ttl"),
    ("env_file", "content"),
    ("mongodb", "metadata.rotation_days"),
    ("transit", "description"),
    ("unseal_key", "description"),
    ("secrets_admin", "managed_policies"),
];

/// Six changes by somebody's hand in the servers and files.
fn change_by_hand(candlefish: &Quickstart) {
    candlefish.suspend_versioning("candlefish-terraform-state");
    candlefish.untag_user("candlefish-secrets-admin", "Environment");
    let rules = json!({ "policy": "path \"secret/data/candlefish/jwt/*\" { capabilities = [\"list\"] }" });
    candlefish.vault("POST", "sys/policies/acl/candlefish-jwt", &rules);
    let without = json!({ "data": { "key": null } });
    candlefish.vault("PATCH", "secret/data/candlefish/api/smithery", &without);
    candlefish.vault("POST", "auth/kubernetes/role/candlefish-app", &json!({ "token_ttl": "2h" }));
    candlefish.environment.write("rendered/candlefish/env.production", "VAULT_ADDR=http://elsewhere\n");
}

/// Four changes in the plan.
fn change_the_plan(candlefish: &Quickstart) {
    candlefish.edit("type: database, rotation_days: 90 }", "type: database, rotation_days: 60 }");
    candlefish.edit("description: Encryption as a service", "description: Encryption for applications");
    candlefish.edit("description: Unseals Vault", "description: Unseals the production Vault");
    let policy = |name: &str| format!("      - arn:aws:iam::aws:policy/{name}\n");
    let (old, new) = (policy("CloudWatchFullAccess"), policy("AmazonEC2ReadOnlyAccess"));
    candlefish.edit(&old, &format!("{old}{new}"));
}

fn ids(changeset: &Value, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    let steps = changeset["steps"].as_array().expect("steps").iter();
    steps.filter(|step| wanted(step)).map(|step| step["id"].as_str().expect("an id").to_owned()).collect()
}

/// Text of Markdown as a reader sees it.
fn unescaped(text: &str) -> String {
    [("&#95;", "_"), ("&#91;", "["), ("&#93;", "]")]
        .iter()
        .fold(text.to_owned(), |text, (code, letter)| text.replace(code, letter))
}

/// Validates a changeset against the published schema.
fn assert_valid(changeset: &Value) {
    let schema = serde_json::to_value(groundwork::review::schema()).expect("JSON");
    let mistakes = mistakes(&schema, changeset);
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

/// The risks of a changeset: step and category.
fn risks(changeset: &Value) -> Vec<(&str, &str)> {
    let risks = changeset["risks"].as_array().expect("risks").iter();
    risks.map(|risk| (text_of(&risk["step"]), text_of(&risk["category"]))).collect()
}

#[test]
fn ten_changes_are_reviewed_bound_and_applied() {
    let candlefish = Quickstart::of(PLAN);
    let before = candlefish.plan();
    assert_valid(&before);
    assert_eq!(risks(&before)[0], ("secrets_admin", "wildcard"), "the worst comes first");
    assert!(risks(&before).contains(&("admin_policy", "wildcard")), "sudo: {:?}", risks(&before));
    candlefish.apply();
    change_by_hand(&candlefish);
    change_the_plan(&candlefish);

    let changeset = candlefish.plan();
    assert_valid(&changeset);
    let steps = changeset["steps"].as_array().expect("steps");
    let found: Vec<(&str, &str)> = steps
        .iter()
        .flat_map(|step| paths(step).into_iter().map(|path| (step["id"].as_str().unwrap_or_default(), path)))
        .collect();
    for change in &CHANGED {
        assert!(found.contains(change), "{change:?} is missing in {found:?}");
    }
    assert_eq!(found.len(), CHANGED.len(), "{found:?}");

    let password = &step(&changeset, "mongodb")["unchanged"][0];
    assert_eq!((&password["path"], &password["secret"]), (&json!("data.password"), &json!("unchanged")));
    // The last one is a tag of the user, for which policies may ask.
    let user = ("secrets_admin", "broader-grant");
    let told = [user, ("app_policies[jwt]", "broader-grant"), user];
    assert_eq!(risks(&changeset), told, "what is repaired is no risk: {:#}", changeset["risks"]);

    let others = ids(&changeset, |step| step["action"] == "none");
    for format in ["human", "markdown", "html"] {
        let ran = candlefish.run(&["plan", PLAN, "--format", format]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let text = unescaped(&ran.stdout);
        for (id, path) in CHANGED {
            assert!(text.contains(id) && text.contains(path), "{id} {path} in {format}: {text}");
        }
        for words in
            ["sensitive, new: generated", "sensitive, unchanged", "grants more than before", "attached"]
        {
            assert!(text.contains(words), "{words} in {format}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "no escape sequences in {format}");
        // The page lists all steps, to be asked for; the other two show what changes.
        for id in others.iter().filter(|id| id.contains('_')) {
            let told = text.lines().any(|line| line.split_whitespace().any(|word| word == id));
            assert!(format == "html" || !told, "{id} in {format}: {text}");
        }
    }

    let ran = candlefish.run(&["plan", PLAN, "--out", "changes.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let backend = std::fs::read_to_string(candlefish.environment.folder.join(BACKEND)).expect("rendered");
    candlefish.environment.write(BACKEND, "bucket = \"another\"\n");
    let refused = candlefish.run(&["apply", "changes.json", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("step backend_file: content"), "{}", refused.stderr);
    assert_eq!(candlefish.plan()["summary"]["update"], 10, "nothing was applied");

    candlefish.environment.write(BACKEND, &backend);
    let applied = candlefish.run(&["apply", "changes.json", "--yes", "--format", "json"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(summary(&applied.events())["done"], 9, "two of the fields are of one step");
    let ran = candlefish.run(&["plan", PLAN, "--detailed-exitcode"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}
