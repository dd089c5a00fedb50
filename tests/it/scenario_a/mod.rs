//! `plans/clinical-ai.yaml` from nothing to a service that finds its buckets, and back to nothing.

mod clinical;
mod worker;

use serde_json::{Value, json};

use self::clinical::{Clinical, PLAN};
use crate::aws;
use crate::kubernetes::is_left_out;
use crate::support::{Ran, block_on, step, summary, text_of};

const BINDING: &str =
    "apis/rbac.authorization.k8s.io/v1/clusterrolebindings/clinical-ai-prefect-worker-reviews-tokens";
const NAMESPACED: &str = "api/v1/namespaces/clinical-ai";
const EXTERNAL: &str = "apis/external-secrets.io/v1/namespaces/clinical-ai";

#[test]
fn clinical_ai_stands_is_mended_and_goes() {
    if is_left_out("the plan of a data service") {
        return;
    }
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
    assert_eq!(worker::reads_exactly_one_path(&clinical), held);
    worker::key_opens_two_buckets(&clinical, &held);
    let cluster = clinical.cluster();
    let external = cluster.get(&format!("{EXTERNAL}/externalsecrets/clinical-ai-aws"));
    assert_eq!(external["spec"]["data"][0]["remoteRef"]["key"], "clinical-ai/aws");
    let account = cluster.get(&format!("{NAMESPACED}/serviceaccounts/clinical-ai-prefect-worker"));
    assert!(account["metadata"]["annotations"].is_null(), "{account}");
    let verified = clinical.0.run(&["verify", PLAN, "--format", "json", "worker"]);
    assert!(verified.code == 0 && verified.stdout.contains("logs in"), "{verified:?}");
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

    assert_eq!(drifts(&clinical), clinical.pending());
    clinical.0.apply();
    clinical.is_unchanged();
    clinical.buckets_are_set();
    assert_eq!(clinical.0.vault("GET", "secret/data/clinical-ai/aws", &Value::Null)["data"], held);

    assert_eq!(worker::reads_exactly_one_path(&clinical), held);
    goes(&clinical);
}

/// Other hands, in each system: the steps that differ by it.
fn drifts(clinical: &Clinical) -> Vec<&'static str> {
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
    let cluster = clinical.cluster();
    cluster.edit(
        &format!("{NAMESPACED}/configmaps/clinical-ai"),
        &json!({ "data": { "aws-region": "eu-west-1" } }),
    );
    cluster.delete(&format!("{EXTERNAL}/externalsecrets/clinical-ai-aws"));
    cluster.delete(BINDING);
    vec![
        "aws_read",
        "credentials",
        "engine_role",
        "key",
        "readers_read[cai_defined_sources]",
        "reviews",
        "settings",
        "source_bucket",
        "user",
    ]
}

/// Its Vault is not the program's to remove; once that is gone, nothing of the plan is left anywhere.
fn goes(clinical: &Clinical) {
    let everything = ["destroy", PLAN, "--yes", "--everything", "--confirm", "clinical-ai"];
    let first = clinical.0.run(&everything);
    assert_eq!(first.code, 3, "{first:?}");
    assert_eq!(clinical.sql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'clinical%'"), "0");
    let cluster = clinical.cluster();
    assert!(!cluster.exists(NAMESPACED) && !cluster.exists(BINDING));
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
    if is_left_out("the plan of a data service without a key") {
        return;
    }
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
    let cluster = clinical.cluster();
    let account = cluster.get(&format!("{NAMESPACED}/serviceaccounts/clinical-ai-prefect-worker"));
    let role = "arn:aws:iam::000000000000:role/clinical-ai-worker";
    assert_eq!(account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"], role);
    assert_eq!(cluster.get(&format!("{EXTERNAL}/externalsecrets"))["items"], json!([]));
    let rendered = clinical.0.environment.folder.join("rendered/clinical-ai.yaml");
    let manifests = std::fs::read_to_string(rendered).expect("rendered");
    assert!(manifests.contains(&format!("eks.amazonaws.com/role-arn: {role}")));
    assert!(!manifests.contains("ExternalSecret"), "{manifests}");
}
