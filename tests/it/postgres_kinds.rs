//! The kinds of PostgreSQL against a real server: what they leave alone, refuse, and keep secret.

use std::process::Command;

use serde_json::{Value, json};

use crate::canary::{leaking_files, leaks};
use crate::postgres::Postgres;
use crate::support::{Ran, paths, program, step, summary};

pub const PASSWORD: &str = "manager-password";
pub const PLAN: &str = "plan.yaml";

/// A server, and a folder with a plan for it.
pub struct Scene {
    pub server: Postgres,
    folder: tempfile::TempDir,
}

impl Scene {
    pub fn new() -> Self {
        let server = Postgres::start(PASSWORD);
        Self { server, folder: tempfile::tempdir().expect("a folder") }
    }

    pub fn declare(&self, steps: &Value) {
        self.write(&json!({ "version": 1, "name": "data", "steps": steps }));
    }

    /// The same with a section `postgres`.
    pub fn declare_in(&self, section: &Value, steps: &Value) {
        self.write(&json!({ "version": 1, "name": "data", "postgres": section, "steps": steps }));
    }

    fn write(&self, plan: &Value) {
        std::fs::write(self.folder.path().join(PLAN), plan.to_string()).expect("written");
    }

    pub fn sql(&self, statement: &str) -> String {
        self.server
            .query("manager", PASSWORD, statement)
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    /// Writes a file beside the plan.
    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("written");
    }

