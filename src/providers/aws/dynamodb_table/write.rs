//! Creates, changes and deletes tables.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::operation::update_table::builders::UpdateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, CreateGlobalSecondaryIndexAction, DeleteGlobalSecondaryIndexAction,
    GlobalSecondaryIndex, GlobalSecondaryIndexUpdate, KeySchemaElement, KeyType, LocalSecondaryIndex,
    PointInTimeRecoverySpecification, Projection as SdkProjection, ProjectionType, ProvisionedThroughput,
    ScalarAttributeType, SseSpecification, SseType, StreamSpecification, StreamViewType, TableClass, Tag,
    TimeToLiveSpecification, UpdateGlobalSecondaryIndexAction,
};
use aws_smithy_types::error::operation::BuildError;

use super::DynamodbTable;
use super::desired::{Billing, Class, Desired, GlobalIndex, Key, KeyKind, Projection, StreamView};
use super::live::{ALL_DAYS, NOT_FOUND, Observed, describe, wait_until_active};
use crate::error::{Error, ErrorKind, Result};
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::tags;
use crate::resource::{Diff, Resource as _, Tags, Writer};

const UPDATE: &str = "dynamodb:UpdateTable";

type W<'a> = Writer<'a, AwsClient>;

/// Sent only once: the name is unique, so a second request could only fail.
pub async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
    let hash = desired.hash_key().ok_or_else(|| missing("dynamodb:CreateTable", "hash key"))?;
    let global: Vec<_> = desired
        .global_indexes
        .iter()
        .map(|(name, index)| global(desired, name, index))
        .collect::<Result<_>>()?;
    let local = desired.local_indexes.iter().map(|(name, index)| {
        let index = LocalSecondaryIndex::builder()
            .index_name(name)
            .set_key_schema(Some(schema(&hash, Some(&index.range_key))?))
            .projection(projection(&index.projection));
        index.build().map_err(wrong_request)
    });
    let local: Vec<_> = local.collect::<Result<_>>()?;
    let request = w.write_once(w.permit()).dynamodb.create_table().table_name(&desired.name);
    let request = request
        .set_attribute_definitions(Some(attributes(desired.key_attributes())?))
        .set_key_schema(Some(schema(&hash, desired.range_key.as_ref())?))
        .set_global_secondary_indexes(Some(global).filter(|indexes| !indexes.is_empty()))
        .set_local_secondary_indexes(Some(local).filter(|indexes| !indexes.is_empty()))
        .billing_mode(billing_mode(&desired.billing))
        .set_provisioned_throughput(throughput(&desired.billing)?)
        .set_sse_specification(desired.kms_key().map(|key| encryption(Some(key))))
        .set_stream_specification(desired.stream.map(|view| stream(Some(view))).transpose()?)
        .table_class(class(desired.class))
        .deletion_protection_enabled(desired.deletion_protection.is_on())
        .set_tags(Some(to_sdk(&desired.tags)?));
    request.send().await.at("dynamodb:CreateTable").map_err(already_there)?;
    wait_until_active(w, &desired.name).await?;
    if desired.point_in_time_recovery.is_on() {
        recover(w, &desired.name, true).await?;
    }
    match &desired.ttl_attribute {
        Some(attribute) => expire(w, &desired.name, attribute, true).await,
        None => Ok(()),
    }
}

/// DynamoDB accepts one kind of change at a time, each after the previous one is done.
pub async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
    let diff = DynamodbTable::diff(desired, observed);
    wait_until_active(w, &desired.name).await?;
    for field in ["billing", "encryption", "deletion_protection", "class"] {
        if diff.touches(field) {
            update_table(w, desired, |request| change(request, desired, observed, field)).await?;
        }
    }
    if diff.touches("stream") {
        update_stream(w, desired, observed).await?;
    }
    update_indexes(w, desired, observed, &diff).await?;
    if diff.touches("point_in_time_recovery") {
        recover(w, &desired.name, desired.point_in_time_recovery.is_on()).await?;
    }
    if diff.touches("ttl_attribute") {
        update_expiry(w, desired, observed).await?;
    }
    if diff.touches("tags") {
        let added = to_sdk(&tags::to_add(&desired.tags, &observed.tags))?;
        let request = w.write(w.permit()).dynamodb.tag_resource().resource_arn(&observed.arn);
        request.set_tags(Some(added)).send().await.at("dynamodb:TagResource")?;
    }
    Ok(())
}

