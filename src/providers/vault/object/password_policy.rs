//! Password policies: <https://openbao.org/api-docs/system/policies-password/>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Object, PlainObject, check_name};
use crate::error::FieldError;

/// The rules by which engines generate passwords.
pub type PasswordPolicy = Object<PasswordPolicySpec>;

/// The declared fields of a password policy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordPolicySpec {
    /// The policy's name.
    pub name: String,
    /// Its rules, in HCL.
    pub policy: String,
}

impl PlainObject for PasswordPolicySpec {
    const KIND: &'static str = "vault.password_policy";
    const ABOUT: &'static str = "The rules by which secrets engines generate passwords.";
    const EXAMPLE: &'static str = "\
database_passwords:
  kind: vault.password_policy
  name: database
  policy: |
    length = 24
    rule \"charset\" {
      charset   = \"abcdefghijklmnopqrstuvwxyz0123456789\"
      min-chars = 1
    }
";
    const IDENTITY: &'static [&'static str] = &["name"];

    fn path(&self) -> String {
        format!("sys/policies/password/{}", self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Vec<FieldError> {
        let wrong = hcl::parse(&self.policy)
            .err()
            .map(|error| FieldError::new("policy", format!("is not valid HCL: {error}")));
        check_name("name", &self.name).into_iter().chain(wrong).collect()
    }
}
