//! `verify` proves what stands, finds what was sabotaged, accuses nobody else, and leaves nothing behind.

use serde_json::{Value, json};

use crate::canary::leaks;
use crate::support::{Cluster, Quickstart, Ran, text_of};

/// What a run of `verify --format json` says.
struct Verified {
    code: i32,
    report: Value,
}

impl Verified {
    fn of(ran: &Ran) -> Self {
        let report = serde_json::from_str(&ran.stdout);
        Self { code: ran.code, report: report.unwrap_or_else(|error| panic!("no report: {error}\n{ran:?}")) }
    }

    /// The findings with this outcome, as `STEP: TRIED`.
    fn with(&self, outcome: &str) -> Vec<String> {
        let steps = self.report["steps"].as_array().expect("steps").iter();
        let findings = steps.flat_map(|step| step["findings"].as_array().expect("findings"));
        let found = findings.filter(|finding| finding["outcome"] == outcome);
        found
            .map(|finding| format!("{}: {}", text_of(&finding["step"]), text_of(&finding["tried"])))
            .collect()
    }

    /// The steps that fail.
    fn accused(&self) -> Vec<String> {
        let steps = self.report["steps"].as_array().expect("steps").iter();
        let failed = steps.filter(|step| {
            step["findings"].as_array().is_some_and(|all| all.iter().any(|one| one["outcome"] == "failed"))
        });
        failed.map(|step| text_of(&step["id"]).to_owned()).collect()
    }

    fn proves(&self, step: &str, tried: &str) -> bool {
        self.with("proven").iter().any(|one| one.starts_with(&format!("{step}: ")) && one.contains(tried))
    }
}

fn verify(cluster: &Cluster, more: &[&str]) -> Verified {
    Verified::of(&cluster.run(&[&["verify", "plan.yaml", "--format", "json"], more].concat()))
}

/// A plan with something of everything that Vault proves.
fn everything() -> Value {
    json!({
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "approle": { "kind": "vault.auth_method", "type": "approle" },
        "reader": { "kind": "vault.policy", "name": "reader", "rules": {
            "secret/data/app/*": ["read"],
            "secret/metadata/app/*": ["read", "list"],
            "sys/mounts": ["read"],
        } },
        "writer": { "kind": "vault.policy", "name": "writer", "rules": {
            "secret/data/app/db": ["create", "update"], "secret/data/app/+/x": ["deny"],
        } },
        "app_role": {
            "kind": "vault.approle_role", "name": "app", "token_policies": ["reader", "writer"],
            "token_ttl": "20m", "token_max_ttl": "1h", "secret_id_ttl": "10m", "secret_id_num_uses": 5,
        },
        "short_role": {
            "kind": "vault.approle_role", "name": "short", "token_policies": ["reader"], "token_ttl": "5m",
            "token_num_uses": 3, "token_no_default_policy": true, "secret_id_ttl": "10s",
        },
        "database": {
            "kind": "vault.kv_secret", "mount": "secret", "path": "app/db",
            "data": { "password": { "generate": { "length": 24 } } },
            "metadata": { "owner": "team", "type": "database", "rotation_days": 90 },
        },
        "other": {
            "kind": "vault.kv_secret", "mount": "secret", "path": "elsewhere/key",
            "data": { "key": { "generate": { "length": 24 } } },
        },
    })
}

/// The ids of everything short-lived that the server knows: tokens by accessor, secret-ids by role, leases.
fn alive(cluster: &Cluster) -> Value {
    let list = |path: &str| cluster.ask("LIST", "", path, &Value::Null).1["data"]["keys"].clone();
    json!({
        "tokens": list("auth/token/accessors"),
        "app": list("auth/approle/role/app/secret-id"),
        "short": list("auth/approle/role/short/secret-id"),
        "leases": list("sys/leases/lookup"),
    })
}

