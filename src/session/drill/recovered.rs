//! Looks at what a drill has brought back: logins, contents, and the secrets that the plan names.

use std::fs::File;

use futures::future::try_join_all;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::restore::compare_tables;
use super::super::restore_fresh;
use super::server::Started;
use super::{Proven, Seen};
use crate::apply::by_command;
use crate::backup::{self, Comparison, FromStart};
use crate::drill::{Canary, CanaryState, Login};
use crate::error::{Error, ErrorKind, Result};
use crate::place::Place;
use crate::plan::settings::CanarySettings;
use crate::providers::vault::{Custodian, RoleLogin};
use crate::resource::Provided;
use crate::run::Run;
use crate::secret::Secret;
use crate::snapshot::Table;

/// The finding when only the key shares lead to a token.
const NO_LOGIN: &str = "no login in custody works on what was recovered: on the day, a root token has to be made from \
    key shares, which OpenBao takes only with `disable_unauthed_generate_root_endpoints=false` in its listener";
/// How many differences are named.
const NAMED: usize = 5;
/// The server of a drill has no audit devices.
const NOT_COMPARED: &str = "audit device";

/// A server that has recovered a backup.
pub(super) struct Recovered<'a> {
    started: &'a Started,
    run: &'a Run,
    proven: &'a mut Proven,
    file: &'a File,
    /// The token with which everything is looked at.
    token: Option<Secret>,
    /// The secrets that were read.
    pub(super) canaries: Vec<Canary>,
    /// The logins that were tried.
    pub(super) logins: Vec<Login>,
    /// Logins that could not be tried, and why.
    pub(super) untried: Vec<String>,
}

impl<'a> Recovered<'a> {
    pub(super) fn new(started: &'a Started, run: &'a Run, proven: &'a mut Proven, file: &'a File) -> Self {
        let (canaries, logins, untried) = (Vec::new(), Vec::new(), Vec::new());
        Self { started, run, proven, file, token: None, canaries, logins, untried }
    }

    /// Logs in with what custody has. What is looked at afterwards is looked at with a root token that the key shares
    /// make, where there are any.
    ///
    /// # Errors
    /// When there is neither a login nor a share.
    pub(super) async fn log_in(&mut self) -> Result<Seen> {
        let vault = &self.started.vault;
        let found = match self.run.custody_settings {
            Some(_) => Custodian::provide(self.run, &Place::OWN).await?.log_in_elsewhere(vault).await?,
            None => None,
        };
        let (login, token) = found.unzip();
        let mut seen = Seen { detail: login, wanting: Vec::new() };
        let shares: Vec<&Secret> = self.proven.shares.iter().collect();
        let token = match (shares.as_slice(), token) {
            ([], Some(token)) => token,
            ([], None) => {
                let message =
                    "no login in custody works on what was recovered, and there is no share to make one";
                return Err(Error::new(ErrorKind::Unauthenticated, "log in", message));
            }
            (shares, token) => {
                if token.is_none() {
                    seen.wanting.push(NO_LOGIN.to_owned());
                }
                self.started.node.root_token_by_shares(&by_command(), shares).await?
            }
        };
        vault.set_token(token.clone()).await;
        self.token = Some(token);
        Ok(seen)
    }

    /// Has the other servers join the recovered one, opens them with the keys of the backup, and compares what each
    /// serves.
    ///
    /// # Errors
    /// When a server does not join, does not open, or serves something else.
    pub(super) async fn join(&self) -> Result<Seen> {
        let Started { vault, node, others, .. } = self.started;
        let permit = by_command();
        let joins = others.iter().map(async |(other, newcomer)| {
            Custodian::open_node(&permit, newcomer, node.address(), &self.proven.shares).await?;
            restore_fresh::await_leader_known(newcomer).await?;
            if let Some(token) = &self.token {
                other.set_token(token.clone()).await;
            }
            compare_tables((vault, node), (other, newcomer)).await
        });
        try_join_all(joins).await?;
        Ok(Seen { detail: Some(number(others.len(), "server")), wanting: Vec::new() })
    }

