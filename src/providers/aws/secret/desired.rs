//! The declared fields of a secret.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::FieldError;
use crate::providers::aws::policy::{Document, PolicyType};
use crate::providers::aws::{secret_value, tags};
use crate::resource::Tags;
use crate::secret::{SecretSource, Sources};

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AwsSecret")]
pub struct Desired {
    /// The name, unique in account and region, e.g. `candlefish/production/app`.
    pub name: String,
    /// The description.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The fields of a JSON document, and the sources of their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, SecretSource>,
    /// The whole value, instead of `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<SecretSource>,
    /// Whether to remove fields that are not declared; otherwise they are kept.
    #[serde(default)]
    pub exact: bool,
    /// The KMS key that encrypts it: ARN, id or alias. Default: the key that AWS manages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// The resource policy, which gives others access. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Document>,
    /// How it is rotated. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// The regions with a replica. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<BTreeSet<Replica>>,
    /// Days for which a deleted secret can still be restored, 7 to 30.
    #[serde(default = "thirty")]
    #[schemars(range(min = 7, max = 30))]
    pub recovery_window_days: u8,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

const fn thirty() -> u8 {
    30
}

/// How a secret is rotated. The function generates the new value, so Groundwork no longer manages the
/// value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The ARN of the rotation function.
    pub function: String,
    /// Days between rotations, 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub every_days: Option<u32>,
    /// The schedule, instead of `every_days`: `cron(0 8 1 * ? *)` or `rate(10 days)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The length of the rotation window, e.g. `3h`. Default: to the end of the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

/// A replica in another region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// The region.
    pub region: String,
    /// The KMS key there. Default: the key that AWS manages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
}

impl Desired {
    /// The sources, by the names that templates and messages use: the document's fields, or the one
    /// value.
    pub fn sources(&self) -> Sources {
        match &self.value {
            Some(value) => Sources::from([("value".to_owned(), value.clone())]),
            None => self.data.clone(),
        }
    }

    /// Finds mistakes without network access.
    pub fn check(&self) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = check_name(&self.name).into_iter().collect();
        if self.data.is_empty() == self.value.is_none() {
            let error = FieldError::new("data", "declare exactly one of `data` and `value`");
            found.push(error.help("`data` is a JSON document of fields, `value` any text"));
        }
        found.extend(secret_value::check(if self.value.is_some() { "" } else { "data" }, &self.sources()));
        if let Some(policy) = &self.policy {
            found.extend(policy.check("policy", PolicyType::Resource));
        }
        found.extend(self.rotation.as_ref().and_then(Rotation::check));
        if !(7..=30).contains(&self.recovery_window_days) {
            found.push(FieldError::new("recovery_window_days", "must be from 7 to 30 days"));
        }
        let regions = self.replicas.iter().flatten().map(|replica| &replica.region);
        let distinct: BTreeSet<_> = regions.clone().collect();
        if distinct.len() < regions.count() {
            found.push(FieldError::new("replicas", "a region is named twice"));
        }
        found.extend(tags::check(&self.tags));
        found
    }
}

impl Rotation {
    fn check(&self) -> Option<FieldError> {
        match () {
            () if self.every_days.is_some() == self.schedule.is_some() => {
                Some(FieldError::new("rotation", "declare exactly one of `every_days` and `schedule`"))
            }
            () if self.every_days.is_some_and(|days| !(1..=1000).contains(&days)) => {
                Some(FieldError::new("rotation.every_days", "must be from 1 to 1000 days"))
            }
            () if !self.function.starts_with("arn:") => {
                Some(FieldError::new("rotation.function", "not an ARN"))
            }
            () => None,
        }
    }
}

/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
fn check_name(name: &str) -> Option<FieldError> {
    const HELP: &str = "1 to 512 letters, digits and `/_+=.@-`";
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
    let suffix = name.rsplit_once('-').map(|(_, end)| end);
    let wrong = |message: &str, help: &str| Some(FieldError::new("name", message).help(help));
    match () {
        () if name.is_empty() || name.len() > 512 || !name.chars().all(allowed) => {
            wrong("not a valid name for a secret", HELP)
        }
        () if suffix.is_some_and(|end| end.len() == 6 && end.chars().all(|c| c.is_ascii_alphanumeric())) => {
            wrong(
                "AWS ends a secret's ARN with a hyphen and six characters, and would mistake this name for \
                 part of an ARN",
                "choose another ending",
            )
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn paths(extra: Value) -> Vec<String> {
        let mut fields = json!({ "name": "a/b" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        let desired: Desired = serde_json::from_value(fields).expect("valid");
        desired.check().into_iter().map(|error| error.path).collect()
    }

    #[test]
    fn mistakes_are_found_without_network() {
        assert!(
            paths(json!({ "data": { "a": "b" } })).is_empty() && paths(json!({ "value": "x" })).is_empty()
        );
        assert_eq!(paths(json!({})), ["data"]);
        assert_eq!(paths(json!({ "data": { "a": "b" }, "value": "x" })), ["data"]);
        assert_eq!(paths(json!({ "data": { "a": { "template": "{{ data.x }}" } } })), ["data.a"]);
        assert_eq!(paths(json!({ "value": "x", "name": "app-abcdef" })), ["name"]);
        assert_eq!(paths(json!({ "value": "x", "recovery_window_days": 3 })), ["recovery_window_days"]);
        let rotation = json!({ "function": "arn:f", "every_days": 1, "schedule": "rate(1 day)" });
        assert_eq!(paths(json!({ "value": "x", "rotation": rotation })), ["rotation"]);
        let twice = json!([{ "region": "eu-west-1" }, { "region": "eu-west-1", "kms_key": "k" }]);
        assert_eq!(paths(json!({ "value": "x", "replicas": twice })), ["replicas"]);
    }
}
