//! The generations of a cluster's key shares.
//!
//! The first one is the answer to the initialisation, and each rekey makes another. All of them stay in custody: a
//! backup opens with the shares of its time. Which one opens the servers is in an object beside them, of which each
//! version is one change of generations.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::custodian::{Initialisation, Unlocked};
use crate::custody::{Custody, pgp};
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::secret::Secret;

/// The id of the generation that the initialisation made.
const FIRST: &str = "first";

/// The shares of one splitting of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    which: Initialisation,
    /// When it was begun, in a form that sorts; [`FIRST`] for the first one.
    id: String,
}

/// The object that says which generation opens the servers.
#[derive(Serialize, Deserialize)]
struct Current {
    generation: String,
}

/// The answer that ends a rekey; shares are OpenPGP messages in base64.
#[derive(Deserialize)]
pub(super) struct Answer {
    /// The rekey that it belongs to, as the server names it.
    pub(super) nonce: String,
    keys_base64: Vec<String>,
}

impl Generation {
    /// The one that the initialisation made.
    pub(super) fn first(which: &Initialisation) -> Self {
        Self { which: which.clone(), id: FIRST.to_owned() }
    }

    /// A new one. The time in its name puts them in order.
    pub(super) fn begin(which: &Initialisation) -> Self {
        let id = jiff::Timestamp::now().strftime("%Y%m%dt%H%M%S%3fz").to_string();
        Self { which: which.clone(), id }
    }

    /// The one with this id.
    pub(super) fn of(which: &Initialisation, id: &str) -> Self {
        Self { which: which.clone(), id: id.to_owned() }
    }

    /// The id, for the journal.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Where it is, for people.
    pub(super) fn describe(&self) -> String {
        match self.id.as_str() {
            FIRST => self.which.prefix().to_owned(),
            id => format!("{}/shares/{id}", self.which.prefix()),
        }
    }

    fn is_first(&self) -> bool {
        self.id == FIRST
    }

    /// The private half of the key that the server encrypted for.
    pub(super) fn key(&self) -> String {
        if self.is_first() { self.which.key() } else { format!("{}/pgp-key", self.describe()) }
    }

    /// The server's answer.
    pub(super) fn answer(&self) -> String {
        if self.is_first() { self.which.answer() } else { format!("{}/answer", self.describe()) }
    }

    /// The message with the share of one holder.
    pub(super) fn holder(&self, name: &str) -> String {
        if self.is_first() { self.which.holder(name) } else { format!("{}/holders/{name}", self.describe()) }
    }

    /// The names of those whose messages are among these objects.
    pub(super) fn holders_among(&self, names: &[String]) -> Vec<String> {
        let folder = self.holder("");
        names.iter().filter_map(|name| name.strip_prefix(&folder)).map(str::to_owned).collect()
    }

    /// The names of the holders whose messages custody has.
    pub(super) async fn holders(&self, custody: &Custody) -> Result<Vec<String>> {
        Ok(self.holders_among(&self.which.objects(custody).await?))
    }

    /// The shares in hexadecimal; none where only their holders have them, or nothing arrived.
    pub(super) async fn shares(&self, custody: &Custody) -> Result<Vec<Secret>> {
        if self.is_first() {
            return Unlocked::read(custody, &self.which).await?.map_or(Ok(Vec::new()), |one| one.shares());
        }
        match self.read(custody).await? {
            Some(answer) if !answer.keys_base64.is_empty() => self.open(custody, &answer).await,
            _ => Ok(Vec::new()),
        }
    }

    /// The answer of the rekey that made it; `None` when custody has none.
    pub(super) async fn read(&self, custody: &Custody) -> Result<Option<Answer>> {
        let Some(kept) = custody.get(&self.answer()).await? else { return Ok(None) };
        serde_json::from_slice(kept.expose_bytes()).map(Some).map_err(|_| self.not_whole())
    }

    async fn open(&self, custody: &Custody, answer: &Answer) -> Result<Vec<Secret>> {
        let key = self.pair(custody).await?;
        answer.keys_base64.iter().map(|message| key.decrypt(message)).collect()
    }

    /// The key pair that the server encrypted for.
    pub(super) async fn pair(&self, custody: &Custody) -> Result<pgp::KeyPair> {
        let key = custody.get(&self.key()).await?.ok_or_else(|| self.not_whole())?;
        pgp::KeyPair::from_secret(&key)
    }

