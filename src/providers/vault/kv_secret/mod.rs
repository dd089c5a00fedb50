//! Secrets in a KV engine of version 2: <https://openbao.org/api-docs/secret/kv/kv-v2/>.
//!
//! KV holds JSON, so that a value is text: bytes that are no UTF-8 are refused. A value is written
//! only when it differs, since writing the same value again would make a new version.

mod compare;
mod write;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::VaultClient;
use super::mount::check_path;
use super::notation::{Ttl, seconds};
use crate::resource::{Diff, FieldError, Partial, Requirement, Resource, Result, Scope, Writer};
use crate::secret::{Secret, SecretSource, check_templates};

/// A secret in a KV engine of version 2.
#[derive(Debug)]
pub struct KvSecret;

/// The declared fields of a KV secret.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvSecretSpec {
    /// The engine's path.
    pub mount: String,
    /// The secret's path below the engine.
    pub path: String,
    /// The fields and where their values come from.
    pub data: BTreeMap<String, SecretSource>,
    /// Custom metadata: up to 64 texts of up to 512 bytes, which are not secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, MetadataText>,
    /// How many versions to keep; 0 is the engine's setting. Left alone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_versions: Option<u32>,
    /// How long versions last; 0 is the engine's setting. Left alone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_version_after: Option<Ttl>,
    /// Every write must name the version that it follows; left alone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cas_required: Option<bool>,
    /// Remove fields and custom metadata that are not declared; otherwise they are left alone.
    #[serde(default)]
    pub exact: bool,
}

/// A value of custom metadata; numbers and booleans become text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value")]
#[schemars(transform = scalar_schema)]
pub struct MetadataText(String);

fn scalar_schema(schema: &mut schemars::Schema) {
    schema.insert("type".to_owned(), json!(["string", "number", "boolean"]));
}

impl TryFrom<Value> for MetadataText {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self(text)),
            Value::Number(_) | Value::Bool(_) => Ok(Self(value.to_string())),
            _ => Err("expected a text, a number or a boolean".to_owned()),
        }
    }
}

/// Where a secret is, and whether its limits are to be read, which takes a second request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvId {
    mount: String,
    path: String,
    limits: bool,
}

impl fmt::Display for KvId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mount, self.path)
    }
}

impl KvId {
    fn data(&self) -> String {
        format!("{}/data/{}", self.mount, self.path)
    }

    fn metadata(&self) -> String {
        format!("{}/metadata/{}", self.mount, self.path)
    }
}

/// A secret as it is. `Debug` shows no values.
#[derive(Clone, Debug)]
pub struct LiveKvSecret {
    id: KvId,
    version: u64,
    /// When the latest version was written.
    created: String,
    /// Whether the latest version is deleted or destroyed.
    deleted: bool,
    data: BTreeMap<String, Secret>,
    metadata: BTreeMap<String, String>,
    max_versions: u32,
    delete_version_after: Ttl,
    cas_required: bool,
}

/// What other steps may refer to. Never a value.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvSecretOutputs {
    /// The engine's path.
    pub mount: String,
    /// The secret's path below the engine.
    pub path: String,
    /// The latest version.
    pub version: u64,
}

/// Vault's limits on custom metadata.
const METADATA_KEYS: usize = 64;
const METADATA_BYTES: usize = 512;

/// A value as text: what is not text in KV, such as a number, is compared by its JSON.
fn value_text(value: &Value) -> Secret {
    match value {
        Value::String(text) => Secret::from(text.clone()),
        other => Secret::from(other.to_string()),
    }
}

/// The answer to a read, which for a deleted version holds its metadata alone. `None` when there is
/// no version at all.
fn live(id: &KvId, told: &Value) -> Option<LiveKvSecret> {
    let about = &told["metadata"];
    let data = told["data"].as_object();
    let custom = about["custom_metadata"].as_object().into_iter().flatten();
    Some(LiveKvSecret {
        id: id.clone(),
        version: about["version"].as_u64()?,
        created: about["created_time"].as_str().unwrap_or_default().to_owned(),
        deleted: data.is_none(),
        data: data.into_iter().flatten().map(|(name, value)| (name.clone(), value_text(value))).collect(),
        metadata: custom.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect(),
        max_versions: 0,
        delete_version_after: Ttl::default(),
        cas_required: false,
    })
}

impl LiveKvSecret {
    fn with_limits(mut self, told: &Value) -> Self {
        self.max_versions = told["max_versions"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or_default();
        let after = told["delete_version_after"].as_str().and_then(seconds).unwrap_or_default();
        self.delete_version_after = Ttl::Seconds(after);
        self.cas_required = told["cas_required"].as_bool().unwrap_or_default();
        self
    }
}

impl KvSecretSpec {
    /// Whether it says anything of what only the metadata's own path tells.
    fn has_limits(&self) -> bool {
        self.max_versions.is_some() || self.delete_version_after.is_some() || self.cas_required.is_some()
    }

