//! Creates, changes and deletes keys.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use aws_sdk_kms::types::{KeySpec, KeyUsageType, Tag};
use futures::StreamExt as _;
use futures::TryStreamExt as _;

use super::{Desired, Id, KmsKey, Observed, grants, is_same_key, live, rotation as on_demand};
use crate::error::{Error, ErrorKind, Result};
use crate::net::timeout::scaled_delay;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::policy::Document;
use crate::providers::aws::tags;
use crate::resource::{Resource as _, Tags, Writer};

/// How long the list of keys may lag behind. KMS documents no limit; seconds are usual, and minutes are
/// possible.
const LAG: Duration = Duration::from_mins(2);
/// The interval between two polls.
const PAUSE: Duration = Duration::from_secs(1);
/// How many keys are read at once while searching for the key of an interrupted run.
const SEARCH_WIDTH: usize = 8;

type W<'a> = Writer<'a, AwsClient>;

/// `CreateKey` does not take an idempotency token, and an alias can be set only afterwards. So Groundwork first
/// searches by tags for a key that an interrupted run created but did not name, and never creates two. A
/// plan that names an existing key creates none.
pub async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
    let key_id = match &desired.key_id {
        Some(key_id) => free_key(w, desired, key_id).await?,
        None => own_key(w, desired).await?,
    };
    if !w.made_keys.is_named(&desired.alias) {
        name_key(w, desired, &key_id).await?;
    }
    settle(w, desired, &key_id).await
}

/// The declared key, which was not known when the plan was made, unless it belongs to another step by its
/// tags. A key of another plan that was known is adopted, not created.
async fn free_key(w: &W<'_>, desired: &Desired, key_id: &str) -> Result<String> {
    let live = live::tags(w, key_id).await?;
    match live.get(tags::PLAN_TAG) {
        Some(plan) if !tags::same_owner(&desired.tags, &live) => {
            let step = live.get(tags::STEP_TAG).map(String::as_str).unwrap_or_default();
            let message = format!("the key {key_id} belongs to the step `{step}` of the plan `{plan}`");
            Err(Error::new(ErrorKind::Conflict, "kms:CreateAlias", message)
                .advice("declare a key in one step, with one alias"))
        }
        _ => Ok(key_id.to_owned()),
    }
}

/// The key that this run or an earlier one has created, or a new one. While it is in doubt whether an
/// earlier run created one, the list gets time to show it.
async fn own_key(w: &W<'_>, desired: &Desired) -> Result<String> {
    if let Some(key_id) = w.made_keys.get(&desired.alias) {
        return Ok(key_id);
    }
    let doubt = w.in_doubt_for().map(|age| scaled_delay(LAG).saturating_sub(age));
    match await_unnamed_key(w, &desired.tags, doubt.unwrap_or_default()).await? {
        Some(key_id) => Ok(key_id),
        None => create_key(w, desired).await,
    }
}

