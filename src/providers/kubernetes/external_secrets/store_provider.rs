//! Where a store's secrets are, and how the operator logs in there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::SecretKey;

/// Where a store's secrets are.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Provider {
    /// Vault or OpenBao: <https://external-secrets.io/latest/provider/hashicorp-vault/>.
    Vault(VaultProvider),
    /// AWS: <https://external-secrets.io/latest/provider/aws-secrets-manager/>.
    Aws(AwsProvider),
    /// Google Secret Manager: <https://external-secrets.io/latest/provider/google-secrets-manager/>.
    Gcp(GcpProvider),
    /// Azure Key Vault: <https://external-secrets.io/latest/provider/azure-key-vault/>.
    Azure(AzureProvider),
}

/// A KV engine of Vault.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultProvider {
    /// Vault's address as the operator's pod reaches it.
    pub server: String,
    /// The engine's mount. Keys are relative to it.
    pub mount: String,
    /// The engine's version.
    #[serde(default = "two")]
    pub kv_version: u8,
    /// Vault's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The certificate of Vault's authority, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<String>,
    /// How the operator logs in.
    pub auth: VaultAuth,
}

const fn two() -> u8 {
    2
}

/// How the operator logs in to Vault.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum VaultAuth {
    /// With the token of a service account.
    Kubernetes(KubernetesLogin),
    /// With a token in a Secret.
    Token(SecretKey),
    /// With an AppRole, whose secret-id is in a Secret.
    Approle(ApproleLogin),
}

/// A login with the token of a service account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesLogin {
    /// The method's path below `auth/`.
    #[serde(default = "kubernetes")]
    pub mount: String,
    /// Vault's role.
    pub role: String,
    /// The service account; `NAMESPACE/NAME` in a store of the cluster.
    pub service_account: String,
    /// The audiences of the requested token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

/// A login with an AppRole.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproleLogin {
    /// The method's path below `auth/`.
    #[serde(default = "approle")]
    pub mount: String,
    /// The role-id.
    pub role_id: String,
    /// Where the secret-id is.
    pub secret_id: SecretKey,
}

fn approle() -> String {
    "approle".to_owned()
}

/// AWS Secrets Manager or the Parameter Store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsProvider {
    /// `SecretsManager` or `ParameterStore`.
    #[serde(default = "secrets_manager")]
    pub service: String,
    /// The region.
    pub region: String,
    /// A role that is assumed after the login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The service account that has the role (IRSA); the operator's own when neither this nor a key is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// An access key in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<AccessKey>,
}

fn secrets_manager() -> String {
    "SecretsManager".to_owned()
}

/// An access key in a Secret.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessKey {
    /// Where its id is.
    pub id: SecretKey,
    /// Where its secret is.
    pub secret: SecretKey,
}

/// Google Secret Manager.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GcpProvider {
    /// The project.
    pub project: String,
    /// The service account of Workload Identity; the operator's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// The cluster's name, for Workload Identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// The cluster's location, for Workload Identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_location: Option<String>,
}

/// Azure Key Vault.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureProvider {
    /// The vault's address, such as `https://NAME.vault.azure.net`.
    pub vault_url: String,
    /// The tenant; the service account's annotation when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The service account of Workload Identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// The client id of a managed identity, instead of a service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_id: Option<String>,
}

/// A reference to a service account, with its namespace where it is given.
fn account(name: &str, audiences: &[String]) -> Value {
    let mut reference = match name.split_once('/') {
        Some((namespace, name)) => json!({ "namespace": namespace, "name": name }),
        None => json!({ "name": name }),
    };
    if !audiences.is_empty() {
        reference["audiences"] = json!(audiences);
    }
    reference
}

/// Adds the values that are given.
fn with(mut object: Value, more: &[(&str, &Option<String>)]) -> Value {
    for (name, value) in more {
        if let Some(value) = value {
            object[*name] = json!(value);
        }
    }
    object
}

impl Provider {
    /// `spec.provider` as the operator reads it.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Vault(vault) => json!({ "vault": vault.json() }),
            Self::Aws(aws) => json!({ "aws": aws.json() }),
            Self::Gcp(gcp) => json!({ "gcpsm": gcp.json() }),
            Self::Azure(azure) => json!({ "azurekv": azure.json() }),
        }
    }

    /// The service account with which it logs in.
    pub(super) fn service_account(&self) -> Option<&str> {
        match self {
            Self::Vault(VaultProvider { auth: VaultAuth::Kubernetes(login), .. }) => {
                Some(&login.service_account)
            }
            Self::Vault(_) => None,
            Self::Aws(aws) => aws.service_account.as_deref(),
            Self::Gcp(gcp) => gcp.service_account.as_deref(),
            Self::Azure(azure) => azure.service_account.as_deref(),
        }
    }
}

impl VaultProvider {
    fn json(&self) -> Value {
        use base64::Engine;
        use base64::prelude::BASE64_STANDARD;

        let ca = self.ca_cert.as_ref().map(|pem| BASE64_STANDARD.encode(pem));
        let auth = match &self.auth {
            VaultAuth::Kubernetes(login) => json!({ "kubernetes": {
                "mountPath": login.mount, "role": login.role,
                "serviceAccountRef": account(&login.service_account, &login.audiences),
            } }),
            VaultAuth::Token(token) => json!({ "tokenSecretRef": token.json() }),
            VaultAuth::Approle(login) => json!({ "appRole": {
                "path": login.mount, "roleId": login.role_id, "secretRef": login.secret_id.json(),
            } }),
        };
        let version = format!("v{}", self.kv_version);
        let vault = json!({ "server": self.server, "path": self.mount, "version": version, "auth": auth });
        with(vault, &[("namespace", &self.namespace), ("caBundle", &ca)])
    }
}

impl AwsProvider {
    fn json(&self) -> Value {
        let mut aws =
            with(json!({ "service": self.service, "region": self.region }), &[("role", &self.role)]);
        if let Some(name) = &self.service_account {
            aws["auth"] = json!({ "jwt": { "serviceAccountRef": account(name, &[]) } });
        } else if let Some(key) = &self.access_key {
            aws["auth"] = json!({ "secretRef": {
                "accessKeyIDSecretRef": key.id.json(), "secretAccessKeySecretRef": key.secret.json(),
            } });
        }
        aws
    }
}

impl GcpProvider {
    fn json(&self) -> Value {
        let mut gcp = json!({ "projectID": self.project });
        if let Some(name) = &self.service_account {
            let identity = json!({ "serviceAccountRef": account(name, &[]) });
            let place = [("clusterName", &self.cluster_name), ("clusterLocation", &self.cluster_location)];
            gcp["auth"] = json!({ "workloadIdentity": with(identity, &place) });
        }
        gcp
    }
}

impl AzureProvider {
    fn json(&self) -> Value {
        let mut azure = Map::new();
        azure.insert("vaultUrl".to_owned(), json!(self.vault_url));
        let auth = if self.service_account.is_some() { "WorkloadIdentity" } else { "ManagedIdentity" };
        azure.insert("authType".to_owned(), json!(auth));
        if let Some(name) = &self.service_account {
            azure.insert("serviceAccountRef".to_owned(), account(name, &[]));
        }
        with(Value::Object(azure), &[("tenantId", &self.tenant_id), ("identityId", &self.identity_id)])
    }
}
