//! Reading a secret.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::types::StatusType;
use jiff::Timestamp;
use serde_json::Value;

use super::desired::{Replica, Rotation};
use crate::error::{Error, ErrorKind, Result};
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::json_text;
use crate::providers::aws::key_name::LiveKey;
use crate::providers::aws::policy::Document;
use crate::resource::Tags;
use crate::secret::{Fields, Input, Secret, Sources};

/// The error code for a missing secret.
pub const NOT_FOUND: &[&str] = &["ResourceNotFoundException"];
const DESCRIBE: &str = "secretsmanager:DescribeSecret";
const GET: &str = "secretsmanager:BatchGetSecretValue";
const POLICY: &str = "secretsmanager:GetResourcePolicy";
/// The default key of Secrets Manager.
const DEFAULT_KEY: &str = "alias/aws/secretsmanager";

/// Secrets Manager's response for one value of a batch.
#[derive(Clone, Debug)]
pub enum ValueResponse {
    /// The value, and when it was written.
    Value(LiveValue, Option<Timestamp>),
    /// The value cannot be read.
    Refused {
        /// The error's code.
        code: String,
        /// The error's message.
        why: String,
    },
}

/// The current value. `Debug` does not show it.
#[derive(Clone, Debug)]
pub enum LiveValue {
    /// The secret never had a value, or is scheduled for deletion.
    Absent,
    /// Text.
    Text(Secret),
    /// Bytes, which a plan cannot declare.
    Binary,
}

impl LiveValue {
    /// The value, if it is text.
    pub fn text(&self) -> Option<&Secret> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::Binary => None,
        }
    }
}

/// The secret as Secrets Manager reports it. `Debug` shows no value.
#[derive(Clone, Debug)]
pub struct Observed {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) version_id: Option<String>,
    pub(super) pending_deletion: bool,
    pub(super) description: String,
    pub(super) value: LiveValue,
    /// When the value was written.
    pub(super) written: Option<Timestamp>,
    pub(super) key: LiveKey,
    pub(super) policy: Option<Document>,
    pub(super) rotation: Option<Rotation>,
    pub(super) replicas: BTreeSet<Replica>,
    /// Why replicas are out of date, by region.
    pub(super) failed_replicas: BTreeMap<String, String>,
    pub(super) tags: Tags,
}

impl Observed {
    /// The text of the JSON document, as written.
    pub fn document(&self) -> Option<&str> {
        self.value.text().and_then(Secret::expose_str).filter(|text| json_text::fields(text).is_some())
    }

    /// The fields as values; a field that is not text is compared by its JSON.
    pub fn fields(&self) -> Fields {
        let value = |text: &str| match serde_json::from_str::<String>(text) {
            Ok(text) => Secret::from(text),
            Err(_) => Secret::from(json_text::compact(text)),
        };
        let fields = self.document().and_then(json_text::fields).unwrap_or_default();
        fields.into_iter().map(|(name, field)| (name, value(field))).collect()
    }

    /// The fields that `sources` may keep. `null`, an empty text, 0 and `false` do not count as
    /// generated values.
    pub fn kept(&self, sources: &Sources) -> Fields {
        let raw: BTreeMap<String, &str> =
            self.document().and_then(json_text::fields).unwrap_or_default().into_iter().collect();
        let is_made = |name: &String| {
            sources.get(name).is_some_and(|source| matches!(source.input(), Input::Generate(_)))
        };
        let mut fields = self.fields();
        fields.retain(|name, _| !(is_made(name) && raw.get(name).is_some_and(|text| says_nothing(text))));
        fields
    }
}

fn says_nothing(text: &str) -> bool {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    value.is_null() || value == "" || value == false || value.as_f64() == Some(0.0)
}

