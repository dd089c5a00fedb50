//! The declared fields of a table.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::FieldError;
use crate::providers::aws::control::Control;
use crate::providers::aws::tags;
use crate::resource::Tags;

/// The declared fields of a table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DynamodbTable")]
pub struct Desired {
    /// The name, unique in account and region.
    pub name: String,
    /// `terraform_lock`: the key that Terraform's lock table must have, `LockID` of type `S`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The partition key. Fixed when the table is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_key: Option<Key>,
    /// The sort key. Fixed when the table is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_key: Option<Key>,
    /// The billing mode: `on_demand`, or `provisioned: { read: …, write: … }`.
    #[serde(default)]
    pub billing: Billing,
    /// Point-in-time recovery: whether the table can be restored to any second of the last 35 days.
    #[serde(default)]
    pub point_in_time_recovery: Control,
    /// Encryption with a customer-managed key. Default: a key that AWS owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Whether AWS refuses to delete the table.
    #[serde(default)]
    pub deletion_protection: Control,
    /// Indexes with other keys, by name. They can be added and removed, but not changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub global_indexes: BTreeMap<String, GlobalIndex>,
    /// Indexes with the table's partition key and another sort key, by name. Fixed when the table is
    /// created.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub local_indexes: BTreeMap<String, LocalIndex>,
    /// The attribute with the time, in seconds since 1970, at which an item expires. Default: items do
    /// not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_attribute: Option<String>,
    /// The data of each change in the table's stream. Default: no stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamView>,
    /// The table class, which decides the price of storage and requests.
    #[serde(default)]
    pub class: Class,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// A table that another program expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Locks of Terraform's S3 backend.
    TerraformLock,
}

/// An attribute that is part of the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The attribute's name.
    pub name: String,
    /// The attribute's type.
    #[serde(rename = "type")]
    pub kind: KeyKind,
}

/// The type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyKind {
    /// Text.
    S,
    /// A number.
    N,
    /// Bytes.
    B,
}

/// How a table is billed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Billing {
    /// Per request.
    #[default]
    OnDemand,
    /// For provisioned capacity.
    Provisioned(Capacity),
}

/// Provisioned capacity, billed whether it is used or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Strongly consistent reads of 4 KB per second.
    #[schemars(range(min = 1))]
    pub read: u32,
    /// Writes of 1 KB per second.
    #[schemars(range(min = 1))]
    pub write: u32,
}

/// Encryption with a customer-managed key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Encryption {
    /// The key: ARN, id or alias.
    pub kms_key: String,
}

/// An index with other keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlobalIndex {
    /// The partition key.
    pub hash_key: Key,
    /// The sort key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_key: Option<Key>,
    /// The attributes in the index.
    #[serde(default)]
    pub projection: Projection,
    /// Capacity, for a table with provisioned billing. Default: the table's capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
}

/// An index with another sort key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalIndex {
    /// The sort key.
    pub range_key: Key,
    /// The attributes in the index.
    #[serde(default)]
    pub projection: Projection,
}

/// The attributes of each item that an index contains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// All attributes.
    #[default]
    All,
    /// The keys of table and index.
    KeysOnly,
    /// The keys and these attributes.
    Include(BTreeSet<String>),
}

/// The data of each change in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamView {
    /// The item's key.
    KeysOnly,
    /// The item after the change.
    NewImage,
    /// The item before the change.
    OldImage,
    /// The item before and after the change.
    NewAndOldImages,
}

/// The price of storage and requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TableClass")]
pub enum Class {
    /// For most tables.
    #[default]
    Standard,
    /// Cheaper storage and more expensive requests.
    InfrequentAccess,
}

impl Desired {
    /// The partition key; `check` ensures that there is one.
    pub fn hash_key(&self) -> Option<Key> {
        let lock = self.preset.map(|Preset::TerraformLock| Key { name: "LockID".into(), kind: KeyKind::S });
        self.hash_key.clone().or(lock)
    }

    /// The declared KMS key.
    pub fn kms_key(&self) -> Option<&str> {
        self.encryption.as_ref().map(|encryption| encryption.kms_key.as_str())
    }

    /// An index's billing: per request, or its own capacity, or the table's.
    pub fn index_billing(&self, index: &GlobalIndex) -> Billing {
        match (&self.billing, &index.capacity) {
            (Billing::Provisioned(_), Some(capacity)) => Billing::Provisioned(capacity.clone()),
            (billing, _) => billing.clone(),
        }
    }

    /// Every attribute that is part of a key, by name.
    pub fn key_attributes(&self) -> BTreeMap<String, KeyKind> {
        let global =
            self.global_indexes.values().flat_map(|index| [Some(&index.hash_key), index.range_key.as_ref()]);
        let local = self.local_indexes.values().map(|index| Some(&index.range_key));
        let keys =
            global.chain(local).chain([self.range_key.as_ref()]).flatten().cloned().chain(self.hash_key());
        keys.map(|key| (key.name, key.kind)).collect()
    }

