//! The actions that a key needs.
//!
//! The id of a key is not known before KMS makes it, and conditions on its tags or aliases count only minutes
//! after a change (<https://docs.aws.amazon.com/kms/latest/developerguide/abac.html>). So the policy names
//! every key of the account and region; the keys' own policies limit who uses them.

use super::Desired;
use crate::providers::aws::needs::{
    self, Need, On, always, creates, deletes, proves, reads, updates, writes,
};
use crate::run::{Access, Permission, Use};

/// The alias, and the key that it names.
const BOTH: On = On::Other("alias");
/// The key in other regions.
const REPLICAS: On = On::Other("replica_regions");

const NEEDS: &[Need] = &[
    always(&["kms:ListAliases"]).on(On::Everything),
    reads(&["kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags"]),
    reads(&["kms:ListGrants"]).with(&["grants"]),
    creates(&["kms:CreateAlias"]).on(BOTH),
    creates(&["kms:EnableKeyRotation"]).with(&["rotation"]),
    writes(&["kms:CreateGrant"]).with(&["grants"]),
    writes(&["kms:ReplicateKey"]).with(&["replica_regions"]),
    writes(&["kms:CreateKey", "kms:TagResource"]).with(&["replica_regions"]).on(REPLICAS),
    updates(&["kms:DisableKeyRotation", "kms:EnableKeyRotation"]).with(&["rotation", "rotation_period_days"]),
    updates(&["kms:CancelKeyDeletion"]).live(&["pending_deletion"]),
    updates(&["kms:EnableKey"]).live(&["enabled", "pending_deletion"]),
    updates(&["kms:DisableKey"]).with(&["enabled"]),
    updates(&["kms:PutKeyPolicy"]).with(&["access", "policy"]),
    updates(&["kms:UpdateKeyDescription"]).live(&["description"]),
    updates(&["kms:RevokeGrant", "kms:UntagResource"]).with(&["grants"]),
    updates(&["kms:TagResource"]).with(&["grants", "tags"]),
    updates(&["kms:CreateAlias", "kms:UpdateAlias"]).with(&["key_id"]).on(BOTH),
    deletes(&["kms:DescribeKey", "kms:ListGrants", "kms:ScheduleKeyDeletion"]),
    deletes(&["kms:DeleteAlias"]).on(BOTH),
];

/// A key that the step makes, instead of one that exists.
const MADE: &[Need] =
    &[creates(&["kms:CreateKey", "kms:ListKeys"]).on(On::Everything), creates(&["kms:TagResource"])];

/// The actions that the proof of a key needs; a disabled one is refused at the first.
fn proof(desired: &Desired) -> &'static [Need] {
    match (desired.key_spec.as_str(), desired.key_usage.as_str(), desired.enabled) {
        ("SYMMETRIC_DEFAULT", _, true) => const { &[proves(&["kms:Decrypt", "kms:Encrypt"])] },
        ("SYMMETRIC_DEFAULT", _, false) => const { &[proves(&["kms:Encrypt"])] },
        (_, "GENERATE_VERIFY_MAC", true) => const { &[proves(&["kms:GenerateMac", "kms:VerifyMac"])] },
        (_, "GENERATE_VERIFY_MAC", false) => const { &[proves(&["kms:GenerateMac"])] },
        _ => const { &[proves(&["kms:GetPublicKey"])] },
    }
}

/// As [`Resource::permissions`](crate::resource::Resource::permissions).
pub(super) fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
    let key = || match desired.key_id.as_deref() {
        Some(named) if used.access != Access::Delete => needs::kms_key(used.realm, named),
        _ => needs::in_region(used.realm, "kms", "key/*"),
    };
    let resources = |on: On| match on {
        BOTH => vec![key(), needs::in_region(used.realm, "kms", &needs::literal(&desired.alias))],
        REPLICAS => {
            let of = |region: &String| {
                needs::in_region(&used.realm.clone().with("region", region), "kms", "key/*")
            };
            desired.replica_regions.iter().map(of).collect()
        }
        _ => vec![key()],
    };
    let made = if desired.key_id.is_none() { MADE } else { &[] };
    // A key that is declared disabled is made and then disabled; one that does not rotate stays as it is.
    let disabled = (!desired.enabled && used.access == Access::Create)
        .then(|| Permission::new(key(), &["kms:DisableKey"]));
    let own = needs::of(NEEDS, used, desired, resources).into_iter();
    let own = own.filter(|one| {
        desired.rotates() || used.access != Access::Create || one.any_of != ["kms:EnableKeyRotation"]
    });
    let proof = needs::of(proof(desired), used, desired, resources);
    own.chain(needs::of(made, used, desired, resources)).chain(disabled).chain(proof).collect()
}
