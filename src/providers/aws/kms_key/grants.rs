//! Grants: permissions for a key beside its policy.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_kms::types::{GrantConstraints, GrantListEntry, GrantOperation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Desired, Observed};
use crate::access::{self, Permit, Target};
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::partition;
use crate::providers::aws::record::Record;
use crate::providers::aws::states::{KEY, default_key_policy, target};
use crate::resource::{Diff, Tags, Writer};

/// A permission for a key. KMS cannot change a grant, so one that differs is created again and the old
/// one revoked. <https://docs.aws.amazon.com/kms/latest/APIReference/API_GrantListEntry.html>
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// ARN of the user, role or account that gets the permission.
    pub grantee: String,
    /// The operations that the grantee may call, e.g. `Decrypt`, `GenerateDataKey`. An empty list
    /// revokes the grant.
    pub operations: Vec<String>,
    /// ARN of the user, role or account that may retire the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retiring: Option<String>,
    /// Pairs that the encryption context of every request must contain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub encryption_context: BTreeMap<String, String>,
}

/// A grant as KMS reports it.
#[derive(Clone, Debug)]
pub struct LiveGrant {
    id: String,
    grantee: String,
    operations: BTreeSet<String>,
    retiring: Option<String>,
    encryption_context: BTreeMap<String, String>,
    /// Whether it requires an exact encryption context, which declared grants never do.
    exact: bool,
}

/// Grants by name; several may have the same name.
pub type LiveGrants = BTreeMap<String, Vec<LiveGrant>>;

impl Grant {
    fn revoked() -> Self {
        Self {
            grantee: String::new(),
            operations: Vec::new(),
            retiring: None,
            encryption_context: BTreeMap::new(),
        }
    }

    fn is_revoked(&self) -> bool {
        self.operations.is_empty()
    }

    fn value(&self) -> Value {
        match self.is_revoked() {
            true => Value::Null,
            false => shown(
                &self.grantee,
                &self.operations.iter().cloned().collect(),
                self.retiring.as_deref(),
                &self.encryption_context,
            ),
        }
    }

    fn constraints(&self) -> Option<GrantConstraints> {
        let context: HashMap<String, String> =
            self.encryption_context.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        (!context.is_empty())
            .then(|| GrantConstraints::builder().set_encryption_context_subset(Some(context)).build())
    }
}

impl LiveGrant {
    fn value(&self) -> Value {
        let retiring = self.retiring.as_deref();
        let mut value = shown(&self.grantee, &self.operations, retiring, &self.encryption_context);
        if self.exact {
            value["exact"] = json!(true);
        }
        value
    }
}

fn shown(
    grantee: &str,
    operations: &BTreeSet<String>,
    retiring: Option<&str>,
    context: &BTreeMap<String, String>,
) -> Value {
    let mut value = json!({ "grantee": grantee, "operations": operations });
    if let Some(retiring) = retiring {
        value["retiring"] = json!(retiring);
    }
    if !context.is_empty() {
        value["encryption_context"] = json!(context);
    }
    value
}

/// Records the grants that the plan has created.
pub const RECORD: Record = Record("groundwork:grants");

/// The tags that record the declared grants.
pub fn record(declared: &BTreeMap<String, Grant>) -> Tags {
    RECORD.of(declared.iter().filter(|(_, grant)| !grant.is_revoked()).map(|(name, _)| name))
}

/// The declared grants, and those that the plan has created and no longer declares, which are to be
/// revoked. Others are not managed, because services create their own.
pub fn ours(desired: &Desired, observed: &Observed) -> BTreeMap<String, Grant> {
    let taken_out = observed.grants.keys().filter(|name| {
        !desired.grants.contains_key(*name) && RECORD.has(&observed.tags, &desired.tags, name)
    });
    let revoked = taken_out.map(|name| (name.clone(), Grant::revoked()));
    revoked.chain(desired.grants.clone()).collect()
}

/// Adds one change for each grant of the plan.
pub fn compare(diff: &mut Diff, ours: &BTreeMap<String, Grant>, live: &LiveGrants) {
    for (name, grant) in ours {
        let live = live.get(name).map(Vec::as_slice).unwrap_or_default();
        let before = match live {
            [] => Value::Null,
            [one] => one.value(),
            several => Value::Array(several.iter().map(LiveGrant::value).collect()),
        };
        diff.field(&format!("grants.{name}"), &before, &grant.value());
    }
}

