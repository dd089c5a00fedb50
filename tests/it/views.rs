//! A changeset of real servers in every format: the same steps, the same fields, the same risks.

use serde_json::{Value, json};

use crate::json_schema::mistakes;
use crate::support::{Quickstart, paths, step};

/// Validates a changeset against the published schema.
fn assert_valid(changeset: &Value) {
    let schema = serde_json::to_value(groundwork::review::schema()).expect("JSON");
    let mistakes = mistakes(&schema, changeset);
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn the_same_ten_fields_are_in_every_format() {
    let quickstart = Quickstart::new();
    let before = quickstart.plan();
    assert_valid(&before);
    let messages: Vec<&str> = before["risks"]
        .as_array()
        .expect("risks")
        .iter()
        .filter_map(|risk| risk["message"].as_str())
        .collect();
    assert!(messages.iter().any(|message| message.contains("sudo")), "the admin's policy: {messages:?}");
    quickstart.apply();

    // In the servers.
    quickstart.suspend_versioning("quickstart-terraform-state");
    quickstart.untag_user("quickstart-app", "Environment");
    let rules = "path \"secret/data/app/*\" { capabilities = [\"read\", \"list\"] }";
    quickstart.vault("POST", "sys/policies/acl/app-read", &json!({ "policy": rules }));
    quickstart.vault("PATCH", "secret/data/app/session", &json!({ "data": { "key": null } }));
    quickstart.vault("POST", "auth/approle/role/app", &json!({ "token_ttl": "2h" }));
    // In the plan.
    quickstart.edit("rotation_days: 90 }", "rotation_days: 30 }");
    quickstart.edit("description: What Terraform runs as", "description: What runs Terraform");
    quickstart.edit(
        "[ \"s3:GetObject\", \"s3:PutObject\" ]",
        "[ \"s3:GetObject\", \"s3:PutObject\", \"s3:DeleteObject\" ]",
    );
    quickstart.edit("      username: app\n", "      username: application\n");
    quickstart.edit("token_max_ttl: 4h", "token_max_ttl: 8h");

    let expected = [
        ("state_bucket", "versioning"),
        ("app_user", "tags.Environment"),
        ("app_policy", "rules"),
        ("app_session_key", "data.key"),
        ("app_role", "token_ttl"),
        ("app_role", "token_max_ttl"),
        ("app_database", "metadata.rotation_days"),
        ("app_database", "data.username"),
        ("terraform_role", "description"),
        ("terraform_role", "inline_policies.state"),
    ];
    let changeset = quickstart.plan();
    assert_valid(&changeset);
    let steps = changeset["steps"].as_array().expect("steps");
    let found: Vec<(&str, &str)> = steps
        .iter()
        .flat_map(|step| paths(step).into_iter().map(|path| (step["id"].as_str().unwrap_or_default(), path)))
        // The address of the database follows from the name of its user.
        .filter(|(_, path)| *path != "data.uri")
        .collect();
    for change in &expected {
        assert!(found.contains(change), "{change:?} is missing in {found:?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:?}");
    let password = &step(&changeset, "app_database")["unchanged"][0];
    assert_eq!((&password["path"], &password["secret"]), (&json!("data.password"), &json!("unchanged")));
    let risks = changeset["risks"].as_array().expect("risks");
    let told: Vec<(&str, &str)> = risks
        .iter()
        .map(|risk| {
            (risk["step"].as_str().unwrap_or_default(), risk["category"].as_str().unwrap_or_default())
        })
        .collect();
    assert_eq!(told, [("terraform_role", "broader-grant")], "what is repaired is no risk: {risks:?}");

    for format in ["human", "markdown", "html"] {
        let ran = quickstart.run(&["plan", "quickstart.yaml", "--format", format]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let text = ran.stdout;
        for (id, path) in &expected {
            let id = if format == "markdown" { id.replace('_', "&#95;") } else { (*id).to_owned() };
            assert!(text.contains(&id) && text.contains(path), "{id} {path} in {format}: {text}");
        }
        for words in [
            "sensitive, new: generated",
            "sensitive, unchanged",
            "grants more than before",
            "s3:DeleteObject",
        ] {
            assert!(text.contains(words), "{words} in {format}: {text}");
        }
        // The page has all steps, since it can be asked for them.
        let listed = text.contains("lock_table") || text.contains("lock&#95;table");
        assert_eq!(listed, format == "html", "{format}: {text}");
        assert!(!text.contains('\u{1b}'), "no escape sequences in {format}");
    }
}