    fn metadata_texts(&self) -> BTreeMap<String, String> {
        self.metadata.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect()
    }
}

fn check_metadata(metadata: &BTreeMap<String, MetadataText>) -> Vec<FieldError> {
    let long = metadata.iter().filter(|(_, value)| value.0.len() > METADATA_BYTES);
    let mut errors: Vec<FieldError> = long
        .map(|(name, _)| {
            FieldError::new(format!("metadata.{name}"), "is longer than Vault's limit of 512 bytes")
        })
        .collect();
    if metadata.len() > METADATA_KEYS {
        errors.push(FieldError::new("metadata", "has more than Vault's limit of 64 keys"));
    }
    errors
}

impl Resource for KvSecret {
    const KIND: &'static str = "vault.kv_secret";
    const ABOUT: &'static str = "A secret in a KV engine of version 2, its fields generated once, or taken from \
        variables, files and templates.";
    const EXAMPLE: &'static str = "\
mongodb:
  kind: vault.kv_secret
  mount: secret
  path: payments/mongodb
  data:
    username: payments
    password: { generate: { length: 40 } }
    uri: { template: \"mongodb+srv://{{ data.username }}:{{ data.password }}@cluster0.example.net/\" }
  metadata: { owner: platform-team, rotation_days: 90 }
";
    const PROTECTED: bool = true;
    const REMOVAL: Option<&'static str> = Some("with every version, for good");

    type Client = VaultClient;
    type Id = KvId;
    type Desired = KvSecretSpec;
    type Observed = LiveKvSecret;
    type Outputs = KvSecretOutputs;

    fn id(desired: &KvSecretSpec) -> KvId {
        let limits = desired.has_limits();
        KvId { mount: desired.mount.clone(), path: desired.path.clone(), limits }
    }

    fn check(desired: &KvSecretSpec) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = check_path(&desired.path).into_iter().collect();
        errors
            .extend(check_path(&desired.mount).map(|error| FieldError { path: "mount".to_owned(), ..error }));
        if desired.data.is_empty() {
            errors.push(FieldError::new("data", "is empty").help("declare at least one field"));
        }
        let templates = check_templates(&desired.data).into_iter();
        errors.extend(
            templates.map(|(name, error)| FieldError::new(format!("data.{name}"), error.to_string())),
        );
        errors.extend(check_metadata(&desired.metadata));
        errors
    }

    fn requires(desired: &KvSecretSpec) -> Vec<Requirement> {
        vec![Requirement::Kind("vault.init"), Requirement::thing("vault.mount", &desired.mount)]
    }

    fn sources(desired: &mut KvSecretSpec) -> Vec<&mut SecretSource> {
        desired.data.values_mut().collect()
    }

    async fn observe(client: &VaultClient, id: &KvId) -> Result<Option<LiveKvSecret>> {
        let found = match client.get_or_remains(&id.data()).await? {
            Ok(told) | Err(told) => live(id, &told),
        };
        match found {
            Some(found) if id.limits => {
                let told = client.get(&id.metadata()).await?.unwrap_or_default();
                Ok(Some(found.with_limits(&told)))
            }
            found => Ok(found),
        }
    }

    fn diff(desired: &KvSecretSpec, observed: &LiveKvSecret) -> Diff {
        compare::diff(desired, observed)
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &KvSecretSpec) -> Result<()> {
        write::create(w, desired).await
    }

    async fn update(
        w: &Writer<'_, VaultClient>,
        desired: &KvSecretSpec,
        observed: &LiveKvSecret,
    ) -> Result<()> {
        write::update(w, desired, observed, &Self::diff(desired, observed)).await
    }

    /// Deletes every version and the metadata, for good.
    async fn delete(w: &Writer<'_, VaultClient>, id: &KvId) -> Result<()> {
        w.delete(w.permit(), &id.metadata()).await
    }

    fn outputs(observed: &LiveKvSecret) -> KvSecretOutputs {
        let KvId { mount, path, .. } = observed.id.clone();
        KvSecretOutputs { mount, path, version: observed.version }
    }

    /// A secret that was removed for good and made again begins with version 1 once more.
    fn revision(observed: &LiveKvSecret) -> Option<String> {
        Some(format!("version {} of {}", observed.version, observed.created))
    }