/// Removes AWS's deletion protection first: the review has already approved the deletion.
pub async fn delete(w: &W<'_>, name: &str) -> Result<()> {
    let Some(table) = describe(w, name).await? else { return Ok(()) };
    let is_protected = table.deletion_protection_enabled == Some(true);
    if is_protected {
        protect(w, name, false).await?;
        wait_until_active(w, name).await?;
    }
    let answer = w.write(w.permit()).dynamodb.delete_table().table_name(name).send().await;
    match answer.found("dynamodb:DeleteTable", NOT_FOUND) {
        Ok(_) => Ok(()),
        Err(error) if is_protected => {
            Err(error.after_restoring("deletion protection", protect(w, name, true).await))
        }
        Err(error) => Err(error),
    }
}

async fn protect(w: &W<'_>, name: &str, on: bool) -> Result<()> {
    let request = w.write(w.permit()).dynamodb.update_table().table_name(name);
    request.deletion_protection_enabled(on).send().await.at(UPDATE).map(drop)
}

type Request = UpdateTableFluentBuilder;

async fn update_table(
    w: &W<'_>,
    desired: &Desired,
    with: impl FnOnce(Request) -> Result<Request>,
) -> Result<()> {
    let request = w.write(w.permit()).dynamodb.update_table().table_name(&desired.name);
    with(request)?.send().await.at(UPDATE)?;
    wait_until_active(w, &desired.name).await
}

fn change(request: Request, desired: &Desired, observed: &Observed, field: &str) -> Result<Request> {
    Ok(match field {
        "billing" => request
            .billing_mode(billing_mode(&desired.billing))
            .set_provisioned_throughput(throughput(&desired.billing)?)
            .set_global_secondary_index_updates(capacities(desired, observed)?),
        "encryption" => request.sse_specification(encryption(desired.kms_key())),
        "class" => request.table_class(class(desired.class)),
        _ => request.deletion_protection_enabled(desired.deletion_protection.is_on()),
    })
}

/// A table that changes to provisioned capacity needs a capacity for each of its indexes in the same
/// request.
fn capacities(desired: &Desired, observed: &Observed) -> Result<Option<Vec<GlobalSecondaryIndexUpdate>>> {
    let becoming = observed.billing == Billing::OnDemand;
    let staying = observed.global_indexes.keys().filter(|_| becoming);
    let updates = staying.map(|name| {
        let billing = desired
            .global_indexes
            .get(name)
            .map_or(desired.billing.clone(), |index| desired.index_billing(index));
        capacity(name, &billing)
    });
    let updates: Vec<_> = updates.collect::<Result<_>>()?;
    Ok(Some(updates).filter(|updates| !updates.is_empty()))
}

fn capacity(name: &str, billing: &Billing) -> Result<GlobalSecondaryIndexUpdate> {
    let update = UpdateGlobalSecondaryIndexAction::builder().index_name(name);
    let update = update.set_provisioned_throughput(throughput(billing)?).build().map_err(wrong_request)?;
    Ok(GlobalSecondaryIndexUpdate::builder().update(update).build())
}

/// A stream's view type cannot change, so the stream is replaced.
async fn update_stream(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
    if observed.stream.is_some() {
        let end = stream(None)?;
        update_table(w, desired, |request| Ok(request.stream_specification(end))).await?;
    }
    match desired.stream {
        Some(view) => {
            let begin = stream(Some(view))?;
            update_table(w, desired, |request| Ok(request.stream_specification(begin))).await
        }
        None => Ok(()),
    }
}

/// Creates or deletes one index at a time, deletions first to make room.
async fn update_indexes(w: &W<'_>, desired: &Desired, observed: &Observed, diff: &Diff) -> Result<()> {
    for name in observed.global_indexes.keys().filter(|name| !desired.global_indexes.contains_key(*name)) {
        let removal =
            DeleteGlobalSecondaryIndexAction::builder().index_name(name).build().map_err(wrong_request)?;
        let removal = GlobalSecondaryIndexUpdate::builder().delete(removal).build();
        update_table(w, desired, |request| Ok(request.global_secondary_index_updates(removal))).await?;
    }
    for (name, index) in &desired.global_indexes {
        let update = match observed.global_indexes.contains_key(name) {
            true if diff.touches(&format!("global_indexes.{name}.capacity")) => {
                capacity(name, &desired.index_billing(index))?
            }
            true => continue,
            false => addition(desired, name, index)?,
        };
        let attributes = attributes(desired.key_attributes())?;
        update_table(w, desired, |request| {
            Ok(request.set_attribute_definitions(Some(attributes)).global_secondary_index_updates(update))
        })
        .await?;
    }
    Ok(())
}

fn addition(desired: &Desired, name: &str, index: &GlobalIndex) -> Result<GlobalSecondaryIndexUpdate> {
    let addition = CreateGlobalSecondaryIndexAction::builder()
        .index_name(name)
        .set_key_schema(Some(schema(&index.hash_key, index.range_key.as_ref())?))
        .projection(projection(&index.projection))
        .set_provisioned_throughput(throughput(&desired.index_billing(index))?);
    Ok(GlobalSecondaryIndexUpdate::builder().create(addition.build().map_err(wrong_request)?).build())
}