/// One request for many values, and two for each secret, at once.
/// Without `with_value` there is no value to be read.
pub async fn observe(client: &AwsClient, name: &str, with_value: bool) -> Result<Option<Observed>> {
    let value = async {
        match with_value {
            true => client.batches.secrets.ask(name, |names| values(client, names)).await,
            false => Ok(None),
        }
    };
    let (about, value, policy) = tokio::join!(describe(client, name), value, policy(client, name));
    let Some(about) = about? else { return Ok(None) };
    let pending_deletion = about.deleted_date.is_some();
    let written = match &value {
        Ok(Some(ValueResponse::Value(_, written))) => *written,
        _ => None,
    };
    let value = match with_value && !pending_deletion {
        true => current_value(&about, name, value?)?,
        false => LiveValue::Absent,
    };
    let key = about.kms_key_id.clone().filter(|key| !key.is_empty() && !key.ends_with(DEFAULT_KEY));
    let key = LiveKey::named(client, key).await?;
    Ok(Some(Observed {
        name: name.to_owned(),
        version_id: current(&about),
        pending_deletion,
        value,
        written,
        key,
        // AWS may deny access to the policy of a secret that is scheduled for deletion.
        policy: if pending_deletion { None } else { policy? },
        rotation: rotation(&about),
        replicas: replicas(&about),
        failed_replicas: failed_replicas(&about),
        description: about.description.unwrap_or_default(),
        tags: tags(about.tags.unwrap_or_default()),
        arn: about.arn.ok_or_else(|| missing(DESCRIBE, "ARN"))?,
    }))
}

async fn describe(client: &AwsClient, name: &str) -> Result<Option<DescribeSecretOutput>> {
    client.read().secretsmanager().describe_secret().secret_id(name).send().await.found(DESCRIBE, NOT_FOUND)
}

/// Values, or why they cannot be read, by name. A name without either was not answered.
pub async fn values(client: &AwsClient, names: Vec<String>) -> Result<HashMap<String, ValueResponse>> {
    let request = client.read().secretsmanager().batch_get_secret_value().set_secret_id_list(Some(names));
    let pages: Vec<_> = request.into_paginator().send().try_collect().await.at(GET)?;
    let mut responses = HashMap::new();
    for page in pages {
        for error in page.errors.unwrap_or_default() {
            let code = error.error_code.unwrap_or_default();
            let why = format!("{} ({code})", error.message.unwrap_or_default());
            responses.extend(error.secret_id.map(|name| (name, ValueResponse::Refused { code, why })));
        }
        for found in page.secret_values.unwrap_or_default() {
            let text = found.secret_string.map(|text| LiveValue::Text(Secret::from(text)));
            let binary = found.secret_binary.map(|_| LiveValue::Binary);
            let value = text.or(binary).ok_or_else(|| missing(GET, "value"))?;
            let written = found.created_date.and_then(|date| Timestamp::from_second(date.secs()).ok());
            responses.extend(found.name.map(|name| (name, ValueResponse::Value(value, written))));
        }
    }
    Ok(responses)
}

/// A secret counts as empty only if Secrets Manager says so and lists no current version either. Any other
/// response might hide a value that is in use.
fn current_value(
    about: &DescribeSecretOutput,
    name: &str,
    response: Option<ValueResponse>,
) -> Result<LiveValue> {
    let eventual =
        |why: String| Err(Error::new(ErrorKind::Eventual, GET, why).advice("run again in a few seconds"));
    match response {
        Some(ValueResponse::Value(value, _)) => Ok(value),
        Some(ValueResponse::Refused { code, why }) => match code.as_str() {
            "ResourceNotFoundException" if current(about).is_none() => Ok(LiveValue::Absent),
            "ResourceNotFoundException" | "InvalidRequestException" => {
                eventual(format!("{name} has a current version that cannot be read: {why}"))
            }
            _ => Err(Error::new(ErrorKind::Denied, GET, why).advice(
                "give the caller secretsmanager:GetSecretValue for this secret, and kms:Decrypt for its key",
            )),
        },
        None => Err(missing(GET, &format!("value of {name}"))),
    }
}