/// Creates missing declared grants, then revokes those of the same name that differ.
pub async fn apply(
    w: &Writer<'_, AwsClient>,
    key_arn: &str,
    declared: &BTreeMap<String, Grant>,
    live: &LiveGrants,
) -> Result<()> {
    for (name, grant) in declared {
        let live = live.get(name).map(Vec::as_slice).unwrap_or_default();
        let (kept, others): (Vec<_>, Vec<_>) = live.iter().partition(|live| live.value() == grant.value());
        if kept.is_empty() && !grant.is_revoked() {
            create(w, key_arn, name, grant).await?;
        }
        for other in others.into_iter().chain(kept.into_iter().skip(1)) {
            let request = w.write(w.permit()).kms.revoke_grant().key_id(key_arn).grant_id(&other.id);
            request.send().await.found("kms:RevokeGrant", &["NotFoundException"])?;
        }
    }
    Ok(())
}

/// KMS returns the same grant for the same request with the same name, so the request may be retried.
async fn create(w: &Writer<'_, AwsClient>, key_arn: &str, name: &str, grant: &Grant) -> Result<()> {
    let operations = grant.operations.iter().map(|operation| GrantOperation::from(operation.as_str()));
    let request = w.write(w.permit()).kms.create_grant().key_id(key_arn).name(name);
    let request = request
        .grantee_principal(&grant.grantee)
        .set_operations(Some(operations.collect()))
        .set_retiring_principal(grant.retiring.clone())
        .set_constraints(grant.constraints());
    request.send().await.at("kms:CreateGrant").map(drop)
}

/// The named grants of a key.
/// [`ListGrants`](https://docs.aws.amazon.com/kms/latest/APIReference/API_ListGrants.html)
pub async fn read(client: &AwsClient, key_id: &str) -> Result<LiveGrants> {
    let pages = client.read().kms.list_grants().key_id(key_id).into_paginator().items().send();
    let entries = pages.try_collect().await.found("kms:ListGrants", &["NotFoundException"])?;
    let mut grants = LiveGrants::new();
    for entry in entries.unwrap_or_default() {
        if let Some((name, grant)) = named(entry) {
            grants.entry(name).or_default().push(grant);
        }
    }
    Ok(grants)
}

/// The names of all grants; the ids of unnamed ones.
pub async fn names(client: &AwsClient, key_id: &str) -> Result<Vec<String>> {
    let pages = client.read().kms.list_grants().key_id(key_id).into_paginator().items().send();
    let entries = pages.try_collect().await.found("kms:ListGrants", &["NotFoundException"])?;
    let name = |entry: GrantListEntry| entry.name.filter(|name| !name.is_empty()).or(entry.grant_id);
    Ok(entries.unwrap_or_default().into_iter().filter_map(name).collect())
}

fn named(entry: GrantListEntry) -> Option<(String, LiveGrant)> {
    let name = entry.name.filter(|name| !name.is_empty())?;
    let constraints = entry.constraints;
    let exact =
        constraints.as_ref().is_some_and(|constraints| constraints.encryption_context_equals.is_some());
    let context = constraints.and_then(|constraints| {
        constraints.encryption_context_subset.or(constraints.encryption_context_equals)
    });
    let operations = entry.operations.unwrap_or_default();
    let grant = LiveGrant {
        id: entry.grant_id?,
        grantee: entry.grantee_principal.unwrap_or_default(),
        operations: operations.iter().map(|operation| operation.as_str().to_owned()).collect(),
        retiring: entry.retiring_principal,
        encryption_context: context.unwrap_or_default().into_iter().collect(),
        exact,
    };
    Some((name, grant))
}

/// The key as it will be, for who can reach what: its policy, and its grants.
pub fn states(desired: &Desired, live: Option<&Observed>, realm: &Realm) -> Vec<access::Grant> {
    let account = realm.get("account").unwrap_or_default();
    let declared = desired.key_policy(partition(realm), account).map(|(_, policy)| policy);
    let policy = declared.or_else(|| live?.policy.clone()).map(|policy| policy.value().clone());
    let policy = policy.unwrap_or_else(|| default_key_policy(realm));
    let kept = live
        .into_iter()
        .flat_map(|live| live.grants.iter())
        .filter(|(name, _)| !desired.grants.contains_key(*name));
    let kept = kept.flat_map(|(name, all)| all.iter().map(move |grant| grant.permit(name)));
    let declared = desired.grants.iter().filter(|(_, grant)| !grant.is_revoked());
    let declared = declared.map(|(name, grant)| {
        permit(name, &grant.grantee, grant.operations.iter(), &grant.encryption_context)
    });
    key(&desired.alias, policy, declared.chain(kept).collect())
}

