//! `aws.iam_account_password_policy`: the requirements for console passwords.

use std::fmt;

use aws_sdk_iam::types::PasswordPolicy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NO_SUCH_ENTITY;
use crate::access::Granting;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::aws::ACCOUNT;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::needs::{self, Need, On, deletes, reads, writes};
use crate::resource::risk::Category::ProtectionOff;
use crate::resource::risk::{Risks, loosened, lowered, off, safe};
use crate::resource::{Diff, Look, Partial, Resource, Writer};
use crate::run::{Permission, Use};

/// The password policy of the account, which has at most one.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_PasswordPolicy.html>
pub struct IamAccountPasswordPolicy;

/// The declared fields. The defaults are stricter than those of AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamAccountPasswordPolicy")]
pub struct Desired {
    /// The minimum length, 6 to 128.
    #[serde(default = "fourteen")]
    #[schemars(range(min = 6, max = 128))]
    pub minimum_length: i32,
    /// Whether a lowercase letter is required.
    #[serde(default = "yes")]
    pub require_lowercase: bool,
    /// Whether an uppercase letter is required.
    #[serde(default = "yes")]
    pub require_uppercase: bool,
    /// Whether a digit is required.
    #[serde(default = "yes")]
    pub require_numbers: bool,
    /// Whether one of ``! @ # $ % ^ & * ( ) _ + - = [ ] { } | '`` is required.
    #[serde(default = "yes")]
    pub require_symbols: bool,
    /// Whether users may change their own password.
    #[serde(default = "yes")]
    pub users_may_change: bool,
    /// Days after which a password expires, 1 to 1095. Default: passwords do not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1095))]
    pub max_age_days: Option<i32>,
    /// How many previous passwords cannot be reused, 1 to 24.
    #[serde(default = "twenty_four")]
    #[schemars(range(min = 1, max = 24))]
    pub reuse_prevention: i32,
    /// Whether only an administrator can reset an expired password.
    #[serde(default)]
    pub hard_expiry: bool,
}

fn yes() -> bool {
    true
}

fn fourteen() -> i32 {
    14
}

fn twenty_four() -> i32 {
    24
}

/// The identity: an account has only one password policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Id;

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("password policy")
    }
}

/// The policy as IAM reports it.
pub struct Observed(PasswordPolicy);

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IamAccountPasswordPolicyOutputs")]
pub struct Outputs {
    /// Whether passwords expire.
    pub passwords_expire: bool,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["iam:GetAccountPasswordPolicy"]).on(On::Everything),
    writes(&["iam:UpdateAccountPasswordPolicy"]).on(On::Everything),
    deletes(&["iam:DeleteAccountPasswordPolicy"]).on(On::Everything),
];

impl Resource for IamAccountPasswordPolicy {
    const KIND: &'static str = "aws.iam_account_password_policy";
    const GRANTS: Granting = Granting::Never("it says how passwords are made");
    const REALM: &'static [&'static str] = ACCOUNT;
    const ABOUT: &'static str = "The account's requirements for console passwords.";
    const EXAMPLE: &'static str = "\
passwords:
  kind: aws.iam_account_password_policy
  minimum_length: 16
  max_age_days: 90
