//! The plan in a sandbox with every server that it names.

use std::path::Path;
use std::process::Command;

use groundwork::sandbox::{Extra, Settings};
use serde_json::{Value, json};

use crate::kubernetes::ApiServer;
use crate::support::{Quickstart, Ran, copy_templates, summary, text_of};

pub const PLAN: &str = "clinical-ai.yaml";

pub struct Clinical(pub Quickstart);

impl Clinical {
    /// Empty servers, and the tables that the service's migrations make.
    pub fn new() -> Self {
        let clinical = Self(Quickstart::with(
            PLAN,
            Settings { with: [Extra::Kubernetes, Extra::Postgres].into(), ..Settings::default() },
        ));
        let port = clinical.variable("PGPORT");
        clinical.0.edit("database_port: 5432", &format!("database_port: {port}"));
        // The emulator speaks http, which the policy of a bucket refuses otherwise.
        let bucket = "name: \"{{ org }}-{{ each.value }}\"";
        clinical.0.edit(bucket, &format!("{bucket}\n    tls_only: {{ off: the emulator speaks http }}"));
        copy_templates(&clinical.0.environment.folder.join("templates"));
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/clinical-ai.sql");
        clinical.sql(&std::fs::read_to_string(migrations).expect("the migrations"));
        clinical
    }

    /// The cluster, past the program.
    pub fn cluster(&self) -> ApiServer {
        ApiServer::of(&self.0.environment)
    }

    fn variable(&self, name: &str) -> String {
        let variables = self.0.environment.sandbox.environment();
        variables
            .into_iter()
            .find(|(one, _)| one == name)
            .map(|(_, value)| value)
            .expect("set by the sandbox")
    }

    /// What statements give to the sandbox's superuser.
    pub fn sql(&self, statements: &str) -> String {
        self.sql_as(None, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    pub fn sql_as(&self, login: Option<(&str, &str)>, statements: &str) -> Result<String, String> {
        let mut command = Command::new("psql");
        command.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statements]);
        command.envs(self.0.environment.sandbox.environment());
        if let Some((user, password)) = login {
            command.env("PGUSER", user).env("PGPASSWORD", password);
        }
        let ran = Ran::of(command.output().expect("psql runs"));
        if ran.code == 0 { Ok(ran.stdout.trim().to_owned()) } else { Err(ran.stderr) }
    }

    pub fn is_unchanged(&self) {
        let again = self.0.apply();
        let again = summary(&again);
        assert_eq!((&again["api_calls"]["write"], &again["done"]), (&json!(0), &json!(0)), "{again:#}");
    }

    /// The steps that a plan would write, by name.
    pub fn pending(&self) -> Vec<String> {
        differing(&self.0.plan())
    }

    pub fn buckets_are_set(&self) {
        let rows = [
            (
                "SELECT config FROM cai_defined_sources WHERE name = 'imaging'",
                r#"{"bucket": "clinical-ai-imaging", "format": "dicom", "retries": 3}"#,
            ),
            ("SELECT config FROM cai_defined_sources WHERE name = 'notes'", r#"{"format": "text"}"#),
            (
                "SELECT config FROM cai_defined_destinations",
                r#"{"bucket": "clinical-ai-results", "format": "parquet"}"#,
            ),
            (
                "SELECT source_config_override FROM cai_connectors WHERE id = 7",
                r#"{"storage": {"bucket": "clinical-ai-imaging"}}"#,
            ),
            (
                "SELECT source_config_override FROM cai_connectors WHERE id = 8",
                r#"{"storage": {"bucket": "another"}}"#,
            ),
        ];
        for (statement, expected) in rows {
            assert_eq!(self.sql(statement), expected, "{statement}");
        }
    }
}

/// The steps that a changeset would write, by name.
pub fn differing(changeset: &Value) -> Vec<String> {
    let steps = changeset["steps"].as_array().expect("steps").iter();
    let differing = steps.filter(|one| one["action"] != "none");
    let mut ids: Vec<String> = differing.map(|one| text_of(&one["id"]).to_owned()).collect();
    ids.sort();
    ids
}
