//! The people who can open custody: who they are today, and the proof that a new one can open what an old one is to
//! lose.

use std::collections::BTreeMap;

use serde::Serialize;

use super::document::Document;
use super::envelope::SealingKey;
use super::examine::Object;
use super::handout::HolderKey;
use super::{Custody, Handout, Recipient, local};
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::secret::{Secret, random_bytes};

/// The name that a proof is bound to. No store ever has it.
const PROOF: &str = "proof";

/// A recipient, and how much of custody it can open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CanOpen {
    /// `age`, `kms` or `pgp`, and the key.
    pub who: String,
    /// How many objects are sealed for it.
    pub objects: usize,
    /// Whether the plan names it, as far as its recipients are known.
    pub is_declared: bool,
}

/// The part of a name that only handouts have, which open for their holders only.
const HANDOUTS: &str = "/holders/";

/// Whether it is sealed for recipients, and not for the holder of a share.
pub fn is_for_recipients(object: &Object) -> bool {
    !object.name.contains(HANDOUTS)
}

/// The recipients that can open something today, according to the authenticated headers of the objects.
pub fn who_can_open(objects: &[Object]) -> Vec<CanOpen> {
    let mut found: BTreeMap<String, CanOpen> = BTreeMap::new();
    for object in objects.iter().filter(|object| is_for_recipients(object)) {
        let recipients = object.copies.iter().flat_map(|copy| &copy.recipients);
        let mut whose: Vec<String> = recipients.map(|one| format!("{} {}", one.kind, one.id)).collect();
        whose.sort_unstable();
        whose.dedup();
        for who in whose {
            let is_former = object.former.contains(&who);
            let opener = found.entry(who.clone()).or_insert(CanOpen { who, objects: 0, is_declared: true });
            opener.objects += 1;
            opener.is_declared &= !is_former;
        }
    }
    found.into_values().collect()
}

/// A message that only the owner of a key can read.
pub struct Challenge {
    word: Secret,
    /// The armoured message, for `age --decrypt` or `gpg --decrypt`.
    pub message: String,
}

impl Challenge {
    /// Whether `answer` is what the message says.
    pub fn is_met_by(&self, answer: &Secret) -> bool {
        answer.expose_str().is_some_and(|text| Some(text.trim()) == self.word.expose_str())
    }
}

impl Recipient {
    /// A message for the owner of the key, who proves with its content that they can open it. `None` for a key of a
    /// service, which proves itself.
    ///
    /// # Errors
    /// When the key cannot be encrypted for.
    pub fn challenge(&self) -> Result<Option<Challenge>> {
        let key = match self {
            Self::Age(key) => HolderKey::Age(key.clone()),
            Self::Pgp(key) => HolderKey::Pgp((**key).clone()),
            Self::Kms { .. } => return Ok(None),
        };
        let word = Secret::from(format!("groundwork-{}", hex::encode(random_bytes(16))));
        let message = key.encrypt(&word)?;
        Ok(Some(Challenge { word, message }))
    }
}

impl From<HolderKey> for Recipient {
    fn from(key: HolderKey) -> Self {
        match key {
            HolderKey::Age(key) => Self::Age(key),
            HolderKey::Pgp(key) => Self::Pgp(Box::new(key)),
        }
    }
}

impl Custody {
    /// The plan's recipient that `who` is the description of, as [`CanOpen::who`].
    ///
    /// # Errors
    /// `Rejected` when there is none, or the recipients are not known.
    pub fn declared(&self, who: &str) -> Result<Recipient> {
        self.recipients()?.into_iter().find(|one| one.describe() == who).ok_or_else(|| {
            Error::new(ErrorKind::Rejected, "custody", format!("the plan names no recipient {who}"))
                .advice("add it under `custody.recipients`")
        })
    }

    /// Whether a key at hand opens what is sealed for this recipient. A key of a service is asked.
    ///
    /// # Errors
    /// When nothing can be sealed for it, or the service fails.
    pub async fn opens_here(&self, recipient: &Recipient) -> Result<bool> {
        let (key, mut failures) = SealingKey::wrap(PROOF, std::slice::from_ref(recipient)).await;
        if let Some((_, error)) = failures.pop() {
            return Err(error);
        }
        let word = Secret::new(random_bytes(16));
        let envelope = key.seal(PROOF, 1, &word)?;
        if !envelope.header.recipients.iter().any(|one| self.keyring.may_open(one)) {
            return Ok(false);
        }
        Ok(envelope.open_as(0, &self.keyring).await? == word)
    }

