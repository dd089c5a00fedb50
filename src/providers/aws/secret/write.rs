//! Creates, changes and deletes secrets.
//!
//! The SDK adds a client request token to every request that creates a version, so that a retry after a
//! lost response creates no second version. The token is random: callers who may list versions can read
//! it, and a token derived from the value would let them test guesses.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_secretsmanager::types::{ReplicaRegionType, RotationRulesType, Tag};
use serde_json::Value;

use super::desired::{Desired, Replica, Rotation};
use super::live::{NOT_FOUND, Observed, observe};
use super::{AwsSecret, Id};
use crate::error::{Error, ErrorKind, Result};
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::policy::Document;
use crate::providers::aws::{json_text, secret_value, tags};
use crate::resource::{Resource as _, Tags, Writer};
use crate::secret::{Fields, Secret};

const CREATE: &str = "secretsmanager:CreateSecret";
const PUT: &str = "secretsmanager:PutSecretValue";
/// A document without fields.
const EMPTY: &str = "{}";

type W<'a> = Writer<'a, AwsClient>;

/// Creates the secret with its value and ownership tags in one request, then applies everything else.
pub async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
    let value = value(CREATE, desired, &Fields::new(), EMPTY)?;
    let request = w.write(w.permit()).secretsmanager().create_secret().name(&desired.name);
    let request = request
        .secret_string(secret_value::text(CREATE, &value)?)
        .description(&desired.description)
        .set_kms_key_id(desired.kms_key.clone())
        .set_tags(Some(to_sdk(&desired.tags)).filter(|tags| !tags.is_empty()))
        .set_add_replica_regions(desired.replicas.as_ref().filter(|some| !some.is_empty()).map(regions));
    request.send().await.at(CREATE)?;
    if let Some(policy) = &desired.policy {
        put_policy(w, &desired.name, policy).await?;
    }
    match &desired.rotation {
        Some(rotation) => rotate(w, &desired.name, rotation).await,
        None => Ok(()),
    }
}

/// Applies the fields that differ. A scheduled deletion is cancelled first, and the secret is read
/// again, because its value could not be read before.
pub async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
    if !observed.pending_deletion {
        return update_fields(w, desired, observed).await;
    }
    let request = w.write(w.permit()).secretsmanager().restore_secret().secret_id(&observed.name);
    request.send().await.at("secretsmanager:RestoreSecret")?;
    match observe(w, &observed.name, true).await? {
        Some(restored) if !restored.pending_deletion => update_fields(w, desired, &restored).await,
        _ => Err(Error::new(
            ErrorKind::Eventual,
            "secretsmanager:RestoreSecret",
            "the secret is not restored yet",
        )
        .advice("run again in a few seconds")),
    }
}

async fn update_fields(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
    let diff = AwsSecret::diff(desired, observed);
    if diff.touches("description") || diff.touches("kms_key") {
        let request = w.write(w.permit()).secretsmanager().update_secret().secret_id(&desired.name);
        let request = request.description(&desired.description);
        // An absent id selects the key that AWS manages.
        let request = request.kms_key_id(desired.kms_key.as_deref().unwrap_or_default());
        request.send().await.at("secretsmanager:UpdateSecret")?;
    }
    if diff.touches("data") || diff.touches("value") {
        let live = if desired.value.is_some() { plain(observed) } else { observed.kept(&desired.data) };
        let value = value(PUT, desired, &live, observed.document().unwrap_or(EMPTY))?;
        let request = w.write(w.permit()).secretsmanager().put_secret_value().secret_id(&desired.name);
        request.secret_string(secret_value::text(PUT, &value)?).send().await.at(PUT)?;
    }
    if let Some(policy) = desired.policy.as_ref().filter(|_| diff.touches("policy")) {
        put_policy(w, &desired.name, policy).await?;
    }
    if let Some(replicas) = desired.replicas.as_ref().filter(|_| diff.touches("replicas")) {
        replicate(w, &desired.name, replicas, &observed.replicas).await?;
    }
    if let Some(rotation) = desired.rotation.as_ref().filter(|_| diff.touches("rotation")) {
        rotate(w, &desired.name, rotation).await?;
    }
    if diff.touches("tags") {
        let added = to_sdk(&tags::to_add(&desired.tags, &observed.tags));
        let request = w.write(w.permit()).secretsmanager().tag_resource().secret_id(&desired.name);
        request.set_tags(Some(added)).send().await.at("secretsmanager:TagResource")?;
    }
    Ok(())
}

/// Schedules the deletion; until then the secret can be restored.
pub async fn delete(w: &W<'_>, id: &Id) -> Result<()> {
    let live = match observe(w, &id.name, false).await? {
        Some(live) if !live.pending_deletion => live,
        _ => return Ok(()),
    };
    match delete_primary(w, id).await {
        Err(error) if has_replicas(&error) => {}
        deleted => return deleted,
    }
    let none = BTreeSet::new();
    replicate(w, &id.name, &none, &live.replicas).await?;
    match delete_primary(w, id).await {
        Ok(()) => Ok(()),
        Err(error) => {
            let restored = replicate(w, &id.name, &live.replicas, &none).await;
            Err(error.after_restoring("replicas", restored))
        }
    }
}

