//! Reading a table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndexDescription, IndexStatus, KeySchemaElement,
    KeyType, PointInTimeRecoveryStatus, ProjectionType, ProvisionedThroughputDescription,
    ScalarAttributeType, SseStatus, StreamViewType, TableClass, TableDescription, TableStatus,
    TimeToLiveStatus,
};
use backon::{ExponentialBuilder, Retryable as _};

use super::desired::{
    Billing, Capacity, Class, GlobalIndex, Key, KeyKind, LocalIndex, Projection, StreamView,
};
use crate::error::{Error, ErrorKind, Result};
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::in_order::InOrder;
use crate::providers::aws::key_name::LiveKey;
use crate::resource::Tags;

/// The error code for a missing table.
pub const NOT_FOUND: &[&str] = &["ResourceNotFoundException"];
/// A table is usually ready after a few seconds; changing its encryption or building an index can take
/// minutes.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// The longest that point-in-time recovery can go back.
pub const ALL_DAYS: u32 = 35;

/// The table as DynamoDB reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    pub(super) name: String,
    pub(super) arn: String,
    /// Why the table is unusable; `None` if it is active or becoming active.
    pub(super) broken: Option<String>,
    /// Enumeration values that Groundwork does not know, by field.
    pub(super) unknown: BTreeMap<&'static str, String>,
    pub(super) stream_arn: Option<String>,
    pub(super) hash_key: Option<Key>,
    pub(super) range_key: Option<Key>,
    pub(super) billing: Billing,
    /// The recovery period in days; `None` if recovery is off.
    pub(super) recovery_days: Option<u32>,
    pub(super) key: LiveKey,
    pub(super) deletion_protection: bool,
    pub(super) global_indexes: BTreeMap<String, GlobalIndex>,
    pub(super) local_indexes: BTreeMap<String, LocalIndex>,
    pub(super) ttl_attribute: Option<String>,
    pub(super) stream: Option<StreamView>,
    pub(super) class: Class,
    pub(super) tags: Tags,
}

/// Sends four requests at once; tags need the ARN, which is computed.
pub async fn observe(client: &AwsClient, name: &str) -> Result<Option<Observed>> {
    let arn = arn(client, name).await?;
    let known =
        async { tokio::join!(describe(client, name), recovery(client, name), ttl(client, name)).in_order() };
    let (known, tags) = tokio::join!(known, live_tags(client, &arn));
    let (table, recovery, ttl_attribute) = known?;
    // A table that is being deleted is still reported for a while; it counts as deleted.
    let table = table.filter(|table| table.table_status != Some(TableStatus::Deleting));
    let Some(table) = table else { return Ok(None) };
    // Checked only now, because AWS may deny access to the tags of a missing table.
    let tags = tags?;
    let key = LiveKey::named(client, live_kms_key(&table).map(str::to_owned)).await?;
    Ok(Some(assemble(arn, table, key, recovery, ttl_attribute, tags)))
}

async fn arn(client: &AwsClient, name: &str) -> Result<String> {
    let (partition, region) = (client.partition(), client.region());
    let account = client.account_id().await?;
    Ok(format!("arn:{partition}:dynamodb:{region}:{account}:table/{name}"))
}

/// [`DescribeTable`](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeTable.html)
pub async fn describe(client: &AwsClient, name: &str) -> Result<Option<TableDescription>> {
    let answer = client.read().dynamodb.describe_table().table_name(name).send().await;
    Ok(answer.found("dynamodb:DescribeTable", NOT_FOUND)?.and_then(|answer| answer.table))
}

/// The recovery period in days. A table without a period has the longest.
async fn recovery(client: &AwsClient, name: &str) -> Result<Option<u32>> {
    const GONE: &[&str] = &["TableNotFoundException", "ResourceNotFoundException"];
    let answer = client.read().dynamodb.describe_continuous_backups().table_name(name).send().await;
    let answer = answer.found("dynamodb:DescribeContinuousBackups", GONE)?;
    let recovery = answer
        .and_then(|answer| answer.continuous_backups_description)
        .and_then(|backups| backups.point_in_time_recovery_description)
        .filter(|recovery| {
            recovery.point_in_time_recovery_status == Some(PointInTimeRecoveryStatus::Enabled)
        });
    let days = |days: i32| u32::try_from(days).unwrap_or_default();
    Ok(recovery.map(|recovery| recovery.recovery_period_in_days.map_or(ALL_DAYS, days)))
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

/// The attribute by which items expire. Switching it off takes up to an hour, during which it counts as
/// off.
async fn ttl(client: &AwsClient, name: &str) -> Result<Option<String>> {
    let answer = client.read().dynamodb.describe_time_to_live().table_name(name).send().await;
    let answer = answer.found("dynamodb:DescribeTimeToLive", NOT_FOUND)?;
    let on = [TimeToLiveStatus::Enabled, TimeToLiveStatus::Enabling];
    let described = answer.and_then(|answer| answer.time_to_live_description);
    let described = described.filter(|ttl| ttl.time_to_live_status.as_ref().is_some_and(|s| on.contains(s)));
    Ok(described.and_then(|ttl| ttl.attribute_name))
}

/// The KMS key of a table; `None` while the table returns to the key of AWS.
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
    key: LiveKey,
    recovery_days: Option<u32>,
    ttl_attribute: Option<String>,
    tags: Tags,
) -> Observed {
    let attributes = table.attribute_definitions();
    Observed {
        hash_key: live_key(attributes, table.key_schema(), &KeyType::Hash),
        range_key: live_key(attributes, table.key_schema(), &KeyType::Range),
        billing: live_billing(&table),
        recovery_days,
        key,
        deletion_protection: table.deletion_protection_enabled.unwrap_or_default(),
        global_indexes: global_indexes(&table),
        local_indexes: local_indexes(&table),
        ttl_attribute,
        stream: live_stream(&table),
        class: live_class(&table),
        broken: broken(&table),
        unknown: unknown(&table),
        stream_arn: table.latest_stream_arn.filter(|_| table.stream_specification.is_some()),
        name: table.table_name.unwrap_or_default(),
        arn: table.table_arn.unwrap_or(arn),
        tags,
    }
}

