//! The annotations with which an agent injector puts secrets of Vault into pods:
//! <https://developer.hashicorp.com/vault/docs/platform/k8s/injector/annotations>,
//! <https://openbao.org/docs/platform/k8s/injector/annotations>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::document::shown;
use crate::error::FieldError;
use crate::template::unknown::is_unknown;

/// An agent beside the containers of a pod, and the files that it writes for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// Which injector reads the annotations; their names differ.
    #[serde(default)]
    pub injector: Injector,
    /// The role with which the pod's service account logs in.
    pub role: String,
    /// The path of the Kubernetes method below `auth/`.
    #[serde(default = "kubernetes")]
    pub mount: String,
    /// Vault's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Vault's address as pods reach it; the injector's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// A Secret with the certificate of Vault's authority, under the key `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<String>,
    /// A volume of the pod with a service account's token, for a role with an audience of its own. Its file is called
    /// `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_volume: Option<String>,
    /// Write the files once, before the containers start, and keep no agent beside them.
    #[serde(default)]
    pub once: bool,
    /// The files below `/vault/secrets` (`/openbao/secrets`), and the secret in each.
    pub files: BTreeMap<String, AgentFile>,
}

/// Which injector reads the annotations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Injector {
    /// HashiCorp's.
    #[default]
    Vault,
    /// OpenBao's.
    Openbao,
}

/// A file that the agent writes. With neither `field`, `json` nor `template` it has a line for each field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentFile {
    /// The mount of the engine.
    pub mount: String,
    /// The path below the mount, without `data/`.
    pub path: String,
    /// The version of a KV engine; 0 for other engines, such as `database`.
    #[serde(default = "two")]
    pub kv_version: u8,
    /// Write only the value of this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Write all fields as JSON.
    #[serde(default)]
    pub json: bool,
    /// The agent's own template, between `{% raw %}` and `{% endraw %}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The permission bits of the file in octal, such as `"0400"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// A command that the agent runs after each change of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

const fn two() -> u8 {
    2
}

impl Injector {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Vault => "vault.hashicorp.com",
            Self::Openbao => "openbao.openbao.org",
        }
    }

    /// The folder of a `ca_secret` in the agent's container.
    const fn certificates(self) -> &'static str {
        match self {
            Self::Vault => "/vault/tls",
            Self::Openbao => "/openbao/tls",
        }
    }
}

impl AgentFile {
    /// The secret's path in Vault's API.
    fn api_path(&self) -> String {
        let (mount, path) = (self.mount.trim_matches('/'), self.path.trim_matches('/'));
        if self.kv_version == 2 { format!("{mount}/data/{path}") } else { format!("{mount}/{path}") }
    }

    /// The template that writes the file; the injector's own when absent.
    fn template(&self) -> Option<String> {
        let fields = if self.kv_version == 2 { ".Data.data" } else { ".Data" };
        let value = match (&self.field, self.json) {
            (Some(field), _) => format!("index {fields} {}", json!(field)),
            (None, true) => format!("{fields} | toJSON"),
            (None, false) => return self.template.clone(),
        };
        let path = json!(self.api_path());
        Some(format!("{{{{- with secret {path} -}}}}{{{{ {value} }}}}{{{{- end }}}}"))
    }

    fn check(&self, at: &str) -> Vec<FieldError> {
        let forms = [self.field.is_some(), self.json, self.template.is_some()];
        let several = forms.into_iter().filter(|form| *form).count() > 1;
        let several = several.then(|| {
            FieldError::new(at, "has more than one of `field`, `json` and `template`")
                .help("declare one of them")
        });
        let version = (self.kv_version > 2).then(|| {
            FieldError::new(format!("{at}.kv_version"), "is not a version of KV").help("write 2, 1 or 0")
        });
        let is_api_path = self.kv_version == 2 && self.path.starts_with("data/");
        let api_path = is_api_path.then(|| {
            FieldError::new(format!("{at}.path"), "begins with `data/`, which is added by itself")
                .help(format!("write `{}`", self.path.trim_start_matches("data/")))
        });
        several.into_iter().chain(version).chain(api_path).collect()
    }
}