async fn policy(client: &AwsClient, name: &str) -> Result<Option<Document>> {
    let answer = client.read().secretsmanager().get_resource_policy().secret_id(name).send().await;
    let answer = answer.found(POLICY, NOT_FOUND)?;
    answer.and_then(|answer| answer.resource_policy).map(|text| Document::parse(POLICY, &text)).transpose()
}

fn current(about: &DescribeSecretOutput) -> Option<String> {
    let versions = about.version_ids_to_stages.iter().flatten();
    let current = |stages: &Vec<String>| stages.iter().any(|stage| stage == "AWSCURRENT");
    versions.into_iter().find(|(_, stages)| current(stages)).map(|(version, _)| version.clone())
}

fn rotation(about: &DescribeSecretOutput) -> Option<Rotation> {
    let rules = about.rotation_rules.as_ref();
    let schedule = rules.and_then(|rules| rules.schedule_expression.clone());
    let days = rules.and_then(|rules| rules.automatically_after_days).and_then(|days| days.try_into().ok());
    about.rotation_enabled.unwrap_or_default().then(|| Rotation {
        function: about.rotation_lambda_arn.clone().unwrap_or_default(),
        // With a schedule, AWS also returns the equivalent number of days.
        every_days: if schedule.is_some() { None } else { days },
        schedule,
        window: rules.and_then(|rules| rules.duration.clone()),
    })
}

/// AWS returns the default key for a replica without one; it counts as absent.
fn replicas(about: &DescribeSecretOutput) -> BTreeSet<Replica> {
    let live = about.replication_status.iter().flatten().filter_map(|status| {
        let kms_key = status.kms_key_id.clone().filter(|key| !key.ends_with(DEFAULT_KEY));
        Some(Replica { region: status.region.clone()?, kms_key })
    });
    live.collect()
}

/// Replicas that AWS failed to create or update.
fn failed_replicas(about: &DescribeSecretOutput) -> BTreeMap<String, String> {
    let failed = about.replication_status.iter().flatten().filter_map(|replica| {
        let status = replica
            .status
            .as_ref()
            .filter(|status| ![StatusType::InSync, StatusType::InProgress].contains(status))?;
        let why = replica.status_message.as_deref().unwrap_or("no reason given");
        Some((replica.region.clone()?, format!("{}: {why}", status.as_str())))
    });
    failed.collect()
}

fn tags(live: Vec<aws_sdk_secretsmanager::types::Tag>) -> Tags {
    live.into_iter().filter_map(|tag| Some((tag.key?, tag.value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(stages: &[&str]) -> DescribeSecretOutput {
        let stages = stages.iter().map(|stage| (*stage).to_owned()).collect();
        DescribeSecretOutput::builder().version_ids_to_stages("v1", stages).build()
    }

    fn refused(code: &str) -> ValueResponse {
        ValueResponse::Refused { code: code.to_owned(), why: code.to_owned() }
    }

    #[test]
    fn only_secret_without_versions_counts_as_empty() {
        let kind = |stages: &[&str], response| {
            current_value(&about(stages), "a", response).map_err(|error| error.kind)
        };
        assert!(matches!(kind(&[], Some(refused("ResourceNotFoundException"))), Ok(LiveValue::Absent)));
        let hidden = kind(&["AWSCURRENT"], Some(refused("ResourceNotFoundException")));
        assert_eq!(hidden.unwrap_err(), ErrorKind::Eventual);
        assert_eq!(kind(&[], Some(refused("InvalidRequestException"))).unwrap_err(), ErrorKind::Eventual);
        assert_eq!(kind(&[], Some(refused("AccessDeniedException"))).unwrap_err(), ErrorKind::Denied);
        assert!(kind(&[], None).is_err());
    }

    #[test]
    fn failed_replica_is_named() {
        let replica = aws_sdk_secretsmanager::types::ReplicationStatusType::builder().region("eu-west-1");
        let replica = replica.status(StatusType::Failed).status_message("exists there").build();
        let about = DescribeSecretOutput::builder().replication_status(replica).build();
        assert_eq!(failed_replicas(&about)["eu-west-1"], "Failed: exists there");
    }
}
