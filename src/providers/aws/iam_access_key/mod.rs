//! `aws.iam_access_key`: one access key of a user, its secret in custody and delivered.
//!
//! `CreateAccessKey` gives the secret once. See [`next`] for how every cut is recovered from, and
//! [`ceremony`] for how a key is made.

mod ceremony;
mod custodian;
mod next;
mod replace;
mod rotate;
mod rotation;

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_iam::types::{AccessKeyMetadata, StatusType};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::custodian::KeyCustodian;
use self::custodian::Pair;
use self::next::Next;
use self::replace::Replaced;
pub use self::rotation::RotationSpec;
use self::rotation::UnderWay;
use super::iam::{check_name, folded};
use super::prove;
use crate::access::Granting;
use crate::custody::Gap;
use crate::error::{FieldError, Result};
use crate::health::Due;
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::providers::aws::needs::{self, Need, always, creates, deletes, updates};
use crate::providers::sink::Delivery;
use crate::resource::risk::Category::{BroaderGrant, Destination, Destroy};
use crate::resource::risk::{Risks, becomes, changed, gone, identity, live_safe, safe};
use crate::resource::{
    Diff, Look, NOT_COMPARED, Pending, Replacement, Requirement, Resource, Rotation, Turn, Writer,
};
use crate::run::{Permission, Use};
use crate::secret::{Declarations, Fields, Secret, SecretChange, declaration};

/// An access key of an IAM user.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKey.html>
#[derive(Debug)]
pub struct IamAccessKey;

/// An access key as a plan declares it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamAccessKey")]
pub struct Desired {
    /// The user's name.
    pub user: String,
    /// Where the key is delivered to, beside custody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliver: Vec<Delivery>,
    /// Whether it can be used.
    #[serde(default)]
    pub status: Status,
    /// When it is rotated, and how long the phases of a rotation take.
    #[serde(default, skip_serializing_if = "RotationSpec::is_usual")]
    pub rotation: RotationSpec,
    /// The destinations that are not to be compared, by their paths.
    #[serde(skip)]
    #[schemars(skip)]
    unseen: Vec<String>,
    /// Whether another key is made in place of the one that exists.
    #[serde(skip)]
    #[schemars(skip)]
    renewed: bool,
    /// The direction of a rotation that is asked for.
    #[serde(skip)]
    #[schemars(skip)]
    turn: Option<Turn>,
}

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It works.
    #[default]
    Active,
    /// It is refused until it is made active again.
    Inactive,
}

/// A user's key and where it should be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Id {
    user: String,
    deliver: Vec<Delivery>,
}

/// A key's status; as IAM writes it where it is none that can be declared, such as `Expired`.
type LiveStatus = std::result::Result<Status, String>;

const NO_SUCH_STATUS: &str = "IAM does not let a key leave this status; delete the key by hand, and the next \
                              apply makes another one";

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)
    }
}

/// The state of a key in IAM, custody and the destinations.
#[derive(Clone, Debug)]
pub struct Observed {
    user: String,
    next: Next,
    status: LiveStatus,
    /// For each declared destination, whether it holds exactly this key.
    delivered: Vec<bool>,
    /// Whether an earlier run was cut off before it had proven the key.
    unproven: bool,
    /// Copies and recipients that the key in custody lacks.
    gaps: Vec<Gap>,
    /// A run began to replace the key and did not end it.
    replacement: Option<Replaced>,
    /// A rotation that is under way.
    rotation: Option<UnderWay>,
    /// When the key was made that is in use, as far as that is known.
    made: Option<Timestamp>,
}

/// The outputs that other steps may refer to; never the secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IamAccessKeyOutputs")]
pub struct Outputs {
    /// The access key's id.
    pub access_key_id: String,
    /// The user's name.
    pub user: String,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    always(&["iam:ListAccessKeys"]),
    creates(&["iam:CreateAccessKey"]),
    updates(&["iam:UpdateAccessKey"]).with(&["status"]),
    // A key whose secret never arrived.
    updates(&["iam:CreateAccessKey", "iam:UpdateAccessKey", "iam:DeleteAccessKey"])
        .live(&["access_key_id", "keys"]),
    deletes(&["iam:UpdateAccessKey", "iam:DeleteAccessKey"]),
];

/// The actions of a rotation.
const ROTATING: &[&str] =
    &["iam:CreateAccessKey", "iam:UpdateAccessKey", "iam:DeleteAccessKey", "iam:GetAccessKeyLastUsed"];

