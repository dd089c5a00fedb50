//! What roles of all auth methods share: their identity and the fields of the tokens they issue.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::notation::PolicyNames;
use crate::resolve::unknown::is_unknown;
use crate::resource::{FieldError, Requirement};

/// A role at the auth method it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleId {
    /// The method's path below `auth/`.
    pub mount: String,
    /// The role's name in lower case, as Vault keeps it.
    pub name: String,
}

impl fmt::Display for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mount, self.name)
    }
}

impl RoleId {
    /// Where the role is written and read.
    pub(super) fn path(&self) -> String {
        format!("auth/{}/role/{}", self.mount, self.name)
    }
}

/// The fields of the tokens that a role issues, the same for every method:
/// <https://openbao.org/api-docs/auth/approle/#create-update-approle>.
pub(super) const TOKEN: [&str; 10] = [
    "token_policies",
    "token_ttl",
    "token_max_ttl",
    "token_explicit_max_ttl",
    "token_period",
    "token_num_uses",
    "token_no_default_policy",
    "token_type",
    "token_bound_cidrs",
    "token_strictly_bind_ip",
];

pub(super) fn default_token_type() -> String {
    "default".to_owned()
}

/// The types of tokens that a role can issue.
const TOKEN_TYPES: [&str; 5] = ["default", "service", "batch", "default-service", "default-batch"];

pub(super) fn check_role(name: &str, token_type: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if name.is_empty() || name.contains('/') && !is_unknown(name) {
        errors.push(FieldError::new("name", "is no name of a role").help("use letters, digits, `-` and `_`"));
    }
    if !TOKEN_TYPES.contains(&token_type) && !is_unknown(token_type) {
        let help = format!("one of {}", TOKEN_TYPES.join(", "));
        errors.push(FieldError::new("token_type", "is no type of token").help(help));
    }
    errors
}

/// The method that a role belongs to, and the policies that it names.
pub(super) fn requirements(mount: &str, policies: &PolicyNames) -> Vec<Requirement> {
    let own = [Requirement::Kind("vault.init"), Requirement::thing("vault.auth_method", mount)];
    let policies = policies.iter().map(|name| Requirement::thing("vault.policy", name));
    own.into_iter().chain(policies).collect()
}