impl AgentSpec {
    /// The annotations of the pod.
    pub fn annotations(&self) -> Map<String, Value> {
        let mut all = Map::new();
        let mut put = |name: &str, value: &str| {
            all.insert(format!("{}/{name}", self.injector.prefix()), Value::from(value));
        };
        put("agent-inject", "true");
        put("role", &self.role);
        put("auth-path", &format!("auth/{}", self.mount.trim_matches('/')));
        if self.once {
            put("agent-pre-populate-only", "true");
        }
        // Otherwise the names of the files are in lowercase.
        put("preserve-secret-case", "true");
        let optional = [
            ("namespace", &self.namespace),
            ("service", &self.address),
            ("tls-secret", &self.ca_secret),
            ("agent-service-account-token-volume-name", &self.token_volume),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                put(name, value);
            }
        }
        if self.ca_secret.is_some() {
            put("ca-cert", &format!("{}/ca.crt", self.injector.certificates()));
        }
        for (name, file) in &self.files {
            put(&format!("agent-inject-secret-{name}"), &file.api_path());
            let of_file = [
                ("template", file.template()),
                ("perms", file.mode.clone()),
                ("command", file.command.clone()),
            ];
            for (what, value) in of_file {
                if let Some(value) = value {
                    put(&format!("agent-inject-{what}-{name}"), &value);
                }
            }
        }
        all
    }

    /// Adds the annotations to the pods of an object.
    pub fn annotate(&self, object: &mut Value) {
        let Some(metadata) = pod_metadata(object) else { return };
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.extend(self.annotations());
        }
    }

    /// Mistakes of a declared agent for the object of this name among all of a manifest.
    pub fn check(&self, name: &str, objects: &[Value]) -> Vec<FieldError> {
        let at = format!("agents.{name}");
        let mut found: Vec<FieldError> = self
            .files
            .iter()
            .flat_map(|(file, declared)| {
                let wrong =
                    file.is_empty() || !file.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
                let wrong = wrong.then(|| {
                    FieldError::new(format!("{at}.files.{file}"), "is not the name of a file")
                        .help("use letters, digits, `-`, `_` and `.`")
                });
                wrong.into_iter().chain(declared.check(&format!("{at}.files.{file}"))).collect::<Vec<_>>()
            })
            .collect();
        if self.files.is_empty() {
            found.push(FieldError::new(format!("{at}.files"), "is empty").help("declare at least one file"));
        }
        // The name of an object may depend on a step that is not there yet.
        let is_known = |object: &Value| !is_unknown(&shown(object));
        match objects.iter().find(|object| shown(object) == name) {
            Some(object) => found.extend(self.misplaced(&at, object)),
            None if objects.iter().all(is_known) && !is_unknown(name) => {
                let all: Vec<String> = objects.iter().map(shown).collect();
                let mistake = FieldError::new(&at, "is not an object of this manifest");
                found.push(mistake.help(format!("write KIND/NAME of one of: {}", all.join(", "))));
            }
            None => {}
        }
        found
    }

    fn misplaced(&self, at: &str, object: &Value) -> Option<FieldError> {
        let mut object = object.clone();
        let Some(metadata) = pod_metadata(&mut object) else {
            let mistake = FieldError::new(at, "has no template of pods");
            return Some(mistake.help("name a Pod, or what makes pods, such as a Deployment"));
        };
        let prefix = format!("{}/", self.injector.prefix());
        let annotations = metadata.get("annotations").and_then(Value::as_object);
        let own = annotations.into_iter().flatten().find(|(name, _)| name.starts_with(&prefix));
        own.map(|(name, _)| {
            FieldError::new(at, format!("has the annotation `{name}` in its manifest, too"))
                .help("declare one of the two")
        })
    }
}