impl Resource for IamAccessKey {
    const KIND: &'static str = "aws.iam_access_key";
    const GRANTS: Granting = Granting::Never("a key has the rights of its user");
    const ABOUT: &'static str =
        "An access key of an IAM user, made once; its secret goes into custody and where it is delivered.";
    const EXAMPLE: &'static str = r"admin_key:
  kind: aws.iam_access_key
  user: candlefish-secrets-admin
  deliver:
    - vault_kv:
        mount: secret
        path: candlefish/aws
        fields: { id: aws_access_key_id, secret: aws_secret_access_key }
";
    const REBUILT: Option<&'static str> =
        Some("as another key, which is delivered in the place of the lost one");
    const RISKS: Risks = &[&[
        live_safe("custody proven rotated", "custody gets what it lacks, and the key is proven"),
        identity("user"),
        safe("rotation", "it decides when a key is replaced, not by whom it can be used"),
        changed("deliver").low(Destination, "the key is written to this place"),
        becomes("status", "active").medium(BroaderGrant, "the key works again"),
        gone("access_key_id keys").live().low(Destroy, "an access key whose secret never arrived is deleted"),
    ]];
    const PROOF: Proof = Proof::Tried("AWS says whose it is, when it is used");
    const ONCE_ONLY: bool = true;
    const REPLACEMENT: Replacement = Replacement::Renewed;
    const ROTATION: Rotation = Rotation::Phased(
        "another key is made, proven and delivered beside this one, which is made inactive when its users have changed \
         over, and deleted later",
    );