    /// Finds mistakes without network access.
    pub fn check(&self) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = check_name(&self.name).into_iter().collect();
        found.extend(check_keys(self));
        found.extend(self.check_indexes());
        found.extend(self.point_in_time_recovery.check("point_in_time_recovery"));
        found.extend(self.deletion_protection.check("deletion_protection"));
        found.extend(tags::check(&self.tags));
        found
    }

    fn check_indexes(&self) -> Vec<FieldError> {
        let mut found = Vec::new();
        let on_demand = self.billing == Billing::OnDemand;
        for (name, index) in &self.global_indexes {
            let path = format!("global_indexes.{name}");
            if on_demand && index.capacity.is_some() {
                let error = FieldError::new(format!("{path}.capacity"), "the table is billed per request");
                found.push(error.help("remove it, or set `billing: { provisioned: … }`"));
            }
            found.extend(check_index_name(&path, name));
        }
        for name in self.local_indexes.keys() {
            found.extend(check_index_name(&format!("local_indexes.{name}"), name));
        }
        if !self.local_indexes.is_empty() && self.range_key.is_none() {
            let error = FieldError::new("local_indexes", "local indexes require a table with a sort key");
            found.push(error.help("declare `range_key`, or declare them in `global_indexes`"));
        }
        let double = self.local_indexes.keys().find(|name| self.global_indexes.contains_key(*name));
        found.extend(double.map(|name| {
            FieldError::new(format!("local_indexes.{name}"), "a global index has the same name")
        }));
        found.extend(self.check_types());
        found
    }

    /// An attribute must have the same type in every key.
    fn check_types(&self) -> Option<FieldError> {
        let known = self.key_attributes();
        let global =
            self.global_indexes.values().flat_map(|index| [Some(&index.hash_key), index.range_key.as_ref()]);
        let local = self.local_indexes.values().map(|index| Some(&index.range_key));
        let mut keys = global.chain(local).chain([self.range_key.as_ref()]).flatten();
        let torn = keys.find(|key| known.get(&key.name) != Some(&key.kind))?;
        Some(FieldError::new("", format!("the keys declare two types for the attribute `{}`", torn.name)))
    }
}

fn check_index_name(path: &str, name: &str) -> Option<FieldError> {
    let error = check_name(name)?;
    Some(FieldError { path: path.to_owned(), message: "not a valid name for an index".to_owned(), ..error })
}

/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html>
fn check_name(name: &str) -> Option<FieldError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let fits = (3..=255).contains(&name.len()) && name.chars().all(allowed);
    (!fits).then(|| {
        FieldError::new("name", "not a valid name for a table").help("3 to 255 letters, digits and `_.-`")
    })
}

fn check_keys(desired: &Desired) -> Option<FieldError> {
    match (&desired.preset, &desired.hash_key, &desired.range_key) {
        (Some(_), None, None) | (None, Some(_), _) => None,
        (None, None, _) => Some(
            FieldError::new("hash_key", "a table needs a partition key")
                .help("write `hash_key: { name: …, type: S }` or `preset: terraform_lock`"),
        ),
        (Some(_), _, _) => Some(
            FieldError::new("preset", "the preset defines the keys")
                .help("remove `hash_key` and `range_key`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn paths(extra: Value) -> Vec<String> {
        let mut fields = json!({ "name": "locks", "preset": "terraform_lock" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        let desired: Desired = serde_json::from_value(fields).expect("valid");
        desired.check().into_iter().map(|error| error.path).collect()
    }

    #[test]
    fn table_requires_exactly_one_source_of_keys() {
        assert!(paths(json!({})).is_empty());
        assert_eq!(paths(json!({ "preset": null })), ["hash_key"]);
        assert_eq!(paths(json!({ "hash_key": { "name": "a", "type": "S" } })), ["preset"]);
    }

    #[test]
    fn indexes_are_checked() {
        let key = |kind: &str| json!({ "name": "a", "type": kind });
        let global = json!({ "by_a": { "hash_key": key("S"), "capacity": { "read": 1, "write": 1 } } });
        assert_eq!(paths(json!({ "global_indexes": global })), ["global_indexes.by_a.capacity"]);
        let local = json!({ "by_a": { "range_key": key("S") } });
        assert_eq!(paths(json!({ "local_indexes": local })), ["local_indexes"]);
        let torn = json!({ "by_a": { "hash_key": key("S") }, "by_b": { "hash_key": key("N") } });
        assert_eq!(paths(json!({ "global_indexes": torn })), [""]);
        assert_eq!(
            paths(json!({ "global_indexes": { "a": { "hash_key": key("S") } } })),
            ["global_indexes.a"]
        );
    }

    #[test]
    fn names_are_checked() {
        assert!(
            check_name("a.b-c_1").is_none() && check_name("ab").is_some() && check_name("a b c").is_some()
        );
    }
}