/// The metadata of the pods that an object makes, or of the pod that it is.
fn pod_metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let pods = match object["kind"].as_str()? {
        "Pod" => object,
        "CronJob" => object.pointer_mut("/spec/jobTemplate/spec/template")?,
        _ => object.pointer_mut("/spec/template")?,
    };
    pods.as_object_mut()?.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(more: Value) -> AgentSpec {
        let mut declared =
            json!({ "role": "worker", "files": { "aws": { "mount": "secret", "path": "team/aws" } } });
        declared.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(declared).expect("valid")
    }

    fn annotation(spec: &AgentSpec, name: &str) -> Value {
        spec.annotations().get(name).cloned().unwrap_or_default()
    }

    #[test]
    fn annotations_have_the_injectors_names() {
        let vault = spec(json!({ "ca_secret": "vault-ca", "once": true }));
        assert_eq!(annotation(&vault, "vault.hashicorp.com/agent-inject"), "true");
        assert_eq!(annotation(&vault, "vault.hashicorp.com/auth-path"), "auth/kubernetes");
        assert_eq!(annotation(&vault, "vault.hashicorp.com/agent-inject-secret-aws"), "secret/data/team/aws");
        assert_eq!(annotation(&vault, "vault.hashicorp.com/ca-cert"), "/vault/tls/ca.crt");
        assert!(annotation(&vault, "vault.hashicorp.com/agent-inject-template-aws").is_null());
        let bao = spec(json!({ "injector": "openbao" }));
        assert_eq!(annotation(&bao, "openbao.openbao.org/role"), "worker");
    }

    #[test]
    fn templates_read_one_field_or_all() {
        let of = |more: Value| {
            let mut file = json!({ "mount": "secret", "path": "team/aws" });
            file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let spec = spec(json!({ "files": { "x": file } }));
            annotation(&spec, "vault.hashicorp.com/agent-inject-template-x").as_str().unwrap().to_owned()
        };
        let field = r#"{{- with secret "secret/data/team/aws" -}}{{ index .Data.data "key-id" }}{{- end }}"#;
        assert_eq!(of(json!({ "field": "key-id" })), field);
        let all = r#"{{- with secret "secret/team/aws" -}}{{ .Data | toJSON }}{{- end }}"#;
        assert_eq!(of(json!({ "json": true, "kv_version": 1 })), all);
    }

    #[test]
    fn pods_of_every_workload_are_annotated() {
        let template = json!({ "metadata": { "annotations": { "a": "b" } } });
        for (mut object, at) in [
            (json!({ "kind": "Pod", "metadata": { "name": "x" } }), "/metadata"),
            (json!({ "kind": "StatefulSet", "spec": { "template": {} } }), "/spec/template/metadata"),
            (
                json!({ "kind": "CronJob", "spec": { "jobTemplate": { "spec": { "template": template } } } }),
                "/spec/jobTemplate/spec/template/metadata",
            ),
        ] {
            spec(json!({})).annotate(&mut object);
            let annotations = &object.pointer(at).expect("metadata")["annotations"];
            assert_eq!(annotations["vault.hashicorp.com/role"], "worker", "{object}");
        }
    }

    #[test]
    fn mistakes_name_the_object_and_the_file() {
        let deployment =
            json!({ "kind": "Deployment", "metadata": { "name": "w" }, "spec": { "template": {} } });
        let map = json!({ "kind": "ConfigMap", "metadata": { "name": "w" } });
        let objects = [deployment, map];
        let mistakes = |name: &str, more: Value| {
            let found = spec(more).check(name, &objects);
            found
                .into_iter()
                .map(|mistake| format!("{}: {}", mistake.path, mistake.message))
                .collect::<Vec<_>>()
        };
        assert_eq!(mistakes("Deployment/w", json!({})), [""; 0]);
        assert_eq!(mistakes("ConfigMap/w", json!({})), ["agents.ConfigMap/w: has no template of pods"]);
        assert_eq!(mistakes("Job/w", json!({})), ["agents.Job/w: is not an object of this manifest"]);
        let wrong =
            json!({ "files": { "a": { "mount": "s", "path": "data/x", "json": true, "field": "y" } } });
        let found = mistakes("Deployment/w", wrong);
        assert!(
            found.len() == 2 && found[0].starts_with("agents.Deployment/w.files.a: has more than one"),
            "{found:?}"
        );
    }
}
