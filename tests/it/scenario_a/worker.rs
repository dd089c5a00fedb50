//! The service's worker: the login that the plan gives it, and the key that it finds.

use aws_credential_types::Credentials;
use serde_json::{Value, json};

use super::clinical::Clinical;
use crate::aws;
use crate::support::{block_on, text_of};

pub const NAMESPACE: &str = "clinical-ai";
const ACCOUNT: &str = "clinical-ai-prefect-worker";
const STORE: &str = "apis/external-secrets.io/v1/namespaces/clinical-ai/secretstores/vault";

/// The login of the live store: External Secrets requests such a token and logs in with it.
fn login(clinical: &Clinical, account: &str) -> Result<String, String> {
    let cluster = clinical.cluster();
    let store = cluster.get(STORE);
    let login = &store["spec"]["provider"]["vault"]["auth"]["kubernetes"];
    let audiences = &login["serviceAccountRef"]["audiences"];
    let body = json!({ "role": login["role"], "jwt": cluster.token_for(NAMESPACE, account, audiences) });
    let path = format!("auth/{}/login", text_of(&login["mountPath"]));
    let answer = clinical.0.ask_vault("POST", &path, "", &body)?;
    Ok(text_of(&answer["auth"]["client_token"]).to_owned())
}

/// The worker's login reads the key at its path, and nothing beside it; the values.
pub fn reads_exactly_one_path(clinical: &Clinical) -> Value {
    let token = login(clinical, ACCOUNT).expect("the worker logs in");
    let read = |method: &str, path: &str| clinical.0.ask_vault(method, path, &token, &Value::Null);
    let key = read("GET", "secret/data/clinical-ai/aws").expect("its one path")["data"]["data"].clone();
    for (method, path) in [
        ("GET", "secret/data/clinical-ai/database-engine"),
        ("GET", "secret/data/clinical-ai/aws/more"),
        ("GET", "secret/data/clinical-ai"),
        ("GET", "secret/metadata/clinical-ai/aws"),
        ("LIST", "secret/metadata/clinical-ai"),
        ("LIST", "secret/metadata"),
        ("DELETE", "secret/data/clinical-ai/aws"),
        ("GET", "database/creds/clinical-ai-reader"),
        ("GET", "sys/mounts"),
        ("GET", "auth/kubernetes/role/clinical-ai-prefect"),
    ] {
        let refused = read(method, path).expect_err(path);
        assert!(refused.starts_with("403"), "{method} {path}: {refused}");
    }
    clinical.cluster().token(NAMESPACE, "another");
    let refused = login(clinical, "another").expect_err("no role is for it");
    assert!(refused.contains("service account name not authorized"), "{refused}");
    clinical.cluster().delete("api/v1/namespaces/clinical-ai/serviceaccounts/another");
    key
}

/// The key opens the plan's two buckets, and no other thing of the account.
pub fn key_opens_two_buckets(clinical: &Clinical, key: &Value) {
    let environment = &clinical.0.environment;
    let root = aws::s3(environment);
    block_on(root.create_bucket().bucket("neighbour").send()).expect("a bucket");
    let (id, secret) = (text_of(&key["aws_access_key_id"]), text_of(&key["aws_secret_access_key"]));
    let credentials = Credentials::new(id, secret, None, None, "worker");
    let config = aws::config_with(&environment.sandbox, credentials, "us-east-1");
    let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
    let s3 = aws_sdk_s3::Client::from_conf(s3.build());
    for bucket in ["clinical-ai-imaging", "clinical-ai-results"] {
        block_on(s3.list_objects_v2().bucket(bucket).send())
            .unwrap_or_else(|error| panic!("{bucket}: {error:?}"));
        let put = s3.put_object().bucket(bucket).key("scan").body(b"pixels".to_vec().into());
        block_on(put.send()).expect("written");
        block_on(s3.get_object().bucket(bucket).key("scan").send()).expect("read");
        block_on(s3.delete_object().bucket(bucket).key("scan").send()).expect("deleted");
        forget_versions(&root, bucket);
        let refused = block_on(s3.delete_bucket().bucket(bucket).send()).expect_err("not its own to delete");
        assert!(format!("{refused:?}").contains("AccessDenied"), "{refused:?}");
    }
    let refused = block_on(s3.list_objects_v2().bucket("neighbour").send()).expect_err("not granted");
    assert!(format!("{refused:?}").contains("AccessDenied"), "{refused:?}");
    let users = block_on(aws_sdk_iam::Client::new(&config).list_users().send());
    assert!(users.is_err(), "{users:?}");
    block_on(root.delete_bucket().bucket("neighbour").send()).expect("gone");
}

/// The worker cannot do that: its bucket keeps what it deletes.
fn forget_versions(root: &aws_sdk_s3::Client, bucket: &str) {
    let listed = block_on(root.list_object_versions().bucket(bucket).send()).expect("versions");
    let versions = listed.versions().iter().map(aws_sdk_s3::types::ObjectVersion::version_id);
    let markers = listed.delete_markers().iter().map(aws_sdk_s3::types::DeleteMarkerEntry::version_id);
    let all: Vec<&str> = versions.chain(markers).flatten().collect();
    assert_eq!(all.len(), 2, "the object and its deletion");
    for version in all {
        let request = root.delete_object().bucket(bucket).key("scan").version_id(version);
        block_on(request.send()).expect("gone");
    }
}