    /// Keeps a handout as a new version, which counts from then on. Older ones stay where they are.
    ///
    /// # Errors
    /// When no store takes it, or one that answers does not give it back.
    pub async fn hand_out_again(&self, permit: &Permit, handout: Handout) -> Result<u32> {
        let name = handout.name.clone();
        let version = self.next_version(&name).await?;
        let key = self.authority.require_key()?;
        let bytes = Document::Handout(handout.clone()).sign(version, &key).encode();
        self.spread(permit, &name, version, &bytes).await?;
        match self.handout(&name).await? {
            Some(kept) if kept.message() == handout.message() => Ok(version),
            _ => Err(local(&name, "was written and is not given back".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pgp::KeyPair;
    use super::super::testing::{custody, recipient};
    use super::*;

    #[tokio::test]
    async fn only_the_owner_of_a_key_meets_its_challenge() {
        let identity = age::x25519::Identity::generate();
        let challenge = recipient(&identity).challenge().expect("seals").expect("a message");
        let reader = age::armor::ArmoredReader::new(challenge.message.as_bytes());
        let decryptor = age::Decryptor::new(reader).expect("age");
        let mut word = String::new();
        let mut plain = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).expect("opens");
        std::io::Read::read_to_string(&mut plain, &mut word).expect("reads");
        assert!(!challenge.message.contains(&word));
        assert!(challenge.is_met_by(&Secret::from(format!("{word}\n"))));
        assert!(!challenge.is_met_by(&Secret::from("groundwork-".to_owned())));
        assert!(!challenge.is_met_by(&Secret::new(Vec::new())));
        let pair = KeyPair::generate().expect("a pair");
        let other = Recipient::from(HolderKey::Pgp(pair.public_key().expect("a key")));
        let challenge = other.challenge().expect("seals").expect("a message");
        assert!(challenge.is_met_by(&pair.decrypt_armored(&challenge.message).expect("opens")));
        assert!(!challenge.is_met_by(&Secret::from(word)), "another challenge");
    }

    #[tokio::test]
    async fn key_at_hand_proves_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, theirs) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
        let custody = custody(folder.path(), ours.clone());
        assert!(custody.opens_here(&recipient(&ours)).await.expect("seals"));
        assert!(!custody.opens_here(&recipient(&theirs)).await.expect("seals"));
        assert!(custody.declared(&format!("age {}", ours.to_public())).is_ok());
        assert!(custody.declared(&format!("age {}", theirs.to_public())).is_err());
    }

    #[tokio::test]
    async fn newest_handout_counts_and_older_ones_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let custody = custody(folder.path(), age::x25519::Identity::generate());
        let (permit, share) = (Permit::mint(), Secret::from("0a1b".to_owned()));
        let key = || HolderKey::Age(age::x25519::Identity::generate().to_public());
        let [old, new] =
            [key(), key()].map(|key| Handout::seal("a/holders/bob", 2, &share, &key).expect("seals"));
        custody.hand_out(&permit, &old).await.expect("keeps");
        assert_eq!(custody.hand_out_again(&permit, new.clone()).await.expect("keeps"), 2);
        let kept = custody.handout("a/holders/bob").await.expect("reads").expect("kept");
        assert_eq!((kept.holder_key, kept.share), (new.holder_key, 2));
        assert_eq!(custody.versions("a/holders/bob").await.expect("lists"), [1, 2]);
    }

    #[test]
    fn recipients_are_counted_once_for_each_object() {
        use super::super::examine::{Copy, CopyState, Opener};
        let copy = |store: &str, ids: &[&str]| Copy {
            store: store.to_owned(),
            state: CopyState::Whole,
            created: None,
            recipients: ids
                .iter()
                .map(|id| Opener { kind: "age".to_owned(), id: (*id).to_owned(), opens: None })
                .collect(),
        };
        let object = |ids: &[&str], former: &[&str]| Object {
            name: "a".to_owned(),
            version: 1,
            versions: vec![1],
            signer: None,
            copies: vec![copy("one", ids), copy("two", ids)],
            aside: Vec::new(),
            lacks: Vec::new(),
            former: former.iter().map(|one| (*one).to_owned()).collect(),
        };
        let found = who_can_open(&[object(&["a", "b"], &["age b"]), object(&["a"], &[])]);
        let one = |who: &str, objects, is_declared| CanOpen { who: who.to_owned(), objects, is_declared };
        assert_eq!(found, [one("age a", 2, true), one("age b", 1, false)]);
    }
}
