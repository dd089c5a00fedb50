//! Who can reach what, and who gains or loses what, as people and programs see it.

use serde_json::{Value, json};

use crate::json_schema::mistakes;
use crate::support::Cluster;

/// Two systems: a secret with a role and a person in a group, and a bucket with a user and a role.
fn steps(shop: &Value, uploads: &str) -> Value {
    let statement = |action: &str, on: &str| json!([{ "allow": action, "on": on }]);
    json!({
        "kv": { "kind": "vault.mount", "path": "kv", "type": "kv", "version": 2 },
        "approle": { "kind": "vault.auth_method", "type": "approle" },
        "database": { "kind": "vault.kv_secret", "mount": "kv", "path": "shop/database",
                      "data": { "password": { "generate": { "length": 32 } } } },
        "shop": { "kind": "vault.policy", "name": "shop", "rules": { "kv/data/shop/*": shop } },
        "shop_role": { "kind": "vault.approle_role", "name": "shop", "token_policies": ["shop"] },
        "ann": { "kind": "vault.entity", "name": "ann" },
        "people": { "kind": "vault.group", "name": "people", "policies": ["shop"], "member_entity_ids": ["{{ ann.id }}"] },
        "backups": { "kind": "aws.s3_bucket", "name": "gw-backups" },
        "state_key": { "kind": "aws.kms_key", "alias": "alias/gw-backups", "access": { "users": ["{{ uploader.arn }}"] } },
        "uploader": { "kind": "aws.iam_role", "name": "gw-uploader", "trust": [{ "service": "ec2.amazonaws.com" }],
                      "inline_policies": { "upload": statement("s3:PutObject", uploads) } },
        "auditor": { "kind": "aws.iam_user", "name": "gw-auditor", "groups": ["gw-auditors"] },
        "auditors": { "kind": "aws.iam_group", "name": "gw-auditors",
                      "inline_policies": { "look": statement("s3:GetObject", "{{ backups.arn }}/*") } },
    })
}

fn lines(changeset: &Value) -> Vec<String> {
    let all = changeset["access_changes"].as_array().cloned().unwrap_or_default();
    let words = |one: &Value| {
        let targets: Vec<&str> =
            one["targets"].as_array().into_iter().flatten().filter_map(|t| t["name"].as_str()).collect();
        let rights: Vec<&str> =
            one["rights"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let who = one["principal"]["name"].as_str().unwrap_or_default();
        format!(
            "{who} {} {} on {}",
            one["change"].as_str().unwrap_or_default(),
            rights.join("+"),
            targets.join("+")
        )
    };
    all.iter().map(words).collect()
}

/// What the program prints for this.
fn printed(cluster: &Cluster, arguments: &[&str]) -> String {
    let ran = cluster.run(arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    ran.stdout + &ran.stderr
}

#[test]
fn access_and_its_changes_are_shown_for_both_systems() {
    let cluster = Cluster::new("shop");
    cluster.declare(&steps(&json!(["read"]), "{{ backups.arn }}/daily/*"));
    let mut outputs = Vec::new();
    let first = lines(&cluster.plan());
    for line in [
        "shop gains read on kv/shop/database",
        "ann gains read on kv/shop/database",
        "gw-auditor gains read on gw-backups",
    ] {
        assert!(first.iter().any(|one| one.ends_with(line)), "{line}: {first:#?}");
    }
    cluster.apply(&[]);
    assert_eq!(lines(&cluster.plan()), Vec::<String>::new(), "nobody gains anything");
    for format in ["human", "markdown", "html"] {
        let quiet = printed(&cluster, &["plan", "plan.yaml", "--format", format]);
        assert!(!quiet.contains("Access changes"), "{quiet}");
    }

    // One rule changes what three have; the bucket's writer is limited to another place.
    cluster.declare(&steps(&json!(["list", "update"]), "{{ backups.arn }}/*"));
    let changed = cluster.plan();
    let expected = [
        "gw-uploader changes write on gw-backups",
        "approle/shop gains write on kv/shop/database",
        "approle/shop loses read on kv/shop/database",
        "ann gains write on kv/shop/database",
        "people loses read on kv/shop/database",
    ];
    for line in expected {
        assert!(lines(&changed).contains(&line.to_owned()), "{line}: {:#?}", lines(&changed));
    }
    for (format, line) in [
        ("human", "+ Vault entity ann gains write on secret kv/shop/database"),
        ("markdown", "Vault entity ann gains write on secret kv/shop/database"),
        ("html", "Vault entity ann gains write on secret kv/shop/database"),
    ] {
        let shown = printed(&cluster, &["plan", "plan.yaml", "--format", format]);
        // The page escapes slashes.
        let shown = shown.replace("&#x2f;", "/");
        assert!(shown.contains("Access changes") && shown.contains(line), "{format}: {shown}");
        outputs.push(shown);
    }

    // The live systems still have the old rule, and a policy that the plan does not know.
    let (status, _) = cluster.ask(
        "POST",
        "",
        "sys/policies/acl/outside",
        &json!({ "policy": "path \"kv/data/shop/*\" { capabilities = [\"delete\"] }" }),
    );
    assert_eq!(status, 204);
    let (status, _) =
        cluster.ask("POST", "", "auth/approle/role/shop", &json!({ "token_policies": ["shop", "outside"] }));
    assert_eq!(status, 204);
    let live = printed(&cluster, &["access", "plan.yaml", "kv/shop/database", "--live"]);
    for line in [
        "read: policy `shop`, path \"kv/data/shop/*\": read",
        "delete: policy `outside`, path \"kv/data/shop/*\": delete",
    ] {
        assert!(live.contains(line), "{line}: {live}");
    }
    assert!(!live.contains("write:"), "{live}");
    outputs.push(live);

    let of_plan = printed(&cluster, &["access", "plan.yaml", "--format", "json"]);
    let json: Value = serde_json::from_str(&of_plan).expect("JSON");
    assert_eq!((&json["format_version"], &json["source"]), (&json!("1"), &json!("plan")));
    let schema = serde_json::to_value(groundwork::ui::access::schema()).expect("JSON");
    assert_eq!(mistakes(&schema, &json), Vec::<String>::new());
    let key = |one: &&Value| one["principal"]["name"] == "gw-uploader" && one["target"]["sort"] == "key";
    let reach = json["reach"].as_array().expect("a list");
    let rights: Vec<&Value> =
        reach.iter().find(key).expect("a key")["rights"].as_array().expect("rights").iter().collect();
    assert_eq!(rights[0]["right"], "encrypt");
    assert_eq!(rights[0]["because"][0], "the key's policy (statement Users)");
    outputs.push(of_plan);
    let page = printed(&cluster, &["access", "plan.yaml", "--format", "html"]).replace("&#x2f;", "/");
    assert!(page.contains("<table>") && page.contains("kv/shop/database") && page.contains("gw-backups"));
    outputs.push(page);
    let unknown = cluster.run(&["access", "plan.yaml", "databse"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("did you mean `database`?"), "{unknown:?}");

    // No value is read, and none is shown.
    let (_, secret) = cluster.ask("GET", "", "kv/data/shop/database", &json!({}));
    let password = secret["data"]["data"]["password"].as_str().expect("a password");
    assert!(
        password.len() == 32 && outputs.iter().all(|output| !output.contains(password)),
        "a value is shown"
    );
}
