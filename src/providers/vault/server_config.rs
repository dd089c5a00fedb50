//! `vault.server_config`: the configuration file of a server, rendered and compared as HCL.
//! <https://openbao.org/docs/configuration/>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fields;
use super::hcl::{Document, parse, value_of};
use crate::access::Granting;
use crate::confined_path;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::file::Files;
use crate::resource::risk::Category::{BroaderGrant, Destination, ProtectionOff, PublicExposure};
use crate::resource::risk::{LABELS, Risks, becomes, changed, gone, identity, on, safe, turned_on};
use crate::resource::{Diff, Look, Partial, Resource, Writer};

/// The configuration file of a server.
#[derive(Debug)]
pub struct ServerConfig;

/// The declared configuration. It does not contain secrets: those of a seal come from the server's
/// environment.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerConfigSpec {
    /// The file's path, relative to the plan's folder and inside it.
    pub path: String,
    /// The URL at which clients reach this node.
    pub api_addr: String,
    /// The URL at which the other nodes reach this one.
    pub cluster_addr: String,
    /// A name for the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Whether the server provides its web UI.
    #[serde(default)]
    pub ui: bool,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    #[serde(default = "info")]
    pub log_level: String,
    /// The maximum TTL of tokens and leases, unless a mount sets another one, e.g. `768h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lease_ttl: Option<String>,
    /// The default TTL of tokens and leases, unless a mount sets another one, e.g. `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_lease_ttl: Option<String>,
    /// The folder of plugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_directory: Option<String>,
    /// Whether memory may be swapped out; required where the server may not lock it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_mlock: Option<bool>,
    /// The storage of the data, and the other nodes.
    pub raft: Raft,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The automatic unsealing; when absent, it is unsealed by hand or by this program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// Telemetry settings, by the server's own names, e.g. `prometheus_retention_time`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub telemetry: Map<String, Value>,
    /// Audit devices by name. OpenBao only: on HashiCorp Vault, use `vault.audit` steps.
    #[serde(default)]
    pub audit: Vec<AuditStanza>,
}

/// Integrated storage.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raft {
    /// The folder of the data.
    pub path: String,
    /// The node's name.
    pub node_id: String,
    /// 1 detects a lost node fastest; 5 and more are for slow networks. The server's default when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_multiplier: Option<u64>,
    /// How often the leader checks which nodes may become voters, e.g. `10s`. The server's default
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autopilot_reconcile_interval: Option<String>,
    /// How often the leader checks the health of the nodes, e.g. `2s`. The server's default when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autopilot_update_interval: Option<String>,
    /// The other nodes.
    #[serde(default)]
    pub retry_join: Vec<RetryJoin>,
}

/// Another node, which may be the leader.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the server's names")]
pub struct RetryJoin {
    /// Its URL.
    pub leader_api_addr: String,
    /// The file with the CA certificate of that node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_ca_cert_file: Option<String>,
    /// The file with this node's client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_client_cert_file: Option<String>,
    /// The file with the certificate's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_client_key_file: Option<String>,
    /// The server name in that node's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_tls_servername: Option<String>,
}

/// A TCP listener.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Host and port for clients.
    pub address: String,
    /// Host and port for other nodes. The server's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_address: Option<String>,
    /// Use plain HTTP.
    #[serde(default)]
    pub tls_disable: bool,
    /// The file with the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_cert_file: Option<String>,
    /// The file with the certificate's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_key_file: Option<String>,
    /// The file with the CA of clients' certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_ca_file: Option<String>,
    /// `tls12` or `tls13`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_min_version: Option<String>,
    /// Networks whose header `X-Forwarded-For` is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x_forwarded_for_authorized_addrs: Option<String>,
}

/// An auto-unseal seal; exactly one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum Seal {
    /// A key of AWS KMS. Its credentials come from the server's environment.
    Awskms(AwsKms),
    /// The transit engine of another Vault. Its token comes from `VAULT_TOKEN` of the server.
    Transit(TransitSeal),
    /// A key given to the server. OpenBao only.
    Static(StaticSeal),
}