    /// Keeps a digest of each share, by which a share that a holder enters later is known as theirs. A share is random, so
    /// that its digest gives nothing away.
    pub(super) async fn keep_digests(
        &self,
        custody: &Custody,
        permit: &Permit,
        shares: &[Secret],
    ) -> Result<()> {
        let digests: Vec<String> = shares.iter().map(digest).collect();
        let text = serde_json::to_vec(&digests).expect("plain data");
        custody.put(permit, &self.digests(), &Secret::new(text)).await
    }

    fn digests(&self) -> String {
        format!("{}/share-digests", self.describe())
    }

    /// Which share this is, counted from 1; `None` where custody has neither the shares nor their digests.
    pub(super) async fn number_of(&self, custody: &Custody, share: &Secret) -> Result<Option<usize>> {
        let mut digests: Vec<String> = self.shares(custody).await?.iter().map(digest).collect();
        if digests.is_empty() {
            let kept = custody.get(&self.digests()).await?;
            digests =
                kept.and_then(|kept| serde_json::from_slice(kept.expose_bytes()).ok()).unwrap_or_default();
        }
        let wanted = digest(share);
        Ok(digests.iter().position(|one| *one == wanted).map(|index| index + 1))
    }

    /// Has custody forget the shares, which their holders have. Every store has the version without them before the
    /// first one is removed from any.
    pub(super) async fn forget(&self, custody: &Custody, permit: &Permit) -> Result<()> {
        let name = self.answer();
        let kept = custody.get(&name).await?.ok_or_else(|| self.not_whole())?;
        let rest = without_shares(&kept).ok_or_else(|| self.not_whole())?;
        match custody.version(&name).await? {
            Some(1) => custody.replace(permit, &name, &rest).await?,
            _ => custody.put(permit, &name, &rest).await?,
        }
        custody.remove(permit, &name, 1).await
    }

    /// Records that these shares open the servers from now on.
    pub(super) async fn make_current(&self, custody: &Custody, permit: &Permit) -> Result<()> {
        let current = Current { generation: self.id.clone() };
        let text = serde_json::to_vec(&current).expect("plain data");
        custody.replace(permit, &self.which.current_shares(), &Secret::new(text)).await
    }

    /// The serde error is left out: it could quote the answer.
    fn not_whole(&self) -> Error {
        let message = "the answer that made these shares is not whole in custody";
        Error::new(ErrorKind::Unknown, format!("custody: {}", self.describe()), message).advice(
            "`groundwork custody check PLAN` shows which store has it; nothing else may be done before",
        )
    }
}

/// SHA-256 of a share's bytes, whether it is written in hexadecimal or base64.
fn digest(share: &Secret) -> String {
    let text = share.expose_str().unwrap_or_default().trim();
    let bytes = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok()).map(Zeroizing::new);
    let mut hash = Sha256::new_with_prefix(b"groundwork key share\n");
    hash.update(bytes.as_deref().map_or(&[][..], Vec::as_slice));
    hex::encode(hash.finalize())
}

/// The answer without the shares: everything else stays as it came.
fn without_shares(answer: &Secret) -> Option<Secret> {
    let mut answer: Value = serde_json::from_slice(answer.expose_bytes()).ok()?;
    for (name, value) in answer.as_object_mut()? {
        if name.contains("keys") {
            *value = serde_json::json!([]);
        }
    }
    serde_json::to_vec(&answer).ok().map(Secret::new)
}

impl Initialisation {
    /// The generation that opens the servers.
    pub(super) async fn current(&self, custody: &Custody) -> Result<Generation> {
        self.current_among(custody, &self.objects(custody).await?).await
    }

    /// The same, with the names of the initialisation's objects.
    pub(super) async fn current_among(&self, custody: &Custody, names: &[String]) -> Result<Generation> {
        let name = self.current_shares();
        if !names.contains(&name) || !custody.has(&name).await? {
            return Ok(Generation::first(self));
        }
        let kept = custody.get(&name).await?;
        let current: Option<Current> = kept.and_then(|kept| serde_json::from_slice(kept.expose_bytes()).ok());
        current.map(|current| Generation::of(self, &current.generation)).ok_or_else(|| {
            Error::new(
                ErrorKind::Local,
                format!("custody: {name}"),
                "does not say which shares open the servers",
            )
            .advice("`groundwork custody check PLAN` shows what is wrong with it")
        })
    }

