//! Secrets in a KV engine of version 2: <https://openbao.org/api-docs/secret/kv/kv-v2/>.
//!
//! KV holds JSON, so a value is text, and bytes that are not UTF-8 are refused. A value is written
//! only when it differs, since writing the same value again would make a new version.

mod compare;
mod overlap;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::VaultClient;
use super::mount::check_path;
use super::notation::{Ttl, seconds};
use super::permissions;
use super::prove;
use super::states;
use crate::access::{Grant, Granting};
use crate::error::{ErrorKind, FieldError, Result};
use crate::health::Due;
use crate::place::Realm;
use crate::proof::{Proof, Prover, ROTATION};
use crate::providers::vault::risk::KV_RISKS;
use crate::resource::risk::{LABELS, Risks, identity, live_safe, safe};
use crate::resource::{Diff, Look, Partial, Replacement, Requirement, Resource, Rotation, Turn, Writer};
use crate::run::{Access, Permission, Use};
use crate::secret::{Fields, Secret, SecretSource, check_templates, path_of};

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
    /// For generated fields, the field in which `rotate` keeps the value before, so that both are there until the users
    /// of it have changed over. Without it, the value before is only in the version before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overlap: BTreeMap<String, String>,
    /// Custom metadata: up to 64 texts of up to 512 bytes, which are not secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, MetadataText>,
    /// How many versions to keep; 0 is the engine's setting. Not changed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_versions: Option<u32>,
    /// How long versions last; 0 is the engine's setting. Not changed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_version_after: Option<Ttl>,
    /// Every write must name the version that it follows. Not changed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cas_required: Option<bool>,
    /// Remove fields and custom metadata that are not declared; otherwise they are kept.
    #[serde(default)]
    pub exact: bool,
    /// Whether the values that are made again are kept in the fields of `overlap`.
    #[serde(skip)]
    #[schemars(skip)]
    keeps: bool,
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

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvId {
    mount: String,
    path: String,
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
    latest: Latest,
    /// Fields that have a value.
    data: BTreeMap<String, Secret>,
    /// Fields whose value is `null`.
    nulls: BTreeSet<String>,
    /// Fields whose value is the number 0 or `false`.
    zeros: BTreeSet<String>,
    metadata: BTreeMap<String, String>,
    max_versions: Value,
    delete_version_after: Value,
    cas_required: bool,
}

/// Whether the latest version can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Latest {
    /// It can.
    Readable,
    /// It was deleted, at this time, and can be undeleted.
    Deleted(String),
    /// It is gone for good.
    Destroyed,
}

/// The outputs that other steps may refer to; never a value.
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

/// A secret from the response to a read, which for a deleted version holds only its metadata. `None`
/// when there is no version at all.
fn live(id: &KvId, told: &Value) -> Option<LiveKvSecret> {
    let about = &told["metadata"];
    let data = told["data"].as_object();
    let latest = match data {
        Some(_) => Latest::Readable,
        None if about["destroyed"] == true => Latest::Destroyed,
        None => Latest::Deleted(about["deletion_time"].as_str().unwrap_or_default().to_owned()),
    };
    let named = |is: fn(&Value) -> bool| {
        let fields = data.into_iter().flatten().filter(move |(_, value)| is(value));
        fields.map(|(name, _)| name.clone()).collect()
    };
    let values = data.into_iter().flatten().filter(|(_, value)| !value.is_null());
    Some(LiveKvSecret {
        id: id.clone(),
        version: about["version"].as_u64()?,
        created: about["created_time"].as_str().unwrap_or_default().to_owned(),
        latest,
        data: values.map(|(name, value)| (name.clone(), value_text(value))).collect(),
        nulls: named(Value::is_null),
        zeros: named(|value| value.as_f64() == Some(0.0) || *value == false),
        metadata: custom_metadata(about),
        max_versions: json!(0),
        delete_version_after: json!(0),
        cas_required: false,
    })
}

/// A secret without its values, from its metadata. Where the token may not read the metadata, the only
/// other response includes the values, which are dropped.
async fn without_values(client: &VaultClient, id: &KvId) -> Result<Option<LiveKvSecret>> {
    match client.get(&id.metadata()).await {
        Ok(told) => Ok(told.and_then(|told| live_of_metadata(id, &told))),
        Err(error) if error.kind == ErrorKind::Denied => {
            let (Ok(told) | Err(told)) = client.get_or_remains(&id.data()).await?;
            Ok(live(
                id,
                &json!({ "metadata": told["metadata"], "data": told["data"].is_object().then(Map::new) }),
            ))
        }
        Err(error) => Err(error),
    }
}

