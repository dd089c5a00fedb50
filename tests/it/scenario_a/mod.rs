//! `plans/clinical-ai.yaml` from nothing to a service that finds its buckets, and back to nothing.

pub mod clinical;
mod worker;

use std::time::Duration;

use serde_json::{Value, json};

use self::clinical::{Clinical, PLAN, differing};
use crate::aws;
use crate::kubernetes::{Relay, is_left_out};
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
    for (file, count) in [("clinical-ai.yaml", 2), ("clinical-ai-credentials.yaml", 2)] {
        assert_eq!(rendered(&clinical, file), count, "{file}");
    }

    // Vault makes users of the database, who may read what the plan says, and takes them back.
    let user = clinical.0.vault("GET", "database/creds/clinical-ai-reader", &Value::Null);
    let login = (text_of(&user["username"]), text_of(&user["password"]));
    assert_eq!(clinical.sql_as(Some(login), "SELECT count(*) FROM cai_defined_sources"), Ok("2".to_owned()));
    let refused = clinical.sql_as(Some(login), "SELECT * FROM cai_connectors").expect_err("not granted");
    assert!(refused.contains("permission denied"), "{refused}");
    clinical.0.vault("PUT", "sys/leases/revoke-force/database/creds/clinical-ai-reader", &Value::Null);

    asks_the_cluster_in_three_rounds(&clinical);

    assert_eq!(drifts(&clinical), clinical.pending());
    clinical.0.apply();
    clinical.is_unchanged();
    clinical.buckets_are_set();
    assert_eq!(clinical.0.vault("GET", "secret/data/clinical-ai/aws", &Value::Null)["data"], held);

    assert_eq!(worker::reads_exactly_one_path(&clinical), held);
    goes(&clinical);
}

/// A plan in which nothing of the cluster differs waits for the API server three times at most, one after the other.
fn asks_the_cluster_in_three_rounds(clinical: &Clinical) {
    let relay = Relay::start(clinical.cluster());
    relay.delay(Duration::from_secs(1));
    let mut command = clinical.0.environment.command(&["plan", PLAN, "--format", "json"]);
    let ran =
        Ran::of(command.env("KUBECONFIG", relay.config(&clinical.0.environment)).output().expect("runs"));
    let changeset: Value = serde_json::from_str(&ran.stdout).expect("a changeset");
    // Vault is to ask the API server at the relay's address.
    assert_eq!(differing(&changeset), ["cluster"], "{changeset:#}");
    let chain = relay.longest_chain();
    assert!((1..=3).contains(&chain.len()), "{chain:#?}");
    println!("one after the other: {chain:#?}");
}

/// How many documents a rendered file has. Each is the live object, but for what marks it as the plan's and what the
/// server adds.
fn rendered(clinical: &Clinical, file: &str) -> usize {
    let path = clinical.0.environment.folder.join("rendered").join(file);
    let text = std::fs::read_to_string(path).expect("rendered");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    for document in &documents {
        let group = text_of(&document["apiVersion"]);
        let root = if group.contains('/') { format!("apis/{group}") } else { format!("api/{group}") };
        let plural = format!("{}s", text_of(&document["kind"]).to_lowercase());
        let name = text_of(&document["metadata"]["name"]);
        let live = clinical.cluster().get(&format!("{root}/namespaces/clinical-ai/{plural}/{name}"));
        assert!(is_within(document, &live), "{document:#} in {live:#}");
        assert!(!document.to_string().contains("groundwork/"), "{document}");
    }
    documents.len()
}

fn is_within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|whole| is_within(value, whole)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| is_within(part, whole))
        }
        (part, whole) => part == whole,
    }
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
    assert_eq!(rendered(&clinical, "clinical-ai.yaml"), 2);
    let folder = clinical.0.environment.folder.join("rendered");
    assert!(!folder.join("clinical-ai-credentials.yaml").exists());
}
