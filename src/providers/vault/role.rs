//! The shared fields of roles of all auth methods: those of the tokens that they issue.

use super::notation::PolicyNames;
use crate::error::FieldError;
use crate::resource::Requirement;

/// The fields of a role's tokens that rules and edges need.
pub(super) trait IssuesTokens {
    /// Policies of the tokens.
    fn policies(&self) -> &PolicyNames;
    /// The type of the tokens.
    fn token_type(&self) -> &str;
    /// Whether the tokens lack the policy `default`.
    fn lacks_default_policy(&self) -> bool;
}

/// Declares the fields of a role: its own, and those of the tokens that it issues, which are the
/// same for every method (<https://openbao.org/api-docs/auth/approle/#create-update-approle>).
///
/// A macro, because serde cannot both take fields from another struct and refuse unknown ones.
macro_rules! role_spec {
    (
        $(#[$about:meta])*
        pub struct $name:ident { $($(#[$field_about:meta])* pub $field:ident: $type:ty,)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type,)*
            /// Policies of its tokens, in addition to `default`.
            #[serde(default)]
            pub token_policies: $crate::providers::vault::notation::PolicyNames,
            /// The default TTL of its tokens; 0 is the method's default.
            #[serde(default)]
            pub token_ttl: $crate::providers::vault::notation::Ttl,
            /// The maximum TTL of its tokens, including renewals; 0 is the method's default.
            #[serde(default)]
            pub token_max_ttl: $crate::providers::vault::notation::Ttl,
            /// A limit that even periodic tokens have; 0 is none.
            #[serde(default)]
            pub token_explicit_max_ttl: $crate::providers::vault::notation::Ttl,
            /// Tokens can be renewed without limit, each time for this long; 0 disables it.
            #[serde(default)]
            pub token_period: $crate::providers::vault::notation::Ttl,
            /// How often a token can be used; 0 is unlimited.
            #[serde(default)]
            pub token_num_uses: u64,
            /// Without the policy `default`.
            #[serde(default)]
            pub token_no_default_policy: bool,
            /// `service` or `batch`, or `default` for the method's setting.
            #[serde(default = "crate::providers::vault::role::default_token_type")]
            pub token_type: String,
            /// Networks from which its tokens can be used; an empty list allows all.
            #[serde(default)]
            pub token_bound_cidrs: $crate::providers::vault::notation::Cidrs,
            /// Tokens can be used only from the address of the login. OpenBao only. Not managed
            /// when absent.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub token_strictly_bind_ip: Option<bool>,
        }

        impl $crate::providers::vault::role::IssuesTokens for $name {
            fn policies(&self) -> &$crate::providers::vault::notation::PolicyNames {
                &self.token_policies
            }

            fn token_type(&self) -> &str {
                &self.token_type
            }

            fn lacks_default_policy(&self) -> bool {
                self.token_no_default_policy
            }
        }
    };
}
pub(super) use role_spec;

pub(super) fn default_token_type() -> String {
    "default".to_owned()
}

/// The types of tokens that a role can issue.
const TOKEN_TYPES: [&str; 5] = ["default", "service", "batch", "default-service", "default-batch"];

/// Mistakes in the shared fields of roles: the name and the type of token.
pub(super) fn check_role(name: &str, role: &impl IssuesTokens) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if name.is_empty() || name.contains('/') {
        errors.push(
            FieldError::new("name", "is not a valid role name").help("use letters, digits, `-` and `_`"),
        );
    }
    let declared = role.token_type();
    if !TOKEN_TYPES.contains(&declared) {
        let help = format!("one of {}", TOKEN_TYPES.join(", "));
        errors.push(FieldError::new("token_type", "is not a type of token").help(help));
    }
    errors
}

/// The method of a role, and the policies that it names.
pub(super) fn requirements(mount: &str, role: &impl IssuesTokens) -> Vec<Requirement> {
    let policies = role.policies().iter().map(|name| Requirement::thing("vault.policy", name));
    std::iter::once(Requirement::thing("vault.auth_method", mount)).chain(policies).collect()
}
