//! `vault.root_token`: the declared revocation of the root token, once an admin can replace it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::VaultClient;
use super::custodian::{Admin, Custodian, Initialisation, REVOKE, Unlocked};
use super::permissions::{self, Missing, gives, in_any_order, in_words, path_from_home, rules_for};
use super::prove;
use super::server::RootGeneration;
use crate::access::Granting;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::journal::Entry;
use crate::permit::Permit;
use crate::proof::{Proof, Prover};
use crate::resource::risk::{Risks, fixed, safe};
use crate::resource::{Diff, Look, Provided, Replacement, Requirement, Resource, Writer};
use crate::run::{Access, Permission, Use};
use crate::secret::Secret;
use crate::template::unknown::is_unknown;

/// The time limit from the request for the admin's credential until custody has stored it.
const KEEPING: Duration = Duration::from_mins(3);

/// How many paths one question about capabilities has.
const AT_ONCE: usize = 500;

/// The kind `vault.root_token`.
#[derive(Debug)]
pub struct VaultRootToken;

/// The revocation of the root token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "VaultRootToken")]
pub struct Desired {
    /// Always true: the purpose of this step is the revocation.
    #[serde(default = "yes")]
    pub revoked: bool,
    /// The admin that replaces the root token.
    pub admin: AdminRole,
}

const fn yes() -> bool {
    true
}

/// An admin, by login method.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[schemars(rename = "VaultRootTokenAdmin")]
pub enum AdminRole {
    /// An AppRole whose secret-id is kept in custody.
    Approle(Approle),
}

/// An AppRole.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "VaultRootTokenApprole")]
pub struct Approle {
    /// The mount path of the AppRole method.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// The role's name.
    pub role: String,
}

fn default_mount() -> String {
    "approle".to_owned()
}

/// The root token of the plan's cluster.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RootToken;

impl std::fmt::Display for RootToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the root token")
    }
}

/// The state after the revocation.
#[derive(Clone, Debug)]
pub struct Observed {
    mount: String,
    role: String,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "VaultRootTokenOutputs")]
pub struct Outputs {
    /// The admin's role.
    pub admin_role: String,
}

impl Resource for VaultRootToken {
    const KIND: &'static str = "vault.root_token";
    const GRANTS: Granting = Granting::Never("it ends the root token");
    const ABOUT: &'static str =
        "Revokes Vault's root token after proving that an admin role, kept in custody, can replace it.";
    const EXAMPLE: &'static str =
        "root_token:\n  kind: vault.root_token\n  revoked: true\n  admin: { approle: { role: admin } }\n";
    const RISKS: Risks = &[&[
        safe("revoked", "it is always true, and an admin has proven before that it can do the plan's work"),
        fixed("admin"),
    ]];
    const PROOF: Proof = Proof::Tried("the admin in custody logs in, and the root token is refused");
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement = Replacement::Never(
        "it is revoked, and no run needs another one; the admin's login can make one with `sys/generate-root`",
    );
    const ONCE_ONLY: bool = true;

    type Client = Custodian;
    type Id = RootToken;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(_: &Desired) -> RootToken {
        RootToken
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        if desired.revoked {
            return Vec::new();
        }
        vec![
            FieldError::new("revoked", "a revoked token cannot be restored")
                .help("omit the step to keep the root token"),
        ]
    }

    fn requires(_: &Desired) -> Vec<Requirement> {
        // Access keys may be delivered into Vault, to paths where the admin may not write.
        vec![Requirement::Provider("vault"), Requirement::Kind("aws.iam_access_key")]
    }

