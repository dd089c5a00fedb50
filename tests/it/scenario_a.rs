//! `plans/clinical-ai.yaml` from nothing to a service that finds its buckets, and back to nothing.

use std::path::Path;
use std::process::Command;

use groundwork::sandbox::{Extra, Settings};
use serde_json::{Value, json};

use crate::aws;
use crate::support::{Quickstart, Ran, block_on, copy_templates, step, summary, text_of};

const PLAN: &str = "clinical-ai.yaml";

struct Clinical(Quickstart);

impl Clinical {
    /// Empty servers, and the tables that the service's migrations make.
    fn new() -> Self {
        let clinical =
            Self(Quickstart::with(PLAN, Settings { with: [Extra::Postgres].into(), ..Settings::default() }));
        let port = clinical.variable("PGPORT");
        clinical.0.edit("database_port: 5432", &format!("database_port: {port}"));
        copy_templates(&clinical.0.environment.folder.join("templates"));
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/clinical-ai.sql");
        clinical.sql(&std::fs::read_to_string(migrations).expect("the migrations"));
        clinical
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
    fn sql(&self, statements: &str) -> String {
        self.sql_as(None, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    fn sql_as(&self, login: Option<(&str, &str)>, statements: &str) -> Result<String, String> {
        let mut command = Command::new("psql");
        command.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statements]);
        command.envs(self.0.environment.sandbox.environment());
        if let Some((user, password)) = login {
            command.env("PGUSER", user).env("PGPASSWORD", password);
        }
        let ran = Ran::of(command.output().expect("psql runs"));
        if ran.code == 0 { Ok(ran.stdout.trim().to_owned()) } else { Err(ran.stderr) }
    }

    fn is_unchanged(&self) {
        let again = self.0.apply();
        let again = summary(&again);
        assert_eq!((&again["api_calls"]["write"], &again["done"]), (&json!(0), &json!(0)), "{again:#}");
    }

    /// The steps that a plan would write.
    fn pending(&self) -> Vec<String> {
        let changeset = self.0.plan();
        let steps = changeset["steps"].as_array().expect("steps").iter();
        let differing = steps.filter(|one| one["action"] != "none");
        differing.map(|one| text_of(&one["id"]).to_owned()).collect()
    }

    fn buckets_are_set(&self) {
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

#[test]
fn clinical_ai_stands_is_mended_and_goes() {
    let clinical = Clinical::new();
    let events = clinical.0.apply();
    println!("{PLAN} from nothing: {}", summary(&events));
    clinical.is_unchanged();
    clinical.buckets_are_set();

    // The key is in Vault, and it is the user's.
    let held = clinical.0.vault("GET", "secret/data/clinical-ai/aws", &Value::Null)["data"].clone();
    assert!(
        text_of(&held["aws_access_key_id"]).len() >= 16
            && text_of(&held["aws_secret_access_key"]).len() >= 32
    );
    assert_eq!(aws::users(&clinical.0.environment), ["clinical-ai-worker"]);
    let rendered = clinical.0.environment.folder.join("rendered/clinical-ai.yaml");
    let manifests = std::fs::read_to_string(&rendered).expect("rendered");
    for words in [
        "apiVersion: external-secrets.io/v1\nkind: SecretStore",
        "key: clinical-ai/aws\n",
        "refreshInterval: 1h",
    ] {
        assert!(manifests.contains(words), "{words}: {manifests}");
    }
    assert!(!manifests.contains("role-arn") && !manifests.contains(text_of(&held["aws_secret_access_key"])));

    // Vault makes users of the database, who may read what the plan says, and takes them back.
    let user = clinical.0.vault("GET", "database/creds/clinical-ai-reader", &Value::Null);
    let login = (text_of(&user["username"]), text_of(&user["password"]));
    assert_eq!(clinical.sql_as(Some(login), "SELECT count(*) FROM cai_defined_sources"), Ok("2".to_owned()));
    let refused = clinical.sql_as(Some(login), "SELECT * FROM cai_connectors").expect_err("not granted");
    assert!(refused.contains("permission denied"), "{refused}");
    clinical.0.vault("PUT", "sys/leases/revoke-force/database/creds/clinical-ai-reader", &Value::Null);

    // Other hands, in each system.
    clinical.sql(
        "UPDATE cai_defined_sources SET config = config || '{\"bucket\": \"other\"}' WHERE name = 'imaging'",
    );
    clinical.sql("ALTER ROLE clinical_ai_vault CREATEDB");
    clinical.sql("GRANT INSERT ON cai_defined_sources TO clinical_ai_readers");
    clinical.0.vault(
        "PUT",
        "sys/policies/acl/clinical-ai-aws-read",
        &json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" }),
    );
    clinical.0.vault(
        "PATCH",
        "secret/data/clinical-ai/aws",
        &json!({ "data": { "aws_secret_access_key": "other" } }),
    );
    let iam = aws_sdk_iam::Client::new(&aws::config(&clinical.0.environment.sandbox));
    let removal = iam.delete_user_policy().user_name("clinical-ai-worker").policy_name("data").send();
    block_on(removal).expect("removed");
    let mut pending = clinical.pending();
    pending.sort();
    assert_eq!(
        pending,
        ["aws_read", "engine_role", "key", "readers_read[cai_defined_sources]", "source_bucket", "user"]
    );
    clinical.0.apply();
    clinical.is_unchanged();
    clinical.buckets_are_set();
    assert_eq!(clinical.0.vault("GET", "secret/data/clinical-ai/aws", &Value::Null)["data"], held);

    goes(&clinical);
}

/// Its Vault is not the program's to remove; once that is gone, nothing of the plan is left anywhere.
fn goes(clinical: &Clinical) {
    let everything = ["destroy", PLAN, "--yes", "--everything", "--confirm", "clinical-ai"];
    let first = clinical.0.run(&everything);
    assert_eq!(first.code, 3, "{first:?}");
    assert_eq!(clinical.sql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'clinical%'"), "0");
    clinical.0.environment.lose("vault-1");
    let _servers = clinical.0.environment.revive();
    let second = Ran::of(clinical.0.command_with_identity(&everything).output().expect("runs"));
    assert_eq!(second.code, 0, "{second:?}");
    assert_eq!(aws::users(&clinical.0.environment), [""; 0]);
    let buckets = block_on(aws::s3(&clinical.0.environment).list_buckets().send()).expect("buckets");
    assert!(buckets.buckets().is_empty(), "{buckets:?}");
    let left = "SELECT string_agg(config::text, ' ' ORDER BY name) FROM cai_defined_sources";
    assert_eq!(clinical.sql(left), r#"{"format": "dicom", "retries": 3} {"format": "text"}"#);
}

#[test]
fn irsa_makes_no_static_key() {
    let clinical = Clinical::new();
    clinical.0.edit("default: static,", "default: irsa,");
    clinical.0.apply();
    clinical.is_unchanged();
    assert_eq!(aws::users(&clinical.0.environment), [""; 0]);
    let changeset = clinical.0.plan();
    let ids: Vec<&str> =
        changeset["steps"].as_array().expect("steps").iter().map(|one| text_of(&one["id"])).collect();
    assert!(ids.contains(&"role") && !ids.contains(&"key") && !ids.contains(&"user"), "{ids:?}");
    assert_eq!(step(&changeset, "role")["action"], "none");
    let rendered = clinical.0.environment.folder.join("rendered/clinical-ai.yaml");
    let manifests = std::fs::read_to_string(rendered).expect("rendered");
    assert!(
        manifests.contains("eks.amazonaws.com/role-arn: arn:aws:iam::000000000000:role/clinical-ai-worker")
    );
    assert!(!manifests.contains("ExternalSecret"), "{manifests}");
}