async fn delete_primary(w: &W<'_>, id: &Id) -> Result<()> {
    let request = w.write(w.permit()).secretsmanager().delete_secret().secret_id(&id.name);
    let request = request.recovery_window_in_days(id.recovery_window_days.into());
    request.send().await.found("secretsmanager:DeleteSecret", NOT_FOUND).map(drop)
}

/// AWS refuses to delete a secret that is still replicated; the sandbox's emulator does not.
fn has_replicas(error: &Error) -> bool {
    error.is("InvalidRequestException") && error.message.contains("replica")
}

/// The live value in the form that is compared with a declared `value`.
pub fn plain(observed: &Observed) -> Fields {
    observed.value.text().into_iter().map(|value| ("value".to_owned(), value.clone())).collect()
}

/// The value to write: the declared one, or the document with the declared fields. Unchanged parts are
/// kept byte for byte.
fn value(operation: &str, desired: &Desired, live: &Fields, document: &str) -> Result<Secret> {
    let mut made = secret_value::make(operation, &desired.sources(), live)?;
    if desired.value.is_some() {
        return made.remove("value").ok_or_else(|| missing(operation, "value"));
    }
    let mut set = BTreeMap::new();
    for (name, field) in made.iter().filter(|(name, field)| live.get(*name) != Some(*field)) {
        let text = Value::from(secret_value::text(operation, field)?).to_string();
        set.insert(name.as_str(), text);
    }
    let keep = |name: &str| !desired.exact || desired.data.contains_key(name);
    let spliced = json_text::spliced(document, keep, &set);
    spliced.map(Secret::from).ok_or_else(|| missing(operation, "JSON object"))
}

/// AWS itself refuses a policy that gives everyone access.
async fn put_policy(w: &W<'_>, name: &str, policy: &Document) -> Result<()> {
    let request = w.write(w.permit()).secretsmanager().put_resource_policy().secret_id(name);
    let request = request.resource_policy(policy.text()).block_public_policy(true);
    request.send().await.at("secretsmanager:PutResourcePolicy").map(drop)
}

/// A replica with another key is removed and created again.
async fn replicate(
    w: &W<'_>,
    name: &str,
    declared: &BTreeSet<Replica>,
    live: &BTreeSet<Replica>,
) -> Result<()> {
    let removed: Vec<String> = live.difference(declared).map(|replica| replica.region.clone()).collect();
    if !removed.is_empty() {
        let request = w.write(w.permit()).secretsmanager().remove_regions_from_replication().secret_id(name);
        let request = request.set_remove_replica_regions(Some(removed));
        request.send().await.at("secretsmanager:RemoveRegionsFromReplication")?;
    }
    let added: BTreeSet<Replica> = declared.difference(live).cloned().collect();
    if added.is_empty() {
        return Ok(());
    }
    let request = w.write(w.permit()).secretsmanager().replicate_secret_to_regions().secret_id(name);
    let request = request.set_add_replica_regions(Some(regions(&added)));
    request.send().await.at("secretsmanager:ReplicateSecretToRegions").map(drop)
}

fn regions(replicas: &BTreeSet<Replica>) -> Vec<ReplicaRegionType> {
    let region = |replica: &Replica| {
        ReplicaRegionType::builder().region(&replica.region).set_kms_key_id(replica.kms_key.clone()).build()
    };
    replicas.iter().map(region).collect()
}

/// Does not rotate immediately: the value stays until the next scheduled rotation.
async fn rotate(w: &W<'_>, name: &str, rotation: &Rotation) -> Result<()> {
    let rules = RotationRulesType::builder()
        .set_automatically_after_days(rotation.every_days.map(i64::from))
        .set_schedule_expression(rotation.schedule.clone())
        .set_duration(rotation.window.clone());
    let request = w.write(w.permit()).secretsmanager().rotate_secret().secret_id(name);
    let request = request.rotation_lambda_arn(&rotation.function).rotation_rules(rules.build());
    request.rotate_immediately(false).send().await.at("secretsmanager:RotateSecret").map(drop)
}

fn to_sdk(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Loader;
    use serde_json::json;

    #[test]
    fn undeclared_fields_of_a_document_keep_every_byte() {
        let declared = json!({ "name": "a", "data": { "pin": "new", "port": "5432" } });
        let mut desired: Desired = serde_json::from_value(declared).expect("valid");
        AwsSecret::load(&mut desired, &Loader::default()).expect("loads");
        let text = "{ \"id\": 123456789012345678901, \"rate\":1.50, \"x\":1, \"x\":2, \"port\": 5432, \
                    \"pin\": \"old\" }";
        let live = [("pin", "old"), ("port", "5432")];
        let live = live.map(|(name, value)| (name.to_owned(), Secret::from(value.to_owned()))).into();
        let written = value(PUT, &desired, &live, text).expect("written");
        assert_eq!(written.expose_str(), Some(text.replace("\"old\"", "\"new\"").as_str()));
    }
}
