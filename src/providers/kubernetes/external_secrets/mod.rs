//! The custom resources of the External Secrets Operator: <https://external-secrets.io/latest/api/spec/>.

mod external_secret;
mod push_secret;
mod store;
mod store_provider;

pub use external_secret::ExternalSecret;
pub use push_secret::PushSecret;
pub use store::{ClusterSecretStore, SecretStore};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::address::Api;
use crate::access::Granting;
use crate::resource::Requirement;

const GROUP: &str = "external-secrets.io";
const GRANTS: Granting = Granting::Never("the operator reads with the rights of the store's own login");

/// A version of the operator's API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// The version that current operators serve.
    #[default]
    V1,
    /// The version before it.
    V1beta1,
}

impl Version {
    fn api(self, kind: &str, plural: &str, namespaced: bool) -> Api {
        let version = match self {
            Self::V1 => "v1",
            Self::V1beta1 => "v1beta1",
        };
        Api::new(&format!("{GROUP}/{version}"), kind, plural, namespaced)
    }
}

/// A key of a Secret of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret's name.
    pub name: String,
    /// The key in it.
    pub key: String,
    /// Its namespace, where a cluster's store uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl SecretKey {
    fn json(&self) -> Value {
        json!(self)
    }
}

/// A store that a resource uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum StoreRef {
    /// A store of the same namespace.
    Store(String),
    /// A store of the cluster.
    ClusterStore(String),
}

impl StoreRef {
    fn json(&self) -> Value {
        match self {
            Self::Store(name) => json!({ "kind": "SecretStore", "name": name }),
            Self::ClusterStore(name) => json!({ "kind": "ClusterSecretStore", "name": name }),
        }
    }

    fn requires(&self, namespace: &str) -> Requirement {
        match self {
            Self::Store(name) => Requirement::thing("kubernetes.secret_store", format!("{namespace}/{name}")),
            Self::ClusterStore(name) => Requirement::thing("kubernetes.cluster_secret_store", name),
        }
    }
}