/// A secret's latest version, from the secret's metadata. `None` when there is no version at all.
fn live_of_metadata(id: &KvId, told: &Value) -> Option<LiveKvSecret> {
    let version = told["current_version"].as_u64().filter(|version| *version > 0)?;
    let about = &told["versions"][version.to_string()];
    let ends: Option<Timestamp> = about["deletion_time"].as_str().and_then(|time| time.parse().ok());
    let is_gone = about["destroyed"] == true || ends.is_some_and(|ends| ends <= Timestamp::now());
    let latest = json!({
        "data": (!is_gone).then(Map::new),
        "metadata": {
            "version": version, "created_time": about["created_time"], "destroyed": about["destroyed"],
            "deletion_time": about["deletion_time"], "custom_metadata": told["custom_metadata"],
        },
    });
    live(id, &latest).map(|found| found.with_limits(told))
}

/// The custom metadata in a response about a secret or its latest version.
fn custom_metadata(about: &Value) -> BTreeMap<String, String> {
    let custom = about["custom_metadata"].as_object().into_iter().flatten();
    custom.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

impl LiveKvSecret {
    /// A limit that is not understood stays as the server reports it, and so differs from the declared one.
    fn with_limits(mut self, told: &Value) -> Self {
        self.max_versions = told["max_versions"].clone();
        let after = &told["delete_version_after"];
        self.delete_version_after =
            after.as_str().and_then(seconds).map_or(after.clone(), |after| json!(after));
        self.cas_required = told["cas_required"].as_bool().unwrap_or_default();
        self
    }

    /// Whether a field is there and says nothing, as what a value is made for once never does.
    fn holds_nothing(&self, name: &str) -> bool {
        let empty = self.data.get(name).is_some_and(|value| value.expose_bytes().is_empty());
        empty || self.nulls.contains(name) || self.zeros.contains(name)
    }
}

/// The steps that a secret in this engine depends on: the engine, and the settings for all its secrets,
/// so that even the first version is kept as long as the engine says.
pub(in crate::providers) fn engine(mount: &str) -> [Requirement; 2] {
    [
        Requirement::thing("vault.mount", mount),
        Requirement::thing("vault.kv_config", format!("{mount}/config")),
    ]
}

impl KvSecretSpec {
    /// Whether it declares a limit, which only the metadata's own path reports.
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

/// The fields that are in a secret's metadata.
const METADATA_FIELDS: &[&str] = &["metadata", "max_versions", "delete_version_after", "cas_required"];

impl Resource for KvSecret {
    const KIND: &'static str = "vault.kv_secret";
    const GRANTS: Granting = Granting::States;
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
    const RISKS: Risks = &[
        &[
            live_safe("deleted", "its latest version is undeleted, so that its values are kept"),
            identity("mount path"),
            safe("data exact", "the change of each value is shown, and one that is removed is always a risk"),
            safe("metadata", LABELS),
            safe("overlap", "who can read the secret could read the value before, too"),
        ],
        KV_RISKS,
    ];
    const PROOF: Proof =
        Proof::Tried("the latest version is read, and its age compared with its `rotation_days`");
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement = Replacement::Renewed;
    const ROTATION: Rotation = Rotation::AtOnce(
        "generated values are made again in a new version; `overlap` keeps the values before in fields of their own",
    );
    const HOLDS_VALUES: bool = true;
    const REMOVAL: Option<&'static str> = Some("with every version, for good");

    type Client = VaultClient;
    type Id = KvId;
    type Desired = KvSecretSpec;
    type Observed = LiveKvSecret;
    type Outputs = KvSecretOutputs;

    fn id(desired: &KvSecretSpec) -> KvId {
        KvId { mount: desired.mount.clone(), path: desired.path.clone() }
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
        errors.extend(overlap::check(desired));
        errors.extend(check_metadata(&desired.metadata));
        errors
    }

    fn grants(desired: &KvSecretSpec, _: Option<&LiveKvSecret>, _: &Realm) -> Vec<Grant> {
        states::kv_secret(&desired.mount, &desired.path)
    }

    fn granted(observed: &LiveKvSecret) -> Vec<Grant> {
        states::kv_secret(&observed.id.mount, &observed.id.path)
    }

    fn permissions(desired: &KvSecretSpec, used: Use<'_>) -> Vec<Permission> {
        let id = Self::id(desired);
        let of =
            |permission: Permission, fields: &'static [&'static str]| Permission { fields, ..permission };
        match used.access {
            Access::Read => {
                let limits = desired.has_limits().then(|| permissions::read(id.metadata()));
                [permissions::read(id.data())].into_iter().chain(limits).collect()
            }
            Access::Create => {
                let metadata = [permissions::read(id.metadata()), permissions::make(id.metadata())];
                let metadata = metadata.into_iter().filter(|_| desired.has_metadata());
                // Once there is metadata, the server takes the first version for a change.
                let data = match desired.has_metadata() {
                    true => permissions::write(id.data()),
                    false => permissions::make(id.data()),
                };
                std::iter::once(data).chain(metadata).collect()
            }
            Access::Update => {
                let undelete = permissions::write(format!("{}/undelete/{}", id.mount, id.path));
                let metadata = desired.has_metadata().then(|| permissions::write(id.metadata()));
                // Who may write the whole secret needs no patch to change a part of it.
                let data = match desired.has_metadata() {
                    true => permissions::write(id.data()),
                    false => permissions::patch(id.data()),
                };
                [of(data, &["data"]), of(undelete, &["deleted"])]
                    .into_iter()
                    .chain(metadata.map(|one| of(one, METADATA_FIELDS)))
                    .collect()
            }
            Access::Delete => vec![permissions::delete(id.metadata())],
            Access::Prove => Vec::new(),
        }
    }

    fn requires(desired: &KvSecretSpec) -> Vec<Requirement> {
        std::iter::once(Requirement::Kind("vault.init")).chain(engine(&desired.mount)).collect()
    }

    fn rotate(desired: &mut KvSecretSpec, turn: Turn) -> bool {
        desired.keeps = true;
        turn == Turn::Forward && Self::renew(desired)
    }

    fn sources(desired: &mut KvSecretSpec) -> Vec<&mut SecretSource> {
        desired.data.values_mut().collect()
    }

    fn secrets(observed: &LiveKvSecret) -> Fields {
        observed.data.iter().map(|(name, value)| (path_of("data", name), value.clone())).collect()
    }

    fn compared(desired: &mut KvSecretSpec) -> (&'static str, BTreeMap<String, &mut SecretSource>) {
        ("data", desired.data.iter_mut().map(|(name, source)| (name.clone(), source)).collect())
    }

    /// Limits take a second request beside the values.
    async fn observe(client: &VaultClient, id: &KvId, look: Look<'_, Self>) -> Result<Option<LiveKvSecret>> {
        if !look.values {
            return without_values(client, id).await;
        }
        let found = match client.get_or_remains(&id.data()).await? {
            Ok(told) | Err(told) => live(id, &told),
        };
        match found {
            Some(found) if look.declares(KvSecretSpec::has_limits) => {
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

    async fn prove(prover: &Prover<'_, VaultClient>, _: &KvSecretSpec, observed: &LiveKvSecret) {
        let is_there = observed.latest == Latest::Readable;
        prove::secret::prove(prover, is_there, (observed.version, &observed.created), &observed.metadata);
    }

    fn due(_: &KvSecretSpec, observed: &LiveKvSecret) -> Vec<Due> {
        let days = observed.metadata.get(ROTATION).and_then(|days| days.parse().ok());
        let created = observed.created.parse().ok().filter(|_| observed.latest == Latest::Readable);
        days.zip(created)
            .map(|(days, created)| Due::after_days("secret", created, days))
            .into_iter()
            .collect()
    }

    /// Deletes every version and the metadata, for good.
    async fn delete(w: &Writer<'_, VaultClient>, id: &KvId) -> Result<()> {
        w.delete(w.permit(), &id.metadata()).await
    }

    fn outputs(observed: &LiveKvSecret) -> KvSecretOutputs {
        let KvId { mount, path } = observed.id.clone();
        KvSecretOutputs { mount, path, version: observed.version }
    }

    /// A secret that was removed for good and made again begins with version 1 once more.
    fn revision(observed: &LiveKvSecret) -> Option<String> {
        Some(format!("version {} of {}", observed.version, observed.created))
    }

    fn predicted_outputs(desired: &KvSecretSpec, _: &Realm) -> Partial {
        Partial::default().with("mount", &desired.mount).with("path", &desired.path)
    }
}
