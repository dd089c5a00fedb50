//! A review of the production environment: what two people changed, by hand and in the plan, is what
//! the reviewer sees in every format, and what is applied afterwards.

use serde_json::{Value, json};

use crate::support::{Quickstart, paths, summary};

const PLAN: &str = "candlefish-production.yaml";
const BACKEND: &str = "rendered/candlefish/backend.hcl";

/// Steps and the one field of each that is changed.
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
    ("admin_role", "token_max_ttl"),
];

/// Six changes by somebody's hand in the servers and files.
fn change_by_hand(candlefish: &Quickstart) {
    candlefish.suspend_versioning("candlefish-terraform-state");
    candlefish.untag_user("candlefish-secrets-admin", "Environment");
    let rules = json!({ "policy": "path \"secret/data/candlefish/*\" { capabilities = [\"read\"] }" });
    candlefish.vault("POST", "sys/policies/acl/candlefish-jwt", &rules);
    let without = json!({ "data": { "key": null } });
    candlefish.vault("PATCH", "secret/data/candlefish/api/smithery", &without);
    candlefish.vault("POST", "auth/kubernetes/role/candlefish-app", &json!({ "token_ttl": "2h" }));
    candlefish.environment.write("rendered/candlefish/.env.production", "VAULT_ADDR=http://elsewhere\n");
}

/// Four changes in the plan.
fn change_the_plan(candlefish: &Quickstart) {
    candlefish.edit("type: database, rotation_days: 90 }", "type: database, rotation_days: 60 }");
    candlefish.edit("description: Encryption as a service", "description: Encryption for applications");
    candlefish.edit("description: Unseals Vault", "description: Unseals the production Vault");
    candlefish.edit("token_max_ttl: 1h", "token_max_ttl: 2h");
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

#[test]
fn ten_changes_are_reviewed_bound_and_applied() {
    let candlefish = Quickstart::of(PLAN);
    candlefish.apply();
    change_by_hand(&candlefish);
    change_the_plan(&candlefish);

    let changeset = candlefish.plan();
    let steps = changeset["steps"].as_array().expect("steps");
    let found: Vec<(&str, &str)> = steps
        .iter()
        .flat_map(|step| paths(step).into_iter().map(|path| (step["id"].as_str().unwrap_or_default(), path)))
        .collect();
    for change in &CHANGED {
        assert!(found.contains(change), "{change:?} is missing in {found:?}");
    }
    assert_eq!(found.len(), CHANGED.len(), "{found:?}");

    let others = ids(&changeset, |step| step["action"] == "none");
    for format in ["human", "markdown", "html"] {
        let ran = candlefish.run(&["plan", PLAN, "--format", format]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let text = unescaped(&ran.stdout);
        for (id, path) in CHANGED {
            assert!(text.contains(id) && text.contains(path), "{id} {path} in {format}: {text}");
        }
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
    assert_eq!(candlefish.plan()["summary"]["update"], 11, "nothing was applied");

    candlefish.environment.write(BACKEND, &backend);
    let applied = candlefish.run(&["apply", "changes.json", "--yes", "--format", "json"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(summary(&applied.events())["done"], 10);
    let ran = candlefish.run(&["plan", PLAN, "--detailed-exitcode"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}