    type Client = KeyCustodian;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    /// The path of the user is not part of its name, so it may be at any.
    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        let own = needs::of(NEEDS, used, desired, |_| {
            ["user/", "user/*/"].map(|noun| needs::in_iam(used.realm, noun, "", &desired.user)).into()
        });
        let delivered = desired.deliver.iter().flat_map(|target| target.permissions(used.access));
        own.into_iter().chain(delivered).collect()
    }

    fn rotation_permissions(desired: &Desired, realm: &Realm) -> Vec<Permission> {
        let users = ["user/", "user/*/"].map(|noun| needs::in_iam(realm, noun, "", &desired.user));
        let action = |user: String| {
            ROTATING.iter().map(move |action| Permission::new(user.clone(), std::slice::from_ref(action)))
        };
        users.into_iter().flat_map(action).collect()
    }

    fn id(desired: &Desired) -> Id {
        Id { user: desired.user.clone(), deliver: desired.deliver.clone() }
    }

    fn same_name(id: &Id) -> String {
        folded(&id.user)
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = check_name("user", &desired.user, 64).into_iter().collect();
        for (position, delivery) in desired.deliver.iter().enumerate() {
            if desired.deliver[..position].contains(delivery) {
                errors.push(FieldError::new(format!("deliver[{position}]"), "is declared twice"));
            }
            let below = |mistake: FieldError| {
                let path = format!("deliver[{position}].{}", mistake.path);
                FieldError { path, ..mistake }
            };
            errors.extend(delivery.check().into_iter().map(below));
        }
        errors
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        let mut requires = vec![Requirement::thing("aws.iam_user", &desired.user)];
        requires.extend(desired.deliver.iter().flat_map(Delivery::requires));
        requires
    }

    fn declared_places(desired: &Desired) -> Declarations {
        let mut places: BTreeMap<String, Vec<&Delivery>> = BTreeMap::new();
        for target in &desired.deliver {
            places.entry(target.path()).or_default().push(target);
        }
        places.into_iter().map(|(path, targets)| (path, declaration(&json!(targets)))).collect()
    }

    fn hide_places(desired: &mut Desired, unsettled: Vec<String>) {
        desired.unseen = unsettled;
    }

    async fn observe(client: &KeyCustodian, id: &Id, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let Some(live) = client.live(&id.user).await? else { return Ok(None) };
        let next = client.next(&id.user, &live).await?;
        if next == Next::Create {
            return Ok(None);
        }
        let mut observed = Observed {
            user: id.user.clone(),
            status: Ok(Status::Active),
            delivered: vec![false; id.deliver.len()],
            unproven: client.is_unfinished(&id.user),
            gaps: Vec::new(),
            replacement: client.replacement(&id.user, &live, &next),
            rotation: client.under_way(&id.user, &live, &next).await?,
            made: None,
            next,
        };
        if let Next::Blocked { keys } = &observed.next {
            observed.made = next::oldest(&live, keys);
        }
        if let Next::Keep { key, .. } = &observed.next {
            observed.status = status_of(&live, key);
            observed.made = next::made(&live, key);
            observed.gaps = client.gaps(&id.user, key).await?;
            let pair = client.read_pair(&id.user, key).await?;
            for (target, delivered) in id.deliver.iter().zip(&mut observed.delivered) {
                *delivered = client.sink(target)?.holds(&fields(target, &pair)).await?;
            }
        }
        Ok(Some(observed))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        match &observed.next {
            Next::Blocked { keys } => block(&mut diff, keys),
            Next::Create => {}
            Next::Replace { lost } => {
                diff.push("access_key_id", json!(lost), json!(null));
                diff.note("its secret never arrived; it is removed and a new key is made");
            }
            Next::Keep { key, lost } => {
                match &observed.status {
                    Ok(status) => diff.field("status", status, &desired.status),
                    Err(other) => diff.immutable("status", other, &desired.status, NO_SUCH_STATUS),
                };
                let targets = desired.deliver.iter().zip(&observed.delivered);
                for (target, held) in targets {
                    let path = target.path();
                    let unseen = desired.unseen.contains(&path);
                    if unseen || !held {
                        diff.secret(&path, SecretChange::Changed, Some("the key in custody".to_owned()));
                    }
                    if unseen {
                        diff.note(NOT_COMPARED);
                    }
                }
                match (&observed.replacement, desired.renewed) {
                    (Some(Replaced::Old(keys)), _) => {
                        if keys.is_empty() {
                            diff.push("proven", json!(false), json!(true));
                            diff.note(
                                "an earlier run replaced the key and was cut off before it had noted that",
                            );
                        }
                        for key in keys {
                            diff.push(&format!("keys[{key}]"), json!("exists"), json!(null));
                            diff.note("its successor is made; it goes once that is delivered and proven");
                        }
                    }
                    (Some(Replaced::Current), _) => another_key(&mut diff, key, BEGUN),
                    (None, true) => another_key(&mut diff, key, ASKED),
                    (None, false) => {}
                }
                if let Some(turn) = desired.turn {
                    rotation::compare(&mut diff, observed.rotation.as_ref(), desired.rotation, key, turn);
                }
                for key in lost {
                    diff.push(&format!("keys[{key}]"), json!("exists"), json!(null));
                    diff.note("its secret never arrived");
                }
                for Gap { object, lacks } in &observed.gaps {
                    diff.push(&format!("custody[{object}]"), json!(null), json!(lacks));
                    diff.note("a copy is made of what the other stores have");
                }
                if observed.unproven {
                    diff.push("proven", json!(false), json!(true));
                    diff.note("an earlier run was cut off before it had proven the key");
                }
            }
        }
        diff
    }

    fn rotate(desired: &mut Desired, turn: Turn) -> bool {
        desired.turn = Some(turn);
        desired.status == Status::Active
    }

    fn pending(desired: &Desired, observed: &Observed) -> Option<Pending> {
        observed.rotation.as_ref().map(|rotation| rotation.pending(desired.rotation))
    }

    async fn create(w: &Writer<'_, KeyCustodian>, desired: &Desired) -> Result<()> {
        match w.settled(&desired.user).await? {
            Next::Create => {
                let pair = w.make(w.permit(), w.step(), desired).await?;
                w.finish(w.permit(), desired, &pair).await
            }
            next => w.recover(w.permit(), w.step(), desired, next).await,
        }
    }

    fn renew(desired: &mut Desired) -> bool {
        desired.renewed = true;
        true
    }

    async fn update(w: &Writer<'_, KeyCustodian>, desired: &Desired, observed: &Observed) -> Result<()> {
        let next = w.settled(&desired.user).await?;
        if let Some(turn) = desired.turn {
            return w.turn(w.permit(), w.step(), desired, next, turn).await;
        }
        if desired.renewed || observed.replacement.is_some() {
            return w.replace(w.permit(), w.step(), desired, next).await;
        }
        w.recover(w.permit(), w.step(), desired, next).await
    }

    /// Removes the keys whose secret custody has. The secret stays in custody, where it is no longer
    /// of use.
    async fn delete(w: &Writer<'_, KeyCustodian>, id: &Id) -> Result<()> {
        let Some(live) = w.live(&id.user).await? else { return Ok(()) };
        let held: Vec<String> = w.held(&id.user, &live).await?.into_iter().collect();
        let is_active = |key: &&String| status_of(&live, key) == Ok(Status::Active);
        let active: Vec<String> = held.iter().filter(is_active).cloned().collect();
        match w.remove(w.permit(), &id.user, held).await {
            Ok(()) => w.end_rotation(w.permit(), &id.user).await,
            Err(error) => {
                let restored = w.activate(w.permit(), &id.user, &active).await;
                Err(error.after_restoring("the status of its keys", restored))
            }
        }
    }

    async fn prove(prover: &Prover<'_, KeyCustodian>, desired: &Desired, observed: &Observed) {
        if let Next::Keep { key, .. } = &observed.next {
            prove::access_key::prove(prover, &desired.user, key, desired.status).await;
        }
    }

    fn due(desired: &Desired, observed: &Observed) -> Vec<Due> {
        let due = |made| match desired.rotation.days {
            Some(days) => Due::after_days("access key", made, days.into()),
            None => Due::ages("access key", made),
        };
        observed.made.map(due).into_iter().collect()
    }

    fn outputs(observed: &Observed) -> Outputs {
        let access_key_id = match &observed.next {
            Next::Keep { key, .. } => key.clone(),
            _ => String::new(),
        };
        Outputs { access_key_id, user: observed.user.clone() }
    }
}