/// A table whose key cannot be used, or that AWS has archived, exists but is unusable.
fn broken(table: &TableDescription) -> Option<String> {
    let working = [TableStatus::Active, TableStatus::Creating, TableStatus::Updating];
    let status = table.table_status.as_ref().filter(|status| !working.contains(status));
    let no_key = table.sse_description.as_ref().and_then(|sse| sse.inaccessible_encryption_date_time);
    status
        .map(|status| status.as_str().to_owned())
        .or_else(|| no_key.map(|since| format!("its KMS key cannot be used since {since}")))
}

/// Enumeration values that Groundwork would misread.
fn unknown(table: &TableDescription) -> BTreeMap<&'static str, String> {
    let class = table.table_class_summary.as_ref().and_then(|summary| summary.table_class.as_ref());
    let class = class.map(|class| (class.as_str(), TableClass::values()));
    let stream = table.stream_specification.as_ref().and_then(|stream| stream.stream_view_type.as_ref());
    let stream = stream.map(|view| (view.as_str(), StreamViewType::values()));
    let billing = table.billing_mode_summary.as_ref().and_then(|summary| summary.billing_mode.as_ref());
    let billing = billing.map(|mode| (mode.as_str(), BillingMode::values()));
    let read = [("class", class), ("stream", stream), ("billing", billing)].into_iter();
    let read = read.filter_map(|(field, live)| Some((field, live?)));
    read.filter(|(_, (live, known))| !known.contains(live))
        .map(|(field, (live, _))| (field, live.to_owned()))
        .collect()
}

fn live_key(attributes: &[AttributeDefinition], schema: &[KeySchemaElement], of: &KeyType) -> Option<Key> {
    let name = schema.iter().find(|key| key.key_type == *of)?.attribute_name.clone();
    let attribute = attributes.iter().find(|known| known.attribute_name == name)?;
    let kind = match attribute.attribute_type {
        ScalarAttributeType::N => KeyKind::N,
        ScalarAttributeType::B => KeyKind::B,
        ScalarAttributeType::S => KeyKind::S,
        _ => return None,
    };
    Some(Key { name, kind })
}

/// Indexes by name, without those that are being deleted.
fn global_indexes(table: &TableDescription) -> BTreeMap<String, GlobalIndex> {
    let attributes = table.attribute_definitions();
    let live = table.global_secondary_indexes().iter();
    let live = live.filter(|index| index.index_status != Some(IndexStatus::Deleting));
    let read = |index: &GlobalSecondaryIndexDescription| {
        let declared = GlobalIndex {
            hash_key: live_key(attributes, index.key_schema(), &KeyType::Hash)?,
            range_key: live_key(attributes, index.key_schema(), &KeyType::Range),
            projection: projection(index.projection.as_ref()),
            capacity: index
                .provisioned_throughput
                .as_ref()
                .map(capacity)
                .filter(|capacity| capacity.read > 0),
        };
        Some((index.index_name.clone()?, declared))
    };
    live.filter_map(read).collect()
}

fn local_indexes(table: &TableDescription) -> BTreeMap<String, LocalIndex> {
    let attributes = table.attribute_definitions();
    let live = table.local_secondary_indexes().iter().filter_map(|index| {
        let range_key = live_key(attributes, index.key_schema(), &KeyType::Range)?;
        Some((
            index.index_name.clone()?,
            LocalIndex { range_key, projection: projection(index.projection.as_ref()) },
        ))
    });
    live.collect()
}