    /// Removes what runs have noted.
    pub fn forget(&self) {
        for folder in [".groundwork", "caller"] {
            let _ = std::fs::remove_dir_all(self.folder.path().join(folder));
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).current_dir(&self.folder).env("NO_COLOR", "1").env_remove("CI");
        command.env("GROUNDWORK_CONFIG_DIR", self.folder.path().join("caller"));
        command.envs(self.server.variables("manager", PASSWORD));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    pub fn plan(&self) -> Value {
        let ran = self.run(&["plan", PLAN, "--format", "json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no changeset: {error}\n{ran:?}"))
    }

    /// The numbers of writing requests and of steps that were done.
    pub fn apply(&self, more: &[&str]) -> Value {
        let ran = self.run(&[&["apply", PLAN, "--yes", "--format", "json"], more].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        summary(&ran.events()).clone()
    }
}

const SOURCES: &str = "CREATE TABLE sources (name text, number int, note text, config jsonb); \
     INSERT INTO sources VALUES ('imaging', 1, 'a', '{\"kept\": {\"digits\": 1.00, \"list\": [1, 2]}, \"flat\": \"x\"}'), \
     ('twin', 2, 'b', '{}'), ('twin', 3, 'c', '{}'), ('bare', 4, 'd', NULL)";

fn row(more: Value) -> Value {
    let mut row = json!({ "kind": "postgres.row", "table": "sources", "where": { "name": "imaging" },
        "column": "config", "path": ["bucket"], "value": "clinical-imaging" });
    row.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
    row
}

#[test]
fn row_changes_one_key_and_no_other() {
    let scene = Scene::new();
    scene.sql(SOURCES);
    scene.declare(&json!({
        "bucket": row(json!({})),
        "deep": row(json!({ "path": ["kept", "new", "deep"], "value": { "a": [true, null] } })),
        "bare": row(json!({ "where": { "name": "bare", "number": 4 }, "value": "first" })),
    }));
    scene.apply(&[]);
    let config = |name: &str| scene.sql(&format!("SELECT config FROM sources WHERE name = '{name}'"));
    let expected = r#"{"flat": "x", "kept": {"new": {"deep": {"a": [true, null]}}, "list": [1, 2], "digits": 1.00}, "bucket": "clinical-imaging"}"#;
    assert_eq!(config("imaging"), expected);
    assert_eq!(config("bare"), r#"{"bucket": "first"}"#);
    assert_eq!(config("twin"), "{}\n{}");
    assert_eq!(scene.apply(&[])["api_calls"]["write"], 0);

    scene.sql(
        "UPDATE sources SET config = jsonb_set(config, '{bucket}', '\"by-hand\"') WHERE name = 'imaging'",
    );
    let changeset = scene.plan();
    assert_eq!(paths(step(&changeset, "bucket")), ["value"], "{changeset:#}");
    assert_eq!(step(&changeset, "deep")["action"], "none");
    scene.apply(&[]);
    assert_eq!(config("imaging"), expected);

    let ran = scene.run(&["destroy", PLAN, "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let left = r#"{"flat": "x", "kept": {"new": {}, "list": [1, 2], "digits": 1.00}}"#;
    assert_eq!((config("imaging").as_str(), config("bare").as_str()), (left, "{}"));
}

#[test]
fn row_without_exactly_one_place_is_not_written() {
    let scene = Scene::new();
    scene.sql(SOURCES);
    let rows = [
        (json!({ "table": "absent" }), "there is no table public.absent"),
        (json!({ "where": { "nmae": "imaging" } }), "has no column `nmae`"),
        (json!({ "column": "confg" }), "has no column `confg`"),
        (json!({ "column": "note" }), "has the type text; only jsonb can be changed in part"),
        (json!({ "where": { "name": "nobody" } }), "no row matches"),
        (json!({ "where": { "name": "twin" } }), "several rows match"),
        (json!({ "path": ["flat", "bucket"] }), "`flat` is not an object"),
        (json!({ "table": "sources\" WHERE true; DROP TABLE sources; --" }), "there is no table"),
        (json!({ "where": { "name": "' OR true --" } }), "no row matches"),
    ];
    for (change, words) in rows {
        scene.declare(&json!({ "bucket": row(change.clone()) }));
        let changeset = scene.plan();
        let bucket = step(&changeset, "bucket");
        let reason = bucket["reason"].as_str().unwrap_or_default();
        assert!(bucket["action"] == "deferred" && reason.contains(words), "{change}: {bucket:#}");
        let ran = scene.run(&["apply", PLAN, "--yes"]);
        assert_eq!(ran.code, 3, "{change}: {ran:?}");
    }
    assert_eq!(scene.sql("SELECT count(*) FROM sources WHERE config ? 'bucket'"), "0");
}

#[test]
fn value_that_others_put_there_is_not_taken_over() {
    let scene = Scene::new();
    scene.sql(SOURCES);
    scene.declare(&json!({ "flat": row(json!({ "path": ["flat"], "value": "ours" })) }));
    let changeset = scene.plan();
    let flat = step(&changeset, "flat");
    let reason = flat["reason"].as_str().unwrap_or_default();
    assert!(flat["action"] == "blocked" && reason.contains("`adopt: true`"), "{flat:#}");
    assert!(!flat.to_string().contains("\"x\""), "nothing of the live value is shown: {flat:#}");
    scene.declare(&json!({ "flat": row(json!({ "path": ["flat"], "value": "ours", "adopt": true })) }));
    scene.apply(&[]);
    assert_eq!(scene.sql("SELECT config->>'flat' FROM sources WHERE name = 'imaging'"), "ours");
}

#[test]
fn secrets_reach_no_statement_log() {
    let scene = Scene::new();
    scene.sql(SOURCES);
    for setting in
        ["log_statement = 'all'", "log_min_duration_statement = 0", "log_parameter_max_length = -1"]
    {
        scene.sql(&format!("ALTER SYSTEM SET {setting}"));
    }
    scene.sql("SELECT pg_reload_conf()");
    let (password, secret) = ("Canary-password_1\\'%", "canary-of-a-row\\with\ttabs\nand \"lines\"'");
    scene.declare(&json!({
        "app": { "kind": "postgres.role", "name": "app", "login": true, "password": { "env": "APP_PASSWORD" } },
        "given": row(json!({ "value": null, "path": ["given"], "secret": { "env": "ROW_SECRET" } })),
        "made": row(json!({ "value": null, "path": ["made"], "secret": { "generate": { "length": 40 } } })),
    }));
    let mut said = Vec::new();
    let mut run = |arguments: &[&str]| {
        let mut command = scene.command(arguments);
        command.args(["--env", "APP_PASSWORD", "--env", "ROW_SECRET"]);
        let ran =
            Ran::of(command.env("APP_PASSWORD", password).env("ROW_SECRET", secret).output().expect("runs"));
        assert_eq!(ran.code, 0, "{ran:?}");
        said.extend([ran.stdout.clone(), ran.stderr]);
        ran.stdout
    };
    run(&["apply", PLAN, "--yes", "--verbose"]);
    let again = run(&["apply", PLAN, "--yes", "--format", "json"]);
    let last = again.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    assert_eq!(last.expect("a summary")["api_calls"]["write"], 0);
    run(&["plan", PLAN, "--format", "json"]);
    run(&["verify", PLAN, "--verbose"]);

    let of_row =
        |key: &str| scene.sql(&format!("SELECT config->>'{key}' FROM sources WHERE name = 'imaging'"));
    assert_eq!((of_row("given").as_str(), of_row("made").len()), (secret, 40));
    assert_eq!(scene.server.query("app", password, "SELECT 1").as_deref(), Ok("1"), "the role can log in");
    let secrets = [("password", password.to_owned()), ("given", secret.to_owned()), ("made", of_row("made"))];
    let secrets = secrets.map(|(name, value)| (name.to_owned(), value.into_bytes()));
    let log = scene.server.log();
    assert!(
        log.contains("CREATE ROLE") && log.contains("SCRAM-SHA-256$") && log.contains("jsonb_set"),
        "{log}"
    );
    assert_eq!(leaks(log.as_bytes(), &secrets), [""; 0]);
    assert_eq!(leaks(said.concat().as_bytes(), &secrets), [""; 0]);
    assert_eq!(leaking_files(scene.folder.path(), &secrets), [""; 0]);

    // The log is looked at in the right place.
    let _ = scene.server.query("manager", PASSWORD, &format!("SELECT '{}'", of_row("made")));
    assert_eq!(leaks(scene.server.log().as_bytes(), &secrets), ["made"]);
}

#[test]
fn login_goes_only_to_allowed_servers() {
    let scene = Scene::new();
    let plan = |host: &str| {
        json!({ "version": 1, "name": "data", "postgres": { "host": host, "port": 1 },
            "steps": { "app": { "kind": "postgres.role", "name": "app" } } })
    };
    scene.write(&plan("db.example.net"));
    let refused = scene.run(&["plan", PLAN]);
    let all = format!("{}{}", refused.stdout, refused.stderr);
    assert!(refused.code != 0 && all.contains("--trust server=postgres://db.example.net:1"), "{refused:?}");
    scene.write(&plan("127.0.0.1"));
    let ran = scene.run(&["plan", PLAN, "--trust", "server=postgres://127.0.0.1:1", "--format", "json"]);
    assert!(ran.stdout.contains("connect to postgres://127.0.0.1:1"), "{ran:?}");
}