async fn recover(w: &W<'_>, name: &str, on: bool) -> Result<()> {
    let days = i32::try_from(ALL_DAYS).ok().filter(|_| on);
    let specification = PointInTimeRecoverySpecification::builder()
        .point_in_time_recovery_enabled(on)
        .set_recovery_period_in_days(days)
        .build();
    let request = w.write(w.permit()).dynamodb.update_continuous_backups().table_name(name);
    let request = request.point_in_time_recovery_specification(specification.map_err(wrong_request)?);
    request.send().await.at("dynamodb:UpdateContinuousBackups").map(drop)
}

/// The old attribute is switched off before the new one is set. AWS allows one change per hour and
/// reports it otherwise.
async fn update_expiry(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
    if let Some(attribute) = &observed.ttl_attribute {
        expire(w, &desired.name, attribute, false).await?;
    }
    match &desired.ttl_attribute {
        Some(attribute) => expire(w, &desired.name, attribute, true).await,
        None => Ok(()),
    }
}

async fn expire(w: &W<'_>, name: &str, attribute: &str, on: bool) -> Result<()> {
    let specification = TimeToLiveSpecification::builder().attribute_name(attribute).enabled(on).build();
    let request = w.write(w.permit()).dynamodb.update_time_to_live().table_name(name);
    let request = request.time_to_live_specification(specification.map_err(wrong_request)?);
    request.send().await.at("dynamodb:UpdateTimeToLive").map(drop).map_err(too_soon)
}

fn too_soon(error: Error) -> Error {
    if error.message.contains("modified multiple times within a fixed interval") {
        return error.advice("AWS lets it change once an hour; run again later");
    }
    error
}

/// "In use" means that the table exists.
fn already_there(error: Error) -> Error {
    if !error.is("ResourceInUseException") {
        return error;
    }
    Error::new(ErrorKind::Conflict, error.operation, error.message)
        .advice("it was created in the meantime; run `groundwork plan` again")
}

fn global(desired: &Desired, name: &str, index: &GlobalIndex) -> Result<GlobalSecondaryIndex> {
    let built = GlobalSecondaryIndex::builder()
        .index_name(name)
        .set_key_schema(Some(schema(&index.hash_key, index.range_key.as_ref())?))
        .projection(projection(&index.projection))
        .set_provisioned_throughput(throughput(&desired.index_billing(index))?);
    built.build().map_err(wrong_request)
}

fn schema(hash: &Key, range: Option<&Key>) -> Result<Vec<KeySchemaElement>> {
    let keys = [Some((hash, KeyType::Hash)), range.map(|key| (key, KeyType::Range))];
    let element = |(key, of): (&Key, KeyType)| {
        KeySchemaElement::builder().attribute_name(&key.name).key_type(of).build().map_err(wrong_request)
    };
    keys.into_iter().flatten().map(element).collect()
}

fn attributes(keys: BTreeMap<String, KeyKind>) -> Result<Vec<AttributeDefinition>> {
    let attribute = |(name, kind)| {
        let kind = match kind {
            KeyKind::S => ScalarAttributeType::S,
            KeyKind::N => ScalarAttributeType::N,
            KeyKind::B => ScalarAttributeType::B,
        };
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind);
        attribute.build().map_err(wrong_request)
    };
    keys.into_iter().map(attribute).collect()
}

fn projection(declared: &Projection) -> SdkProjection {
    let built = SdkProjection::builder();
    match declared {
        Projection::All => built.projection_type(ProjectionType::All).build(),
        Projection::KeysOnly => built.projection_type(ProjectionType::KeysOnly).build(),
        Projection::Include(names) => {
            let names = names.iter().cloned().collect();
            built.projection_type(ProjectionType::Include).set_non_key_attributes(Some(names)).build()
        }
    }
}

fn stream(view: Option<StreamView>) -> Result<StreamSpecification> {
    let view = view.map(|view| match view {
        StreamView::KeysOnly => StreamViewType::KeysOnly,
        StreamView::NewImage => StreamViewType::NewImage,
        StreamView::OldImage => StreamViewType::OldImage,
        StreamView::NewAndOldImages => StreamViewType::NewAndOldImages,
    });
    let built = StreamSpecification::builder().stream_enabled(view.is_some()).set_stream_view_type(view);
    built.build().map_err(wrong_request)
}

fn class(declared: Class) -> TableClass {
    match declared {
        Class::Standard => TableClass::Standard,
        Class::InfrequentAccess => TableClass::StandardInfrequentAccess,
    }
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

/// Without a key, the table returns to the key that AWS owns.
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

fn wrong_request(error: BuildError) -> Error {
    Error::new(ErrorKind::Local, "build a request for DynamoDB", error.to_string())
}
