//! Another key material on demand, beside the rotation that KMS does by itself.
//! <https://docs.aws.amazon.com/kms/latest/developerguide/rotating-keys-on-demand.html>

use aws_sdk_kms::types::RotationType;
use serde_json::json;

use super::{Desired, Observed, symmetric};
use crate::error::{Error, ErrorKind, Result};
use crate::place::Realm;
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::needs;
use crate::resource::{Diff, Writer};
use crate::run::Permission;

/// The field that shows a rotation on demand.
pub(super) const FIELD: &str = "key_material";
/// How often KMS rotates a key on demand in its whole life. KMS has said 10, and says 25 today; the last ones are left
/// to a person.
const IN_ITS_LIFE: usize = 10;
const ROTATE: &str = "kms:RotateKeyOnDemand";
const LIST: &str = "kms:ListKeyRotations";
const NEEDED: [&[&str]; 2] = [&[LIST], &[ROTATE]];

/// Whether KMS can rotate the key on demand.
pub(super) fn is_possible(desired: &Desired) -> bool {
    desired.key_spec == symmetric() && desired.enabled
}

pub(super) fn compare(diff: &mut Diff, desired: &Desired, observed: &Observed) {
    if desired.rotating {
        let present = observed.material.as_deref().unwrap_or("in use");
        diff.push(FIELD, json!(present), json!("another one; the one before goes on decrypting"));
    }
}

/// Distinguishes a key from itself after a rotation: the id of its key material, and the time of a rotation that is still
/// going on.
pub(super) fn revision(observed: &Observed) -> Option<String> {
    let parts = [observed.material.as_deref(), observed.rotating_since.as_deref()];
    parts.iter().any(Option::is_some).then(|| parts.map(Option::unwrap_or_default).join(" "))
}

/// Has KMS make another key material, unless the key has used up its rotations.
///
/// # Errors
/// `Rejected` when the key may not be rotated on demand any more; nothing was done then.
pub(super) async fn on_demand(w: &Writer<'_, AwsClient>, key: &str) -> Result<()> {
    let used = used_up(w, key).await?;
    if used >= IN_ITS_LIFE {
        let message =
            format!("{key} was rotated on demand {used} times, and KMS limits that for a key's whole life");
        return Err(Error::new(ErrorKind::Rejected, ROTATE, message).advice(
            "leave it to `rotation: true`, which has no limit, or declare another alias for a new key",
        ));
    }
    let request = w.write_once(w.permit()).kms.rotate_key_on_demand().key_id(key);
    let asked = request.send().await.at_once(ROTATE);
    match asked {
        // An earlier request is still being carried out.
        Err(error) if error.is("ConflictException") => Ok(()),
        // The next run sees by the key material whether it was done.
        Err(error) if error.kind == ErrorKind::Unknown => Err(error.last()),
        asked => asked.map(drop),
    }
}

/// How many rotations on demand there were.
async fn used_up(client: &AwsClient, key: &str) -> Result<usize> {
    let pages = client.read().kms.list_key_rotations().key_id(key).into_paginator().items().send();
    let rotations = pages.try_collect().await.at(LIST)?;
    let on_demand = |kind: Option<&RotationType>| kind == Some(&RotationType::OnDemand);
    Ok(rotations.iter().filter(|one| on_demand(one.rotation_type.as_ref())).count())
}

pub(super) fn permissions(desired: &Desired, realm: &Realm) -> Vec<Permission> {
    let key = match desired.key_id.as_deref() {
        Some(named) => needs::kms_key(realm, named),
        None => needs::in_region(realm, "kms", "key/*"),
    };
    NEEDED.map(|action| Permission::new(key.clone(), action)).into()
}