#[test]
fn sabotage_is_found_at_its_step_and_nowhere_else() {
    let cluster = Cluster::new("verify");
    cluster.declare(&everything());
    cluster.apply(&[]);
    let before = alive(&cluster);
    let green = verify(&cluster, &[]);
    assert_eq!(green.code, 0, "{:#}", green.report);
    assert_eq!(alive(&cluster), before, "nothing is left behind");
    for (step, tried) in [
        ("cluster", "its node serves"),
        ("cluster", "key shares open"),
        ("reader", "allowed on"),
        ("reader", "reads `secret/data/app/db`"),
        ("reader", "is refused `secret/data/elsewhere/key`"),
        ("writer", "allowed on"),
        ("app_role", "logs in"),
        ("app_role", "the TTL of its token"),
        ("app_role", "the maximum TTL of its token"),
        ("app_role", "its policies"),
        ("short_role", "how often its token can be used"),
        ("database", "is there, version 1, owner team, type database"),
        ("custody", "open"),
    ] {
        assert!(green.proves(step, tried), "{step}: {tried} is not among {:#?}", green.with("proven"));
    }
    println!("one green verification: {} in {} ms", green.report["api_calls"], green.report["ms"]);

    let policy = |text: &str| json!({ "policy": text });
    let policies = "sys/policies/acl/reader";
    let declared = cluster.ask("GET", "", policies, &Value::Null).1["data"]["policy"].clone();
    let role = "auth/approle/role/app";
    let post = |path: &'static str, body: Value| ("POST", path, body);
    let rows: Vec<(&str, (&str, &str, Value), (&str, &str, Value))> = vec![
        (
            "reader",
            post(
                policies,
                policy(&format!(
                    "{}\npath \"secret/data/*\" {{ capabilities = [\"read\"] }}",
                    text_of(&declared)
                )),
            ),
            post(policies, policy(text_of(&declared))),
        ),
        (
            "reader",
            post(policies, policy("path \"secret/data/app/*\" { capabilities = [\"read\"] }")),
            post(policies, policy(text_of(&declared))),
        ),
        ("app_role", post(role, json!({ "token_ttl": "19m" })), post(role, json!({ "token_ttl": "20m" }))),
        (
            "app_role",
            post(role, json!({ "token_max_ttl": "2h" })),
            post(role, json!({ "token_max_ttl": "1h" })),
        ),
        (
            "app_role",
            post(role, json!({ "token_policies": ["reader"] })),
            post(role, json!({ "token_policies": ["reader", "writer"] })),
        ),
        (
            "app_role",
            post(role, json!({ "token_bound_cidrs": ["192.0.2.0/24"] })),
            post(role, json!({ "token_bound_cidrs": [] })),
        ),
        (
            "database",
            ("DELETE", "secret/data/app/db", Value::Null),
            post("secret/undelete/app/db", json!({ "versions": [1] })),
        ),
        (
            "kv",
            post("sys/mounts/secret/tune", json!({ "description": "changed" })),
            post("sys/mounts/secret/tune", json!({ "description": "" })),
        ),
        (
            "approle",
            post("sys/auth/approle/tune", json!({ "description": "changed" })),
            post("sys/auth/approle/tune", json!({ "description": "" })),
        ),
    ];
    for (step, (method, path, body), (undo_method, undo_path, undo_body)) in rows {
        let (status, answer) = cluster.ask(method, "", path, &body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        let found = verify(&cluster, &[]);
        assert_eq!(found.code, 1, "{method} {path} {body}: {:#}", found.report);
        assert_eq!(found.accused(), [step], "{method} {path} {body}: {:#}", found.report["steps"]);
        let (status, answer) = cluster.ask(undo_method, "", undo_path, &undo_body);
        assert!((200..300).contains(&status), "{undo_path}: {status} {answer}");
    }
    let green = verify(&cluster, &[]);
    assert_eq!(green.code, 0, "{:#}", green.report);
    assert_eq!(alive(&cluster), before, "nothing is left behind");
}

#[test]
fn production_plan_is_proven_but_for_the_login_it_cannot_make() {
    let candlefish = Quickstart::of("candlefish-production.yaml");
    candlefish.apply();
    let ran = candlefish.run(&["verify", "candlefish-production.yaml", "--format", "json"]);
    let verified = Verified::of(&ran);
    println!(
        "{}: {} in {} ms",
        verified.report["summary"], verified.report["api_calls"], verified.report["ms"]
    );
    assert!(verified.with("failed").is_empty(), "{:#}", verified.report);
    for (step, tried) in [
        ("vault_init", "its node serves"),
        ("vault_init", "5 key shares open, 3 are needed"),
        ("audit", "found by its HMAC"),
        ("root_token", "the admin in custody logs in"),
        ("root_token", "the root token is refused"),
        ("app_policies[mongodb]", "reads `secret/data/candlefish/mongodb/connection`"),
        ("app_policies[mongodb]", "is refused `secret/data/candlefish/api/smithery`"),
        ("admin_role", "logs in"),
        ("mongodb", "owner platform-team, type database"),
    ] {
        assert!(verified.proves(step, tried), "{step}: {tried} is not among {:#?}", verified.with("proven"));
    }

    let secrets = candlefish_secrets(&candlefish);
    for format in ["human", "json", "junit", "markdown"] {
        let ran = candlefish.run(&["verify", "candlefish-production.yaml", "--format", format, "--verbose"]);
        let text = [ran.stdout, ran.stderr].concat();
        assert!(
            leaks(text.as_bytes(), &secrets).is_empty(),
            "{format}: {:?}",
            leaks(text.as_bytes(), &secrets)
        );
    }
}

/// Values that must not be shown.
fn candlefish_secrets(candlefish: &Quickstart) -> Vec<(String, Vec<u8>)> {
    let value = |path: &str, field: &str| {
        let found = candlefish.vault("GET", &format!("secret/data/candlefish/{path}"), &Value::Null);
        (format!("{path} {field}"), text_of(&found["data"][field]).as_bytes().to_vec())
    };
    let custody = candlefish.custody();
    let admin = custody.iter().find(|(name, _)| name.ends_with("/admin")).expect("an admin");
    let admin: Value = serde_json::from_slice(&admin.1).expect("JSON");
    vec![
        value("mongodb/connection", "password"),
        value("api/smithery", "key"),
        value("aws", "aws_secret_access_key"),
        ("admin secret-id".to_owned(), text_of(&admin["secret_id"]).into()),
        ("root token".to_owned(), crate::support::root_token(&custody).into()),
    ]
}
