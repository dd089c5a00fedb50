//! `aws.kms_key`: a key of the Key Management Service, known by its alias.

mod access;
mod alias;
mod check;
mod grants;
mod live;
mod lockout;
mod made;
mod needed;
mod risk;
mod rotation;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use access::Access;
pub use alias::{is_same_key, requirement};
pub use grants::Grant;
pub use live::aliases;
pub use lockout::{Managers, managers};
pub use made::MadeKeys;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::arn::regional_arn;
use super::client::AwsClient;
use super::policy::{self, Document, PolicyType};
use super::{prove, tags};
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::providers::aws::policy::key_policy;
use crate::resource::risk::Category::{Destination, KeyDeletion, ProtectionOff};
use crate::resource::risk::{
    Deletion, LABELS, Risks, Severity, added, analysed, changed, fixed, identity, off, on, raised, safe,
    state,
};
use crate::resource::{Attachment, Diff, Look, Partial, Replacement, Resource, Rotation, Tags, Turn, Writer};
use crate::run::{Permission, Use};

const IMMUTABLE: &str = "KMS fixes this when a key is created; declare another alias to get another key, and \
                         re-encrypt the data of the old one";

const IS_BROKEN: &str = "the key is unusable and cannot be enabled: its key material was never imported or \
                         has expired, or its key store is not connected. Import the material or connect the \
                         store, then run again";

/// A key, known by its alias.
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_KeyMetadata.html>
pub struct KmsKey;

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KmsKey")]
pub struct Desired {
    /// The alias, `alias/…`: the name that identifies the key.
    pub alias: String,
    /// Id or ARN of an existing key that gets this alias, instead of a new one. The alias is removed
    /// from the key that it now names. A key that this plan did not create needs `adopt: true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The description.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether KMS rotates the key material. Symmetric keys only.
    #[serde(default = "yes")]
    pub rotation: bool,
    /// Days between rotations, 90 to 2560. Default: 365.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 90, max = 2560))]
    pub rotation_period_days: Option<u32>,
    /// Who may use and manage the key. Without this and `policy`, a new key gets KMS's default policy,
    /// and a live policy is not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The key policy as a document, instead of `access`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Document>,
    /// Permissions beside the policy, name to grant. A grant that is removed from the plan is revoked;
    /// grants that the plan has not created are not managed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grants: BTreeMap<String, Grant>,
    /// The algorithm, e.g. `SYMMETRIC_DEFAULT`, `RSA_4096`. Fixed when the key is created.
    #[serde(default = "symmetric")]
    pub key_spec: String,
    /// `ENCRYPT_DECRYPT`, `SIGN_VERIFY`, `GENERATE_VERIFY_MAC` or `KEY_AGREEMENT`. Fixed when the key is
    /// created.
    #[serde(default = "encrypt_decrypt")]
    pub key_usage: String,
    /// Whether it can be replicated into other regions. Fixed when the key is created.
    #[serde(default)]
    pub multi_region: bool,
    /// Further regions in which a multi-region key has a replica, without an alias. Replicas in other
    /// regions are not managed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replica_regions: Vec<String>,
    /// Days for which a deleted key can still be restored, 7 to 30.
    #[serde(default = "thirty")]
    #[schemars(range(min = 7, max = 30))]
    pub deletion_window_days: u8,
    /// Whether the key is enabled.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Whether KMS is asked for another key material now.
    #[serde(skip)]
    #[schemars(skip)]
    rotating: bool,
}

fn yes() -> bool {
    true
}

fn symmetric() -> String {
    "SYMMETRIC_DEFAULT".to_owned()
}

fn encrypt_decrypt() -> String {
    "ENCRYPT_DECRYPT".to_owned()
}

fn thirty() -> u8 {
    30
}

/// The alias; and the deletion window, which the deletion needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Id {
    alias: String,
    deletion_window_days: u8,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.alias)
    }
}

/// The key as KMS reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    alias: String,
    /// Whether the key has the alias; otherwise it is the declared key, which is to get it.
    is_named: bool,
    /// The tags of the declared key, while the alias names another one.
    declared_tags: Tags,
    alias_arn: String,
    key_id: String,
    arn: String,
    description: String,
    enabled: bool,
    pending_deletion: bool,
    /// The state of an unusable key that enabling it cannot fix.
    broken: Option<String>,
    /// The period in days; `None` without rotation.
    rotation: Option<u32>,
    /// The id of the key material that encrypts now, where KMS reports one.
    material: Option<String>,
    /// Since when a rotation on demand is going on.
    rotating_since: Option<String>,
    policy: Option<Document>,
    key_spec: String,
    key_usage: String,
    multi_region: bool,
    replica_regions: BTreeSet<String>,
    grants: grants::LiveGrants,
    tags: Tags,
}

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KmsKeyOutputs")]
pub struct Outputs {
    /// The key's ARN.
    pub arn: String,
    /// The key's id.
    pub key_id: String,
    /// The alias, `alias/…`.
    pub alias: String,
    /// The alias's ARN.
    pub alias_arn: String,
}