";
    const RISKS: Risks = &[&[
        lowered("minimum_length").medium(ProtectionOff, "shorter passwords are allowed"),
        off("require_lowercase require_uppercase require_numbers require_symbols")
            .low(ProtectionOff, "simpler passwords are allowed (`{field}`)"),
        off("users_may_change").low(ProtectionOff, "users cannot change a password that others know"),
        loosened("max_age_days").low(ProtectionOff, "passwords expire later, or never"),
        lowered("reuse_prevention").low(ProtectionOff, "old passwords can be used again sooner"),
        safe("hard_expiry", "it decides who resets an expired password, not when it expires"),
    ]];
    const PROOF: Proof = Proof::InSync("IAM enforces it at the next change of a password");

    type Client = AwsClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |_| Vec::new())
    }

    fn id(_: &Desired) -> Id {
        Id
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let within = |path: &str, value: Option<i32>, least: i32, most: i32| {
            value
                .filter(|value| !(least..=most).contains(value))
                .map(|_| FieldError::new(path, format!("must be from {least} to {most}")))
        };
        [
            within("minimum_length", Some(desired.minimum_length), 6, 128),
            within("max_age_days", desired.max_age_days, 1, 1095),
            within("reuse_prevention", Some(desired.reuse_prevention), 1, 24),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    async fn observe(client: &AwsClient, _: &Id, _: Look<'_, Self>) -> Result<Option<Observed>> {
        const OPERATION: &str = "iam:GetAccountPasswordPolicy";
        let answer = client.read().iam.get_account_password_policy().send().await;
        let Some(answer) = answer.found(OPERATION, NO_SUCH_ENTITY)? else { return Ok(None) };
        let policy = answer.password_policy.ok_or_else(|| missing(OPERATION, "password policy"))?;
        Ok(Some(Observed(policy)))
    }

    fn diff(desired: &Desired, Observed(live): &Observed) -> Diff {
        let mut diff = Diff::none();
        // IAM reports no maximum age and no password history as absent or as zero.
        let age = live.max_password_age.filter(|_| live.expire_passwords);
        diff.field("minimum_length", &live.minimum_password_length, &desired.minimum_length)
            .field("require_lowercase", &live.require_lowercase_characters, &desired.require_lowercase)
            .field("require_uppercase", &live.require_uppercase_characters, &desired.require_uppercase)
            .field("require_numbers", &live.require_numbers, &desired.require_numbers)
            .field("require_symbols", &live.require_symbols, &desired.require_symbols)
            .field("users_may_change", &live.allow_users_to_change_password, &desired.users_may_change)
            .field("max_age_days", &age, &desired.max_age_days)
            .field(
                "reuse_prevention",
                &live.password_reuse_prevention.filter(|count| *count > 0),
                &desired.reuse_prevention,
            )
            .field("hard_expiry", &live.hard_expiry.unwrap_or_default(), &desired.hard_expiry);
        diff
    }

    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        // IAM's request replaces a policy that exists.
        if Self::observe(w, &Id, Look::BARE).await?.is_some() {
            let error = Error::new(ErrorKind::Conflict, UPDATE, "the account already has a password policy");
            return Err(error.advice("it was set in the meantime; run `groundwork plan` again"));
        }
        put(w, desired).await
    }

    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, _: &Observed) -> Result<()> {
        put(w, desired).await
    }

    async fn delete(w: &Writer<'_, AwsClient>, _: &Id) -> Result<()> {
        let answer = w.write(w.permit()).iam.delete_account_password_policy().send().await;
        answer.found("iam:DeleteAccountPasswordPolicy", NO_SUCH_ENTITY).map(drop)
    }

    fn outputs(Observed(live): &Observed) -> Outputs {
        Outputs { passwords_expire: live.expire_passwords }
    }

    fn predicted_outputs(desired: &Desired, _: &Realm) -> Partial {
        Partial::default().with("passwords_expire", desired.max_age_days.is_some())
    }
}

const UPDATE: &str = "iam:UpdateAccountPasswordPolicy";

/// IAM replaces the whole policy: a field missing from the request gets AWS's default.
async fn put(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
    let request = w.write(w.permit()).iam.update_account_password_policy();
    let request = request
        .minimum_password_length(desired.minimum_length)
        .require_lowercase_characters(desired.require_lowercase)
        .require_uppercase_characters(desired.require_uppercase)
        .require_numbers(desired.require_numbers)
        .require_symbols(desired.require_symbols)
        .allow_users_to_change_password(desired.users_may_change)
        .set_max_password_age(desired.max_age_days)
        .password_reuse_prevention(desired.reuse_prevention)
        .hard_expiry(desired.hard_expiry);
    request.send().await.at(UPDATE).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_and_zero_expiry_are_equal() {
        let live = PasswordPolicy::builder()
            .minimum_password_length(14)
            .require_symbols(true)
            .require_numbers(true)
            .require_uppercase_characters(true)
            .require_lowercase_characters(true)
            .allow_users_to_change_password(true)
            .password_reuse_prevention(24);
        let desired: Desired = serde_json::from_value(json!({})).expect("valid");
        for live in [live.clone().build(), live.clone().max_password_age(0).build()] {
            assert!(IamAccountPasswordPolicy::diff(&desired, &Observed(live)).is_empty());
        }
        let expiring = Observed(live.expire_passwords(true).max_password_age(90).build());
        assert!(IamAccountPasswordPolicy::diff(&desired, &expiring).touches("max_age_days"));
    }

    #[test]
    fn bounds_are_checked() {
        let desired: Desired =
            serde_json::from_value(json!({ "minimum_length": 5, "max_age_days": 0, "reuse_prevention": 25 }))
                .expect("valid");
        assert_eq!(IamAccountPasswordPolicy::check(&desired).len(), 3);
    }
}
