//! The `aws:` section of a plan.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::constants;
use crate::error::FieldError;
use crate::plan::ownership;

/// The `aws:` section: the account and region that a plan works in.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsSettings {
    /// The region, e.g. `us-east-1`. Default: `AWS_REGION` or the profile's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The only account that this plan may touch, twelve digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The profile whose credentials are used. Default: `AWS_PROFILE`, then the chain of AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The role that this plan works as. The credentials found otherwise are used to assume it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
    /// Tags that every AWS step gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Further accounts and regions; a step with `provider: aws.NAME` is in the one of this name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, AwsAccount>,
}

/// A further account or region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsAccount {
    /// The region. Default: as `aws.region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The only account that these steps may touch, twelve digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The profile whose credentials are used. Default: as `aws.profile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The role that these steps work as. It is assumed from where the plan's own begins, not from
    /// the plan's own role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
}

/// A role to work as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssumeRole {
    /// The role's ARN.
    pub role_arn: String,
    /// The external id that the role's trust policy requires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The session's name, as it is seen in audit logs.
    #[serde(default = "groundwork")]
    pub session_name: String,
    /// How long a session lasts, in seconds, 900 to 43200. Default: 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 900, max = 43200))]
    pub duration_seconds: Option<i32>,
    /// Serial number or ARN of the caller's MFA device, where the role wants one. The code is asked
    /// for on the terminal, or read from standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_serial: Option<String>,
}

fn groundwork() -> String {
    "groundwork".to_owned()
}

impl AwsSettings {
    /// The account and region that a step is in: the plan's own, or the one of this name. `None` when
    /// there is none of this name.
    pub fn account(&self, alias: Option<&str>) -> Option<AwsAccount> {
        let Some(alias) = alias else {
            return Some(AwsAccount {
                region: self.region.clone(),
                account_id: self.account_id.clone(),
                profile: self.profile.clone(),
                assume_role: self.assume_role.clone(),
            });
        };
        let account = self.aliases.get(alias)?.clone();
        Some(AwsAccount {
            region: account.region.or_else(|| self.region.clone()),
            profile: account.profile.or_else(|| self.profile.clone()),
            ..account
        })
    }

    /// Mistakes beyond the types, with paths below the section.
    pub fn check(&self) -> Vec<FieldError> {
        let own = self.assume_role.iter().map(|role| ("assume_role".to_owned(), role));
        let others = self.aliases.iter().filter_map(|(name, account)| {
            Some((format!("aliases.{name}.assume_role"), account.assume_role.as_ref()?))
        });
        let roles = own.chain(others).flat_map(|(path, role)| role.check(&path));
        let reserved = self.tags.keys().filter(|key| key.to_ascii_lowercase().starts_with("aws:"));
        let reserved = reserved.map(|key| {
            let mistake = FieldError::new(format!("tags.{key}"), "tags that start with `aws:` are reserved");
            mistake.help("choose another prefix")
        });
        let own = (String::new(), self.region.as_deref(), self.account_id.as_deref());
        let others = self.aliases.iter().map(|(name, account)| {
            (format!("aliases.{name}."), account.region.as_deref(), account.account_id.as_deref())
        });
        let accounts = std::iter::once(own).chain(others);
        let accounts =
            accounts.flat_map(|(path, region, account)| constants::of_account(&path, region, account));
        accounts.chain(roles).chain(ownership::check(self.tags.keys())).chain(reserved).collect()
    }
}

impl AssumeRole {
    fn check(&self, path: &str) -> Vec<FieldError> {
        let mut found = Vec::new();
        if !self.role_arn.starts_with("arn:") || !self.role_arn.contains(":role/") {
            let mistake = FieldError::new(format!("{path}.role_arn"), "not the ARN of a role");
            found.push(mistake.help("e.g. `arn:aws:iam::123456789012:role/deployer`"));
        }
        let fits = |text: &str| {
            (2..=64).contains(&text.len())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c))
        };
        if !fits(&self.session_name) {
            let mistake = FieldError::new(format!("{path}.session_name"), "not a valid name for a session");
            found.push(mistake.help("2 to 64 letters, digits and `+=,.@_-`"));
        }
        if self.duration_seconds.is_some_and(|seconds| !(900..=43200).contains(&seconds)) {
            found.push(FieldError::new(
                format!("{path}.duration_seconds"),
                "must be from 900 to 43200 seconds",
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings() -> AwsSettings {
        serde_json::from_value(json!({
            "region": "eu-west-1", "account_id": "111111111111", "profile": "work",
            "assume_role": { "role_arn": "arn:aws:iam::111111111111:role/deployer" },
            "aliases": {
                "audit": { "account_id": "222222222222",
                           "assume_role": { "role_arn": "x", "session_name": "a b", "duration_seconds": 60 } },
                "frankfurt": { "region": "eu-central-1" },
            },
        }))
        .expect("valid")
    }

    #[test]
    fn account_alias_inherits_region_and_profile_only() {
        let audit = settings().account(Some("audit")).expect("declared");
        assert_eq!((audit.region.as_deref(), audit.profile.as_deref()), (Some("eu-west-1"), Some("work")));
        let frankfurt = settings().account(Some("frankfurt")).expect("declared");
        assert_eq!((frankfurt.account_id, frankfurt.assume_role), (None, None));
        assert!(settings().account(None).expect("the own").assume_role.is_some());
        assert_eq!(settings().account(Some("other")), None);
    }

    #[test]
    fn reserved_tags_are_refused_in_any_case() {
        let tags = ["groundwork:plan", "Groundwork:Step", "AWS:x", "groundwork:team", "plan"];
        let tags = tags.map(|key| (key.to_owned(), "x".to_owned())).into();
        let mistakes = AwsSettings { tags, ..AwsSettings::default() }.check();
        let mut paths: Vec<String> = mistakes.into_iter().map(|mistake| mistake.path).collect();
        paths.sort();
        assert_eq!(paths, ["tags.AWS:x", "tags.Groundwork:Step", "tags.groundwork:plan"]);
    }

    #[test]
    fn role_mistakes_name_their_field() {
        let paths: Vec<String> = settings().check().into_iter().map(|mistake| mistake.path).collect();
        let role = "aliases.audit.assume_role";
        let wanted = ["role_arn", "session_name", "duration_seconds"].map(|field| format!("{role}.{field}"));
        assert_eq!(paths, wanted);
    }
}