/// What the end of a deletion window means.
const SCHEDULED: &str = "is scheduled for deletion; data encrypted with it can never be read again";

impl Resource for KmsKey {
    const KIND: &'static str = "aws.kms_key";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A KMS key with its alias, policy, grants and rotation.";
    const EXAMPLE: &'static str = r#"unseal_key:
  kind: aws.kms_key
  alias: alias/candlefish-vault-unseal
  description: Unseals Vault
  rotation: true
  rotation_period_days: 180
  deletion_window_days: 30
  access:
    admins: [ "arn:aws:iam::123456789012:role/candlefish-admin" ]
    users: [ "arn:aws:iam::123456789012:role/candlefish-vault" ]
    services: [ logs.us-east-1.amazonaws.com ]
  grants:
    backup: { grantee: "arn:aws:iam::123456789012:role/candlefish-backup", operations: [ Decrypt ] }
  tags: { Team: platform }
"#;
    const REBUILT: Option<&'static str> =
        Some("as another key: what the lost one encrypted elsewhere stays closed");
    const DELETION: Deletion = Deletion::new(Severity::High, KeyDeletion, SCHEDULED);
    const RISKS: Risks = &[&[
        state("state"),
        identity("alias"),
        changed("key_id")
            .medium(Destination, "the alias names another key, with which its users encrypt from now on"),
        safe("description tags", LABELS),
        off("rotation").medium(ProtectionOff, "the key is not rotated"),
        raised("rotation_period_days").low(ProtectionOff, "the key is rotated less often"),
        key_policy("access policy"),
        analysed("grants", risk::of_grants),
        fixed("key_spec key_usage multi_region"),
        added("replica_regions").low(Destination, "the key can also be used in other regions"),
        safe("deletion_window_days", "it counts only when the key is removed"),
        off("enabled").high(ProtectionOff, "the key is disabled: what it encrypts cannot be read"),
        on("pending_deletion").live().high(KeyDeletion, SCHEDULED),
        off("pending_deletion")
            .live()
            .medium(KeyDeletion, "the key was scheduled for deletion; this cancels the deletion"),
    ]];
    const PROOF: Proof = Proof::Tried("it is used through its alias");
    const TAGGED: bool = true;
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement = Replacement::Never(
        "what it has encrypted could no longer be decrypted; declare another step with another alias, encrypt the data again with that, then take the old step out",
    );
    const ROTATION: Rotation = Rotation::InPlace(
        "KMS makes another key material under the same ARN, up to ten times in a key's life; nothing has to be encrypted again",
    );
    const REMOVAL: Option<&'static str> =
        Some("its data can no longer be decrypted, and after the deletion window it is lost");