    fn predicted_outputs(desired: &KvSecretSpec, _: &Scope) -> Partial {
        Partial::default().with("mount", &desired.mount).with("path", &desired.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Loader;

    fn spec(data: Value, more: Value) -> KvSecretSpec {
        let mut all = json!({ "mount": "secret", "path": "a/b", "data": data });
        for (name, value) in more.as_object().cloned().unwrap_or_default() {
            all[name] = value;
        }
        let mut spec: KvSecretSpec = serde_json::from_value(all).expect("valid");
        let loader = Loader { folder: ".".into(), vars: json!({ "host": "db" }), ..Loader::default() };
        for source in KvSecret::sources(&mut spec) {
            source.load(&loader).expect("loads");
        }
        spec
    }

    fn secret(data: Value) -> LiveKvSecret {
        let told = json!({ "data": data, "metadata": { "version": 3, "custom_metadata": { "owner": "a" } } });
        live(&KvSecret::id(&spec(json!({ "a": "b" }), Value::Null)), &told).expect("there")
    }

    fn notes(diff: &Diff) -> Vec<String> {
        let note = |change: &crate::resource::Change| {
            let source = change.source.as_deref().unwrap_or("no source");
            let what = change.secret.map_or("-".to_owned(), |what| format!("{}: {source}", what.name()));
            format!("{} {what}", change.path)
        };
        diff.changes.iter().map(note).collect()
    }

    #[test]
    fn generated_values_are_kept_and_templates_follow() {
        let declared = json!({
            "user": "app", "password": { "generate": {} },
            "uri": { "template": "//{{ data.user }}:{{ data.password }}@{{ host }}" },
        });
        let same = secret(json!({ "user": "app", "password": "s3", "uri": "//app:s3@db", "other": 1 }));
        let kept = KvSecret::diff(&spec(declared.clone(), Value::Null), &same);
        assert!(kept.is_empty() && kept.unchanged.len() == 3, "{kept:?}");
        let fresh = secret(json!({ "user": "old", "uri": "//old:x@db" }));
        let diff = KvSecret::diff(&spec(declared, Value::Null), &fresh);
        assert_eq!(
            notes(&diff),
            [
                "data.password new: generated, 32 characters",
                "data.uri changed: template",
                "data.user changed: declared in the plan"
            ]
        );
        assert!(
            diff.changes
                .iter()
                .all(|change| change.sensitive && change.before.is_null() && change.after.is_null())
        );
    }

    #[test]
    fn what_is_not_declared_is_removed_only_when_exact() {
        let live = secret(json!({ "a": "1", "b": "2" }));
        assert!(KvSecret::diff(&spec(json!({ "a": "1" }), Value::Null), &live).is_empty());
        let diff = KvSecret::diff(&spec(json!({ "a": "1" }), json!({ "exact": true })), &live);
        assert_eq!(notes(&diff), ["data.b removed: no source", "metadata.owner -"]);
    }

    #[test]
    fn values_and_metadata_are_compared_as_text() {
        let live = secret(json!({ "port": 5432 }));
        let declared =
            spec(json!({ "port": 5432 }), json!({ "metadata": { "owner": "a", "days": 90, "on": true } }));
        assert_eq!(notes(&KvSecret::diff(&declared, &live)), ["metadata.days -", "metadata.on -"]);
        assert_eq!(
            declared.metadata_body(&live.metadata),
            json!({ "custom_metadata": { "days": "90", "on": "true", "owner": "a" } })
        );
    }

    #[test]
    fn a_deleted_version_is_there_but_empty() {
        let told = json!({ "data": null, "metadata": { "version": 2, "custom_metadata": null } });
        let id = KvSecret::id(&spec(json!({ "a": "b" }), Value::Null));
        let found = live(&id, &told).expect("there");
        assert!(found.deleted && found.version == 2);
        assert!(KvSecret::diff(&spec(json!({ "a": "b" }), Value::Null), &found).touches("data.a"));
        assert!(live(&id, &json!({ "errors": [] })).is_none());
    }

    #[test]
    fn a_patch_that_is_refused_becomes_a_whole_write() {
        let told = json!({ "data": { "a": 1, "b": "2", "c": "3" }, "metadata": {} });
        let changes = json!({ "b": "x", "c": null }).as_object().cloned().expect("a map");
        assert_eq!(write::merge(told, changes), json!({ "a": 1, "b": "x" }));
    }

    #[test]
    fn bytes_are_refused_with_advice() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("key"), [0xff]).expect("written");
        let mut declared = spec(json!({ "a": "b" }), Value::Null);
        let mut file: SecretSource = serde_json::from_value(json!({ "file": "key" })).expect("valid");
        file.load(&Loader { folder: folder.path().to_owned(), ..Loader::default() }).expect("loads");
        declared.data.insert("key".to_owned(), file);
        let made = declared.made(&BTreeMap::new()).expect("makes");
        assert!(
            declared.json(&made).expect_err("refused").advice.is_some_and(|advice| advice.contains("base64"))
        );
    }

    #[test]
    fn mistakes_are_found_beforehand() {
        let errors = |data: Value, more: Value| KvSecret::check(&spec(data, more)).len();
        assert_eq!(errors(json!({ "a": { "template": "{{ data.x }}" } }), Value::Null), 1);
        assert_eq!(errors(json!({}), json!({ "path": "/a" })), 2);
        assert_eq!(errors(json!({ "a": "1" }), json!({ "metadata": { "a": "x".repeat(513) } })), 1);
        assert_eq!(errors(json!({ "a": { "generate": {} } }), Value::Null), 0);
    }
}
