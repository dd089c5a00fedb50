//! The state of the servers, read without the tool, without what differs from run to run.

use aws_credential_types::Credentials;
use serde_json::{Map, Value, json};

use super::scene::Scene;
use crate::aws::{config_with, credentials};

macro_rules! client {
    ($service:ident, $scene:expr) => {
        client!($service, $scene, credentials($scene.sandbox()))
    };
    ($service:ident, $scene:expr, $credentials:expr) => {
        $service::Client::new(&config_with($scene.sandbox(), $credentials, "us-east-1"))
    };
}

/// Everything that a plan makes, of the kinds that the sweep's plans have.
pub async fn take(scene: &Scene) -> Value {
    let vault = Vault::of(scene);
    let mut users = users(scene).await;
    if let Some(vault) = &vault {
        for (name, user) in &mut users {
            user["delivered_key_works"] = json!(delivered(scene, vault, name).await);
        }
    }
    let vault = match vault {
        Some(vault) => vault.state().await,
        None => Value::Null,
    };
    json!({ "kms": kms(scene).await, "users": users, "roles": roles(scene).await,
            "buckets": buckets(scene).await, "tables": tables(scene).await, "vault": vault })
}

/// Makes an access key as a person does; gives its id.
pub async fn make_access_key(scene: &Scene, user: &str) -> String {
    let made = client!(aws_sdk_iam, scene).create_access_key().user_name(user).send().await;
    made.expect("made").access_key.expect("a key").access_key_id
}

/// The paths at which two states differ.
pub fn differences(wanted: &Value, found: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare("", wanted, found, &mut paths);
    paths
}

fn compare(path: &str, wanted: &Value, found: &Value, paths: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let (a, b) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
                compare(&format!("{path}/{name}"), a, b, paths);
            }
        }
        (a, b) if a == b => {}
        (a, b) => paths.push(format!("{path} is {b}, not {a}")),
    }
}

/// Each KMS key: its aliases, description and state.
pub async fn kms(scene: &Scene) -> Value {
    let client = client!(aws_sdk_kms, scene);
    let aliases = client.list_aliases().send().await.expect("aliases");
    let mut keys = Vec::new();
    for key in client.list_keys().send().await.expect("keys").keys() {
        let id = key.key_id().expect("an id");
        let told = client.describe_key().key_id(id).send().await.expect("a key").key_metadata;
        let told = told.expect("metadata");
        let names: Vec<&str> = aliases
            .aliases()
            .iter()
            .filter(|alias| alias.target_key_id() == Some(id))
            .filter_map(|alias| alias.alias_name())
            .collect();
        let state = told.key_state.map(|state| state.as_str().to_owned());
        keys.push(json!([names, told.description, state]).to_string());
    }
    keys.sort();
    json!(keys)
}

async fn users(scene: &Scene) -> Map<String, Value> {
    let client = client!(aws_sdk_iam, scene);
    let mut users = Map::new();
    for user in client.list_users().send().await.expect("users").users() {
        let name = user.user_name();
        let keys = client.list_access_keys().user_name(name).send().await.expect("keys");
        let mut states: Vec<&str> =
            keys.access_key_metadata().iter().filter_map(|key| Some(key.status()?.as_str())).collect();
        states.sort_unstable();
        let policies = client.list_user_policies().user_name(name).send().await.expect("policies");
        users.insert(name.to_owned(), json!({ "keys": states, "policies": policies.policy_names() }));
    }
    users
}

async fn roles(scene: &Scene) -> Value {
    let client = client!(aws_sdk_iam, scene);
    let mut roles = Map::new();
    for role in client.list_roles().send().await.expect("roles").roles() {
        let policies =
            client.list_role_policies().role_name(role.role_name()).send().await.expect("policies");
        roles.insert(role.role_name().to_owned(), json!([role.description(), policies.policy_names()]));
    }
    Value::Object(roles)
}