    type Client = AwsClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needed::permissions(desired, used)
    }

    fn rotation_permissions(desired: &Desired, realm: &Realm) -> Vec<Permission> {
        rotation::permissions(desired, realm)
    }

    fn rotate(desired: &mut Desired, turn: Turn) -> bool {
        desired.rotating = turn == Turn::Forward && rotation::is_possible(desired);
        desired.rotating
    }

    fn revision(observed: &Observed) -> Option<String> {
        rotation::revision(observed)
    }

    fn id(desired: &Desired) -> Id {
        Id { alias: desired.alias.clone(), deletion_window_days: desired.deletion_window_days }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found: Vec<FieldError> =
            alias::check(&desired.alias).into_iter().chain(check::numbers(desired)).collect();
        if let Some(policy) = &desired.policy {
            found.extend(policy.check("policy", PolicyType::Resource));
            found.extend(lockout::check(policy));
        }
        found.extend(desired.access.iter().flat_map(Access::check));
        if let (Some(_), Some(_)) = (&desired.access, &desired.policy) {
            let mistake = FieldError::new("policy", "`access` is declared too, which makes the policy");
            found.push(mistake.help("declare one of the two"));
        }
        if !desired.replica_regions.is_empty() && !desired.multi_region {
            let mistake = FieldError::new("replica_regions", "only a multi-region key can have replicas");
            found.push(mistake.help("add `multi_region: true`, which is fixed when a key is created"));
        }
        found.extend(grants::check(&desired.grants));
        found.extend(tags::check(&desired.tags));
        found
    }

    fn grants(desired: &Desired, live: Option<&Observed>, realm: &Realm) -> Vec<crate::access::Grant> {
        grants::states(desired, live, realm)
    }

    fn granted(observed: &Observed) -> Vec<crate::access::Grant> {
        grants::granted(observed)
    }

    async fn observe(client: &AwsClient, id: &Id, look: Look<'_, Self>) -> Result<Option<Observed>> {
        live::observe(client, &id.alias, look.declared).await
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        alias::compare(&mut diff, desired, observed);
        diff.immutable("state", &observed.broken, &None::<String>, IS_BROKEN);
        diff.field("pending_deletion", &observed.pending_deletion, &false).field(
            "description",
            &observed.description,
            &desired.description,
        );
        compare_rotation(&mut diff, desired, observed);
        rotation::compare(&mut diff, desired, observed);
        let (partition, account) = observed.home();
        if let Some((field, policy)) = desired.key_policy(partition, account) {
            policy::compare(&mut diff, field, observed.policy.as_ref(), &policy);
        }
        grants::compare(&mut diff, &grants::ours(desired, observed), &observed.grants);
        diff.immutable("key_spec", &observed.key_spec, &desired.key_spec, IMMUTABLE)
            .immutable("key_usage", &observed.key_usage, &desired.key_usage, IMMUTABLE)
            .immutable("multi_region", &observed.multi_region, &desired.multi_region, IMMUTABLE);
        let missing = desired.missing_replicas(observed);
        if !missing.is_empty() {
            let all: BTreeSet<&String> = observed.replica_regions.iter().chain(missing).collect();
            diff.field("replica_regions", &observed.replica_regions, &all);
        }
        // A key that is scheduled for deletion or broken is disabled too; its state is reported instead.
        if !(observed.pending_deletion || observed.broken.is_some()) || !desired.enabled {
            diff.field("enabled", &observed.enabled, &desired.enabled);
        }
        diff.entries("tags", &observed.tags, &desired.tags);
        if !diff.touches("grants") {
            grants::RECORD.compare(&mut diff, &observed.tags, &grants::record(&desired.grants));
        }
        diff
    }

    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        write::create(w, desired).await
    }

    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        write::update(w, desired, observed).await
    }

    async fn delete(w: &Writer<'_, AwsClient>, id: &Id) -> Result<()> {
        write::delete(w, id).await
    }

    /// Other aliases, and grants through which others use the key.
    async fn attachments(client: &AwsClient, id: &Id, observed: &Observed) -> Result<Vec<Attachment>> {
        let aliases = aliases(client).await?;
        let others = aliases.iter().filter(|(alias, key)| **key == observed.key_id && **alias != id.alias);
        let others = others.map(|(alias, _)| Attachment::ends("aliases", alias).held_by(Self::KIND, alias));
        let grants = grants::names(client, &observed.key_id).await?.into_iter();
        Ok(others.chain(grants.map(|name| Attachment::ends("grants", name))).collect())
    }

    fn attaches(desired: &Desired) -> Option<Vec<String>> {
        Some(desired.grants.keys().map(|name| Attachment::ends("grants", name).path()).collect())
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs {
            arn: observed.arn.clone(),
            key_id: observed.key_id.clone(),
            alias: observed.alias.clone(),
            alias_arn: observed.alias_arn.clone(),
        }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        Partial::default()
            .with("alias", &desired.alias)
            .with_some("alias_arn", regional_arn(realm, "kms", &desired.alias))
    }

    async fn prove(prover: &Prover<'_, AwsClient>, desired: &Desired, _: &Observed) {
        let Desired { alias, key_spec, key_usage, enabled, .. } = desired;
        let key = prove::key::Key { alias, spec: key_spec, usage: key_usage, enabled: *enabled };
        prove::key::prove(prover, key).await;
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

impl Desired {
    /// KMS rotates only symmetric keys.
    fn rotates(&self) -> bool {
        self.rotation && self.key_spec == symmetric()
    }

    /// The field that declares the access, and the policy that it makes.
    fn key_policy(&self, partition: &str, account: &str) -> Option<(&'static str, Document)> {
        let made = self.access.as_ref().map(|access| access.policy(partition, account, &self.key_usage));
        made.map(|policy| ("access", policy)).or_else(|| Some(("policy", self.policy.clone()?)))
    }

    fn missing_replicas(&self, observed: &Observed) -> Vec<&String> {
        self.replica_regions.iter().filter(|region| !observed.replica_regions.contains(*region)).collect()
    }
}

impl Observed {
    /// Partition and account of the key's ARN.
    fn home(&self) -> (&str, &str) {
        let mut parts = self.arn.split(':').skip(1);
        (parts.next().unwrap_or("aws"), parts.nth(2).unwrap_or_default())
    }
}

/// The period is compared only if it is declared.
fn compare_rotation(diff: &mut Diff, desired: &Desired, observed: &Observed) {
    diff.field("rotation", &observed.rotation.is_some(), &desired.rotates());
    if let (true, Some(declared)) = (desired.rotates(), desired.rotation_period_days) {
        diff.field("rotation_period_days", &observed.rotation, &declared);
    }
}

#[cfg(test)]
mod tests;
