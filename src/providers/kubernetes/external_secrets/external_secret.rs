//! External secrets: <https://external-secrets.io/latest/api/externalsecret/>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::address::Api;
use super::super::config_map::key_mistake;
use super::super::meta::{META_RISKS, Meta, object_spec};
use super::super::object::{Kube, KubeObject};
use super::{GRANTS, StoreRef, Version};
use crate::access::Granting;
use crate::error::FieldError;
use crate::resource::Requirement;
use crate::resource::risk::Category::Destination;
use crate::resource::risk::{Risks, changed, safe};
use crate::template::unknown::is_unknown;

/// A Secret that the operator keeps as a store has it.
pub type ExternalSecret = Kube<ExternalSecretSpec>;

object_spec! {
    /// The declared fields of an external secret.
    pub struct ExternalSecretSpec in a namespace {
        /// The version of the operator's API.
        #[serde(default)]
        pub version: Version,
        /// The store: `{ store: NAME }`, or `{ cluster_store: NAME }`.
        pub from: StoreRef,
        /// The name of the Secret that it makes. Default: its own name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub target: Option<String>,
        /// The type of that Secret. Default: `Opaque`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub target_type: Option<String>,
        /// How often the store is asked.
        #[serde(default = "hourly")]
        pub refresh: String,
        /// The keys of the Secret and where in the store their values are.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub data: BTreeMap<String, RemoteRef>,
        /// Secrets of the store of which every field becomes a key.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub extract: Vec<String>,
        /// The fate of the Secret when it is no longer in the store: `Retain`, `Delete` or `Merge`. The operator's
        /// default when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub deletion_policy: Option<String>,
    }
}

fn hourly() -> String {
    "1h".to_owned()
}

/// A value in a store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteRef {
    /// The secret's name; in Vault its path below the mount, without `data/`.
    pub key: String,
    /// The field in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// The version; the latest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl ExternalSecretSpec {
    fn target(&self) -> Value {
        let name = self.target.as_ref().unwrap_or(&self.name);
        let mut target = json!({ "name": name });
        if let Some(secret_type) = &self.target_type {
            target["template"] = json!({ "type": secret_type });
        }
        if let Some(policy) = &self.deletion_policy {
            target["deletionPolicy"] = json!(policy);
        }
        target
    }
}

/// What is wrong with a key of a store.
fn remote_mistake(path: &str, key: &str) -> Option<FieldError> {
    let is_api_path = key.split('/').nth(1) == Some("data");
    (is_api_path && !is_unknown(key)).then(|| {
        let rest = key.splitn(3, '/').nth(2).unwrap_or_default();
        FieldError::new(path, "names the mount and `data/`, which the operator adds itself")
            .help(format!("write only the path below the mount: `{rest}`"))
    })
}

impl KubeObject for ExternalSecretSpec {
    const KIND: &'static str = "kubernetes.external_secret";
    const ABOUT: &'static str =
        "An ExternalSecret of External Secrets: a Secret that the operator keeps as a store has it.";
    const EXAMPLE: &'static str = "\
database:
  kind: kubernetes.external_secret
  namespace: payments
  name: database
  from: { store: vault }
  data:
    password: { key: payments/database, property: password }
";
    const GRANTS: Granting = GRANTS;
    const RISKS: Risks = &[
        META_RISKS,
        &[
            safe("version", "both versions are of the same object"),
            changed("from data extract").low(Destination, "the Secret gets values from another place"),
            safe(
                "target target_type refresh deletion_policy",
                "it says what the Secret is like, not what is in it",
            ),
        ],
    ];
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("spec.secretStoreRef", "from"),
        ("spec.refreshInterval", "refresh"),
        ("spec.target.name", "target"),
        ("spec.target.template.type", "target_type"),
        ("spec.target.deletionPolicy", "deletion_policy"),
        ("spec.dataFrom", "extract"),
        ("spec.data", "data"),
    ];

    fn api(&self) -> Api {
        self.version.api("ExternalSecret", "externalsecrets", true)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        let mut spec = json!({
            "refreshInterval": self.refresh, "secretStoreRef": self.from.json(), "target": self.target(),
        });
        if !self.data.is_empty() {
            let data = self.data.iter().map(|(key, remote)| json!({ "secretKey": key, "remoteRef": remote }));
            spec["data"] = Value::Array(data.collect());
        }
        if !self.extract.is_empty() {
            let all = self.extract.iter().map(|key| json!({ "extract": { "key": key } }));
            spec["dataFrom"] = Value::Array(all.collect());
        }
        Map::from_iter([("spec".to_owned(), spec)])
    }

    fn check(&self) -> Vec<FieldError> {
        let keys = self.data.keys().filter_map(|key| key_mistake("data", key));
        let remote = self
            .data
            .iter()
            .filter_map(|(key, remote)| remote_mistake(&format!("data.{key}.key"), &remote.key));
        let extract = self.extract.iter().enumerate();
        let extract = extract.filter_map(|(index, key)| remote_mistake(&format!("extract[{index}]"), key));
        let empty = self.data.is_empty() && self.extract.is_empty();
        let empty = empty.then(|| FieldError::new("data", "is empty").help("declare keys, or `extract`"));
        keys.chain(remote).chain(extract).chain(empty).collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![self.from.requires(&self.namespace)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(data: Value) -> ExternalSecretSpec {
        let declared = json!({ "name": "s", "namespace": "team", "from": { "store": "v" }, "data": data });
        serde_json::from_value(declared).expect("valid")
    }

    #[test]
    fn remote_keys_are_relative_to_the_mount() {
        let mistakes = |key: &str| KubeObject::check(&spec(json!({ "a": { "key": key } })));
        assert!(mistakes("clinical-ai/aws").is_empty());
        let found = mistakes("secret/data/clinical-ai/aws").remove(0);
        assert!(found.help.is_some_and(|help| help.contains("`clinical-ai/aws`")));
    }

    #[test]
    fn keys_become_remote_references() {
        let content = spec(json!({ "a": { "key": "x", "property": "p" } })).content();
        assert_eq!(
            content["spec"]["data"],
            json!([{ "secretKey": "a", "remoteRef": { "key": "x", "property": "p" } }])
        );
        assert_eq!(content["spec"]["secretStoreRef"], json!({ "kind": "SecretStore", "name": "v" }));
        assert_eq!(content["spec"]["target"]["name"], "s");
    }
}
