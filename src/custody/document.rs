//! The document that a store keeps under a name: an envelope or a handout, signed with the plan's key.

use super::{Envelope, Handout, encode};
use crate::error::{Error, ErrorKind, Result};
use crate::signing::{Authority, Seal, Signer, SigningKey};

/// The purpose that a signature in custody is bound to.
const PURPOSE: &str = "groundwork-custody/1";

/// The content of one object version in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// A secret of the plan.
    Envelope(Envelope),
    /// A key share for its holder.
    Handout(Handout),
}

/// The owner of a document, as its signature proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is signed with a key that the caller trusts.
    Ours,
    /// It is not signed.
    Nobody,
    /// It is signed with a key that the caller does not trust.
    Stranger(Signer),
    /// Its signature does not match its content.
    Forged,
}

impl Document {
    /// Decodes the bytes that a store has under this name and version.
    ///
    /// # Errors
    /// `Local` when they are damaged, or belong to another object.
    pub(super) fn decode(name: &str, version: u32, bytes: &[u8]) -> Result<Self> {
        if let Ok(handout) = Handout::decode(name, bytes) {
            return Ok(Self::Handout(handout));
        }
        let envelope = super::decode(name, bytes)?;
        envelope.require(name, version)?;
        Ok(Self::Envelope(envelope))
    }

    fn seal(&self) -> Option<&Seal> {
        match self {
            Self::Envelope(envelope) => envelope.seal.as_ref(),
            Self::Handout(handout) => handout.seal.as_ref(),
        }
    }

    /// The signer that the document names; not verified.
    pub(super) fn signer(&self) -> Option<Signer> {
        self.seal().map(|seal| seal.signer)
    }

    fn with_seal(mut self, seal: Option<Seal>) -> Self {
        match &mut self {
            Self::Envelope(envelope) => envelope.seal = seal,
            Self::Handout(handout) => handout.seal = seal,
        }
        self
    }

    /// The bytes for a store.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Envelope(envelope) => encode(envelope),
            Self::Handout(handout) => encode(handout),
        }
    }

    /// The same document, signed as this version of its object.
    #[must_use]
    pub(super) fn sign(self, version: u32, key: &SigningKey) -> Self {
        let unsigned = self.with_seal(None);
        let seal = key.sign(PURPOSE, &[&version.to_be_bytes(), &unsigned.encode()]);
        unsigned.with_seal(Some(seal))
    }

    /// Verifies the signature for this version of the object. The signature covers the object's name.
    pub(super) fn origin(&self, version: u32, authority: &Authority) -> Origin {
        let Some(seal) = self.seal() else { return Origin::Nobody };
        let unsigned = self.clone().with_seal(None);
        match seal.proves(PURPOSE, &[&version.to_be_bytes(), &unsigned.encode()]) {
            false => Origin::Forged,
            true if authority.trusts(&seal.signer) => Origin::Ours,
            true => Origin::Stranger(seal.signer),
        }
    }

    /// Refuses a document that is not the plan's.
    ///
    /// # Errors
    /// `Local` when its signature does not match, `Denied` when it is not signed or the caller does not
    /// trust the signer; with advice.
    pub(super) fn require_ours(&self, name: &str, version: u32, authority: &Authority) -> Result<()> {
        let refused = |kind, message: &str| Err(Error::new(kind, format!("custody: {name}"), message));
        match self.origin(version, authority) {
            Origin::Ours => Ok(()),
            Origin::Stranger(signer) => Err(authority.unknown(&format!("{name} in custody"), &signer)),
            Origin::Forged => refused(ErrorKind::Local, "was changed since it was signed"),
            Origin::Nobody => refused(
                ErrorKind::Denied,
                "is not signed: an older version of Groundwork or a stranger put it there",
            )
            .map_err(|error| {
                error.advice(
                    "if it is yours, vouch for it with `groundwork journal PLAN --adopt`; if not, remove \
                             it from the store",
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::HolderKey;
    use super::super::envelope::SealingKey;
    use super::super::testing::recipient;
    use super::*;
    use crate::secret::Secret;
    use crate::signing::testing::{authority, reader};

    async fn envelope(name: &str, version: u32) -> Document {
        let identity = age::x25519::Identity::generate();
        let (key, _) = SealingKey::wrap(name, &[recipient(&identity)]).await;
        Document::Envelope(key.seal(name, version, &Secret::from("s.root".to_owned())).expect("seals"))
    }

    fn handout() -> Document {
        let holder = HolderKey::Age(age::x25519::Identity::generate().to_public());
        Document::Handout(Handout::seal("a", 1, &Secret::from("share".to_owned()), &holder).expect("seals"))
    }

    #[tokio::test]
    async fn document_is_ours_only_with_trusted_signature() {
        let config = tempfile::tempdir().expect("a folder");
        let ours = authority(config.path(), "demo");
        let (key, stranger) = (ours.key().expect("a key"), SigningKey::generate().expect("a key"));
        for document in [envelope("a", 2).await, handout()] {
            assert_eq!(document.origin(2, &ours), Origin::Nobody);
            let signed = document.clone().sign(2, &key);
            assert_eq!(signed.origin(2, &ours), Origin::Ours);
            assert_eq!(signed.origin(3, &ours), Origin::Forged, "another version's place");
            let theirs = document.sign(2, &stranger);
            assert_eq!(theirs.origin(2, &ours), Origin::Stranger(stranger.signer()));
            let trusting = reader(config.path(), "other", &[stranger.signer()]);
            assert_eq!(theirs.origin(2, &trusting), Origin::Ours);
            let refusal = theirs.require_ours("a", 2, &ours).expect_err("a stranger's");
            assert!(refusal.advice.expect("advice").contains("--trust signer="));
        }
    }

    #[tokio::test]
    async fn changed_document_fails_signature_verification() {
        let config = tempfile::tempdir().expect("a folder");
        let ours = authority(config.path(), "demo");
        let signed = envelope("a", 2).await.sign(2, &ours.key().expect("a key"));
        let text = signed.encode();
        let mut still = 0;
        for position in 0..text.len() {
            let mut text = text.clone();
            text[position] ^= 1;
            let Ok(changed) = Document::decode("a", 2, &text) else { continue };
            still += 1;
            assert_ne!(changed.origin(2, &ours), Origin::Ours, "byte {position}");
        }
        assert!(still > 100, "many changes leave a whole document: {still}");
    }
}
