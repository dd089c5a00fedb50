//! Reading keys.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use aws_sdk_kms::types::{KeyMetadata, KeyState, MultiRegionConfiguration};

use super::{Desired, Observed, grants, is_same_key};
use crate::error::Result;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::in_order::InOrder;
use crate::providers::aws::policy::Document;
use crate::resource::Tags;

/// The key behind an alias, or the declared key that is to get it. One `ListAliases` serves all keys, then
/// each key takes four requests at once, and one more if grants are declared.
pub async fn observe(
    client: &AwsClient,
    alias: &str,
    declared: Option<&Desired>,
) -> Result<Option<Observed>> {
    let with_grants = declared.is_some_and(|desired| !desired.grants.is_empty());
    let declared = declared.and_then(|desired| desired.key_id.as_deref()).filter(|key| is_reference(key));
    let Some(key_id) = key_id(client, alias).await? else {
        let Some(declared) = declared else { return Ok(None) };
        let unnamed = read(client, alias, declared, with_grants).await?.filter(|key| !key.pending_deletion);
        return Ok(unnamed.map(|key| Observed { is_named: false, ..key }));
    };
    let observed = read(client, alias, &key_id, with_grants).await?;
    match (observed, declared) {
        (Some(key), Some(declared)) if !is_same_key(Some(&key.arn), Some(declared)) => {
            Ok(Some(Observed { declared_tags: tags(client, declared).await?, ..key }))
        }
        (observed, _) => Ok(observed),
    }
}

/// Whether a declared key is an id or an ARN; it may depend on an output that is not known yet.
fn is_reference(key: &str) -> bool {
    key.chars().all(|c| c.is_ascii_alphanumeric() || "-_:/".contains(c))
}

/// The id of the key that an alias points to.
pub async fn key_id(client: &AwsClient, alias: &str) -> Result<Option<String>> {
    Ok(aliases(client).await?.get(alias).cloned())
}

/// Every alias with its key's id; one list serves all steps.
pub async fn aliases(client: &AwsClient) -> Result<Arc<HashMap<String, String>>> {
    client.aliases.get_or(list_aliases(client)).await
}

/// Alias to key id. AWS's own aliases are listed before they have a key.
async fn list_aliases(client: &AwsClient) -> Result<HashMap<String, String>> {
    let pages = client.read().kms.list_aliases().into_paginator().items().send();
    let entries = pages.try_collect().await.at("kms:ListAliases")?;
    Ok(entries.into_iter().filter_map(|entry| Some((entry.alias_name?, entry.target_key_id?))).collect())
}

async fn read(client: &AwsClient, alias: &str, key_id: &str, with_grants: bool) -> Result<Option<Observed>> {
    let grants = async {
        if with_grants { grants::read(client, key_id).await } else { Ok(grants::LiveGrants::new()) }
    };
    let (metadata, policy, rotation, tags, grants) = tokio::join!(
        describe(client, key_id),
        policy(client, key_id),
        rotation(client, key_id),
        tags(client, key_id),
        grants,
    )
    .in_order()?;
    // The plan has created grants and no longer declares any.
    let grants = if !with_grants && !grants::RECORD.live(&tags).is_empty() {
        grants::read(client, key_id).await?
    } else {
        grants
    };
    let observed = metadata.map(|metadata| assemble(alias, metadata, policy, rotation, tags)).transpose()?;
    Ok(observed.map(|observed| Observed { grants, ..observed }))
}

fn assemble(
    alias: &str,
    metadata: KeyMetadata,
    policy: Option<Document>,
    rotation: LiveRotation,
    tags: Tags,
) -> Result<Observed> {
    let arn = metadata.arn.ok_or_else(|| missing("kms:DescribeKey", "ARN"))?;
    Ok(Observed {
        alias: alias.to_owned(),
        is_named: true,
        declared_tags: Tags::new(),
        alias_arn: arn.replace(&format!("key/{}", metadata.key_id), alias),
        key_id: metadata.key_id,
        arn,
        description: metadata.description.unwrap_or_default(),
        enabled: metadata.enabled,
        pending_deletion: is_pending_deletion(metadata.key_state.as_ref()),
        broken: metadata.key_state.as_ref().and_then(broken),
        rotation: rotation.period,
        material: metadata.current_key_material_id,
        rotating_since: rotation.on_demand_since,
        policy,
        key_spec: metadata.key_spec.map(|spec| spec.as_str().to_owned()).unwrap_or_default(),
        key_usage: metadata.key_usage.map(|usage| usage.as_str().to_owned()).unwrap_or_default(),
        multi_region: metadata.multi_region.unwrap_or_default(),
        replica_regions: metadata.multi_region_configuration.map(replicas).unwrap_or_default(),
        grants: grants::LiveGrants::new(),
        tags,
    })
}

