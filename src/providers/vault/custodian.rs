//! The objects of a cluster in custody, and the client of the kinds that need them.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::lookup::{Found, find, find_for_servers};
use super::regain::{is_refused, token_of_before};
use super::{NodeProof, TokenSource, VaultClient};
use crate::custody::{Custody, name_part, pgp};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Entry, Journal, Record};
use crate::permit::Permit;
use crate::place::Place;
use crate::resource::Provided;
use crate::run::{Awaited, Needs, Run};
use crate::secret::Secret;

/// The operation under which the journal knows an initialisation.
pub(super) const INIT: &str = "sys/init";
/// The operation under which the journal knows the end of the root token.
pub(super) const REVOKE: &str = "auth/token/revoke-self";

/// A cluster together with the custody of its once-only secrets.
#[derive(Debug)]
pub struct Custodian {
    pub(super) vault: Arc<VaultClient>,
    pub(super) custody: Arc<Custody>,
    pub(super) journal: Arc<Journal>,
    pub(super) awaited: Arc<Awaited>,
    pub(super) proof: NodeProof,
    /// The permissions that the steps of the plan need.
    pub(super) needs: Arc<Vec<Needs>>,
}

impl Provided for Custodian {
    const PROVIDER: &'static str = VaultClient::PROVIDER;
    const REALM: &'static [&'static str] = &["cluster"];

    async fn provide(run: &Run, place: &Place) -> Result<Arc<Self>> {
        let vault = VaultClient::provide(run, place).await?;
        let (custody, journal) = (run.custody().await?, Arc::clone(&run.journal));
        let (awaited, proof) = (Arc::clone(&run.awaited), NodeProof::of_run(run)?);
        let needs = Arc::clone(&run.needs);
        Ok(Arc::new(Self { vault, custody, journal, awaited, proof, needs }))
    }
}

/// The names in custody of what belongs to one initialisation. Each has its own, so that a new
/// cluster at an old address is never opened with the old one's shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Initialisation {
    /// `vault/<cluster>/<when>`.
    prefix: String,
}

impl Initialisation {
    /// The folder of all of them.
    pub(super) const ROOT: &str = "vault/";

    /// The folder of those of the cluster at `address`. The id of the cluster is not known before the request.
    pub(super) fn folder(address: &str) -> String {
        format!("{}{}/", Self::ROOT, name_part(address))
    }

    /// A new one for the cluster at `address`. The time in its name puts them in order.
    pub(super) fn begin(address: &str) -> Self {
        Self::now_in(&Self::folder(address))
    }

    fn now_in(folder: &str) -> Self {
        let now = jiff::Timestamp::now().strftime("%Y%m%dt%H%M%S%3fz");
        Self { prefix: format!("{folder}{now}") }
    }

    /// The folder of those that are made only to restore a backup at `address`.
    pub(super) fn throwaway_folder(address: &str) -> String {
        format!("throwaway/{}/", name_part(address))
    }

    /// A new one that is made only to restore a backup.
    pub(super) fn begin_throwaway(address: &str) -> Self {
        Self::now_in(&Self::throwaway_folder(address))
    }

    /// The one made to restore a backup whose answer is the object `name`.
    pub(super) fn of_throwaway(name: &str) -> Option<Self> {
        name.strip_suffix("/init").map(|prefix| Self { prefix: prefix.to_owned() })
    }

    /// The one that an intent in the journal names.
    pub(super) fn of_intent(record: &Record) -> Option<Self> {
        match &record.entry {
            Entry::Intent { detail, .. } => detail.first().map(|prefix| Self { prefix: prefix.clone() }),
            _ => None,
        }
    }

    /// The one whose answer is the object `name`; `None` for other objects.
    pub(super) fn of_answer(name: &str) -> Option<Self> {
        let prefix = name.strip_suffix("/init")?;
        let (_, when) = prefix.strip_prefix(Self::ROOT)?.split_once('/')?;
        (!when.contains('/')).then(|| Self { prefix: prefix.to_owned() })
    }

    /// Whether it was begun at `address`, which is part of its name.
    pub(super) fn is_of(&self, address: &str) -> bool {
        self.prefix.starts_with(&Self::folder(address))
    }

