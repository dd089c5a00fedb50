//! ConfigMaps: <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/config-map-v1/>.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::address::Api;
use super::meta::{META_RISKS, Meta, object_spec};
use super::object::{Kube, KubeObject};
use crate::access::Granting;
use crate::error::FieldError;
use crate::resource::Blocked;
use crate::resource::risk::{Risks, safe};
use crate::template::unknown::is_unknown;

/// A ConfigMap.
pub type ConfigMap = Kube<ConfigMapSpec>;

object_spec! {
    /// The declared fields of a ConfigMap.
    pub struct ConfigMapSpec in a namespace {
        /// Texts by key. They are not secret.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub data: BTreeMap<String, String>,
        /// Bytes by key, in base64.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub binary_data: BTreeMap<String, String>,
        /// Whether it can never be changed again.
        #[serde(default)]
        pub immutable: bool,
    }
}

impl KubeObject for ConfigMapSpec {
    const KIND: &'static str = "kubernetes.config_map";
    const ABOUT: &'static str = "A ConfigMap: texts for the pods of a namespace, which are not secret.";
    const EXAMPLE: &'static str = "\
settings:
  kind: kubernetes.config_map
  namespace: payments
  name: settings
  data: { aws-region: eu-central-1, api-url: https://api.example.net }
";
    const GRANTS: Granting = Granting::Never("what reads it is in roles and bindings");
    const RISKS: Risks = &[
        META_RISKS,
        &[
            safe("data binary_data", "each change is shown, and nothing in it is secret"),
            safe("immutable", "a live one is never changed back"),
        ],
    ];
    const FIELDS: &'static [(&'static str, &'static str)] = &[("binaryData", "binary_data")];

    fn api(&self) -> Api {
        Api::new("v1", "ConfigMap", "configmaps", true)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        let mut content = Map::new();
        if !self.data.is_empty() {
            content.insert("data".to_owned(), json!(self.data));
        }
        if !self.binary_data.is_empty() {
            content.insert("binaryData".to_owned(), json!(self.binary_data));
        }
        if self.immutable {
            content.insert("immutable".to_owned(), json!(true));
        }
        content
    }

    fn check(&self) -> Vec<FieldError> {
        let keys = self.data.keys().map(|key| ("data", key));
        let keys = keys.chain(self.binary_data.keys().map(|key| ("binary_data", key)));
        let wrong = keys.filter_map(|(field, key)| key_mistake(field, key));
        let bytes = self.binary_data.iter().filter(|(_, text)| !is_unknown(text));
        let bytes = bytes.filter(|(_, text)| BASE64_STANDARD.decode(text).is_err());
        let bytes = bytes.map(|(key, _)| FieldError::new(format!("binary_data.{key}"), "is not base64"));
        let both = self.data.keys().filter(|key| self.binary_data.contains_key(*key));
        let both = both.map(|key| FieldError::new(format!("binary_data.{key}"), "is in `data`, too"));
        wrong.chain(bytes).chain(both).collect()
    }

    fn blocked(&self, live: &Value) -> Vec<Blocked> {
        frozen(live, &[("data", json!(self.data)), ("binaryData", json!(self.binary_data))], self.immutable)
    }
}

/// The differing parts of an immutable object.
pub(super) fn frozen(live: &Value, declared: &[(&str, Value)], immutable: bool) -> Vec<Blocked> {
    if live["immutable"] != true {
        return Vec::new();
    }
    let why = "the live object is immutable; use `--replace` to delete and create it again, or declare another name";
    let same = |field: &str, value: &Value| {
        let live = &live[field];
        live == value || live.is_null() && value.as_object().is_some_and(Map::is_empty)
    };
    let differing = declared.iter().filter(|(field, value)| !same(field, value));
    let thawed = (!immutable).then_some("immutable");
    differing.map(|(field, _)| *field).chain(thawed).map(|field| Blocked::new(field, why)).collect()
}

/// What is wrong with a key of `data`:
/// <https://kubernetes.io/docs/concepts/configuration/configmap/#configmap-object>.
pub(super) fn key_mistake(field: &str, key: &str) -> Option<FieldError> {
    let is_key = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_wrong = key.is_empty() || key.len() > 253 || !key.chars().all(is_key);
    let mistake = || {
        FieldError::new(format!("{field}.{key}"), "is not a key")
            .help("use letters, digits, `-`, `_` and `.`")
    };
    (is_wrong && !is_unknown(key)).then(mistake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_keys_and_bytes_are_found_offline() {
        let declared = json!({
            "name": "x", "namespace": "team", "data": { "a b": "1", "both": "1" },
            "binary_data": { "both": "aGk=", "odd": "?" },
        });
        let spec: ConfigMapSpec = serde_json::from_value(declared).expect("valid");
        let found: Vec<String> = KubeObject::check(&spec).into_iter().map(|mistake| mistake.path).collect();
        assert_eq!(found, ["data.a b", "binary_data.odd", "binary_data.both"]);
    }

    #[test]
    fn immutable_object_blocks_only_what_differs() {
        let live = json!({ "immutable": true, "data": { "a": "1" } });
        let paths = |data: Value, immutable| {
            frozen(&live, &[("data", data), ("binaryData", json!({}))], immutable)
                .into_iter()
                .map(|one| one.path)
                .collect::<Vec<_>>()
        };
        assert_eq!(paths(json!({ "a": "1" }), true), [""; 0]);
        assert_eq!(paths(json!({ "a": "2" }), false), ["data", "immutable"]);
    }
}
