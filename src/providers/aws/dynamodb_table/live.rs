//! Reading a table.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndexDescription, IndexStatus, KeySchemaElement,
    KeyType, ProjectionType, ProvisionedThroughputDescription, ScalarAttributeType, SseStatus,
    StreamViewType, TableClass, TableDescription, TableStatus, TimeToLiveStatus,
};
use backon::{ExponentialBuilder, Retryable as _};

use super::desired::{
    Billing, Capacity, Class, GlobalIndex, Key, KeyKind, LocalIndex, Projection, StreamView,
};
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::in_order::InOrder;
use crate::providers::aws::key_name::LiveKey;
use crate::resource::{Error, ErrorKind, Result, Tags};

/// The error code for a table that is not there.
pub const NOT_FOUND: &[&str] = &["ResourceNotFoundException"];
/// A table is usually ready after some seconds; changing its encryption or filling an index can take
/// minutes.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// What DynamoDB says.
#[derive(Clone, Debug)]
pub struct Observed {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) stream_arn: Option<String>,
    pub(super) hash_key: Option<Key>,
    pub(super) range_key: Option<Key>,
    pub(super) billing: Billing,
    pub(super) point_in_time_recovery: bool,
    pub(super) key: LiveKey,
    pub(super) deletion_protection: bool,
    pub(super) global_indexes: BTreeMap<String, GlobalIndex>,
    pub(super) local_indexes: BTreeMap<String, LocalIndex>,
    pub(super) ttl_attribute: Option<String>,
    pub(super) stream: Option<StreamView>,
    pub(super) class: Class,
    pub(super) tags: Tags,
}

/// Four calls; tags are asked for by ARN, which is computed so that all go at once.
pub async fn observe(client: &AwsClient, name: &str) -> Result<Option<Observed>> {
    let arn = arn(client, name).await?;
    let known =
        async { tokio::join!(describe(client, name), recovery(client, name), ttl(client, name)).in_order() };
    let (known, tags) = tokio::join!(known, live_tags(client, &arn));
    let (table, recovery, ttl_attribute) = known?;
    // A table that is being deleted answers for a while; it is gone.
    let table = table.filter(|table| table.table_status != Some(TableStatus::Deleting));
    let Some(table) = table else { return Ok(None) };
    // Only now: AWS may refuse to tell the tags of a table that is not there.
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

/// The attribute by which items expire; switching it off takes up to an hour, in which it counts as off.
async fn ttl(client: &AwsClient, name: &str) -> Result<Option<String>> {
    let answer = client.read().dynamodb.describe_time_to_live().table_name(name).send().await;
    let answer = answer.found("dynamodb:DescribeTimeToLive", NOT_FOUND)?;
    let on = [TimeToLiveStatus::Enabled, TimeToLiveStatus::Enabling];
    let described = answer.and_then(|answer| answer.time_to_live_description);
    let described = described.filter(|ttl| ttl.time_to_live_status.as_ref().is_some_and(|s| on.contains(s)));
    Ok(described.and_then(|ttl| ttl.attribute_name))
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
    key: LiveKey,
    recovery: bool,
    ttl_attribute: Option<String>,
    tags: Tags,
) -> Observed {
    let attributes = table.attribute_definitions();
    Observed {
        hash_key: live_key(attributes, table.key_schema(), &KeyType::Hash),
        range_key: live_key(attributes, table.key_schema(), &KeyType::Range),
        billing: live_billing(&table),
        point_in_time_recovery: recovery,
        key,
        deletion_protection: table.deletion_protection_enabled.unwrap_or_default(),
        global_indexes: global_indexes(&table),
        local_indexes: local_indexes(&table),
        ttl_attribute,
        stream: live_stream(&table),
        class: live_class(&table),
        stream_arn: table.latest_stream_arn.filter(|_| table.stream_specification.is_some()),
        name: table.table_name.unwrap_or_default(),
        arn: table.table_arn.unwrap_or(arn),
        tags,
    }
}

fn live_key(attributes: &[AttributeDefinition], schema: &[KeySchemaElement], of: &KeyType) -> Option<Key> {
    let name = schema.iter().find(|key| key.key_type == *of)?.attribute_name.clone();
    let attribute = attributes.iter().find(|known| known.attribute_name == name)?;
    let kind = match attribute.attribute_type {
        ScalarAttributeType::N => KeyKind::N,
        ScalarAttributeType::B => KeyKind::B,
        _ => KeyKind::S,
    };
    Some(Key { name, kind })
}

/// Indexes by name; one that is being removed is gone.
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
        _ => Projection::All,
    }
}

fn live_stream(table: &TableDescription) -> Option<StreamView> {
    let stream = table.stream_specification.as_ref().filter(|stream| stream.stream_enabled)?;
    Some(match stream.stream_view_type.as_ref()? {
        StreamViewType::KeysOnly => StreamView::KeysOnly,
        StreamViewType::NewImage => StreamView::NewImage,
        StreamViewType::OldImage => StreamView::OldImage,
        _ => StreamView::NewAndOldImages,
    })
}

fn live_class(table: &TableDescription) -> Class {
    let class = table.table_class_summary.as_ref().and_then(|summary| summary.table_class.as_ref());
    if class == Some(&TableClass::StandardInfrequentAccess) {
        Class::InfrequentAccess
    } else {
        Class::Standard
    }
}

/// A table that was never paid by request has no summary of its billing.
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

/// Asks until the table takes changes again, less and less often.
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
