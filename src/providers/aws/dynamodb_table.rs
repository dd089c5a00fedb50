//! `aws.dynamodb_table`: a table, such as the one that holds Terraform's locks.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification,
    ProvisionedThroughput, ScalarAttributeType, SseSpecification, SseStatus, SseType, TableDescription,
    TableStatus, Tag,
};
use backon::{ExponentialBuilder, Retryable as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{AwsClient, missing};
use super::control::Control;
use super::error::Answer;
use super::kms_key;
use super::scope::regional_arn;
use super::tags;
use crate::resolve::unknown::is_unknown;
use crate::resource::{
    Diff, Error, ErrorKind, FieldError, Partial, Requirement, Resource, Result, Scope, Tags, Writer,
};

const KEY_IS_FIXED: &str =
    "DynamoDB fixes a table's keys when it is made; declare another name and move the items";
const NOT_FOUND: &[&str] = &["ResourceNotFoundException"];
/// A table is usually ready after some seconds; changing its encryption can take minutes.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

type W<'a> = Writer<'a, AwsClient>;

/// A table of DynamoDB.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TableDescription.html>
pub struct DynamodbTable;

/// What a plan declares.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DynamodbTable")]
pub struct Desired {
    /// The name, unique in account and region.
    pub name: String,
    /// `terraform_lock`: the key that Terraform's lock table must have, `LockID` of type `S`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The partition key. Fixed when the table is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_key: Option<Key>,
    /// The sort key. Fixed when the table is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_key: Option<Key>,
    /// How it is paid for: `on_demand`, or `provisioned: { read: …, write: … }`.
    #[serde(default)]
    pub billing: Billing,
    /// Whether any second of the last 35 days can be restored.
    #[serde(default)]
    pub point_in_time_recovery: Control,
    /// Encryption under a key of one's own. Default: a key that AWS owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Whether AWS refuses to delete the table.
    #[serde(default)]
    pub deletion_protection: Control,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// A table that some program expects.
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

/// How a table is paid for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Billing {
    /// By request.
    #[default]
    OnDemand,
    /// By capacity.
    Provisioned(Capacity),
}

/// Capacity that is paid for whether used or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Strongly consistent reads of 4 KB a second.
    #[schemars(range(min = 1))]
    pub read: u32,
    /// Writes of 1 KB a second.
    #[schemars(range(min = 1))]
    pub write: u32,
}

/// Encryption under a key of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Encryption {
    /// The key: ARN, id or alias.
    pub kms_key: String,
}

impl Desired {
    /// The partition key; `check` sees to it that there is one.
    fn hash_key(&self) -> Option<Key> {
        let lock = self.preset.map(|Preset::TerraformLock| Key { name: "LockID".into(), kind: KeyKind::S });
        self.hash_key.clone().or(lock)
    }

    fn kms_key(&self) -> Option<&str> {
        self.encryption.as_ref().map(|encryption| encryption.kms_key.as_str())
    }
}

/// What DynamoDB says.
#[derive(Clone, Debug)]
pub struct Observed {
    name: String,
    arn: String,
    hash_key: Option<Key>,
    range_key: Option<Key>,
    billing: Billing,
    point_in_time_recovery: bool,
    kms_key: Option<String>,
    kms_aliases: Vec<String>,
    deletion_protection: bool,
    tags: Tags,
}

impl Observed {
    fn is_encrypted_with(&self, declared: Option<&str>) -> bool {
        let by_alias = declared.is_some_and(|declared| {
            self.kms_aliases.iter().any(|alias| kms_key::is_same_key(Some(alias), Some(declared)))
        });
        by_alias || kms_key::is_same_key(self.kms_key.as_deref(), declared)
    }
}

/// What other steps may refer to.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DynamodbTableOutputs")]
pub struct Outputs {
    /// The table's name.
    pub name: String,
    /// The table's ARN.
    pub arn: String,
}

