//! Secrets that steps take from other steps: typed, never shown, and current.

use serde_json::{Value, json};

use crate::canary::{leaking_files, leaks};
use crate::support::{Cluster, Ran, step, text_of};

/// A generated password, and three secrets that are made of it: taken as it is, composed with others, and kept
/// in another system.
fn steps() -> Value {
    json!({
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "database": {
            "kind": "vault.kv_secret", "mount": "secret", "path": "database", "needs": ["kv"],
            "data": { "user": "app", "password": { "generate": { "length": 32 } } },
        },
        "queue": {
            "kind": "vault.kv_secret", "mount": "secret", "path": "{{ each.key }}/queue", "needs": ["kv"],
            "for_each": ["a"], "data": { "token": { "generate": { "length": 32 } } },
        },
        "app": {
            "kind": "vault.kv_secret", "mount": "secret", "path": "app",
            "data": {
                "password": { "secret": "database.data.password" },
                "url": { "template": "db://app:{{ secrets.database.data.password | urlencode }}@db/?q={{ secrets.queue[a].data.token }}" },
            },
        },
        "parameter": {
            "kind": "aws.ssm_parameter", "name": "/app/password", "type": "secure_string",
            "value": { "secret": "database.data.password" },
        },
    })
}

fn data(cluster: &Cluster, path: &str) -> Value {
    cluster.ask("GET", "", &format!("secret/data/{path}"), &Value::Null).1["data"]["data"].clone()
}

fn parameter(cluster: &Cluster) -> String {
    let client = aws_sdk_ssm::Client::new(&crate::aws::config(&cluster.environment.sandbox));
    let request = client.get_parameter().name("/app/password").with_decryption(true);
    let found = crate::support::block_on(request.send()).expect("the parameter");
    found.parameter.and_then(|parameter| parameter.value).unwrap_or_default()
}

#[test]
fn composed_secrets_follow_their_sources_and_never_show() {
    let cluster = Cluster::new("composed");
    cluster.declare(&steps());
    let shown = cluster.run(&["plan", "plan.yaml"]);
    assert!(shown.stdout.contains("from database.data.password"), "{shown:?}");
    assert!(shown.stdout.contains("template with database.data.password, queue[a].data.token"), "{shown:?}");
    let mut texts = vec![shown];
    texts.push(cluster.run(&["apply", "plan.yaml", "--yes", "--verbose"]));
    assert_eq!(texts[1].code, 0, "{texts:?}");
    let holds = |cluster: &Cluster| {
        let password = text_of(&data(cluster, "database")["password"]).to_owned();
        let token = text_of(&data(cluster, "a/queue")["token"]).to_owned();
        assert_eq!((password.len(), token.len()), (32, 32));
        let app = data(cluster, "app");
        assert_eq!(app["password"], password.as_str());
        assert_eq!(app["url"], format!("db://app:{password}@db/?q={token}"));
        assert_eq!(parameter(cluster), password);
        [password, token]
    };
    let mut canaries = holds(&cluster).to_vec();

    let again = cluster.plan();
    for id in ["database", "app", "parameter"] {
        assert_eq!(step(&again, id)["action"], "none", "{again:#}");
    }
    // Another value at its source is written to all the places that take it.
    let changed = json!({ "data": { "user": "app", "password": "another-0123456789-value-abcdefgh" } });
    assert_eq!(cluster.ask("POST", "", "secret/data/database", &changed).0, 200);
    let drifted = cluster.plan();
    assert_eq!(step(&drifted, "app")["action"], "update", "{drifted:#}");
    assert_eq!(step(&drifted, "parameter")["action"], "update", "{drifted:#}");
    texts.push(cluster.run(&["plan", "plan.yaml", "--format", "json"]));
    texts.push(cluster.run(&["plan", "plan.yaml", "--out", "saved.json"]));
    texts.push(cluster.run(&["apply", "saved.json", "--yes", "--format", "json"]));
    assert_eq!(texts.last().map(|ran| ran.code), Some(0), "{texts:?}");
    canaries.push("another-0123456789-value-abcdefgh".to_owned());
    assert_eq!(parameter(&cluster), "another-0123456789-value-abcdefgh");
    assert_eq!(data(&cluster, "app")["password"], "another-0123456789-value-abcdefgh");

    let canaries: Vec<(String, Vec<u8>)> =
        canaries.into_iter().map(|value| (value.clone(), value.into_bytes())).collect();
    for Ran { stdout, stderr, .. } in &texts {
        assert!(
            leaks(stdout.as_bytes(), &canaries).is_empty() && leaks(stderr.as_bytes(), &canaries).is_empty()
        );
    }
    assert_eq!(leaking_files(&cluster.environment.folder, &canaries), Vec::<String>::new());
}

#[test]
fn value_made_again_reaches_composed_secrets_in_one_run() {
    let cluster = Cluster::new("composed");
    cluster.declare(&steps());
    cluster.apply(&[]);
    let before = text_of(&data(&cluster, "database")["password"]).to_owned();
    // The field is gone, so that it is generated again: what takes it changes in the same run.
    assert_eq!(cluster.ask("POST", "", "secret/data/database", &json!({ "data": { "user": "app" } })).0, 200);
    let shown = cluster.plan();
    for id in ["database", "app", "parameter"] {
        assert_eq!(step(&shown, id)["action"], "update", "{shown:#}");
    }
    cluster.apply(&[]);
    let after = text_of(&data(&cluster, "database")["password"]).to_owned();
    assert_ne!(before, after);
    assert_eq!(parameter(&cluster), after);
    assert_eq!(data(&cluster, "app")["password"], after.as_str());
    assert_eq!(step(&cluster.plan(), "app")["action"], "none");
}

#[test]
fn wrong_references_to_secrets_are_mistakes_of_the_plan() {
    let cluster = Cluster::new("composed");
    let rows = [
        (json!({ "secret": "databse.data.password" }), "there is no step `databse` to take a secret from"),
        (json!({ "secret": "database.data.pasword" }), "step `database` has no secret `data.pasword`"),
        (json!({ "secret": "kv.token" }), "step `kv` has no secret `token`"),
        (json!({ "secret": "queue[b].data.token" }), "there is no step `queue[b]` to take a secret from"),
        (json!({ "secret": "app.data.password" }), "step `app` needs itself"),
        (
            json!({ "template": "{{ secrets.database.data.nothing }}" }),
            "step `database` has no secret `data.nothing`",
        ),
        (json!({ "template": "{{ secrets.database.data.password[0] }}" }), "step `database` has no secret"),
        (json!({ "template": "{{ secrets.database.data.password ~ 'x' }}" }), "nothing else is done with it"),
        (
            json!({ "template": "{{ 'x' if secrets.database.data.password else 'y' }}" }),
            "nothing else is done with it",
        ),
    ];
    for (source, words) in rows {
        let mut steps = steps();
        steps["app"]["data"]["password"] = source.clone();
        cluster.declare(&steps);
        let ran = cluster.run(&["validate", "plan.yaml"]);
        assert!(ran.code == 1 && ran.stderr.contains(words), "{source}: {ran:?}");
    }
}