    /// Every generation whose answer may be in custody: the one that opens the servers, then the others, the newest
    /// first.
    pub(super) async fn generations(&self, custody: &Custody) -> Result<Vec<Generation>> {
        let names = self.objects(custody).await?;
        let current = self.current_among(custody, &names).await?;
        let folder = format!("{}/shares/", self.prefix());
        let ids = names.iter().filter_map(|name| name.strip_prefix(&folder)?.strip_suffix("/answer"));
        let mut others: Vec<Generation> = ids.map(|id| Generation::of(self, id)).collect();
        others.sort_by(|one, other| other.id.cmp(&one.id));
        others.push(Generation::first(self));
        others.retain(|one| *one != current);
        others.insert(0, current);
        Ok(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::testing::custody;

    const ADDRESS: &str = "http://127.0.0.1:8200";

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    /// Keeps the answer of a rekey with one share.
    async fn keep(custody: &Custody, generation: &Generation, share: &str) {
        let (permit, pair) = (Permit::mint(), pgp::KeyPair::generate().expect("a pair"));
        let message = pair.public_key().expect("a key").encrypt(&secret(share)).expect("encrypts");
        let message = STANDARD.encode(message);
        let answer =
            serde_json::json!({ "nonce": "n", "complete": true, "keys": [], "keys_base64": [message] });
        custody.put(&permit, &generation.key(), &pair.to_secret().expect("bytes")).await.expect("keeps");
        custody.put(&permit, &generation.answer(), &secret(&answer.to_string())).await.expect("keeps");
    }

    #[tokio::test]
    async fn current_generation_is_the_last_recorded_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (custody, permit) = (custody(folder.path(), age::x25519::Identity::generate()), Permit::mint());
        let which = Initialisation::begin(ADDRESS);
        custody.put(&permit, &which.answer(), &secret("{}")).await.expect("keeps");
        assert_eq!(which.current(&custody).await.expect("reads"), Generation::first(&which));
        let (one, two) = (Generation::of(&which, "20270101"), Generation::of(&which, "20270202"));
        keep(&custody, &one, "0a").await;
        keep(&custody, &two, "0b").await;
        assert_eq!(
            which.current(&custody).await.expect("reads"),
            Generation::first(&which),
            "none is proven"
        );
        two.make_current(&custody, &permit).await.expect("keeps");
        assert_eq!(which.current(&custody).await.expect("reads"), two);
        let all = which.generations(&custody).await.expect("reads");
        assert_eq!(all, [two.clone(), one.clone(), Generation::first(&which)]);
        // A restored backup has the shares of its time.
        one.make_current(&custody, &permit).await.expect("keeps");
        assert_eq!(which.generations(&custody).await.expect("reads")[0], one);
        assert_eq!(one.shares(&custody).await.expect("opens"), [secret("0a")]);
        assert_eq!(two.shares(&custody).await.expect("opens"), [secret("0b")]);
    }

    #[tokio::test]
    async fn forgotten_shares_are_on_no_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let (custody, permit) = (custody(folder.path(), age::x25519::Identity::generate()), Permit::mint());
        let one = Generation::begin(&Initialisation::begin(ADDRESS));
        assert!(one.shares(&custody).await.expect("reads").is_empty());
        keep(&custody, &one, "0a").await;
        one.keep_digests(&custody, &permit, &[secret("0a")]).await.expect("keeps");
        one.forget(&custody, &permit).await.expect("forgets");
        assert!(one.shares(&custody).await.expect("reads").is_empty());
        assert_eq!(custody.versions(&one.answer()).await.expect("lists"), [2]);
        // A holder's share is known all the same, in either notation.
        for (share, number) in [("0a", Some(1)), ("Cg==", Some(1)), ("0b", None), ("x", None)] {
            assert_eq!(one.number_of(&custody, &secret(share)).await.expect("reads"), number, "{share}");
        }
        assert_eq!(one.read(&custody).await.expect("reads").expect("kept").nonce, "n");
        one.forget(&custody, &permit).await.expect("is repeated");
    }

    #[test]
    fn objects_of_generations_are_apart() {
        let which = Initialisation::begin(ADDRESS);
        let (first, next) = (Generation::first(&which), Generation::of(&which, "20270101"));
        assert_eq!(first.answer(), which.answer());
        assert!(Initialisation::of_answer(&next.answer()).is_none(), "it is no initialisation");
        let names = [first.holder("ann"), next.holder("bob")];
        assert_eq!(
            (first.holders_among(&names), next.holders_among(&names)),
            (vec!["ann".into()], vec!["bob".into()])
        );
    }
}
