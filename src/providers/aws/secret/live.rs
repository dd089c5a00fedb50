//! Reading a secret.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use serde_json::{Map, Value};

use super::desired::{Replica, Rotation};
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::key_name::LiveKey;
use crate::providers::aws::policy::Document;
use crate::resource::{Error, ErrorKind, Result, Tags};
use crate::secret::Fields;
use crate::secret::Secret;

/// The error code for a secret that is not there.
pub const NOT_FOUND: &[&str] = &["ResourceNotFoundException"];
const DESCRIBE: &str = "secretsmanager:DescribeSecret";
const GET: &str = "secretsmanager:BatchGetSecretValue";
const POLICY: &str = "secretsmanager:GetResourcePolicy";
/// The key that AWS takes where none is named.
const DEFAULT_KEY: &str = "alias/aws/secretsmanager";

/// A value, or why it cannot be read.
pub type Told = Result<Secret, String>;

/// What Secrets Manager says. `Debug` shows no value.
#[derive(Clone, Debug)]
pub struct Observed {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) version_id: Option<String>,
    pub(super) pending_deletion: bool,
    pub(super) description: String,
    /// `None` when it has no value, or one that is no text.
    pub(super) value: Option<Secret>,
    pub(super) key: LiveKey,
    pub(super) policy: Option<Document>,
    pub(super) rotation: Option<Rotation>,
    pub(super) replicas: BTreeSet<Replica>,
    pub(super) tags: Tags,
}

impl Observed {
    /// The fields of a JSON document; none when it is something else.
    pub fn document(&self) -> Map<String, Value> {
        let text = self.value.as_ref().and_then(Secret::expose_str);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The fields as values; what is no text is compared by its JSON.
    pub fn fields(&self) -> Fields {
        let value = |value: Value| match value {
            Value::String(text) => Secret::from(text),
            other => Secret::from(other.to_string()),
        };
        self.document().into_iter().map(|(name, field)| (name, value(field))).collect()
    }
}

/// One call for many values, and two for each secret, at once.
pub async fn observe(client: &AwsClient, name: &str) -> Result<Option<Observed>> {
    let value = client.batches.secrets.ask(name, |names| values(client, names));
    let (about, value, policy) = tokio::join!(describe(client, name), value, policy(client, name));
    let Some(about) = about? else { return Ok(None) };
    let pending_deletion = about.deleted_date.is_some();
    let value =
        match value? {
            Some(Err(why)) => return Err(Error::new(ErrorKind::Denied, GET, why).advice(
                "give the caller secretsmanager:GetSecretValue for this secret, and kms:Decrypt for its key",
            )),
            Some(Ok(value)) => Some(value),
            None => None,
        };
    let key = about.kms_key_id.clone().filter(|key| !key.is_empty() && !key.ends_with(DEFAULT_KEY));
    let key = LiveKey::named(client, key).await?;
    Ok(Some(Observed {
        name: name.to_owned(),
        version_id: current(&about),
        pending_deletion,
        value,
        key,
        // A secret that will be deleted may keep its policy to itself.
        policy: if pending_deletion { None } else { policy? },
        rotation: rotation(&about),
        replicas: replicas(&about),
        description: about.description.unwrap_or_default(),
        tags: tags(about.tags.unwrap_or_default()),
        arn: about.arn.ok_or_else(|| missing(DESCRIBE, "ARN"))?,
    }))
}

async fn describe(client: &AwsClient, name: &str) -> Result<Option<DescribeSecretOutput>> {
    client.read().secretsmanager.describe_secret().secret_id(name).send().await.found(DESCRIBE, NOT_FOUND)
}

/// Fields by name. A secret that is not there, or will be deleted, has none.
async fn values(client: &AwsClient, names: Vec<String>) -> Result<HashMap<String, Told>> {
    let request = client.read().secretsmanager.batch_get_secret_value().set_secret_id_list(Some(names));
    let answer = request.send().await.at(GET)?;
    let absent = ["ResourceNotFoundException", "InvalidRequestException"];
    let failed = answer.errors.unwrap_or_default().into_iter().filter_map(|error| {
        let code = error.error_code.unwrap_or_default();
        let why = format!("{} ({code})", error.message.unwrap_or_default());
        (!absent.contains(&code.as_str())).then_some((error.secret_id?, Err(why)))
    });
    let found = answer.secret_values.unwrap_or_default().into_iter();
    let found = found.filter_map(|found| Some((found.name?, Ok(Secret::from(found.secret_string?)))));
    Ok(failed.chain(found).collect())
}

async fn policy(client: &AwsClient, name: &str) -> Result<Option<Document>> {
    let answer = client.read().secretsmanager.get_resource_policy().secret_id(name).send().await;
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
        // With a schedule AWS tells the days that it comes to as well.
        every_days: if schedule.is_some() { None } else { days },
        schedule,
        window: rules.and_then(|rules| rules.duration.clone()),
    })
}

/// The default key, which AWS tells for a copy without one, is none.
fn replicas(about: &DescribeSecretOutput) -> BTreeSet<Replica> {
    let live = about.replication_status.iter().flatten().filter_map(|status| {
        let kms_key = status.kms_key_id.clone().filter(|key| !key.ends_with(DEFAULT_KEY));
        Some(Replica { region: status.region.clone()?, kms_key })
    });
    live.collect()
}

fn tags(live: Vec<aws_sdk_secretsmanager::types::Tag>) -> Tags {
    live.into_iter().filter_map(|tag| Some((tag.key?, tag.value?))).collect()
}