/// The same of a key as it is.
pub fn granted(observed: &Observed) -> Vec<access::Grant> {
    let permits =
        observed.grants.iter().flat_map(|(name, all)| all.iter().map(move |grant| grant.permit(name)));
    let policy = observed.policy.as_ref().map_or(Value::Null, |policy| policy.value().clone());
    key(&observed.alias, policy, permits.collect())
}

fn key(alias: &str, policy: Value, permits: Vec<Permit>) -> Vec<access::Grant> {
    let policy = Some(policy).filter(|policy| !policy.is_null());
    vec![access::Grant::Target(Target { policy, permits, ..target("key", alias, KEY) })]
}

impl LiveGrant {
    fn permit(&self, name: &str) -> Permit {
        permit(name, &self.grantee, self.operations.iter(), &self.encryption_context)
    }
}

fn permit<'a>(
    name: &str,
    grantee: &str,
    operations: impl Iterator<Item = &'a String>,
    context: &BTreeMap<String, String>,
) -> Permit {
    let pairs: Vec<String> = context.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Permit {
        name: name.to_owned(),
        principal: grantee.to_owned(),
        actions: operations.map(|operation| format!("kms:{operation}")).collect(),
        only: (!pairs.is_empty()).then(|| format!("with the encryption context {}", pairs.join(", "))),
    }
}

/// Finds mistakes.
pub fn check(declared: &BTreeMap<String, Grant>) -> Vec<FieldError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":/_-".contains(c);
    let mut found = Vec::new();
    for (name, grant) in declared {
        let path = format!("grants.{name}");
        if name.is_empty() || name.len() > 256 || !name.chars().all(allowed) {
            found.push(FieldError::new(&path, "not a valid name for a grant"));
        }
        for (index, operation) in grant.operations.iter().enumerate() {
            if !GrantOperation::values().contains(&operation.as_str()) {
                let mistake = FieldError::new(
                    format!("{path}.operations[{index}]"),
                    format!("KMS does not know the operation `{operation}`"),
                );
                found.push(mistake.help(format!("one of {}", GrantOperation::values().join(", "))));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(value: Value) -> BTreeMap<String, Grant> {
        serde_json::from_value(value).expect("valid")
    }

    fn live(exact: bool) -> LiveGrant {
        LiveGrant {
            id: "1".into(),
            grantee: "arn:aws:iam::1:role/r".into(),
            operations: BTreeSet::from(["Decrypt".into(), "Encrypt".into()]),
            retiring: None,
            encryption_context: BTreeMap::from([("a".into(), "b".into())]),
            exact,
        }
    }

    fn paths(declared: Value, live: &LiveGrants) -> Vec<String> {
        let mut diff = Diff::none();
        compare(&mut diff, &grants(declared), live);
        diff.changes.into_iter().map(|change| change.path).collect()
    }

    #[test]
    fn only_declared_grants_are_compared() {
        let declared = |operations: Value| {
            json!({ "ours": { "grantee": "arn:aws:iam::1:role/r",
            "operations": operations, "encryption_context": { "a": "b" } } })
        };
        let one =
            LiveGrants::from([("ours".into(), vec![live(false)]), ("theirs".into(), vec![live(false)])]);
        assert!(paths(declared(json!(["Encrypt", "Decrypt"])), &one).is_empty());
        assert_eq!(paths(declared(json!(["Decrypt"])), &one), ["grants.ours"]);
        assert_eq!(paths(declared(json!([])), &one), ["grants.ours"]);
        assert!(paths(declared(json!([])), &LiveGrants::new()).is_empty(), "revoked and gone");
        let exact = LiveGrants::from([("ours".into(), vec![live(true)])]);
        assert_eq!(paths(declared(json!(["Encrypt", "Decrypt"])), &exact), ["grants.ours"]);
        let twice = LiveGrants::from([("ours".into(), vec![live(false), live(true)])]);
        assert_eq!(paths(declared(json!(["Encrypt", "Decrypt"])), &twice), ["grants.ours"]);
    }

    #[test]
    fn operations_and_names_are_checked() {
        let wrong = grants(json!({ "a b": { "grantee": "x", "operations": ["Decrypt", "Fly"] } }));
        let paths: Vec<String> = check(&wrong).into_iter().map(|mistake| mistake.path).collect();
        assert_eq!(paths, ["grants.a b", "grants.a b.operations[1]"]);
    }
}
