//! Audit devices: <https://openbao.org/api-docs/system/audit/>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::VaultClient;
use super::fields::{self, Fixed};
use super::mount::{check_path, refuse_blocked};
use super::permissions;
use super::prove;
use super::server::takes_audit_by_configuration;
use crate::access::Granting;
use crate::error::{Error, FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::resource::risk::Category::PublicExposure;
use crate::resource::risk::{Category, Deletion, Risks, Severity, fixed, identity, includes, on};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Writer};
use crate::run::{Access, Permission, Use};

/// An audit device.
#[derive(Debug)]
pub struct Audit;

/// The declared fields of an audit device.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditSpec {
    /// Its name. Default: its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `file`, `syslog` or `socket`. Fixed.
    #[serde(rename = "type")]
    pub device: String,
    /// A sentence for people. Fixed.
    #[serde(default)]
    pub description: String,
    /// The device's options, e.g. `file_path` and `mode`. Fixed; the server's configuration decides
    /// undeclared options.
    #[serde(default)]
    pub options: BTreeMap<String, OptionText>,
    /// Not replicated to other clusters. Fixed.
    #[serde(default)]
    pub local: bool,
}

/// An option's value, which the server keeps as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Value")]
pub struct OptionText(#[schemars(with = "Value")] String);

impl From<Value> for OptionText {
    fn from(value: Value) -> Self {
        match value {
            Value::String(text) => Self(text),
            other => Self(other.to_string()),
        }
    }
}

/// A live audit device.
#[derive(Clone, Debug)]
pub struct LiveAudit {
    device: AuditSpec,
    path: String,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditOutputs {
    /// Its name.
    pub path: String,
}

const OWN: [&str; 4] = ["type", "description", "options", "local"];

const WHY: &str = "an audit device cannot be changed; declare a second one with the new options under another \
    path, then remove this one, so that no request goes unlogged";
const FIXED: [Fixed; 3] = [("type", WHY), ("description", WHY), ("local", WHY)];

impl AuditSpec {
    fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.device)
    }

    fn body(&self) -> Value {
        let mut body = fields::fields(self);
        body.remove("path");
        Value::Object(body)
    }

    /// The same device as a stanza of OpenBao's configuration.
    fn stanza(&self) -> String {
        let quote = |text: &str| Value::from(text).to_string();
        let mut lines = format!("audit {} {} {{\n", quote(&self.device), quote(self.path()));
        if !self.description.is_empty() {
            let _ = writeln!(lines, "  description = {}", quote(&self.description));
        }
        if self.local {
            lines.push_str("  local = true\n");
        }
        let mut options: String =
            self.options.iter().map(|(name, value)| format!("    {name} = {}\n", quote(&value.0))).collect();
        if self.device == "file" && !self.options.contains_key("file_path") {
            options.push_str("    file_path = \"/var/log/openbao/audit.log\"\n");
        }
        let _ = write!(lines, "  options {{\n{options}  }}\n}}");
        lines
    }
}

fn live_spec(path: &str, told: &Value) -> Result<AuditSpec> {
    fields::parse(told, &OWN, [("path", json!(path))])
}

impl Resource for Audit {
    const KIND: &'static str = "vault.audit";
    const GRANTS: Granting = Granting::Never("an audit device only records");
    const ABOUT: &'static str = "An audit device, which logs every request. OpenBao accepts it only from its \
        configuration; there this step verifies that it exists.";
    const EXAMPLE: &'static str = "\
audit_log:
  kind: vault.audit
  path: main
  type: file
  options: { file_path: /var/log/openbao/audit.log, mode: \"0600\" }
";
    const DELETION: Deletion = Deletion::new(
        Severity::High,
        Category::ProtectionOff,
        "is deleted: requests are no longer recorded on it",
    );
    const RISKS: Risks = &[&[
        identity("path"),
        fixed("type description local options"),
        on("options.log_raw").high(PublicExposure, "secrets are written to the audit log in the clear"),
        includes("options.hmac_accessor", "false")
            .low(PublicExposure, "accessors of tokens are written to the audit log in the clear"),
    ]];
    const PROOF: Proof = Proof::Tried("a request is made whose entry must be in the log");
    /// The server has audit devices only in its root namespace.
    const NAMESPACED: bool = false;
    const REALM: &'static [&'static str] = &["cluster"];
    const PROTECTED: bool = true;

    type Client = VaultClient;
    type Id = String;
    type Desired = AuditSpec;
    type Observed = LiveAudit;
    type Outputs = AuditOutputs;

    fn id(desired: &AuditSpec) -> String {
        desired.path().to_owned()
    }