fn projection(live: Option<&aws_sdk_dynamodb::types::Projection>) -> Projection {
    match live.and_then(|live| live.projection_type.as_ref()) {
        Some(ProjectionType::KeysOnly) => Projection::KeysOnly,
        Some(ProjectionType::Include) => {
            Projection::Include(live.iter().flat_map(|live| live.non_key_attributes()).cloned().collect())
        }
        Some(ProjectionType::All) | None => Projection::All,
        // An attribute's name is never empty, so no declaration equals this.
        Some(_) => Projection::Include(BTreeSet::from([String::new()])),
    }
}

fn live_stream(table: &TableDescription) -> Option<StreamView> {
    let stream = table.stream_specification.as_ref().filter(|stream| stream.stream_enabled)?;
    match stream.stream_view_type.as_ref()? {
        StreamViewType::KeysOnly => Some(StreamView::KeysOnly),
        StreamViewType::NewImage => Some(StreamView::NewImage),
        StreamViewType::OldImage => Some(StreamView::OldImage),
        StreamViewType::NewAndOldImages => Some(StreamView::NewAndOldImages),
        _ => None,
    }
}

fn live_class(table: &TableDescription) -> Class {
    let class = table.table_class_summary.as_ref().and_then(|summary| summary.table_class.as_ref());
    if class == Some(&TableClass::StandardInfrequentAccess) {
        Class::InfrequentAccess
    } else {
        Class::Standard
    }
}

/// The billing summary is absent for a table that was always provisioned.
fn live_billing(table: &TableDescription) -> Billing {
    let mode = table.billing_mode_summary.as_ref().and_then(|summary| summary.billing_mode.as_ref());
    match (mode, table.provisioned_throughput.as_ref()) {
        (Some(BillingMode::PayPerRequest), _) | (_, None) => Billing::OnDemand,
        (_, Some(live)) => Billing::Provisioned(capacity(live)),
    }
}

fn capacity(live: &ProvisionedThroughputDescription) -> Capacity {
    let units = |units: Option<i64>| units.and_then(|units| u32::try_from(units).ok()).unwrap_or_default();
    Capacity { read: units(live.read_capacity_units), write: units(live.write_capacity_units) }
}

/// Polls until the table accepts changes again, at growing intervals.
pub async fn wait_until_active(client: &AwsClient, name: &str) -> Result<()> {
    let patience = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(5))
        .with_total_delay(Some(LONGEST_WAIT))
        .without_max_times();
    (|| is_active(client, name)).retry(patience).when(|error| error.kind == ErrorKind::Eventual).await
}

async fn is_active(client: &AwsClient, name: &str) -> Result<()> {
    let table = describe(client, name).await?;
    let index = table.iter().flat_map(|table| table.global_secondary_indexes()).find_map(|index| {
        let status = index.index_status.as_ref().filter(|status| **status != IndexStatus::Active)?;
        Some(format!("its index {} is {status}", index.index_name.as_deref().unwrap_or_default()))
    });
    let status = match (table.and_then(|table| table.table_status), index) {
        (Some(TableStatus::Active), None) => return Ok(()),
        (Some(TableStatus::Active), Some(index)) => index,
        (Some(status), _) => status.to_string(),
        (None, _) => "not visible yet".to_owned(),
    };
    Err(Error::new(ErrorKind::Eventual, "dynamodb:DescribeTable", format!("table {name} is {status}"))
        .advice("AWS is still working on the table; run again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::types::{
        BillingModeSummary, SseDescription, StreamSpecification, TableClassSummary,
    };

    #[test]
    fn broken_table_states_are_named() {
        let table = |status: &str| TableDescription::builder().table_status(status.into());
        for working in ["ACTIVE", "CREATING", "UPDATING"] {
            assert_eq!(broken(&table(working).build()), None);
        }
        for not in [
            "INACCESSIBLE_ENCRYPTION_CREDENTIALS",
            "ARCHIVED",
            "ARCHIVING",
            "REPLICATION_NOT_AUTHORIZED",
            "NEW",
        ] {
            assert_eq!(broken(&table(not).build()).as_deref(), Some(not));
        }
        let since = aws_smithy_types::DateTime::from_secs(0);
        let sse = SseDescription::builder().inaccessible_encryption_date_time(since).build();
        assert!(broken(&table("ACTIVE").sse_description(sse).build()).is_some());
    }

    #[test]
    fn unknown_values_of_enumerations_are_named() {
        let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type("DELTAS".into());
        let table = TableDescription::builder()
            .table_class_summary(TableClassSummary::builder().table_class("FROZEN".into()).build())
            .billing_mode_summary(BillingModeSummary::builder().billing_mode("FLAT".into()).build())
            .stream_specification(stream.build().expect("complete"))
            .build();
        let unknown = unknown(&table);
        assert_eq!(unknown.values().collect::<Vec<_>>(), ["FLAT", "FROZEN", "DELTAS"]);
        assert_eq!(live_stream(&table), None);
    }
}
