//! Pushed secrets: <https://external-secrets.io/latest/api/pushsecret/>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::address::Api;
use super::super::meta::{META_RISKS, Meta, object_spec};
use super::super::object::{Kube, KubeObject};
use super::{GRANTS, GROUP, StoreRef};
use crate::access::Granting;
use crate::error::FieldError;
use crate::resource::Requirement;
use crate::resource::risk::Category::Destination;
use crate::resource::risk::{Risks, changed, safe};

/// A Secret that the operator copies into stores.
pub type PushSecret = Kube<PushSecretSpec>;

object_spec! {
    /// The declared fields of a pushed secret.
    pub struct PushSecretSpec in a namespace {
        /// The stores: `{ store: NAME }`, or `{ cluster_store: NAME }`.
        pub to: Vec<StoreRef>,
        /// The Secret of the namespace that is copied.
        pub secret: String,
        /// The keys of the Secret and where in the stores they go.
        pub data: BTreeMap<String, PushedKey>,
        /// How often they are copied.
        #[serde(default = "hourly")]
        pub refresh: String,
        /// The fate of the copies when it is deleted: `None` or `Delete`. The operator's default when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub deletion_policy: Option<String>,
    }
}

fn hourly() -> String {
    "1h".to_owned()
}

/// A place in a store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushedKey {
    /// The secret's name; in Vault its path below the mount, without `data/`.
    pub key: String,
    /// The field in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
}

impl KubeObject for PushSecretSpec {
    const KIND: &'static str = "kubernetes.push_secret";
    const ABOUT: &'static str =
        "A PushSecret of External Secrets: a Secret that the operator copies into stores.";
    const EXAMPLE: &'static str = "\
export:
  kind: kubernetes.push_secret
  namespace: payments
  name: export
  to: [{ store: vault }]
  secret: database
  data: { password: { key: payments/exported, property: password } }
";
    const GRANTS: Granting = GRANTS;
    const RISKS: Risks = &[
        META_RISKS,
        &[
            changed("to secret data").low(Destination, "values go to another place"),
            safe("refresh deletion_policy", "it says when copies are made and when they go"),
        ],
    ];
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("spec.secretStoreRefs", "to"),
        ("spec.selector.secret.name", "secret"),
        ("spec.refreshInterval", "refresh"),
        ("spec.deletionPolicy", "deletion_policy"),
        ("spec.data", "data"),
    ];

    fn api(&self) -> Api {
        Api::new(&format!("{GROUP}/v1alpha1"), "PushSecret", "pushsecrets", true)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        let remote = |pushed: &PushedKey| {
            let mut remote = json!({ "remoteKey": pushed.key });
            if let Some(property) = &pushed.property {
                remote["property"] = json!(property);
            }
            remote
        };
        let data: Vec<Value> = self
            .data
            .iter()
            .map(|(key, pushed)| json!({ "match": { "secretKey": key, "remoteRef": remote(pushed) } }))
            .collect();
        let stores: Vec<Value> = self.to.iter().map(StoreRef::json).collect();
        let mut spec = json!({
            "refreshInterval": self.refresh, "secretStoreRefs": stores,
            "selector": { "secret": { "name": self.secret } }, "data": data,
        });
        if let Some(policy) = &self.deletion_policy {
            spec["deletionPolicy"] = json!(policy);
        }
        Map::from_iter([("spec".to_owned(), spec)])
    }

    fn check(&self) -> Vec<FieldError> {
        let lists = [("to", self.to.is_empty()), ("data", self.data.is_empty())];
        lists
            .into_iter()
            .filter(|(_, empty)| *empty)
            .map(|(field, _)| FieldError::new(field, "is empty"))
            .collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        let secret = Requirement::thing("kubernetes.secret", format!("{}/{}", self.namespace, self.secret));
        self.to.iter().map(|store| store.requires(&self.namespace)).chain([secret]).collect()
    }
}