/// The regions of a multi-region key's replicas.
fn replicas(configuration: MultiRegionConfiguration) -> BTreeSet<String> {
    let replicas = configuration.replica_keys.unwrap_or_default().into_iter();
    replicas.filter_map(|replica| replica.region).collect()
}

/// The state of a key that enabling it cannot fix: any state that requests of Groundwork do not cause.
fn broken(state: &KeyState) -> Option<String> {
    let passing = [
        KeyState::Creating,
        KeyState::Disabled,
        KeyState::Enabled,
        KeyState::PendingDeletion,
        KeyState::PendingReplicaDeletion,
        KeyState::Updating,
    ];
    (!passing.contains(state)).then(|| state.as_str().to_owned())
}

/// Whether a key is scheduled for deletion.
pub fn is_pending_deletion(state: Option<&KeyState>) -> bool {
    matches!(state, Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion))
}

/// [`DescribeKey`](https://docs.aws.amazon.com/kms/latest/APIReference/API_DescribeKey.html)
pub async fn describe(client: &AwsClient, key_id: &str) -> Result<Option<KeyMetadata>> {
    let answer = client.read().kms.describe_key().key_id(key_id).send().await;
    let answer = answer.found("kms:DescribeKey", &["NotFoundException"])?;
    Ok(answer.and_then(|answer| answer.key_metadata))
}

/// The key's policy; a key has only one, named `default`.
async fn policy(client: &AwsClient, key_id: &str) -> Result<Option<Document>> {
    const OPERATION: &str = "kms:GetKeyPolicy";
    let answer = client.read().kms.get_key_policy().key_id(key_id).policy_name("default").send().await;
    let answer = answer.found(OPERATION, &["NotFoundException"])?;
    answer.and_then(|answer| answer.policy).map(|text| Document::parse(OPERATION, &text)).transpose()
}

/// How a key is rotated.
#[derive(Debug, Default, PartialEq, Eq)]
struct LiveRotation {
    /// Days between rotations; `None` if the key is not rotated or its type cannot be.
    period: Option<u32>,
    /// Since when a rotation on demand is going on.
    on_demand_since: Option<String>,
}

async fn rotation(client: &AwsClient, key_id: &str) -> Result<LiveRotation> {
    const NOT_ROTATED: [&str; 3] =
        ["NotFoundException", "UnsupportedOperationException", "KMSInvalidStateException"];
    let answer = client.read().kms.get_key_rotation_status().key_id(key_id).send().await;
    let answer = answer.found("kms:GetKeyRotationStatus", &NOT_ROTATED)?;
    let Some(status) = answer else { return Ok(LiveRotation::default()) };
    let days = status.rotation_period_in_days.and_then(|days| days.try_into().ok()).unwrap_or(YEAR);
    Ok(LiveRotation {
        period: status.key_rotation_enabled.then_some(days),
        on_demand_since: status.on_demand_rotation_start_date.map(|date| date.to_string()),
    })
}

/// The period if the service returns none, as it did before periods could be chosen.
const YEAR: u32 = 365;

/// A key's tags. [`ListResourceTags`](https://docs.aws.amazon.com/kms/latest/APIReference/API_ListResourceTags.html)
pub async fn tags(client: &AwsClient, key_id: &str) -> Result<Tags> {
    let pages = client.read().kms.list_resource_tags().key_id(key_id).into_paginator().items().send();
    let tags = pages.try_collect().await.found("kms:ListResourceTags", &["NotFoundException"])?;
    Ok(tags.unwrap_or_default().into_iter().map(|tag| (tag.tag_key, tag.tag_value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_enabling_cannot_fix_are_named() {
        for state in ["PendingImport", "Unavailable", "Melted"] {
            assert_eq!(broken(&state.into()).as_deref(), Some(state));
        }
        for state in ["Enabled", "Disabled", "PendingDeletion", "Updating"] {
            assert_eq!(broken(&state.into()), None, "{state}");
        }
    }
}