    /// Compares what the server has with the backup, by a snapshot of it.
    ///
    /// # Errors
    /// When it gives no snapshot that can be read.
    pub(super) async fn compare(&mut self) -> Result<Seen> {
        let mut file = backup::spool()?;
        self.started.vault.take_snapshot(&self.started.node, &mut file).await?;
        if let Some(service) = self.started.key_service() {
            self.proven.keys.service = Some(service);
        }
        let now = backup::check(&file, &self.proven.keys).await?;
        let Some(now) = now.opened else {
            let why = now.flaw.map(|flaw| flaw.to_string()).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Unknown,
                "compare with the backup",
                format!("what was recovered cannot be read: {why}"),
            ));
        };
        let contents = &self.proven.opened.contents;
        let comparison = Comparison::new(&now.contents, contents);
        let differing: Vec<String> = comparison
            .changes
            .iter()
            .filter(|change| change.kind != NOT_COMPARED)
            .map(|change| format!("the {} {}", change.kind, change.name))
            .collect();
        let wanting = match differing.as_slice() {
            [] => Vec::new(),
            some => vec![format!(
                "{} things differ from the backup, such as {}",
                some.len(),
                some[..some.len().min(NAMED)].join(", ")
            )],
        };
        let detail = format!(
            "{}, {} policies and {}",
            number(contents.mounts.len(), "mount"),
            contents.policies.len(),
            number(contents.secrets.len(), "secret")
        );
        Ok(Seen { detail: Some(detail), wanting })
    }

    /// Reads the secrets that the plan names from the server, and compares their digests.
    ///
    /// # Errors
    /// When the backup cannot be read.
    pub(super) async fn read_canaries(&mut self, declared: &[CanarySettings]) -> Result<Seen> {
        let mut wanting = Vec::new();
        for canary in declared {
            let served = self.served(canary).await?;
            let expected = match &canary.sha256 {
                Some(digest) => Some(digest.to_lowercase()),
                None => self.in_backup(canary)?,
            };
            let state = match (served, expected) {
                (None, _) => CanaryState::Missing,
                (Some(served), Some(expected)) if served == expected => CanaryState::Same,
                _ => CanaryState::Differs,
            };
            let (path, field) = (canary.path.clone(), canary.field.clone());
            match state {
                CanaryState::Same => {}
                CanaryState::Differs => wanting.push(format!("{path}: its field {field} has another value")),
                CanaryState::Missing => wanting.push(format!("{path}: there is no field {field}")),
            }
            self.canaries.push(Canary { path, field, state });
        }
        Ok(Seen { detail: Some(number(declared.len(), "secret")), wanting })
    }

    /// The digest of a field as the server serves it.
    async fn served(&self, canary: &CanarySettings) -> Result<Option<String>> {
        let Some(located) = self.proven.opened.contents.locate(&canary.path) else { return Ok(None) };
        let namespace = located.mount.namespace.trim_end_matches('/').to_owned();
        let mount = &located.mount.path[located.mount.namespace.len()..];
        let vault = self.started.vault.in_namespace(&namespace);
        let path = &located.secret.path;
        if located.secret.versions.is_empty() {
            let found = vault.get(&format!("{mount}{path}")).await?.unwrap_or_default();
            return Ok(digest(&found[&canary.field]));
        }
        let found = vault.get_or_version(&format!("{mount}data/{path}")).await?.unwrap_or_default();
        Ok(digest(&found["data"][&canary.field]))
    }

    /// The digest of a field as the backup has it.
    fn in_backup(&mut self, canary: &CanarySettings) -> Result<Option<String>> {
        let opened = &mut self.proven.opened;
        let Some(located) = opened.contents.locate(&canary.path) else { return Ok(None) };
        let file = FromStart::of(self.file)?;
        let data = located.data(file, &mut opened.unlocked, located.secret.current);
        let data = data.map_err(|flaw| {
            Error::new(ErrorKind::Rejected, format!("read {} in the backup", canary.path), flaw.to_string())
        })?;
        let fields: Value =
            data.and_then(|data| serde_json::from_slice(data.expose_bytes()).ok()).unwrap_or_default();
        Ok(digest(&fields[&canary.field]))
    }

    /// Logs in as each AppRole role that came back.
    ///
    /// # Errors
    /// When the roles cannot be listed.
    pub(super) async fn log_in_as_roles(&mut self) -> Result<Seen> {
        let mounts = self.proven.opened.contents.mounts_of(Table::Auth);
        let mounts: Vec<_> = mounts.filter(|mount| mount.kind == "approle").cloned().collect();
        for mount in mounts {
            let vault = self.started.vault.in_namespace(mount.namespace.trim_end_matches('/'));
            let inside = &mount.path[mount.namespace.len()..];
            for (role, login) in vault.log_in_as_roles(&by_command(), inside).await? {
                let role = format!("{}{role}", mount.namespace);
                match login {
                    RoleLogin::Done => self.logins.push(Login { role, error: None }),
                    RoleLogin::Failed(why) => self.logins.push(Login { role, error: Some(why) }),
                    RoleLogin::Untried(why) => self.untried.push(format!("the login of {role}: {why}")),
                }
            }
        }
        let failed = self.logins.iter().filter_map(|login| Some((&login.role, login.error.as_ref()?)));
        let wanting = failed.map(|(role, why)| format!("the login of {role} failed: {why}")).collect();
        Ok(Seen { detail: Some(number(self.logins.len(), "role")), wanting })
    }
}

fn number(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// The digest of a value: of a text as it is, and of anything else as JSON.
fn digest(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(hex::encode(Sha256::digest(text))),
        other => Some(hex::encode(Sha256::digest(other.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_a_text_is_that_of_its_bytes() {
        // `printf %s abc | sha256sum`
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(&Value::from("abc")).as_deref(), Some(expected));
        assert_eq!(digest(&Value::Null), None);
        assert_ne!(digest(&Value::from(1)), None);
    }
}
