//! Secrets that the Secrets Store CSI driver mounts into pods:
//! <https://secrets-store-csi-driver.sigs.k8s.io/concepts#secretproviderclass>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::address::Api;
use super::meta::{META_RISKS, Meta, object_spec};
use super::object::{Kube, KubeObject};
use crate::access::Granting;
use crate::error::FieldError;
use crate::resource::risk::Category::Destination;
use crate::resource::risk::{Risks, changed, safe};

/// The secrets that the Secrets Store CSI driver mounts.
pub type SecretProviderClass = Kube<SecretProviderClassSpec>;

object_spec! {
    /// The declared fields of a class.
    pub struct SecretProviderClassSpec in a namespace {
        /// Where the secrets are.
        pub backend: CsiProvider,
        /// The provider's parameters, such as `vaultAddress` and `roleName`, or `region`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub parameters: BTreeMap<String, String>,
        /// The secrets, each in the provider's own words: for Vault `objectName`, `secretPath` (with `data/`) and
        /// `secretKey`.
        pub objects: Vec<BTreeMap<String, Value>>,
        /// Secrets of the cluster that the driver makes of them while a pod has them mounted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub secret_objects: Vec<SyncedSecret>,
    }
}

/// A provider of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CsiProvider {
    /// Vault: <https://developer.hashicorp.com/vault/docs/platform/k8s/csi/configurations>.
    Vault,
    /// AWS: <https://github.com/aws/secrets-store-csi-driver-provider-aws>.
    Aws,
    /// Azure: <https://azure.github.io/secrets-store-csi-driver-provider-azure/docs/getting-started/usage/>.
    Azure,
    /// Google: <https://github.com/GoogleCloudPlatform/secrets-store-csi-driver-provider-gcp>.
    Gcp,
}

/// A Secret that the driver makes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncedSecret {
    /// The Secret's name.
    pub name: String,
    /// Its type.
    #[serde(default = "opaque")]
    pub r#type: String,
    /// Its keys and the `objectName` of each value.
    pub data: BTreeMap<String, String>,
}

fn opaque() -> String {
    "Opaque".to_owned()
}

impl CsiProvider {
    /// The parameter with the secrets: a text in YAML, of which JSON is a part.
    fn objects(self, objects: &[BTreeMap<String, Value>]) -> (&'static str, String) {
        match self {
            Self::Vault | Self::Aws => ("objects", json!(objects).to_string()),
            Self::Gcp => ("secrets", json!(objects).to_string()),
            Self::Azure => {
                let texts: Vec<String> = objects.iter().map(|object| json!(object).to_string()).collect();
                ("objects", json!({ "array": texts }).to_string())
            }
        }
    }
}

impl KubeObject for SecretProviderClassSpec {
    const KIND: &'static str = "kubernetes.secret_provider_class";
    const ABOUT: &'static str =
        "A SecretProviderClass: the secrets that the Secrets Store CSI driver mounts into pods.";
    const EXAMPLE: &'static str = "\
mounted:
  kind: kubernetes.secret_provider_class
  namespace: payments
  name: database
  backend: vault
  parameters: { vaultAddress: https://vault.example.internal:8200, roleName: payments }
  objects:
    - { objectName: password, secretPath: secret/data/payments/database, secretKey: password }
";
    const GRANTS: Granting = Granting::Never("the driver reads with the rights of the pod's own login");
    const RISKS: Risks = &[
        META_RISKS,
        &[
            changed("backend parameters objects").low(Destination, "pods get secrets from another place"),
            safe("secret_objects", "it says which of the mounted secrets are also Secrets"),
        ],
    ];
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("spec.provider", "backend"),
        ("spec.parameters.objects", "objects"),
        ("spec.parameters.secrets", "objects"),
        ("spec.parameters", "parameters"),
        ("spec.secretObjects", "secret_objects"),
    ];

    fn api(&self) -> Api {
        Api::new("secrets-store.csi.x-k8s.io/v1", "SecretProviderClass", "secretproviderclasses", true)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        let (name, objects) = self.backend.objects(&self.objects);
        let mut parameters = json!(self.parameters);
        parameters[name] = Value::from(objects);
        let mut spec = json!({ "provider": self.backend, "parameters": parameters });
        if !self.secret_objects.is_empty() {
            let secret = |synced: &SyncedSecret| {
                let data: Vec<Value> = synced
                    .data
                    .iter()
                    .map(|(key, object)| json!({ "key": key, "objectName": object }))
                    .collect();
                json!({ "secretName": synced.name, "type": synced.r#type, "data": data })
            };
            spec["secretObjects"] = Value::Array(self.secret_objects.iter().map(secret).collect());
        }
        Map::from_iter([("spec".to_owned(), spec)])
    }

    fn check(&self) -> Vec<FieldError> {
        let (name, _) = self.backend.objects(&[]);
        let twice = self.parameters.contains_key(name);
        let twice = twice.then(|| FieldError::new(format!("parameters.{name}"), "is made of `objects`"));
        let empty = self.objects.is_empty().then(|| FieldError::new("objects", "is empty"));
        twice.into_iter().chain(empty).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_a_text_in_the_form_of_each_provider() {
        let objects = [BTreeMap::from([("objectName".to_owned(), json!("a"))])];
        assert_eq!(CsiProvider::Vault.objects(&objects), ("objects", r#"[{"objectName":"a"}]"#.to_owned()));
        assert_eq!(CsiProvider::Gcp.objects(&objects).0, "secrets");
        let (_, azure) = CsiProvider::Azure.objects(&objects);
        assert_eq!(azure, r#"{"array":["{\"objectName\":\"a\"}"]}"#);
    }
}