impl Resource for DynamodbTable {
    const KIND: &'static str = "aws.dynamodb_table";
    const ABOUT: &'static str =
        "A DynamoDB table with recovery and deletion protection, e.g. for Terraform's locks.";
    const EXAMPLE: &'static str = r#"lock_table:
  kind: aws.dynamodb_table
  name: candlefish-terraform-lock
  preset: terraform_lock
sessions:
  kind: aws.dynamodb_table
  name: candlefish-sessions
  hash_key: { name: user, type: S }
  range_key: { name: started, type: "N" }
  billing: { provisioned: { read: 5, write: 5 } }
  encryption: { kms_key: alias/candlefish-data }
  point_in_time_recovery: { off: "sessions can be lost" }
"#;
    const TAGGED: bool = true;
    const PROTECTED: bool = true;
    const REMOVAL: Option<&'static str> = Some("with every item in it");

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = check_name(&desired.name).into_iter().collect();
        found.extend(check_keys(desired));
        found.extend(desired.point_in_time_recovery.check("point_in_time_recovery"));
        found.extend(desired.deletion_protection.check("deletion_protection"));
        found.extend(tags::check(&desired.tags));
        found
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.kms_key().and_then(kms_key::requirement).into_iter().collect()
    }

    /// Three calls; tags are asked for by ARN, which is computed so that all go at once.
    async fn observe(client: &AwsClient, id: &String) -> Result<Option<Observed>> {
        let arn = arn(client, id).await?;
        let known = async { tokio::try_join!(describe(client, id), recovery(client, id)) };
        let (known, tags) = tokio::join!(known, live_tags(client, &arn));
        let (table, recovery) = known?;
        // A table that is being deleted answers for a while; it is gone.
        let table = table.filter(|table| table.table_status != Some(TableStatus::Deleting));
        let Some(table) = table else { return Ok(None) };
        // Only now: AWS may refuse to tell the tags of a table that is not there.
        let tags = tags?;
        let aliases = aliases_of(client, &table).await?;
        Ok(Some(assemble(arn, table, aliases, recovery, tags)))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.immutable("hash_key", &observed.hash_key, &desired.hash_key(), KEY_IS_FIXED)
            .immutable("range_key", &observed.range_key, &desired.range_key, KEY_IS_FIXED)
            .field("billing", &observed.billing, &desired.billing)
            .field(
                "point_in_time_recovery",
                &observed.point_in_time_recovery,
                &desired.point_in_time_recovery.is_on(),
            );
        if !observed.is_encrypted_with(desired.kms_key()) {
            diff.push("encryption.kms_key", json!(observed.kms_key), json!(desired.kms_key()));
        }
        diff.field(
            "deletion_protection",
            &observed.deletion_protection,
            &desired.deletion_protection.is_on(),
        )
        .entries("tags", &observed.tags, &desired.tags);
        diff
    }

    /// Sent once: the name is unique, so that a second request could only fail.
    async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
        let request = w.write_once(w.permit()).dynamodb.create_table().table_name(&desired.name);
        let (attributes, schema) = keys(desired)?;
        let request = request
            .set_attribute_definitions(Some(attributes))
            .set_key_schema(Some(schema))
            .billing_mode(billing_mode(&desired.billing))
            .set_provisioned_throughput(throughput(&desired.billing)?)
            .set_sse_specification(desired.kms_key().map(|key| encryption(Some(key))))
            .deletion_protection_enabled(desired.deletion_protection.is_on())
            .set_tags(Some(to_sdk(&desired.tags)?));
        request.send().await.at("dynamodb:CreateTable").map_err(already_there)?;
        wait_until_active(w, &desired.name).await?;
        if desired.point_in_time_recovery.is_on() { recover(w, &desired.name, true).await } else { Ok(()) }
    }

    /// DynamoDB takes one kind of change at a time, each when the last one is done.
    async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
        let diff = Self::diff(desired, observed);
        wait_until_active(w, &desired.name).await?;
        for field in ["billing", "encryption", "deletion_protection"] {
            if diff.touches(field) {
                update_table(w, desired, field).await?;
            }
        }
        if diff.touches("point_in_time_recovery") {
            recover(w, &desired.name, desired.point_in_time_recovery.is_on()).await?;
        }
        if diff.touches("tags") {
            let added = to_sdk(&tags::to_add(&desired.tags, &observed.tags))?;
            let request = w.write(w.permit()).dynamodb.tag_resource().resource_arn(&observed.arn);
            request.set_tags(Some(added)).send().await.at("dynamodb:TagResource")?;
        }
        Ok(())
    }

    /// Lifts AWS's own protection first: that the table may go was decided before this is called.
    async fn delete(w: &W<'_>, id: &String) -> Result<()> {
        let Some(table) = describe(w, id).await? else { return Ok(()) };
        if table.deletion_protection_enabled == Some(true) {
            let request = w.write(w.permit()).dynamodb.update_table().table_name(id);
            let answer = request.deletion_protection_enabled(false).send().await;
            answer.at("dynamodb:UpdateTable")?;
            wait_until_active(w, id).await?;
        }
        let answer = w.write(w.permit()).dynamodb.delete_table().table_name(id).send().await;
        answer.found("dynamodb:DeleteTable", NOT_FOUND).map(drop)
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), arn: observed.arn.clone() }
    }

    fn predicted_outputs(desired: &Desired, scope: &Scope) -> Partial {
        let arn = regional_arn(scope, "dynamodb", &format!("table/{}", desired.name));
        Partial::default().with("name", &desired.name).with_some("arn", arn)
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

async fn arn(client: &AwsClient, name: &str) -> Result<String> {
    let (partition, region) = (client.partition(), client.region());
    let account = client.account_id().await?;
    Ok(format!("arn:{partition}:dynamodb:{region}:{account}:table/{name}"))
}

async fn describe(client: &AwsClient, name: &str) -> Result<Option<TableDescription>> {
    let answer = client.read().dynamodb.describe_table().table_name(name).send().await;
    Ok(answer.found("dynamodb:DescribeTable", NOT_FOUND)?.and_then(|answer| answer.table))
}

async fn recovery(client: &AwsClient, name: &str) -> Result<bool> {
    const GONE: &[&str] = &["TableNotFoundException", "ResourceNotFoundException"];
    let answer = client.read().dynamodb.describe_continuous_backups().table_name(name).send().await;
    let answer = answer.found("dynamodb:DescribeContinuousBackups", GONE)?;
    let status = answer
        .and_then(|answer| answer.continuous_backups_description)
        .and_then(|backups| backups.point_in_time_recovery_description)
        .and_then(|recovery| recovery.point_in_time_recovery_status);
    Ok(status.is_some_and(|status| status.as_str() == "ENABLED"))
}

async fn live_tags(client: &AwsClient, arn: &str) -> Result<Tags> {
    let (mut tags, mut next) = (Tags::new(), None);
    loop {
        let request = client.read().dynamodb.list_tags_of_resource().resource_arn(arn).set_next_token(next);
        let Some(page) = request.send().await.found("dynamodb:ListTagsOfResource", NOT_FOUND)? else {
            return Ok(tags);
        };
        tags.extend(page.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)));
        next = page.next_token;
        if next.is_none() {
            return Ok(tags);
        }
    }
}

