//! Users of the userpass method: <https://openbao.org/api-docs/auth/userpass/#create-update-user>.

use serde_json::Value;

use super::super::fields;
use super::super::notation::LowerName;
use super::super::role::{check_role, requirements, role_spec};
use super::super::states::login_role;
use super::super::{VaultClient, prove};
use super::{Making, Object, PlainObject};
use crate::access::{Grant, Granting};
use crate::error::FieldError;
use crate::proof::{Proof, Prover};
use crate::providers::vault::risk::{LOGIN_RISKS, TOKEN_RISKS};
use crate::resource::risk::{Risks, identity, safe};
use crate::resource::{Requirement, Rotation};
use crate::run::Permission;
use crate::secret::SecretSource;

/// A person or machine that logs in with a name and a password.
pub type UserpassUser = Object<UserpassUserSpec>;

role_spec! {
    /// The declared fields of a user.
    pub struct UserpassUserSpec {
        /// The method's path below `auth/`.
        #[serde(default = "mount")]
        pub mount: String,
        /// The user's name; Vault converts it to lowercase.
        pub name: LowerName,
        /// The initial password; required to create a user. The server never returns it, and people
        /// may change it, so it is neither compared nor sent again, except when the step that it comes from is
        /// rotated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub password: Option<SecretSource>,
    }
}

fn mount() -> String {
    "userpass".to_owned()
}

impl PlainObject for UserpassUserSpec {
    const KIND: &'static str = "vault.userpass_user";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "A user of the userpass method, who logs in with a name and a password.";
    const EXAMPLE: &'static str = "\
people:
  kind: vault.auth_method
  type: userpass
alice:
  kind: vault.userpass_user
  name: alice
  password: { env: ALICE_PASSWORD }
  token_policies: [operations]
  token_ttl: 8h
";
    const RISKS: Risks = &[
        &[
            identity("mount name"),
            safe("password", "it is sent again only when the step that it comes from is rotated"),
        ],
        TOKEN_RISKS,
        LOGIN_RISKS,
    ];
    const ROTATION: Rotation =
        Rotation::AtOnce("the password follows when the step that it comes from is rotated");
    const PROOF: Proof =
        Proof::Tried("logs in with the password that the caller gives; the token is compared with the user");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Create;

    fn path(&self) -> String {
        format!("auth/{}/users/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn grants(&self) -> Vec<Grant> {
        login_role(&self.mount, &self.name, &self.path(), self)
    }

    fn check(&self) -> Vec<FieldError> {
        check_role(&self.name, self)
    }

    fn proof_permissions(&self) -> Vec<Permission> {
        prove::token_needs(&fields::fields(self))
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &Self, _: &Value) {
        let kind = prove::given::Credential::Password;
        prove::given::prove(prover, kind, &desired.mount, &fields::fields(desired)).await;
    }

    fn requires(&self) -> Vec<Requirement> {
        requirements(&self.mount, self)
    }

    fn secrets(&mut self) -> Vec<(&'static str, &mut SecretSource)> {
        self.password.iter_mut().map(|source| ("password", source)).collect()
    }

    fn sends_secrets_again(&self) -> bool {
        false
    }
}
