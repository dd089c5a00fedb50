//! The values of the Helm charts that install a Vault cluster, its agent injector and its CSI provider:
//! <https://developer.hashicorp.com/vault/docs/platform/k8s/helm/configuration>,
//! <https://openbao.org/docs/platform/k8s/helm/configuration>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::hcl::Document;
use super::server_config::{Seal, keys_in_the_plan, write_seal};
use crate::error::FieldError;
use crate::providers::file::{Documents, YamlFile};
use crate::providers::leaves;
use crate::resource::risk::Category::{Destination, PublicExposure};
use crate::resource::risk::{Risks, changed, identity, on, safe};
use crate::template::unknown::is_unknown;

/// A file with such values.
pub type HelmValues = YamlFile<HelmValuesSpec>;

/// The declared values. They do not contain secrets: the chart keeps its configuration in a ConfigMap.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HelmValuesSpec {
    /// The file's path, relative to the plan's folder and inside it.
    pub path: String,
    /// Which chart reads them.
    #[serde(default)]
    pub chart: Chart,
    /// The name of the servers and of what belongs to them; the chart's own name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A Vault that stands elsewhere: no servers are installed, only what leads pods to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_address: Option<String>,
    /// How many servers there are.
    #[serde(default = "three")]
    pub replicas: u8,
    /// A Secret with `tls.crt`, `tls.key` and `ca.crt`, with which the servers speak TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<String>,
    /// Use plain HTTP.
    #[serde(default)]
    pub tls_disable: bool,
    /// The automatic unsealing; when absent, the servers are unsealed by hand or by this program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// The IAM role of the servers, by ARN (IRSA), such as one that may use the key of `seal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_role: Option<String>,
    /// Environment variables of the servers, and the key of a Secret that each has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_environment: BTreeMap<String, SecretKey>,
    /// The volume of each server.
    #[serde(default)]
    pub storage: Storage,
    /// A volume of each server for audit logs, mounted at `/vault/audit` (`/openbao/audit`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_storage: Option<Storage>,
    /// `requests` and `limits` of each server, as Kubernetes has them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub resources: Map<String, Value>,
    /// Whether the servers provide their web UI.
    #[serde(default)]
    pub ui: bool,
    /// Whether the agent injector is installed.
    #[serde(default = "yes")]
    pub injector: bool,
    /// Whether the provider for the Secrets Store CSI driver is installed.
    #[serde(default)]
    pub csi: bool,
    /// Further values, by the chart's own names. They cannot replace those that follow from other fields.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub more: Map<String, Value>,
}

/// A chart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Chart {
    /// `openbao/openbao`.
    #[default]
    Openbao,
    /// `hashicorp/vault`.
    Vault,
}

/// A key of a Secret.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret's name.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// A volume.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Its size.
    #[serde(default = "ten_gibibytes")]
    pub size: String,
    /// Its storage class; the cluster's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: ten_gibibytes(), class: None }
    }
}

fn ten_gibibytes() -> String {
    "10Gi".to_owned()
}

const fn three() -> u8 {
    3
}

const fn yes() -> bool {
    true
}

/// The most servers that share the data; more only slow each other down.
const MOST: u8 = 7;

impl Chart {
    /// Its name, which is also that of its folders in the containers.
    const fn name(self) -> &'static str {
        match self {
            Self::Openbao => "openbao",
            Self::Vault => "vault",
        }
    }

    /// The value for a server that stands elsewhere.
    const fn external(self) -> &'static str {
        match self {
            Self::Openbao => "externalBaoAddr",
            Self::Vault => "externalVaultAddr",
        }
    }
}

impl Storage {
    fn values(&self, folder: String) -> Value {
        let mut values = json!({ "enabled": true, "size": self.size, "mountPath": folder });
        if let Some(class) = &self.class {
            values["storageClass"] = json!(class);
        }
        values
    }
}