/// The aliases of the table's key, so that a plan may name the key by one of them. Who may not
/// list aliases compares ARNs and ids alone.
async fn aliases_of(client: &AwsClient, table: &TableDescription) -> Result<Vec<String>> {
    let Some(arn) = live_kms_key(table) else { return Ok(Vec::new()) };
    match kms_key::aliases(client).await {
        Ok(aliases) => {
            let ours = aliases.iter().filter(|(_, key)| kms_key::is_same_key(Some(arn), Some(key)));
            Ok(ours.map(|(alias, _)| alias.clone()).collect())
        }
        Err(error) if error.kind == ErrorKind::Denied => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The key of a table that is encrypted under one; one that is going back to AWS's own has none.
fn live_kms_key(table: &TableDescription) -> Option<&str> {
    let going = [SseStatus::Disabled, SseStatus::Disabling];
    let sse = table
        .sse_description
        .as_ref()
        .filter(|sse| !sse.status.as_ref().is_some_and(|s| going.contains(s)))?;
    sse.kms_master_key_arn.as_deref()
}

fn assemble(
    arn: String,
    table: TableDescription,
    kms_aliases: Vec<String>,
    recovery: bool,
    tags: Tags,
) -> Observed {
    Observed {
        hash_key: live_key(&table, &KeyType::Hash),
        range_key: live_key(&table, &KeyType::Range),
        billing: live_billing(&table),
        point_in_time_recovery: recovery,
        kms_key: live_kms_key(&table).map(str::to_owned),
        kms_aliases,
        deletion_protection: table.deletion_protection_enabled.unwrap_or_default(),
        name: table.table_name.unwrap_or_default(),
        arn: table.table_arn.unwrap_or(arn),
        tags,
    }
}

fn live_key(table: &TableDescription, of: &KeyType) -> Option<Key> {
    let name = table.key_schema().iter().find(|key| key.key_type == *of)?.attribute_name.clone();
    let attribute = table.attribute_definitions().iter().find(|known| known.attribute_name == name)?;
    let kind = match attribute.attribute_type {
        ScalarAttributeType::N => KeyKind::N,
        ScalarAttributeType::B => KeyKind::B,
        _ => KeyKind::S,
    };
    Some(Key { name, kind })
}

/// A table that was never paid by request has no summary of its billing.
fn live_billing(table: &TableDescription) -> Billing {
    let mode = table.billing_mode_summary.as_ref().and_then(|summary| summary.billing_mode.as_ref());
    let provisioned = table.provisioned_throughput.as_ref();
    let units = |units: Option<i64>| units.and_then(|units| u32::try_from(units).ok()).unwrap_or_default();
    match (mode, provisioned) {
        (Some(BillingMode::PayPerRequest), _) | (_, None) => Billing::OnDemand,
        (_, Some(capacity)) => Billing::Provisioned(Capacity {
            read: units(capacity.read_capacity_units),
            write: units(capacity.write_capacity_units),
        }),
    }
}

async fn update_table(w: &W<'_>, desired: &Desired, field: &str) -> Result<()> {
    let request = w.write(w.permit()).dynamodb.update_table().table_name(&desired.name);
    let request = match field {
        "billing" => request
            .billing_mode(billing_mode(&desired.billing))
            .set_provisioned_throughput(throughput(&desired.billing)?),
        "encryption" => request.sse_specification(encryption(desired.kms_key())),
        _ => request.deletion_protection_enabled(desired.deletion_protection.is_on()),
    };
    request.send().await.at("dynamodb:UpdateTable")?;
    wait_until_active(w, &desired.name).await
}

async fn recover(w: &W<'_>, name: &str, on: bool) -> Result<()> {
    let specification =
        PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(on).build();
    let request = w.write(w.permit()).dynamodb.update_continuous_backups().table_name(name);
    let request = request.point_in_time_recovery_specification(specification.map_err(wrong_request)?);
    request.send().await.at("dynamodb:UpdateContinuousBackups").map(drop)
}

/// Asks until the table takes changes again, less and less often.
async fn wait_until_active(client: &AwsClient, name: &str) -> Result<()> {
    let patience = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(5))
        .with_total_delay(Some(LONGEST_WAIT))
        .without_max_times();
    (|| is_active(client, name)).retry(patience).when(|error| error.kind == ErrorKind::Eventual).await
}

async fn is_active(client: &AwsClient, name: &str) -> Result<()> {
    let status = describe(client, name).await?.and_then(|table| table.table_status);
    match status {
        Some(TableStatus::Active) => Ok(()),
        status => {
            let status = status.map_or("not visible yet".to_owned(), |status| status.as_str().to_owned());
            let message = format!("table {name} is {status}");
            Err(Error::new(ErrorKind::Eventual, "dynamodb:DescribeTable", message)
                .advice("AWS is still working on the table; run again"))
        }
    }
}

/// "In use" says that the table exists.
fn already_there(error: Error) -> Error {
    if !error.message.contains("ResourceInUseException") {
        return error;
    }
    Error::new(ErrorKind::Conflict, error.operation, error.message)
        .advice("it was made in the meantime; run `groundwork plan` again")
}

fn keys(desired: &Desired) -> Result<(Vec<AttributeDefinition>, Vec<KeySchemaElement>)> {
    let hash = desired.hash_key().ok_or_else(|| missing("dynamodb:CreateTable", "hash key"))?;
    let declared = [Some((hash, KeyType::Hash)), desired.range_key.clone().map(|key| (key, KeyType::Range))];
    let declared: Vec<(Key, KeyType)> = declared.into_iter().flatten().collect();
    let attributes = declared.iter().map(|(key, _)| attribute(key)).collect::<Result<_>>()?;
    let schema = declared.into_iter().map(|(key, of)| {
        KeySchemaElement::builder().attribute_name(key.name).key_type(of).build().map_err(wrong_request)
    });
    Ok((attributes, schema.collect::<Result<_>>()?))
}

fn attribute(key: &Key) -> Result<AttributeDefinition> {
    let kind = match key.kind {
        KeyKind::S => ScalarAttributeType::S,
        KeyKind::N => ScalarAttributeType::N,
        KeyKind::B => ScalarAttributeType::B,
    };
    let attribute = AttributeDefinition::builder().attribute_name(&key.name).attribute_type(kind);
    attribute.build().map_err(wrong_request)
}

fn billing_mode(billing: &Billing) -> BillingMode {
    match billing {
        Billing::OnDemand => BillingMode::PayPerRequest,
        Billing::Provisioned(_) => BillingMode::Provisioned,
    }
}

fn throughput(billing: &Billing) -> Result<Option<ProvisionedThroughput>> {
    let Billing::Provisioned(capacity) = billing else { return Ok(None) };
    let units = ProvisionedThroughput::builder()
        .read_capacity_units(capacity.read.into())
        .write_capacity_units(capacity.write.into());
    units.build().map(Some).map_err(wrong_request)
}

/// Without a key: back to the one that AWS owns.
fn encryption(kms_key: Option<&str>) -> SseSpecification {
    match kms_key {
        Some(key) => {
            SseSpecification::builder().enabled(true).sse_type(SseType::Kms).kms_master_key_id(key).build()
        }
        None => SseSpecification::builder().enabled(false).build(),
    }
}

fn to_sdk(tags: &Tags) -> Result<Vec<Tag>> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build().map_err(wrong_request))
        .collect()
}

