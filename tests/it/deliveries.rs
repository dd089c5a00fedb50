//! Secrets that go to several places at once: Vault, and the jsonb document of a row in PostgreSQL.

use std::process::Command;

use groundwork::sandbox::{Extra, Settings};
use serde_json::{Value, json};

use crate::canary::{leaking_files, leaks};
use crate::support::{Cluster, Ran, paths, step, summary, text_of};

fn sql(cluster: &Cluster, statements: &str) -> String {
    let mut command = Command::new("psql");
    command.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statements]);
    command.envs(cluster.environment.sandbox.environment());
    let ran = Ran::of(command.output().expect("psql runs"));
    assert_eq!(ran.code, 0, "{statements}: {ran:?}");
    ran.stdout.trim().to_owned()
}

fn row(more: Value) -> Value {
    let mut row = json!({ "table": "sources", "where": { "name": "imaging" }, "column": "config" });
    row.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
    row
}

fn declared() -> Value {
    let copy = row(
        json!({ "kind": "postgres.row", "path": ["mail", "password"], "secret": { "secret": "mail.data.password" } }),
    );
    json!({
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "mail": { "kind": "vault.kv_secret", "mount": "secret", "path": "mail",
                  "data": { "password": { "generate": { "length": 32 } } }, "needs": ["kv"] },
        "copy": copy,
        "user": { "kind": "aws.iam_user", "name": "worker" },
        "key": { "kind": "aws.iam_access_key", "user": "{{ user.name }}", "deliver": [
            { "vault_kv": { "mount": "secret", "path": "aws" } },
            { "postgres_row": row(json!({ "path": ["aws"], "fields": { "id": "id", "secret": "secret" } })) },
        ] },
    })
}

#[test]
fn key_and_copy_reach_vault_and_a_row() {
    let settings = Settings { with: [Extra::Postgres].into(), ..Settings::default() };
    let cluster = Cluster::with("deliveries", settings);
    for setting in ["log_statement = 'all'", "log_min_duration_statement = 0"] {
        sql(&cluster, &format!("ALTER SYSTEM SET {setting}"));
    }
    sql(&cluster, "SELECT pg_reload_conf()");
    sql(&cluster, "CREATE TABLE sources (name text, config jsonb)");

    // The row is missing: no key is made that has no place to go.
    cluster.declare(&declared());
    let ran = cluster.run(&["apply", "plan.yaml", "--yes"]);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.code != 0 && said.contains("no row matches") && said.contains("the credential was not made"),
        "{ran:?}"
    );

    sql(&cluster, "INSERT INTO sources VALUES ('imaging', '{\"kept\": [1]}')");
    cluster.apply(&[]);
    assert_eq!(summary(&cluster.apply(&[]))["api_calls"]["write"], 0);
    let of = |path: &str| sql(&cluster, &format!("SELECT config #>> '{path}' FROM sources"));
    let (id, secret, password) = (of("{aws,id}"), of("{aws,secret}"), of("{mail,password}"));
    assert!(id.starts_with("AKIA") && secret.len() >= 32 && password.len() == 32, "{id}");
    assert_eq!(of("{kept}"), "[1]");

    let secrets = [("key", secret.clone()), ("password", password.clone())];
    let secrets = secrets.map(|(name, value)| (name.to_owned(), value.into_bytes()));
    let log = cluster.environment.sandbox.dir().join("logs/postgres.log");
    let log = std::fs::read(log).expect("the server's log");
    assert!(leaks(&log, &[("control".to_owned(), b"jsonb_set".to_vec())]) == ["control"]);
    assert_eq!(leaks(&log, &secrets), [""; 0]);
    assert_eq!(leaking_files(&cluster.environment.folder, &secrets), [""; 0]);

    // Drift is shown for the place that has it, and mended from custody and Vault.
    sql(&cluster, "UPDATE sources SET config = jsonb_set(config, '{aws,secret}', '\"other\"')");
    let changeset = cluster.plan();
    assert_eq!(
        paths(step(&changeset, "key")),
        ["deliver.postgres_row.public.sources[name=imaging].config.aws"]
    );
    assert_eq!(step(&changeset, "copy")["action"], "none", "{changeset:#}");
    sql(&cluster, "UPDATE sources SET config = config #- '{mail,password}'");
    assert_eq!(text_of(&step(&cluster.plan(), "copy")["action"]), "create");
    cluster.apply(&[]);
    assert_eq!((of("{aws,secret}"), of("{mail,password}"), of("{aws,id}")), (secret, password, id));
}
