//! A secret-id as the manifest of a Kubernetes Secret, for `kubectl apply` or a pipeline.
//! <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::error::FieldError;
use crate::secret::Fields;

/// The manifest of a Kubernetes Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// A file inside the plan's folder, as YAML, readable only by its owner. Keep it out of version
    /// control.
    pub file: String,
    /// The Secret's name.
    pub name: String,
    /// The Kubernetes namespace that it is for. When absent, the client that applies it chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels of the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Manifest {
    /// Names that Kubernetes does not take.
    pub(super) fn check(&self) -> Vec<FieldError> {
        let namespace = self.namespace.as_deref().map(|name| ("deliver.kubernetes_manifest.namespace", name));
        let names = [("deliver.kubernetes_manifest.name", self.name.as_str())].into_iter().chain(namespace);
        let wrong = names.filter(|(_, name)| !is_dns_name(name));
        let help = "use lower-case letters, digits, `-` and `.`, with a letter or digit at both ends";
        wrong.map(|(path, _)| FieldError::new(path, "is not a Kubernetes name").help(help)).collect()
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({ "name": self.name });
        if let Some(namespace) = &self.namespace {
            metadata["namespace"] = json!(namespace);
        }
        if !self.labels.is_empty() {
            metadata["labels"] = json!(self.labels);
        }
        metadata
    }

    /// The manifest with these values.
    pub(super) fn render(&self, fields: &Fields) -> Zeroizing<Vec<u8>> {
        let mut text = String::with_capacity(4096);
        text.push_str("apiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata:\n");
        // Text in JSON is text in YAML.
        for (name, value) in self.metadata().as_object().into_iter().flatten() {
            let _ = writeln!(text, "  {name}: {value}");
        }
        text.push_str("data:\n");
        for (name, value) in fields {
            let encoded = Zeroizing::new(STANDARD.encode(value.expose_bytes()));
            let _ = writeln!(text, "  {name}: {}", encoded.as_str());
        }
        Zeroizing::new(text.into_bytes())
    }

    /// The value of a field in a manifest that was rendered from this one; `None` when it is another's.
    pub(super) fn field(&self, text: &[u8], name: &str) -> Option<String> {
        let held: Value = serde_saphyr::from_str(std::str::from_utf8(text).ok()?).ok()?;
        if held["kind"] != "Secret" || held["metadata"] != self.metadata() {
            return None;
        }
        String::from_utf8(STANDARD.decode(held["data"][name].as_str()?).ok()?).ok()
    }
}

fn is_dns_name(name: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let within = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    name.len() <= 253 && ends(name.chars().next()) && ends(name.chars().last()) && name.chars().all(within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn manifest(value: Value) -> Manifest {
        serde_json::from_value(value).expect("valid")
    }

    #[test]
    fn manifest_reads_back_only_its_own_secret() {
        let declared = manifest(json!({
            "file": "secrets/runner.yaml", "name": "runner", "namespace": "ci", "labels": { "app": "yes" },
        }));
        let mut fields = Fields::new();
        fields.insert("secret_id".to_owned(), Secret::from("5f0e: \"#x".to_owned()));
        let text = declared.render(&fields);
        let read: Value = serde_saphyr::from_str(std::str::from_utf8(&text).expect("text")).expect("YAML");
        assert_eq!((&read["apiVersion"], &read["kind"]), (&json!("v1"), &json!("Secret")));
        assert_eq!(read["metadata"]["labels"], json!({ "app": "yes" }), "a text stays a text");
        assert_eq!(declared.field(&text, "secret_id").as_deref(), Some("5f0e: \"#x"));
        assert_eq!(declared.field(&text, "role_id"), None);
        let other = manifest(json!({ "file": "secrets/runner.yaml", "name": "other" }));
        assert_eq!(other.field(&text, "secret_id"), None, "a Secret of another name is none of its own");
        assert_eq!(other.field(b"\xff", "secret_id"), None);
    }

    #[test]
    fn names_must_be_valid_in_kubernetes() {
        let errors = |name: &str, namespace: &str| {
            manifest(json!({ "file": "a", "name": name, "namespace": namespace })).check().len()
        };
        assert_eq!(errors("runner-1.ci", "ci"), 0);
        assert_eq!(errors("Runner", "-ci"), 2);
        assert_eq!(errors("", "a/b"), 2);
    }
}