fn wrong_request(error: aws_smithy_types::error::operation::BuildError) -> Error {
    Error::new(ErrorKind::Local, "build a request for DynamoDB", error.to_string())
}

/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html>
fn check_name(name: &str) -> Option<FieldError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let fits = (3..=255).contains(&name.len()) && name.chars().all(allowed);
    (!fits && !is_unknown(name)).then(|| {
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
            FieldError::new("preset", "the preset decides the keys")
                .help("remove `hash_key` and `range_key`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn desired(extra: Value) -> Desired {
        let mut fields = json!({ "name": "locks", "preset": "terraform_lock" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        serde_json::from_value(fields).expect("valid")
    }

    fn observed() -> Observed {
        Observed {
            name: "locks".into(),
            arn: "arn".into(),
            hash_key: Some(Key { name: "LockID".into(), kind: KeyKind::S }),
            range_key: None,
            billing: Billing::OnDemand,
            point_in_time_recovery: true,
            kms_key: None,
            kms_aliases: Vec::new(),
            deletion_protection: true,
            tags: Tags::new(),
        }
    }

    #[test]
    fn the_lock_table_is_in_sync() {
        assert!(DynamodbTable::check(&desired(json!({}))).is_empty());
        assert!(DynamodbTable::diff(&desired(json!({})), &observed()).is_empty());
    }

    #[test]
    fn every_field_is_compared() {
        let all = json!({ "preset": null, "hash_key": { "name": "a", "type": "N" },
            "range_key": { "name": "b", "type": "S" }, "billing": { "provisioned": { "read": 1, "write": 2 } },
            "point_in_time_recovery": { "off": "r" }, "encryption": { "kms_key": "k" },
            "deletion_protection": { "off": "r" }, "tags": { "a": "b" } });
        let diff = DynamodbTable::diff(&desired(all), &observed());
        let paths: Vec<&str> = diff.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "hash_key",
                "range_key",
                "billing",
                "point_in_time_recovery",
                "encryption.kms_key",
                "deletion_protection",
                "tags.a"
            ]
        );
        assert_eq!(diff.blocked.len(), 2);
    }

    #[test]
    fn a_key_may_be_named_by_its_alias() {
        let arn = "arn:aws:kms:us-east-1:123456789012:key/abc";
        let live = Observed { kms_key: Some(arn.into()), kms_aliases: vec!["alias/x".into()], ..observed() };
        for name in [arn, "abc", "alias/x", "arn:aws:kms:us-east-1:123456789012:alias/x"] {
            assert!(live.is_encrypted_with(Some(name)), "{name}");
        }
        assert!(!live.is_encrypted_with(Some("alias/y")) && !live.is_encrypted_with(None));
    }

    #[test]
    fn a_table_needs_exactly_one_source_of_keys() {
        assert!(check_keys(&desired(json!({ "preset": null }))).is_some());
        assert!(check_keys(&desired(json!({ "hash_key": { "name": "a", "type": "S" } }))).is_some());
    }

    #[test]
    fn names_are_checked() {
        assert!(
            check_name("a.b-c_1").is_none() && check_name("ab").is_some() && check_name("a b c").is_some()
        );
    }
}