    async fn observe(client: &Custodian, _: &RootToken, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let Some(which) = client.initialisation().await? else {
            // Custody does not have a record of this cluster: it is new, or cannot be reached.
            return match client.vault.ready().await {
                Err(error) if error.kind != ErrorKind::Uninitialised => Err(error),
                _ => Ok(None),
            };
        };
        if !which.has(&client.custody, &which.revoked()).await? {
            return Ok(None);
        }
        let admin = Admin::read(&client.custody, &which).await?;
        Ok(admin.map(|admin| Observed { mount: admin.mount.clone(), role: admin.role.clone() }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        const WHY: &str = "the root token that could appoint another admin is revoked; log in as the current \
                           admin and give the other role its policies";
        let AdminRole::Approle(admin) = &desired.admin;
        let mut diff = Diff::none();
        diff.immutable("admin.approle.mount", &observed.mount, &admin.mount, WHY);
        diff.immutable("admin.approle.role", &observed.role, &admin.role, WHY);
        diff
    }

    async fn create(w: &Writer<'_, Custodian>, desired: &Desired) -> Result<()> {
        let AdminRole::Approle(approle) = &desired.admin;
        let which = w.initialisation_to_use().await?.ok_or_else(no_root)?;
        let unlocked = Unlocked::read(&w.custody, &which).await?.ok_or_else(no_root)?;
        let admin = w.appoint(w.permit(), &which, approle).await?;
        let admin_token = admin.login(&w.vault).await?;
        let ended = w.end(w.permit(), w.step(), &which, approle, &admin_token, unlocked.root_token()?).await;
        // In either case, the run must not continue with a token that may be revoked.
        match ended {
            Ok(()) => w.vault.set_token(admin_token).await,
            Err(_) => w.vault.clear_token().await,
        }
        ended
    }

    async fn update(_: &Writer<'_, Custodian>, _: &Desired, _: &Observed) -> Result<()> {
        Ok(())
    }

    async fn delete(_: &Writer<'_, Custodian>, _: &RootToken) -> Result<()> {
        Err(Error::new(ErrorKind::Rejected, "delete vault.root_token", "a revoked token cannot be restored")
            .advice("remove the step from the plan"))
    }

    async fn prove(prover: &Prover<'_, Custodian>, _: &Desired, _: &Observed) {
        prove::root_token::prove(prover).await;
    }

    /// The root token itself does the rest.
    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        let AdminRole::Approle(Approle { mount, role }) = &desired.admin;
        let role = format!("auth/{mount}/role/{role}");
        match used.access {
            Access::Create => {
                vec![
                    permissions::read(format!("{role}/role-id")),
                    permissions::write(format!("{role}/secret-id")),
                ]
            }
            _ => Vec::new(),
        }
    }

    fn permanent(_: &RootToken) -> Option<&'static str> {
        Some("a revoked token cannot be restored")
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { admin_role: observed.role.clone() }
    }
}

impl Custodian {
    /// The admin's credential as custody returns it: the existing one if it works, else a new one.
    pub(super) async fn appoint(
        &self,
        permit: &Permit,
        which: &Initialisation,
        approle: &Approle,
    ) -> Result<Admin> {
        if let Some(admin) = Admin::read(&self.custody, which).await? {
            let same = admin.mount == approle.mount && admin.role == approle.role;
            if same && admin.login(&self.vault).await.is_ok() {
                return Ok(admin);
            }
        }
        let prepared = self.custody.prepare(permit, &which.admin()).await?;
        let waiting = self.awaited.begin(format!("a secret-id of {}", approle.role), KEEPING);
        let issued = Admin::issue(&self.vault, permit, &approle.mount, &approle.role).await?;
        self.custody.keep(permit, prepared, &issued.to_secret()).await?;
        drop(waiting);
        Admin::read(&self.custody, which).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::Local,
                format!("custody: {}", which.admin()),
                "was written but cannot be found",
            )
        })
    }

    /// Tests the admin, revokes the root token, verifies the revocation, and stores the receipt.
    pub(super) async fn end(
        &self,
        permit: &Permit,
        step: &str,
        which: &Initialisation,
        approle: &Approle,
        admin: &Secret,
        root: Secret,
    ) -> Result<()> {
        self.vault.set_token(admin.clone()).await;
        self.prove_admin(approle).await?;
        let (operation, target) = (REVOKE.to_owned(), which.prefix().to_owned());
        let intent = Entry::Intent { step: step.to_owned(), operation, target, detail: Vec::new() };
        self.journal.append(permit, intent).await?;
        self.vault.set_token(root).await;
        if self.root_lives().await? {
            self.vault.post(permit, REVOKE, &json!({})).await?;
        }
        if self.root_lives().await? {
            return Err(Error::new(
                ErrorKind::Unknown,
                REVOKE,
                "the root token still works after its revocation",
            )
            .advice("run again; if it still works then, revoke it by hand"));
        }
        let receipt = Secret::from(format!("revoked {}", jiff::Timestamp::now()));
        self.custody.replace(permit, &which.revoked(), &receipt).await?;
        let (operation, target) = (REVOKE.to_owned(), which.prefix().to_owned());
        self.journal.append(permit, Entry::Committed { operation, target, detail: Vec::new() }).await
    }

    /// Whether the server still accepts the session's token.
    async fn root_lives(&self) -> Result<bool> {
        match self.vault.lookup_self().await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::Denied => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Checks that the session's token, the admin's, can assign policies, renew its own credential, generate a
    /// root token and do what the plan's steps need. Without root generation, the only recovery is a restart of the
    /// servers.
    async fn prove_admin(&self, approle: &Approle) -> Result<()> {
        let generation = RootGeneration::of(&self.vault).await?;
        let own = needed_paths(approle, generation).into_iter();
        let own =
            own.map(|path| Missing { path, any_of: &["update"], step: VaultRootToken::KIND.to_owned() });
        let of_steps =
            self.needs.iter().filter(|needs| needs.provider == VaultClient::PROVIDER).flat_map(|needs| {
                needs.permissions.iter().filter(|one| !is_unknown(&one.on)).map(|one| Missing {
                    path: path_from_home(&needs.place, &one.on),
                    any_of: in_any_order(one.any_of),
                    step: needs.step.clone(),
                })
            });
        let needed: Vec<Missing> = own.chain(of_steps).collect();
        let mut missing = Vec::new();
        for some in needed.chunks(AT_ONCE) {
            let paths: Vec<String> = some.iter().map(|one| one.path.clone()).collect();
            let found = self.vault.capabilities(&paths).await?;
            missing.extend(some.iter().filter(|one| !gives(found.get(&one.path), one.any_of)).cloned());
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(not_enough(approle, &missing)),
        }
    }
}