async fn buckets(scene: &Scene) -> Value {
    let client = client!(aws_sdk_s3, scene);
    let client = aws_sdk_s3::Client::from_conf(client.config().to_builder().force_path_style(true).build());
    let mut buckets = Map::new();
    for bucket in client.list_buckets().send().await.expect("buckets").buckets() {
        let name = bucket.name().expect("a name");
        let versioning = client.get_bucket_versioning().bucket(name).send().await.ok();
        let versioning = versioning.and_then(|told| told.status).map(|status| status.as_str().to_owned());
        let policy = client.get_bucket_policy().bucket(name).send().await.is_ok();
        let blocked = client.get_public_access_block().bucket(name).send().await.is_ok();
        buckets.insert(name.to_owned(), json!([versioning, policy, blocked]));
    }
    Value::Object(buckets)
}

async fn tables(scene: &Scene) -> Value {
    json!(client!(aws_sdk_dynamodb, scene).list_tables().send().await.expect("tables").table_names())
}

/// Whether the pair that Vault has for `user` is the user's.
async fn delivered(scene: &Scene, vault: &Vault, user: &str) -> bool {
    let leaf = user.rsplit('-').next().unwrap_or(user);
    for path in ["app/aws".to_owned(), format!("app/{leaf}")] {
        let kept = vault.get(&format!("secret/data/{path}")).await["data"]["data"].clone();
        if let (Some(id), Some(secret)) =
            (kept["aws_access_key_id"].as_str(), kept["aws_secret_access_key"].as_str())
        {
            let told = client!(aws_sdk_sts, scene, Credentials::new(id, secret, None, None, "test"))
                .get_caller_identity()
                .send()
                .await;
            if told.is_ok_and(|told| told.arn().is_some_and(|arn| arn.ends_with(&format!("/{user}")))) {
                return true;
            }
        }
    }
    false
}

/// Vault, asked with the token that the tool used last.
struct Vault {
    http: reqwest::Client,
    address: String,
    token: String,
}

impl Vault {
    fn of(scene: &Scene) -> Option<Self> {
        let address = scene.sandbox().vault_addrs().first()?.clone();
        Some(Self { http: reqwest::Client::new(), address, token: scene.wire.token()? })
    }

    async fn ask(&self, method: &str, path: &str) -> Value {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.http.request(method, format!("{}/v1/{path}", self.address));
        let answer = request.header("x-vault-token", &self.token).send().await.expect("an answer");
        serde_json::from_str(&answer.text().await.expect("text")).unwrap_or_default()
    }

    async fn get(&self, path: &str) -> Value {
        self.ask("GET", path).await
    }

    async fn names(&self, path: &str) -> Vec<String> {
        let told = self.ask("LIST", path).await;
        let names = told["data"]["keys"].as_array().cloned().unwrap_or_default();
        names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    async fn state(&self) -> Value {
        let types = |told: Value| {
            let all = told["data"].as_object().cloned().unwrap_or_default();
            all.into_iter()
                .map(|(name, one)| (name, json!([one["type"], one["options"]])))
                .collect::<Map<_, _>>()
        };
        let (mut policies, mut roles, mut secrets) = (Map::new(), Map::new(), Map::new());
        for name in self.names("sys/policies/acl").await {
            policies.insert(
                name.clone(),
                self.get(&format!("sys/policies/acl/{name}")).await["data"]["policy"].clone(),
            );
        }
        for name in self.names("auth/approle/role").await {
            roles.insert(name.clone(), self.get(&format!("auth/approle/role/{name}")).await["data"].clone());
        }
        for name in self.names("secret/metadata/app").await {
            let metadata = self.get(&format!("secret/metadata/app/{name}")).await["data"].clone();
            let data = self.get(&format!("secret/data/app/{name}")).await["data"]["data"].clone();
            let fields: Vec<String> =
                data.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
            secrets.insert(name, json!([metadata["current_version"], metadata["custom_metadata"], fields]));
        }
        json!({ "mounts": types(self.get("sys/mounts").await), "auth": types(self.get("sys/auth").await),
                "policies": policies, "roles": roles, "secrets": secrets })
    }
}