    /// Whether it was begun at the same address as `other`.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        let folder = |one: &Self| one.prefix.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        folder(self) == folder(other)
    }

    /// When it was begun, in a form that sorts.
    pub(super) fn when(&self) -> &str {
        self.prefix.rsplit('/').next().unwrap_or_default()
    }

    /// For the journal.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The private half of the key that the server encrypted for.
    pub(super) fn key(&self) -> String {
        format!("{}/pgp-key", self.prefix)
    }

    /// The server's answer, as it came.
    pub(super) fn answer(&self) -> String {
        format!("{}/init", self.prefix)
    }

    /// The message with the share of one holder.
    pub(super) fn holder(&self, name: &str) -> String {
        format!("{}/holders/{name}", self.prefix)
    }

    /// Whether custody has an object of this initialisation.
    ///
    /// Asks for all of them, as [`Initialisation::objects`] does.
    pub(super) async fn has(&self, custody: &Custody, name: &str) -> Result<bool> {
        let names = self.objects(custody).await?;
        Ok(names.iter().any(|one| one == name) && custody.has(name).await?)
    }

    /// The names of all its objects, of which at least the answer exists. Listing only some of them would fail when a
    /// store is lost and the others have none of these.
    pub(super) async fn objects(&self, custody: &Custody) -> Result<Vec<String>> {
        custody.list(&format!("{}/", self.prefix)).await
    }

    /// Which generation of shares opens the servers, once there are several.
    pub(super) fn current_shares(&self) -> String {
        format!("{}/current-shares", self.prefix)
    }

    /// The admin's AppRole credential.
    pub(super) fn admin(&self) -> String {
        format!("{}/admin", self.prefix)
    }

    /// The receipt of the root token's revocation.
    pub(super) fn revoked(&self) -> String {
        format!("{}/root-revoked", self.prefix)
    }
}

impl Custodian {
    /// The initialisation of the cluster, in which its credentials are. Nothing that is in it may be sent to a
    /// server: see [`Custodian::initialisation_to_use`].
    pub(super) async fn initialisation(&self) -> Result<Option<Initialisation>> {
        let found = self.found(self.vault.cluster_id().await.as_deref()).await?;
        Ok(found.map(|found| found.which))
    }

    /// The same, once the server that serves is proven to be of the cluster.
    ///
    /// # Errors
    /// `Denied` when nothing but its own word says so.
    pub(super) async fn initialisation_to_use(&self) -> Result<Option<Initialisation>> {
        let found = self.found(self.vault.cluster_id().await.as_deref()).await?;
        let Some(found) = found else { return Ok(None) };
        self.proof.require_recipient(&self.vault, &found).await?;
        Ok(Some(found.which))
    }

    /// What custody has for the servers, of which one reports this id of the cluster.
    pub(super) async fn found(&self, cluster: Option<&str>) -> Result<Option<Found>> {
        find_for_servers((&self.custody, &self.journal, &self.proof), &self.vault, cluster).await
    }

    /// The same for what stays on this machine, where a guess does no harm.
    pub(super) async fn found_here(&self, cluster: Option<&str>) -> Result<Option<Found>> {
        find(&self.custody, &self.journal, &self.vault, cluster).await
    }
}

/// The answer to `sys/init`; shares and root token are OpenPGP messages in base64.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    keys_base64: Vec<String>,
    #[serde(default)]
    recovery_keys_base64: Vec<String>,
    root_token: String,
}

/// An answer together with the key that opens it.
pub(super) struct Unlocked {
    answer: Answer,
    key: pgp::KeyPair,
}

impl Unlocked {
    /// Reads both from custody; `None` when there is no answer.
    pub(super) async fn read(custody: &Custody, which: &Initialisation) -> Result<Option<Self>> {
        let Some(answer) = custody.get(&which.answer()).await? else { return Ok(None) };
        let answer = serde_json::from_slice(answer.expose_bytes()).map_err(|_| not_whole(which))?;
        let key = custody.get(&which.key()).await?.ok_or_else(|| not_whole(which))?;
        Ok(Some(Self { answer, key: pgp::KeyPair::from_secret(&key)? }))
    }

    /// The shares in hexadecimal: of the unseal key, or of the recovery key when the server unseals
    /// itself.
    pub(super) fn shares(&self) -> Result<Vec<Secret>> {
        let messages = match self.answer.keys_base64.as_slice() {
            [] => &self.answer.recovery_keys_base64,
            keys => keys,
        };
        messages.iter().map(|message| self.key.decrypt(message)).collect()
    }

    /// The root token, which may have been revoked since.
    pub(super) fn root_token(&self) -> Result<Secret> {
        self.key.decrypt(&self.answer.root_token)
    }
}

/// The serde error is left out: it could quote the answer.
fn not_whole(which: &Initialisation) -> Error {
    Error::new(
        ErrorKind::Unknown,
        format!("custody: {}", which.prefix),
        "the answer of the initialisation did not arrive whole, so its shares cannot be used",
    )
    .advice("everything that arrived is in custody; do not initialise again before a person has looked at it")
}