impl HelmValuesSpec {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.chart.name())
    }

    /// A folder in the servers' containers.
    fn folder(&self, name: &str) -> String {
        format!("/{}/{name}", self.chart.name())
    }

    fn certificate(&self, file: &str) -> String {
        self.folder(&format!("tls/{file}"))
    }

    /// The servers' configuration. Each server finds the others by the names that their pods have.
    fn config(&self) -> String {
        let scheme = if self.tls_disable { "http" } else { "https" };
        let mut document = Document::default();
        document.attribute("ui", &json!(self.ui));
        document.block("listener", &["tcp"], |block| {
            block.attribute("address", &json!("[::]:8200"));
            block.attribute("cluster_address", &json!("[::]:8201"));
            if self.tls_disable {
                block.attribute("tls_disable", &json!(true));
            } else {
                block.attribute("tls_cert_file", &json!(self.certificate("tls.crt")));
                block.attribute("tls_key_file", &json!(self.certificate("tls.key")));
            }
        });
        document.block("storage", &["raft"], |block| {
            block.attribute("path", &json!(self.folder("data")));
            for number in 0..self.replicas {
                block.block("retry_join", &[], |peer| {
                    let name = self.name();
                    let address = format!("{scheme}://{name}-{number}.{name}-internal:8200");
                    peer.attribute("leader_api_addr", &json!(address));
                    if !self.tls_disable {
                        peer.attribute("leader_ca_cert_file", &json!(self.certificate("ca.crt")));
                    }
                });
            }
        });
        document.block("service_registration", &["kubernetes"], |_| {});
        write_seal(&mut document, self.seal.as_ref());
        document.into_text()
    }

    fn server(&self) -> Value {
        let raft = json!({ "enabled": true, "setNodeId": true, "config": self.config() });
        let mut server = json!({
            "enabled": true,
            "standalone": { "enabled": false },
            "ha": { "enabled": true, "replicas": self.replicas, "raft": raft },
            "dataStorage": self.storage.values(self.folder("data")),
        });
        if let Some(storage) = &self.audit_storage {
            server["auditStorage"] = storage.values(self.folder("audit"));
        }
        if let Some(secret) = &self.tls_secret {
            server["volumes"] = json!([{ "name": "tls", "secret": { "secretName": secret } }]);
            server["volumeMounts"] =
                json!([{ "name": "tls", "mountPath": self.folder("tls"), "readOnly": true }]);
            // The command line in the pod speaks to its own server.
            server["extraEnvironmentVars"] = json!({ self.ca_variable(): self.certificate("ca.crt") });
        }
        if let Some(role) = &self.aws_role {
            server["serviceAccount"] = json!({ "annotations": { "eks.amazonaws.com/role-arn": role } });
        }
        if !self.secret_environment.is_empty() {
            let of_secret = |(name, secret): (&String, &SecretKey)| json!({ "envName": name, "secretName": secret.name, "secretKey": secret.key });
            server["extraSecretEnvironmentVars"] = self.secret_environment.iter().map(of_secret).collect();
        }
        if !self.resources.is_empty() {
            server["resources"] = json!(self.resources);
        }
        server
    }

    const fn ca_variable(&self) -> &'static str {
        match self.chart {
            Chart::Openbao => "BAO_CACERT",
            Chart::Vault => "VAULT_CACERT",
        }
    }

    /// The values that follow from the fields, without `more`.
    fn own(&self) -> Value {
        let mut values = json!({
            "fullnameOverride": self.name(),
            "global": { "tlsDisable": self.tls_disable },
            "injector": { "enabled": self.injector },
            "csi": { "enabled": self.csi },
        });
        match &self.external_address {
            Some(address) => {
                values["global"][self.chart.external()] = json!(address);
                values["server"] = json!({ "enabled": false });
            }
            None => {
                values["server"] = self.server();
                values["ui"] = json!({ "enabled": self.ui });
            }
        }
        values
    }

    fn values(&self) -> Value {
        let mut values = self.own();
        merge(&mut values, &self.more);
        values
    }

    /// Fields that mean nothing without servers.
    fn of_servers(&self) -> Vec<FieldError> {
        let declared = [
            ("tls_secret", self.tls_secret.is_some()),
            ("seal", self.seal.is_some()),
            ("aws_role", self.aws_role.is_some()),
            ("secret_environment", !self.secret_environment.is_empty()),
            ("audit_storage", self.audit_storage.is_some()),
            ("resources", !self.resources.is_empty()),
            ("ui", self.ui),
        ];
        let without = declared.into_iter().filter(|(_, is_declared)| *is_declared);
        let help = "leave it out, or leave out `external_address`";
        without
            .map(|(field, _)| FieldError::new(field, "is for servers, of which none is installed").help(help))
            .collect()
    }
}