    fn check(desired: &AuditSpec) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = check_path(desired.path()).into_iter().collect();
        if !["file", "syslog", "socket", "http"].contains(&desired.device.as_str()) {
            errors.push(
                FieldError::new("type", "is not a type of audit device").help("file, syslog, socket or http"),
            );
        }
        errors
    }

    fn permissions(desired: &AuditSpec, used: Use<'_>) -> Vec<Permission> {
        let path = format!("sys/audit/{}", desired.path());
        match used.access {
            Access::Read => vec![permissions::read("sys/audit"), permissions::sudo("sys/audit")],
            Access::Create => vec![permissions::write(&path), permissions::sudo(path)],
            // Any change is blocked.
            Access::Update => Vec::new(),
            Access::Delete => vec![permissions::delete(&path), permissions::sudo(path)],
            Access::Prove => vec![permissions::write(format!("sys/audit-hash/{}", desired.path()))],
        }
    }

    fn requires(_: &AuditSpec) -> Vec<Requirement> {
        vec![Requirement::Kind("vault.init")]
    }

    async fn observe(client: &VaultClient, id: &String, _: Look<'_, Self>) -> Result<Option<LiveAudit>> {
        let devices = client.audit_devices().await?;
        let Some(told) = devices.get(&format!("{id}/")) else { return Ok(None) };
        Ok(Some(LiveAudit { device: live_spec(id, told)?, path: id.clone() }))
    }

    fn diff(desired: &AuditSpec, observed: &LiveAudit) -> Diff {
        let options = |device: &AuditSpec| AuditSpec { options: BTreeMap::new(), ..device.clone() };
        let mut diff = fields::compare(&options(&observed.device), &options(desired), &FIXED);
        for (name, value) in &desired.options {
            let live = observed.device.options.get(name);
            diff.immutable(&format!("options.{name}"), &live, &Some(value), WHY);
        }
        diff
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &AuditSpec) -> Result<()> {
        let made = w.post(w.permit(), &format!("sys/audit/{}", desired.path()), &desired.body()).await;
        made.map(drop).map_err(|error| explain(error, desired))
    }

    async fn update(_: &Writer<'_, VaultClient>, desired: &AuditSpec, observed: &LiveAudit) -> Result<()> {
        refuse_blocked(&Self::diff(desired, observed), Self::KIND, desired.path())
    }

    async fn delete(w: &Writer<'_, VaultClient>, id: &String) -> Result<()> {
        let gone = w.delete(w.permit(), &format!("sys/audit/{id}")).await;
        gone.map_err(|error| match error.message.contains("configuration-managed") {
            true => error.advice(format!(
                "remove the stanza `audit … \"{id}\"` from the configuration of every server and send it SIGHUP"
            )),
            false => error,
        })
    }

    async fn prove(prover: &Prover<'_, VaultClient>, _: &AuditSpec, observed: &LiveAudit) {
        let file = observed.device.options.get("file_path").map(|OptionText(file)| file.as_str());
        prove::audit::prove(prover, &observed.path, &observed.device.device, file).await;
    }

    fn outputs(observed: &LiveAudit) -> AuditOutputs {
        AuditOutputs { path: observed.path.clone() }
    }

    fn predicted_outputs(desired: &AuditSpec, _: &Realm) -> Partial {
        Partial::default().with("path", desired.path())
    }
}

/// OpenBao accepts audit devices only from its configuration, unless configured otherwise.
fn explain(error: Error, desired: &AuditSpec) -> Error {
    if !takes_audit_by_configuration(&error) {
        return error;
    }
    error.advice(format!(
        "put this into the configuration of every server, send it SIGHUP, and run again:\n\n{}\n",
        desired.stanza()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn spec(value: Value) -> AuditSpec {
        serde_json::from_value(value).expect("valid")
    }

    fn main() -> AuditSpec {
        spec(json!({ "path": "main", "type": "file", "options": { "file_path": "/a.log", "mode": "0600" } }))
    }

    #[test]
    fn api_refusal_advises_the_stanza() {
        let refused = "cannot enable audit device via API; use declarative, config-based audit device management instead";
        let error = explain(Error::new(ErrorKind::Rejected, "POST sys/audit/main", refused), &main());
        let stanza =
            "audit \"file\" \"main\" {\n  options {\n    file_path = \"/a.log\"\n    mode = \"0600\"\n  }\n}";
        assert!(error.advice.is_some_and(|advice| advice.contains(stanza)));
    }

    #[test]
    fn any_difference_is_blocked() {
        let told = json!({ "type": "file", "description": "", "local": false, "path": "main/",
            "options": { "file_path": "/a.log", "mode": "0600" } });
        let live = LiveAudit { device: live_spec("main", &told).expect("valid"), path: "main".to_owned() };
        assert_eq!(Audit::diff(&main(), &live), Diff::none());
        let other = spec(json!({ "path": "main", "type": "file", "options": { "file_path": "/b.log" } }));
        assert_eq!(Audit::diff(&other, &live).blocked[0].path, "options.file_path");
    }
}
