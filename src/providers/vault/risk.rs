//! What several kinds of Vault say about the risks of their fields.

use serde_json::Value;

use crate::resource::risk::Category::{BroaderGrant, Destroy, ProtectionOff, PublicExposure};
use crate::resource::risk::{
    Category, FieldChanges, FieldRisk, Finding, Severity, added, analysed, becomes, changed, loosened,
    lowered_below, raised, some, tightened, turned_off, unbound, widened,
};

/// Why more entries of a list of those who are let in are a risk.
pub(super) const LETS_IN: &str = "more are let in by `{field}`";
/// Why other metadata of an identity is a risk.
pub(super) const METADATA: &str = "policies that are templates may allow other paths (`{field}`)";
/// Why certificates without an address of revocations are a risk.
pub(super) const UNLISTED: &str = "certificates no longer name these places of revocations";
/// The types of tokens that are batch tokens.
pub(super) const BATCH: &str = "batch default-batch";
/// Why batch tokens are a risk.
pub(super) const NOT_REVOCABLE: &str = "its tokens are batch tokens, which cannot be revoked";

/// The risks of fields that all roles have whose tokens can be configured.
pub(super) const TOKEN_RISKS: &[FieldRisk] = &[
    loosened("token_explicit_max_ttl").low(BroaderGrant, "its tokens last longer (`{field}`)"),
    raised("token_period")
        .medium(BroaderGrant, "its tokens can be renewed for ever, or for longer each time"),
    changed("token_no_default_policy").low(BroaderGrant, "its tokens get the policy `default`, or lose it"),
    becomes("token_type", BATCH).low(ProtectionOff, NOT_REVOCABLE),
    unbound("token_bound_cidrs").medium(ProtectionOff, "its tokens work from anywhere"),
    widened("token_bound_cidrs").low(BroaderGrant, LETS_IN),
];

/// The risks of further fields of roles with which one logs in.
pub(super) const LOGIN_RISKS: &[FieldRisk] = &[
    analysed("token_policies", of_policy_names),
    loosened("token_ttl token_max_ttl").low(BroaderGrant, "its tokens last longer (`{field}`)"),
    loosened("token_num_uses").low(BroaderGrant, "its tokens can be used more often"),
    turned_off("token_strictly_bind_ip")
        .medium(ProtectionOff, "its tokens work from other addresses than that of the login"),
];

/// The risks of fields that engines and auth methods share.
pub(super) const TUNING_RISKS: &[FieldRisk] = &[
    loosened("default_lease_ttl max_lease_ttl").low(BroaderGrant, "what it issues lasts longer (`{field}`)"),
    becomes("listing_visibility", "unauth").low(PublicExposure, "everyone sees that it exists"),
    added("audit_non_hmac_request_keys audit_non_hmac_response_keys")
        .medium(PublicExposure, "audit logs have these in the clear (`{field}`)"),
    added("passthrough_request_headers allowed_response_headers")
        .low(BroaderGrant, "more headers are passed on (`{field}`)"),
];

/// The number of versions that a server keeps by default.
const DEFAULT_VERSIONS: u32 = 10;

/// The risks of fields that decide how long versions of secrets are kept.
pub(super) const KV_RISKS: &[FieldRisk] = &[
    lowered_below("max_versions", DEFAULT_VERSIONS).medium(Destroy, "older versions are deleted"),
    tightened("delete_version_after").medium(Destroy, "versions are deleted sooner"),
    turned_off("cas_required").medium(ProtectionOff, "a write may overwrite another one unseen"),
];

/// Names of policies of tokens.
pub(super) fn of_policy_names(changes: &FieldChanges<'_>) -> Vec<Finding> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let of_change = |(before, after): (Vec<String>, Vec<String>)| {
        let new: Vec<&String> = after.iter().filter(|name| !before.contains(name)).collect();
        if new.iter().any(|name| *name == "root") {
            let message = "its tokens may do everything (the policy `root`)";
            return Some(Finding::new(Severity::High, Category::Wildcard, message));
        }
        let message = format!("its tokens get more policies: {}", some(&new));
        (!changes.is_new && !new.is_empty()).then(|| Finding::new(Severity::Medium, BroaderGrant, message))
    };
    let changes = changes.changes.iter().map(|change| (texts(&change.before), texts(&change.after)));
    changes.filter_map(of_change).collect()
}