/// Adds values beside those that are there.
fn merge(values: &mut Value, more: &Map<String, Value>) {
    let Some(all) = values.as_object_mut() else { return };
    for (name, value) in more {
        match (all.get_mut(name), value) {
            (Some(there @ Value::Object(_)), Value::Object(more)) => merge(there, more),
            (Some(_), _) => {}
            (None, value) => {
                all.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Whether further values are in the way of those that are there.
fn clashes(values: &Value, more: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
    for (name, value) in more {
        let path = leaves::below(path, name);
        match (values.get(name), value) {
            (None, _) => {}
            (Some(there @ Value::Object(_)), Value::Object(more)) => clashes(there, more, &path, found),
            (Some(_), _) => found.push(path),
        }
    }
}

impl Documents for HelmValuesSpec {
    const KIND: &'static str = "vault.helm_values";
    const ABOUT: &'static str = "A file with the values of the Helm chart of OpenBao or Vault: servers, agent injector, CSI provider.";
    const EXAMPLE: &'static str = "\
chart_values:
  kind: vault.helm_values
  path: rendered/openbao-values.yaml
  tls_secret: openbao-tls
  seal:
    awskms: { region: us-east-1, kms_key_id: alias/vault-unseal }
  aws_role: arn:aws:iam::123456789012:role/vault
  audit_storage: { size: 20Gi }
";
    const RISKS: Risks = &[&[
        identity("path"),
        safe("chart name replicas secret_environment storage audit_storage resources", JUDGED),
        safe("tls_secret seal aws_role ui injector csi more external_address", JUDGED),
        on("tls_disable").high(PublicExposure, "tokens and secrets travel in the clear (`tls_disable`)"),
        changed("values").live().low(Destination, "the next upgrade of the release changes the cluster"),
        changed("mode").live().low(PublicExposure, "other users of the machine may change it, or no longer"),
    ]];

    fn path(&self) -> &str {
        &self.path
    }

    fn check(&self) -> Vec<FieldError> {
        let mut found = Vec::new();
        if self.external_address.is_some() {
            found.extend(self.of_servers());
        } else if self.tls_disable == self.tls_secret.is_some() {
            found.push(FieldError::new("tls_secret", "is needed, or `tls_disable: true`"));
        }
        if !(1..=MOST).contains(&self.replicas) {
            let help = format!("write 1 to {MOST}; 3 and 5 survive the loss of servers");
            found.push(FieldError::new("replicas", "is not a number of servers").help(help));
        }
        if let Some(name) = self.name.as_ref().filter(|name| !is_unknown(name)) {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 50 || !name.chars().all(is_plain) {
                let help = "lowercase letters, digits and `-`, at most 50";
                found.push(FieldError::new("name", "cannot be the name of pods").help(help));
            }
        }
        found.extend(keys_in_the_plan(self.seal.as_ref()));
        let mut twice = Vec::new();
        clashes(&self.own(), &self.more, "", &mut twice);
        found.extend(twice.into_iter().map(|path| {
            FieldError::new(format!("more.{path}"), "follows from another field")
                .help("declare that field instead")
        }));
        found
    }

    fn documents(&self) -> Vec<Value> {
        vec![self.values()]
    }

    fn name(_: &Value) -> String {
        "values".to_owned()
    }
}

const JUDGED: &str = "it is shown and judged among the values";

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(more: Value) -> HelmValuesSpec {
        let mut declared = json!({ "path": "values.yaml", "tls_secret": "tls" });
        declared.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        declared.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        serde_json::from_value(declared).expect("valid")
    }

    #[test]
    fn servers_find_each_other_and_their_certificates() {
        let spec = spec(json!({ "seal": { "awskms": { "region": "eu-west-1", "kms_key_id": "alias/x" } } }));
        let values = spec.values();
        let config = values["server"]["ha"]["raft"]["config"].as_str().expect("text");
        for words in [
            "leader_api_addr = \"https://openbao-2.openbao-internal:8200\"",
            "leader_ca_cert_file = \"/openbao/tls/ca.crt\"",
            "path = \"/openbao/data\"",
            "service_registration \"kubernetes\" {",
            "seal \"awskms\" {",
        ] {
            assert!(config.contains(words), "{words}: {config}");
        }
        assert!(super::super::hcl::parse(config).is_ok());
        assert_eq!(values["server"]["volumes"][0]["secret"]["secretName"], "tls");
        assert_eq!(values["global"]["tlsDisable"], false);
    }

    #[test]
    fn charts_differ_in_folders_and_names() {
        let vault = spec(json!({ "chart": "vault", "name": "secrets", "replicas": 1 })).values();
        assert_eq!(vault["fullnameOverride"], "secrets");
        assert_eq!(vault["server"]["dataStorage"]["mountPath"], "/vault/data");
        assert!(
            vault["server"]["ha"]["raft"]["config"].as_str().unwrap().contains("secrets-0.secrets-internal")
        );
        let address = json!({ "tls_secret": null, "external_address": "https://v", "chart": "vault" });
        let elsewhere = spec(address).values();
        assert_eq!(elsewhere["global"]["externalVaultAddr"], "https://v");
        assert_eq!(elsewhere["server"], json!({ "enabled": false }));
    }

    #[test]
    fn further_values_stand_beside_and_never_replace() {
        let more = json!({ "more": { "server": { "nodeSelector": { "a": "b" }, "ha": { "replicas": 9 } } } });
        let spec = spec(more);
        assert_eq!(spec.values()["server"]["nodeSelector"]["a"], "b");
        assert_eq!(spec.values()["server"]["ha"]["replicas"], 3);
        let paths: Vec<String> = spec.check().into_iter().map(|mistake| mistake.path).collect();
        assert_eq!(paths, ["more.server.ha.replicas"]);
    }

    #[test]
    fn contradictions_are_mistakes() {
        let paths =
            |more: Value| spec(more).check().into_iter().map(|mistake| mistake.path).collect::<Vec<_>>();
        assert_eq!(paths(json!({})), [""; 0]);
        assert_eq!(paths(json!({ "tls_disable": true })), ["tls_secret"]);
        assert_eq!(paths(json!({ "tls_secret": null })), ["tls_secret"]);
        assert_eq!(paths(json!({ "external_address": "https://v" })), ["tls_secret"]);
        assert_eq!(paths(json!({ "replicas": 8, "name": "A b" })), ["replicas", "name"]);
    }
}