const ASKED: &str = "another key is made, delivered and proven, then this one is deleted";
const BEGUN: &str =
    "an earlier run was cut off while it replaced the key: another one is made, then this one is deleted";

fn another_key(diff: &mut Diff, key: &str, note: &str) {
    diff.push("access_key_id", json!(key), json!("another key")).note(note);
}

fn block(diff: &mut Diff, keys: &[String]) {
    for key in keys {
        let why = format!(
            "the user has the key {key}, which no run of this plan made or whose secret custody has lost (one \
             that an interrupted run made dates from within minutes of its request); it may be in use, so it \
             is never touched: deactivate and delete it by hand when nothing needs it"
        );
        diff.immutable(&format!("keys[{key}]"), "exists", &json!(null), &why);
    }
}

fn fields(target: &Delivery, pair: &Pair) -> Fields {
    let fields = target.key_fields();
    [
        (fields.id.clone(), Secret::from(pair.access_key_id.clone())),
        (fields.secret.clone(), Secret::from(pair.secret_access_key.clone())),
    ]
    .into()
}

/// A key that works and is not listed yet was made a moment ago; keys are born active.
fn status_of(live: &[AccessKeyMetadata], key: &str) -> LiveStatus {
    let found = live.iter().find(|one| one.access_key_id.as_deref() == Some(key));
    match found.map(|one| one.status.as_ref()) {
        None | Some(Some(StatusType::Active)) => Ok(Status::Active),
        Some(Some(StatusType::Inactive)) => Ok(Status::Inactive),
        Some(Some(other)) => Err(other.as_str().to_owned()),
        Some(None) => Err("unknown".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &str) -> Vec<String> {
        names.chars().map(String::from).collect()
    }

    #[test]
    fn differences_name_destinations_and_never_the_secret() {
        let desired: Desired = serde_json::from_value(json!({
            "user": "ci", "deliver": [{ "vault_kv": { "mount": "secret", "path": "aws" } }],
        }))
        .expect("valid");
        let observed = |next, delivered| Observed {
            user: "ci".into(),
            next,
            status: Ok(Status::Active),
            delivered: vec![delivered],
            unproven: false,
            gaps: Vec::new(),
            replacement: None,
            rotation: None,
            made: None,
        };
        let keep = || Next::Keep { key: "AKIA1".into(), lost: Vec::new() };
        assert!(IamAccessKey::diff(&desired, &observed(keep(), true)).is_empty());
        let diff = IamAccessKey::diff(&desired, &observed(keep(), false));
        assert!(diff.touches("deliver.vault_kv.secret/aws") && diff.changes[0].sensitive);
        let expired = Observed { status: Err("Expired".into()), ..observed(keep(), true) };
        let diff = IamAccessKey::diff(&desired, &expired);
        assert_eq!((diff.blocked.len(), &diff.changes[0].before), (1, &json!("Expired")));
        let foreign = Next::Blocked { keys: keys("a") };
        assert_eq!(IamAccessKey::diff(&desired, &observed(foreign, false)).blocked.len(), 1);
    }
}
