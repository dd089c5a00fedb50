//! Stores: <https://external-secrets.io/latest/api/secretstore/>.

use serde_json::{Map, Value, json};

use super::super::address::Api;
use super::super::meta::{META_RISKS, Meta, object_spec};
use super::super::object::{Kube, KubeObject};
use super::store_provider::Provider;
use super::{GRANTS, Version};
use crate::access::Granting;
use crate::error::FieldError;
use crate::resource::Requirement;
use crate::resource::risk::Category::Destination;
use crate::resource::risk::{FieldRisk, Risks, changed, safe};
use crate::template::unknown::is_unknown;

/// A store of a namespace.
pub type SecretStore = Kube<SecretStoreSpec>;
/// A store of the cluster.
pub type ClusterSecretStore = Kube<ClusterSecretStoreSpec>;

const STORE_RISKS: &[FieldRisk] = &[
    safe("version", "both versions are of the same object"),
    changed("backend").low(Destination, "secrets come from another place, or with another login"),
];
const FIELDS: &[(&str, &str)] = &[("spec.provider", "backend")];

object_spec! {
    /// The declared fields of a store.
    pub struct SecretStoreSpec in a namespace {
        /// The version of the operator's API.
        #[serde(default)]
        pub version: Version,
        /// Where the secrets are, and how the operator logs in there.
        pub backend: Provider,
    }
}

object_spec! {
    /// The declared fields of a store of the cluster.
    pub struct ClusterSecretStoreSpec of the cluster {
        /// The version of the operator's API.
        #[serde(default)]
        pub version: Version,
        /// Where the secrets are, and how the operator logs in there.
        pub backend: Provider,
    }
}

fn content(provider: &Provider) -> Map<String, Value> {
    Map::from_iter([("spec".to_owned(), json!({ "provider": provider.json() }))])
}

impl KubeObject for SecretStoreSpec {
    const KIND: &'static str = "kubernetes.secret_store";
    const ABOUT: &'static str = "A SecretStore of External Secrets: where secrets of a namespace come from.";
    const EXAMPLE: &'static str = "\
vault_store:
  kind: kubernetes.secret_store
  namespace: payments
  name: vault
  backend:
    vault:
      server: https://vault.example.internal:8200
      mount: secret
      auth: { kubernetes: { role: payments, service_account: worker } }
";
    const GRANTS: Granting = GRANTS;
    const RISKS: Risks = &[META_RISKS, STORE_RISKS];
    const FIELDS: &'static [(&'static str, &'static str)] = FIELDS;

    fn api(&self) -> Api {
        self.version.api("SecretStore", "secretstores", true)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        content(&self.backend)
    }

    fn requires(&self) -> Vec<Requirement> {
        let account = self.backend.service_account();
        let id = |name: &str| {
            if name.contains('/') { name.to_owned() } else { format!("{}/{name}", self.namespace) }
        };
        account.map(|name| Requirement::thing("kubernetes.service_account", id(name))).into_iter().collect()
    }
}

impl KubeObject for ClusterSecretStoreSpec {
    const KIND: &'static str = "kubernetes.cluster_secret_store";
    const ABOUT: &'static str =
        "A ClusterSecretStore of External Secrets: where secrets of any namespace come from.";
    const EXAMPLE: &'static str = "\
azure_store:
  kind: kubernetes.cluster_secret_store
  name: azure
  backend:
    azure: { vault_url: https://payments.vault.azure.net, service_account: external-secrets/reader }
";
    const GRANTS: Granting = GRANTS;
    const RISKS: Risks = &[META_RISKS, STORE_RISKS];
    const FIELDS: &'static [(&'static str, &'static str)] = FIELDS;

    fn api(&self) -> Api {
        self.version.api("ClusterSecretStore", "clustersecretstores", false)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        content(&self.backend)
    }

    fn check(&self) -> Vec<FieldError> {
        let account = self.backend.service_account().filter(|name| !name.contains('/') && !is_unknown(name));
        let mistake = |name: &str| {
            FieldError::new("backend", format!("the service account `{name}` has no namespace"))
                .help("write it as NAMESPACE/NAME: a store of the cluster is in none")
        };
        account.map(mistake).into_iter().collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        let account = self.backend.service_account();
        account.map(|name| Requirement::thing("kubernetes.service_account", name)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vault_store_becomes_what_the_operator_reads() {
        let declared = json!({ "name": "v", "namespace": "team", "version": "v1beta1", "backend": { "vault": {
            "server": "https://v", "mount": "secret", "ca_cert": "PEM",
            "auth": { "kubernetes": { "role": "r", "service_account": "worker", "audiences": ["vault"] } },
        } } });
        let spec: SecretStoreSpec = serde_json::from_value(declared).expect("valid");
        assert_eq!(spec.api().version, "external-secrets.io/v1beta1");
        let vault = &spec.content()["spec"]["provider"]["vault"];
        assert_eq!(
            (&vault["path"], &vault["version"], &vault["caBundle"]),
            (&json!("secret"), &json!("v2"), &json!("UEVN"))
        );
        let login = &vault["auth"]["kubernetes"];
        assert_eq!(login["serviceAccountRef"], json!({ "name": "worker", "audiences": ["vault"] }));
        assert_eq!(spec.requires(), [Requirement::thing("kubernetes.service_account", "team/worker")]);
    }

    #[test]
    fn store_of_the_cluster_names_the_namespace_of_its_account() {
        let mistakes = |account: &str| {
            let declared = json!({ "name": "a", "backend": { "azure": { "vault_url": "https://a", "service_account": account } } });
            let spec: ClusterSecretStoreSpec = serde_json::from_value(declared).expect("valid");
            KubeObject::check(&spec).len()
        };
        assert_eq!((mistakes("reader"), mistakes("team/reader")), (1, 0));
    }
}