/// A key of AWS KMS.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsKms {
    /// The region.
    pub region: String,
    /// The key's id, ARN or alias, e.g. `{{ unseal_key.arn }}`.
    pub kms_key_id: String,
    /// The endpoint of KMS; AWS itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The seal is there only to move away from it: `groundwork restart PLAN --migrate-seal`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// A key of another Vault's transit engine.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransitSeal {
    /// The other Vault's URL.
    pub address: String,
    /// The key's name.
    pub key_name: String,
    /// The engine's path there, with a trailing slash.
    pub mount_path: String,
    /// The namespace there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The file with the CA of the other Vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca_cert: Option<String>,
    /// The server does not renew the token.
    #[serde(default)]
    pub disable_renewal: bool,
    /// The seal is there only to move away from it: `groundwork restart PLAN --migrate-seal`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// A key given to the server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticSeal {
    /// The key's name, which distinguishes it from later keys.
    pub current_key_id: String,
    /// Where the server reads it from: `file:///PATH` or `env://NAME`. Never the key itself.
    pub current_key: String,
    /// The name of the previous key, during a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_key_id: Option<String>,
    /// Where the server reads the previous key from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_key: Option<String>,
    /// The seal is there only to move away from it: `groundwork restart PLAN --migrate-seal`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// A declared audit device.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditStanza {
    /// The type: `file`, `syslog` or `socket`.
    #[serde(rename = "type")]
    pub device: String,
    /// Its path, without a trailing slash.
    pub name: String,
    /// Its options, e.g. `file_path` and `mode`.
    #[serde(default)]
    pub options: std::collections::BTreeMap<String, String>,
}

fn info() -> String {
    "info".to_owned()
}

/// The live file.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    path: String,
    /// `None` when it is not valid HCL.
    content: Option<Value>,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServerConfigOutputs {
    /// The path, relative to the plan's folder.
    pub path: String,
}

/// Only its owner may read a server's configuration.
const MODE: u32 = 0o600;

impl ServerConfigSpec {
    /// The file's text.
    fn render(&self) -> String {
        let mut all = fields::fields(self);
        all.retain(|name, _| {
            !["path", "raft", "listeners", "seal", "telemetry", "audit"].contains(&name.as_str())
        });
        let mut document = Document::default();
        document.fields(&all);
        document.block("storage", &["raft"], |block| block.fields(&fields::fields(&self.raft)));
        for listener in &self.listeners {
            document.block("listener", &["tcp"], |block| block.fields(&fields::fields(listener)));
        }
        write_seal(&mut document, self.seal.as_ref());
        if !self.telemetry.is_empty() {
            document.block("telemetry", &[], |block| block.fields(&self.telemetry));
        }
        for audit in &self.audit {
            document.block("audit", &[&audit.device, &audit.name], |block| {
                block.block("options", &[], |options| options.fields(&fields::fields(&audit.options)));
            });
        }
        document.into_text()
    }
}

/// The stanza of a seal.
pub(super) fn write_seal(document: &mut Document, seal: Option<&Seal>) {
    let seal = seal.map(fields::fields).unwrap_or_default();
    for (kind, seal) in seal.iter().filter_map(|(kind, seal)| Some((kind, seal.as_object()?))) {
        document.block("seal", &[kind], |block| block.fields(seal));
    }
}

/// A text's meaning: without spaces, comments and the order of named entries.
fn meaning(text: &str) -> Option<Value> {
    parse(text).ok().map(|items| value_of(&items))
}