/// The paths that the admin must be able to write.
fn needed_paths(approle: &Approle, generation: RootGeneration) -> Vec<String> {
    let mut needed = vec![
        // Stands for any policy: a token that may write it can grant every other permission.
        "sys/policies/acl/groundwork-proof".to_owned(),
        format!("auth/{}/role/{}/secret-id", approle.mount, approle.role),
    ];
    if generation.needs_token() {
        needed.push(generation.attempt().to_owned());
    }
    needed
}

fn no_root() -> Error {
    Error::new(ErrorKind::Rejected, REVOKE, "custody does not have a root token of this cluster").advice(
        "it was initialised elsewhere: revoke its root token by hand and remove the `vault.root_token` step",
    )
}

fn not_enough(approle: &Approle, missing: &[Missing]) -> Error {
    let message = format!(
        "the role {} may not {}; the root token was not revoked, because only it can",
        approle.role,
        in_words(missing)
    );
    let rules = rules_for(missing);
    Error::new(ErrorKind::Rejected, REVOKE, message)
        .advice(format!("add these rules to a policy of the role, then run again:\n{rules}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_is_valid_and_unrevoked_token_is_refused() {
        let desired: Desired =
            serde_json::from_value(json!({ "admin": { "approle": { "role": "admin" } } })).expect("valid");
        assert!(VaultRootToken::check(&desired).is_empty());
        assert_eq!(VaultRootToken::check(&Desired { revoked: false, ..desired }).len(), 1);
    }

    #[test]
    fn only_write_capabilities_count() {
        let row = |list: serde_json::Value| gives(Some(&list), &["update"]);
        assert!(row(json!(["root"])) && row(json!(["create", "update"])));
        assert!(!row(json!(["deny"])) && !row(json!(["read", "list"])) && !gives(None, &["update"]));
    }

    #[test]
    fn changed_admin_role_is_blocked() {
        let observed = Observed { mount: "approle".into(), role: "admin".into() };
        let approle = |role: &str| AdminRole::Approle(Approle { mount: "approle".into(), role: role.into() });
        let diff = |role| VaultRootToken::diff(&Desired { revoked: true, admin: approle(role) }, &observed);
        assert!(diff("admin").is_empty());
        assert_eq!(diff("other").blocked.len(), 1);
    }
}