/// How the admin logs in; kept in custody.
#[derive(Serialize, Deserialize)]
pub(super) struct Admin {
    pub(super) mount: String,
    pub(super) role: String,
    role_id: String,
    secret_id: String,
}

impl Admin {
    /// Reads the credential; `None` when there is none yet.
    pub(super) async fn read(custody: &Custody, which: &Initialisation) -> Result<Option<Self>> {
        if !which.has(custody, &which.admin()).await? {
            return Ok(None);
        }
        let Some(kept) = custody.get(&which.admin()).await? else { return Ok(None) };
        Self::of_secret(&which.admin(), &kept).map(Some)
    }

    /// The credential in the object `name` of custody.
    pub(super) fn of_secret(name: &str, kept: &Secret) -> Result<Self> {
        serde_json::from_slice(kept.expose_bytes()).map_err(|_| {
            Error::new(ErrorKind::Local, format!("custody: {name}"), "is not an AppRole credential")
        })
    }

    /// Has the server make a new secret-id, and reads the role-id.
    pub(super) async fn issue(vault: &VaultClient, permit: &Permit, mount: &str, role: &str) -> Result<Self> {
        let path = format!("auth/{mount}/role/{role}");
        let field = |answer: &serde_json::Value, name: &str| {
            answer.get(name).and_then(serde_json::Value::as_str).map(str::to_owned).ok_or_else(|| {
                Error::new(ErrorKind::Rejected, format!("{path}/{name}"), "the role does not exist")
                    .advice("declare it as a step of kind `vault.approle_role`")
            })
        };
        let role_id = vault.get(&format!("{path}/role-id")).await?.unwrap_or_default();
        let role_id = field(&role_id, "role_id")?;
        let made = vault.post(permit, &format!("{path}/secret-id"), &serde_json::json!({})).await?;
        let secret_id = field(&made, "secret_id")?;
        Ok(Self { mount: mount.to_owned(), role: role.to_owned(), role_id, secret_id })
    }

    /// The form for custody.
    pub(super) fn to_secret(&self) -> Secret {
        Secret::new(serde_json::to_vec(self).expect("a credential is plain data"))
    }

    /// A token of the admin.
    pub(super) async fn login(&self, vault: &VaultClient) -> Result<Secret> {
        let secret = |text: &String| Secret::from(text.clone());
        vault.login_approle(&self.mount, &secret(&self.role_id), &secret(&self.secret_id)).await
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret_id);
        zeroize::Zeroize::zeroize(&mut self.role_id);
    }
}

/// The token that custody leads to: the root token until its end was begun, then the admin's.
///
/// The root token goes first, because an admin that was not proven yet may lack what is needed to
/// finish. Its end is begun only once the admin was proven.
struct CustodyToken {
    custody: Arc<Custody>,
    journal: Arc<Journal>,
    proof: NodeProof,
}

impl CustodyToken {
    async fn root_is_ending(&self, which: &Initialisation) -> Result<bool> {
        Ok(self.journal.knows(REVOKE, which.prefix()) || which.has(&self.custody, &which.revoked()).await?)
    }
}

#[async_trait]
impl TokenSource for CustodyToken {
    async fn token(&self, vault: &VaultClient) -> Result<Option<Secret>> {
        let known = (&*self.custody, &*self.journal, &self.proof);
        let Some(found) = find_for_servers(known, vault, vault.cluster_id().await.as_deref()).await? else {
            return Ok(None);
        };
        self.proof.require_recipient(vault, &found).await?;
        let which = found.which;
        if !self.root_is_ending(&which).await? {
            let unlocked = Unlocked::read(&self.custody, &which).await?;
            return unlocked.map(|unlocked| unlocked.root_token()).transpose();
        }
        let Some(admin) = Admin::read(&self.custody, &which).await? else { return Ok(None) };
        match admin.login(vault).await {
            // A server that has gone back in time knows a login of that time.
            Err(error) if is_refused(&error) => {
                token_of_before(&self.custody, &which, vault).await?.map(Some).ok_or(error)
            }
            login => login.map(Some),
        }
    }

    fn describe(&self) -> String {
        "custody".to_owned()
    }
}

/// The place in custody that may have a token; `None` when the plan has no custody.
pub(super) async fn token_source(run: &Run) -> Result<Option<Arc<dyn TokenSource>>> {
    if run.custody_settings.is_none() {
        return Ok(None);
    }
    let (custody, journal) = (run.custody().await?, run.journal.clone());
    Ok(Some(Arc::new(CustodyToken { custody, journal, proof: NodeProof::of_run(run)? })))
}