/// Whether a value is a location from which the server reads a key, and not the key.
fn is_place(value: &str) -> bool {
    ["file://", "env://"].iter().any(|scheme| value.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
}

/// Keys that a seal has itself, and not only where they are.
pub(super) fn keys_in_the_plan(seal: Option<&Seal>) -> Vec<FieldError> {
    let Some(Seal::Static(seal)) = seal else { return Vec::new() };
    let keys = [("current_key", Some(&seal.current_key)), ("previous_key", seal.previous_key.as_ref())];
    let keys = keys.into_iter().filter(|(_, key)| key.is_some_and(|key| !is_place(key)));
    let help = "use `file:///PATH` or `env://NAME`, from which the server reads it";
    keys.map(|(name, _)| FieldError::new(format!("seal.static.{name}"), "is a key in the plan").help(help))
        .collect()
}

/// Why a listener without TLS is a risk.
const PLAIN_HTTP: &str = "tokens and secrets travel in the clear (`tls_disable`)";

fn write(w: &Writer<'_, Files>, desired: &ServerConfigSpec) -> Result<()> {
    let text = desired.render();
    confined_path::replace(&w.folder, &desired.path, text.as_bytes(), MODE)
        .map_err(|error| Error::new(ErrorKind::Local, format!("write {}", desired.path), error.to_string()))
}

impl Resource for ServerConfig {
    const KIND: &'static str = "vault.server_config";
    const GRANTS: Granting = Granting::Never("a file for a server");
    const ABOUT: &'static str =
        "The configuration file of a Vault server: storage, listeners, seal, telemetry and audit.";
    const EXAMPLE: &'static str = "\
node_1:
  kind: vault.server_config
  path: rendered/vault-1.hcl
  api_addr: https://vault-1.example.internal:8200
  cluster_addr: https://vault-1.example.internal:8201
  raft:
    path: /var/lib/openbao
    node_id: vault-1
    retry_join:
      - leader_api_addr: https://vault-2.example.internal:8200
        leader_ca_cert_file: /etc/openbao/ca.pem
  listeners:
    - address: 0.0.0.0:8200
      tls_cert_file: /etc/openbao/server.pem
      tls_key_file: /etc/openbao/server-key.pem
  seal:
    awskms: { region: us-east-1, kms_key_id: alias/vault-unseal }
  telemetry: { prometheus_retention_time: 24h, disable_hostname: true }
  audit:
    - type: file
      name: file
      options: { file_path: /var/log/openbao/audit.log }
";
    const RISKS: Risks = &[&[
        identity("path"),
        changed("api_addr cluster_addr")
            .low(Destination, "clients or other nodes look for it at another address (`{field}`)"),
        safe("cluster_name", LABELS),
        turned_on("ui").low(PublicExposure, "its web UI can be reached"),
        becomes("log_level", "trace debug").low(PublicExposure, "its log has details of requests"),
        changed("max_lease_ttl default_lease_ttl")
            .low(BroaderGrant, "tokens last for another time (`{field}`)"),
        changed("plugin_directory").medium(BroaderGrant, "programs of another folder can run as plugins"),
        turned_on("disable_mlock").low(ProtectionOff, "memory with keys may be written to disk"),
        safe("raft", "the file names it `storage`, which is judged"),
        changed("storage")
            .live()
            .medium(Destination, "the data is kept elsewhere, or other nodes are joined"),
        on("listeners.tls_disable").high(PublicExposure, PLAIN_HTTP),
        on("listener.tcp.tls_disable").live().high(PublicExposure, PLAIN_HTTP),
        changed("listener")
            .live()
            .medium(Destination, "clients are let in at another address, or in another way"),
        changed("seal")
            .high(Destination, "unseals with another key: what was sealed before must be migrated"),
        changed("telemetry").low(PublicExposure, "metrics go elsewhere, or to others"),
        gone("audit").high(ProtectionOff, "requests are no longer recorded"),
        changed("audit").medium(ProtectionOff, "requests are recorded elsewhere, or in another way"),
        changed("mode").live().low(PublicExposure, "other users of the machine may read it, or no longer"),
    ]];
    const PROOF: Proof =
        Proof::InSync("the file is as declared; the server that it is for reads it when it starts");
    const HOLDS_VALUES: bool = true;

    type Client = Files;
    type Id = String;
    type Desired = ServerConfigSpec;
    type Observed = LiveConfig;
    type Outputs = ServerConfigOutputs;

    fn id(desired: &ServerConfigSpec) -> String {
        desired.path.clone()
    }

    fn check(desired: &ServerConfigSpec) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(why) = confined_path::mistake_in_writing(&desired.path) {
            errors.push(FieldError::new("path", "a plan cannot write this file").help(why));
        }
        if desired.listeners.is_empty() {
            errors.push(FieldError::new("listeners", "is empty"));
        }
        for (index, listener) in desired.listeners.iter().enumerate() {
            let files = listener.tls_cert_file.is_some() && listener.tls_key_file.is_some();
            if listener.tls_disable == files {
                let message = "needs `tls_cert_file` and `tls_key_file`, or `tls_disable: true`";
                errors.push(FieldError::new(format!("listeners[{index}]"), message));
            }
        }
        errors.extend(keys_in_the_plan(desired.seal.as_ref()));
        errors
    }

    async fn observe(client: &Files, path: &String, _: Look<'_, Self>) -> Result<Option<LiveConfig>> {
        let failed =
            |error: std::io::Error| Error::new(ErrorKind::Local, format!("read {path}"), error.to_string());
        let Some((bytes, mode)) = confined_path::read_output(&client.folder, path).map_err(failed)? else {
            return Ok(None);
        };
        let mut content = meaning(&String::from_utf8_lossy(&bytes));
        if let Some(Value::Object(fields)) = &mut content {
            fields.insert("mode".to_owned(), json!(format!("{mode:04o}")));
        }
        Ok(Some(LiveConfig { path: path.clone(), content }))
    }

    fn diff(desired: &ServerConfigSpec, observed: &LiveConfig) -> Diff {
        let declared = meaning(&desired.render()).unwrap_or_default();
        let mut declared = declared.as_object().cloned().unwrap_or_default();
        declared.insert("mode".to_owned(), json!(format!("{MODE:04o}")));
        let live = observed.content.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
        let mut diff = Diff::none();
        for (name, after) in &declared {
            diff.content(name, live.get(name).unwrap_or(&Value::Null), after);
        }
        for (name, before) in live.iter().filter(|(name, _)| !declared.contains_key(*name)) {
            diff.content(name, before, &Value::Null);
        }
        diff
    }

    async fn create(w: &Writer<'_, Files>, desired: &ServerConfigSpec) -> Result<()> {
        w.refuse_existing(&desired.path)?;
        write(w, desired)
    }

    async fn update(w: &Writer<'_, Files>, desired: &ServerConfigSpec, _: &LiveConfig) -> Result<()> {
        write(w, desired)
    }

    async fn delete(w: &Writer<'_, Files>, path: &String) -> Result<()> {
        w.remove(w.permit(), path)
    }

    fn outputs(observed: &LiveConfig) -> ServerConfigOutputs {
        ServerConfigOutputs { path: observed.path.clone() }
    }

    fn predicted_outputs(desired: &ServerConfigSpec, _: &Realm) -> Partial {
        Partial::default().with("path", &desired.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(more: Value) -> ServerConfigSpec {
        let mut fields = json!({
            "path": "vault.hcl", "api_addr": "https://a:8200", "cluster_addr": "https://a:8201",
            "raft": { "path": "/data", "node_id": "a", "retry_join": [{ "leader_api_addr": "https://b:8200" }] },
            "listeners": [{ "address": "0.0.0.0:8200", "tls_disable": true }],
        });
        for (name, value) in more.as_object().expect("fields") {
            fields[name] = value.clone();
        }
        serde_json::from_value(fields).expect("valid")
    }

    fn paths(declared: &ServerConfigSpec, text: &str) -> Vec<String> {
        let mut content = meaning(text);
        if let Some(Value::Object(fields)) = &mut content {
            fields.insert("mode".to_owned(), json!("0600"));
        }
        let live = LiveConfig { path: "vault.hcl".to_owned(), content };
        ServerConfig::diff(declared, &live).changes.into_iter().map(|change| change.path).collect()
    }

    #[test]
    fn rendered_stanzas_have_the_servers_names() {
        let declared = spec(json!({
            "seal": { "awskms": { "region": "us-east-1", "kms_key_id": "alias/unseal" } },
            "audit": [{ "type": "file", "name": "log", "options": { "file_path": "/log" } }],
            "telemetry": { "disable_hostname": true },
        }));
        let text = declared.render();
        for stanza in [
            "storage \"raft\" {",
            "retry_join {",
            "listener \"tcp\" {",
            "seal \"awskms\" {",
            "telemetry {",
            "audit \"file\" \"log\" {",
            "options {",
        ] {
            assert!(text.contains(stanza), "{stanza} is not in\n{text}");
        }
        assert!(paths(&declared, &text).is_empty());
    }

    #[test]
    fn only_changed_meaning_is_a_difference() {
        let declared = spec(json!({}));
        let text = declared.render();
        let spaced = format!("# By hand\n\n{}", text.replace("  ", "\t "));
        assert!(paths(&declared, &spaced).is_empty());
        assert_eq!(paths(&declared, &text.replace("/data", "/other")), ["storage"]);
        assert_eq!(
            paths(&declared, &format!("{text}\nraw_storage_endpoint = true\n")),
            ["raw_storage_endpoint"]
        );
        assert!(paths(&declared, "no { hcl").contains(&"storage".to_owned()));
    }

    #[test]
    fn key_in_the_plan_is_refused() {
        let seal = |key: &str| {
            let declared =
                spec(json!({ "seal": { "static": { "current_key_id": "1", "current_key": key } } }));
            ServerConfig::check(&declared).into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        assert_eq!(seal("aGVsbG8="), ["seal.static.current_key"]);
        assert!(seal("env://SEAL_KEY").is_empty());
    }
}