/// A later run knows the key of a refused alias only from the list, so the list must show it before the
/// run ends.
async fn name_key(w: &W<'_>, desired: &Desired, key_id: &str) -> Result<()> {
    let request =
        w.write_once(w.permit()).kms.create_alias().alias_name(&desired.alias).target_key_id(key_id);
    let named = request.send().await.at("kms:CreateAlias");
    w.aliases.clear().await;
    match named {
        Ok(_) => w.made_keys.name(&desired.alias),
        Err(error) => {
            if w.made_keys.get(&desired.alias).is_some() && !error.may_repeat_write() {
                // The refusal is what the caller needs to know, whatever the list shows.
                let _ = await_unnamed_key(w, &desired.tags, scaled_delay(LAG)).await;
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Applies the declared state to the key that has just got the alias.
async fn settle(w: &W<'_>, desired: &Desired, key_id: &str) -> Result<()> {
    let live = live::observe(w, &desired.alias, Some(desired)).await?;
    let live = live.filter(|live| is_same_key(Some(&live.arn), Some(key_id)));
    update_key(w, desired, &live.ok_or_else(|| not_visible(&desired.alias))?).await
}

fn not_visible(alias: &str) -> Error {
    Error::new(ErrorKind::Eventual, "kms:ListAliases", format!("{alias} was created and is not listed yet"))
        .advice("run again in a few seconds")
}

/// Creates a key, with one request in a run. If the response is lost, the list gets time to show the
/// key, which has our tags. A list that lags behind for longer must not lead to a second key, so
/// another request is left to a later run.
async fn create_key(w: &W<'_>, desired: &Desired) -> Result<String> {
    let key_id = match request_key(w, desired).await {
        Ok(key_id) => key_id,
        Err(lost) if lost.kind == ErrorKind::Unknown => {
            let found = await_unnamed_key(w, &desired.tags, scaled_delay(LAG)).await;
            found.ok().flatten().ok_or_else(|| lost_key(lost))?
        }
        Err(error) => return Err(error),
    };
    w.made_keys.made(&desired.alias, &key_id);
    Ok(key_id)
}

/// Looks at least once, and until `patience` has passed.
async fn await_unnamed_key(w: &W<'_>, marks: &Tags, patience: Duration) -> Result<Option<String>> {
    let started = Instant::now();
    loop {
        let seen = unnamed_key(w, marks).await;
        let may_change = match &seen {
            Ok(found) => found.is_none(),
            Err(error) => error.is_retriable(),
        };
        if !may_change || started.elapsed() >= patience {
            return seen;
        }
        tokio::time::sleep(scaled_delay(PAUSE)).await;
    }
}

async fn request_key(w: &W<'_>, desired: &Desired) -> Result<String> {
    const OPERATION: &str = "kms:CreateKey";
    let policy = desired.key_policy(w.partition(), w.account_id().await?);
    let request = w.write_once(w.permit()).kms.create_key();
    let request = request
        .set_policy(policy.map(|(_, policy)| policy.text()))
        .description(&desired.description)
        .key_spec(KeySpec::from(desired.key_spec.as_str()))
        .key_usage(KeyUsageType::from(desired.key_usage.as_str()))
        .multi_region(desired.multi_region)
        .set_tags(Some(to_sdk(&desired.tags)?));
    let answer = request.send().await.at_once(OPERATION)?;
    answer.key_metadata.map(|metadata| metadata.key_id).ok_or_else(|| missing(OPERATION, "key"))
}

/// A lost response does no harm here: the key, if it exists, has our tags.
fn lost_key(error: Error) -> Error {
    error
        .advice(
            "run again in a few minutes: if the key was created, Groundwork finds it by its tags and uses it",
        )
        .last()
}

/// A usable key with our ownership tags and without an alias.
async fn unnamed_key(w: &W<'_>, marks: &Tags) -> Result<Option<String>> {
    if !tags::same_owner(marks, marks) {
        return Ok(None);
    }
    w.aliases.clear().await;
    let named = named_keys(w).await?;
    let keys = w.read().kms.list_keys().into_paginator().items().send();
    let keys = keys.try_collect().await.at("kms:ListKeys")?;
    let unnamed = keys.into_iter().filter_map(|key| key.key_id).filter(|id| !named.contains(id));
    let ours = futures::stream::iter(unnamed.map(|key_id| ours(w, key_id, marks)));
    let ours: Vec<Option<String>> = ours.buffered(SEARCH_WIDTH).try_collect().await?;
    Ok(ours.into_iter().flatten().next())
}

async fn named_keys(w: &W<'_>) -> Result<HashSet<String>> {
    Ok(live::aliases(w).await?.values().cloned().collect())
}

/// The key's id if it is ours and not scheduled for deletion. A key whose tags cannot be read is not
/// ours.
async fn ours(w: &W<'_>, key_id: String, marks: &Tags) -> Result<Option<String>> {
    let live = match live::tags(w, &key_id).await {
        Err(error) if error.kind == ErrorKind::Denied => return Ok(None),
        other => other?,
    };
    if !tags::same_owner(marks, &live) {
        return Ok(None);
    }
    let usable = live::describe(w, &key_id).await?;
    let usable = usable.is_some_and(|key| !live::is_pending_deletion(key.key_state.as_ref()));
    Ok(usable.then_some(key_id))
}

/// Gives the alias to the declared key if it names another or none, and applies the declared state to that
/// key.
pub async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
    match desired.key_id.as_ref().filter(|_| KmsKey::diff(desired, observed).touches("key_id")) {
        Some(key_id) => {
            match observed.is_named {
                true => move_alias(w, &desired.alias, key_id).await?,
                false => name_key(w, desired, key_id).await?,
            }
            settle(w, desired, key_id).await
        }
        None => update_key(w, desired, observed).await,
    }
}

async fn move_alias(w: &W<'_>, alias: &str, key_id: &str) -> Result<()> {
    let request = w.write(w.permit()).kms.update_alias().alias_name(alias).target_key_id(key_id);
    let moved = request.send().await.at("kms:UpdateAlias");
    w.aliases.clear().await;
    moved.map(drop)
}

/// Applies the fields that differ. A deletion is cancelled first, and a disabled key is enabled first:
/// KMS changes no other field of such a key.
async fn update_key(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
    let diff = KmsKey::diff(desired, observed);
    let key = observed.key_id.as_str();
    if diff.touches("pending_deletion") {
        take_back(w, key).await?;
    }
    let rotation = diff.touches("rotation") || diff.touches("rotation_period_days");
    let enabling = !observed.enabled && (desired.enabled || rotation);
    if enabling {
        enable(w, key).await?;
    }
    if diff.touches("description") {
        let request = w.write(w.permit()).kms.update_key_description().key_id(key);
        request.description(&desired.description).send().await.at("kms:UpdateKeyDescription")?;
    }
    if rotation {
        rotate(w, key, desired).await?;
    }
    if diff.touches(on_demand::FIELD) {
        on_demand::on_demand(w, key).await?;
    }
    let (partition, account) = observed.home();
    if let Some((field, policy)) = desired.key_policy(partition, account)
        && diff.touches(field)
    {
        put_policy(w, key, &policy).await?;
    }
    if diff.touches("grants") {
        grants::apply(w, &observed.arn, &grants::ours(desired, observed), &observed.grants).await?;
    }
    // Only after the grants are created or revoked: until then the old record lists the grants to
    // revoke.
    record_grants(w, desired, observed).await?;
    for region in desired.missing_replicas(observed) {
        replicate(w, desired, observed, region).await?;
    }
    tag(w, key, &tags::to_add(&desired.tags, &observed.tags)).await?;
    if !desired.enabled && (observed.enabled || enabling) {
        disable(w, key).await?;
    }
    Ok(())
}

/// A replica has its own policy, description and tags; it gets those of the key.
async fn replicate(w: &W<'_>, desired: &Desired, observed: &Observed, region: &str) -> Result<()> {
    let (partition, account) = observed.home();
    let policy = desired.key_policy(partition, account).map(|(_, policy)| policy.text());
    let request = w.write_once(w.permit()).kms.replicate_key().key_id(&observed.arn).replica_region(region);
    let request =
        request.description(&desired.description).set_policy(policy).set_tags(Some(to_sdk(&desired.tags)?));
    request.send().await.at("kms:ReplicateKey").map(drop)
}

async fn take_back(w: &W<'_>, key: &str) -> Result<()> {
    let answer = w.write(w.permit()).kms.cancel_key_deletion().key_id(key).send().await;
    answer.at("kms:CancelKeyDeletion").map(drop)
}

async fn enable(w: &W<'_>, key: &str) -> Result<()> {
    w.write(w.permit()).kms.enable_key().key_id(key).send().await.at("kms:EnableKey").map(drop)
}

async fn disable(w: &W<'_>, key: &str) -> Result<()> {
    w.write(w.permit()).kms.disable_key().key_id(key).send().await.at("kms:DisableKey").map(drop)
}

async fn rotate(w: &W<'_>, key: &str, desired: &Desired) -> Result<()> {
    let kms = &w.write(w.permit()).kms;
    if !desired.rotates() {
        return kms.disable_key_rotation().key_id(key).send().await.at("kms:DisableKeyRotation").map(drop);
    }
    let days = desired.rotation_period_days.and_then(|days| days.try_into().ok());
    let request = kms.enable_key_rotation().key_id(key).set_rotation_period_in_days(days);
    request.send().await.at("kms:EnableKeyRotation").map(drop)
}

/// KMS itself refuses a policy that locks out every principal.
async fn put_policy(w: &W<'_>, key: &str, policy: &Document) -> Result<()> {
    let request = w.write(w.permit()).kms.put_key_policy().key_id(key).policy_name("default");
    request.policy(policy.text()).send().await.at("kms:PutKeyPolicy").map(drop)
}

async fn record_grants(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
    let (live, wanted) = (grants::RECORD.live(&observed.tags), grants::record(&desired.grants));
    tag(w, &observed.key_id, &tags::to_add(&wanted, &live)).await?;
    let outdated: Vec<String> = live.into_keys().filter(|tag| !wanted.contains_key(tag)).collect();
    if outdated.is_empty() {
        return Ok(());
    }
    let request = w.write(w.permit()).kms.untag_resource().key_id(&observed.key_id);
    request.set_tag_keys(Some(outdated)).send().await.at("kms:UntagResource").map(drop)
}

async fn tag(w: &W<'_>, key: &str, tags: &Tags) -> Result<()> {
    if tags.is_empty() {
        return Ok(());
    }
    let request = w.write(w.permit()).kms.tag_resource().key_id(key).set_tags(Some(to_sdk(tags)?));
    request.send().await.at("kms:TagResource").map(drop)
}

fn to_sdk(tags: &Tags) -> Result<Vec<Tag>> {
    let one = |(key, value): (&String, &String)| {
        let tag = Tag::builder().tag_key(key).tag_value(value).build();
        tag.map_err(|error| Error::new(ErrorKind::Local, "kms:TagResource", error.to_string()))
    };
    tags.iter().map(one).collect()
}

/// Schedules the key's deletion, then removes the alias. The reverse order could lose the key, which is
/// found by its alias.
pub async fn delete(w: &W<'_>, id: &Id) -> Result<()> {
    w.aliases.clear().await;
    let Some(key_id) = live::key_id(w, &id.alias).await? else { return Ok(()) };
    let key = live::describe(w, &key_id).await?;
    let key = key.filter(|key| !live::is_pending_deletion(key.key_state.as_ref()));
    if key.is_some() {
        let request = w.write(w.permit()).kms.schedule_key_deletion().key_id(&key_id);
        let request = request.pending_window_in_days(i32::from(id.deletion_window_days));
        request.send().await.at("kms:ScheduleKeyDeletion")?;
    }
    let removed = w.write(w.permit()).kms.delete_alias().alias_name(&id.alias).send().await;
    w.aliases.clear().await;
    match (removed.found("kms:DeleteAlias", &["NotFoundException"]), key) {
        (Ok(_), _) => Ok(()),
        // After any other failure the alias may be removed, and the key could not be found again.
        (Err(error), Some(key)) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Rejected) => {
            Err(error.after_restoring("the key", revive(w, &key_id, key.enabled).await))
        }
        (Err(error), _) => Err(error),
    }
}

/// Cancels a scheduled deletion, which leaves the key disabled.
async fn revive(w: &W<'_>, key: &str, enabled: bool) -> Result<()> {
    take_back(w, key).await?;
    if enabled { enable(w, key).await } else { Ok(()) }
}
