//! The recipients of custody's objects, and the keys that open them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::envelope::Wrapped;
use super::pgp::{KeyPair, PublicKey};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::plan::settings::RecipientSettings;
use crate::secret::Secret;
use crate::template::unknown;

/// The environment variable that names the file with the age identities, one a line, as
/// `age-keygen` writes it.
pub const AGE_IDENTITY: &str = "GROUNDWORK_AGE_IDENTITY";

/// The environment variable that names a file with an OpenPGP private key without a passphrase, for
/// the emergency in which only a PGP recipient is left.
pub const PGP_KEY: &str = "GROUNDWORK_PGP_KEY";

/// A service that keeps keys and encrypts with them, such as AWS KMS. The same `context` is needed
/// to decrypt; it is not secret.
#[async_trait]
pub trait KeyService: Send + Sync {
    /// Encrypts a few bytes under `key`.
    async fn encrypt(&self, key: &str, plaintext: &Secret, context: &Context) -> Result<Vec<u8>>;
    /// Decrypts; the ciphertext names the key.
    async fn decrypt(&self, ciphertext: &[u8], context: &Context) -> Result<Secret>;
}

/// The pairs that a ciphertext is bound to.
pub type Context = BTreeMap<String, String>;

/// A key that custody encrypts its objects for.
pub enum Recipient {
    /// An age public key.
    Age(age::x25519::Recipient),
    /// A key in a key service.
    Kms {
        /// The key's id, ARN or alias.
        key: String,
        /// The service.
        service: Arc<dyn KeyService>,
    },
    /// An OpenPGP public key. Mostly only its owner has the private key, so this process can encrypt but
    /// not decrypt.
    Pgp(Box<PublicKey>),
}

impl Recipient {
    /// The recipient that a plan declares; files are relative to its `folder`.
    ///
    /// # Errors
    /// `Rejected` when the key is malformed, not known yet, or there is no key service.
    pub fn from_settings(settings: &RecipientSettings, folder: &Path, keyring: &Keyring) -> Result<Self> {
        match settings {
            RecipientSettings::Age(key) => parse_age(key).map(Self::Age),
            RecipientSettings::Pgp(path) => PublicKey::read(folder, path).map(|key| Self::Pgp(Box::new(key))),
            RecipientSettings::Kms(key) if unknown::is_unknown(key) => {
                Err(rejected(format!("the KMS key is {}", unknown::describe(key)))
                    .advice("let the step that makes the key come first, with `needs:`"))
            }
            RecipientSettings::Kms(key) => match &keyring.service {
                Some(service) => Ok(Self::Kms { key: key.clone(), service: service.clone() }),
                None => Err(rejected("a KMS recipient needs AWS, which this run does not use".to_owned())),
            },
        }
    }

    /// The kind and the id of the recipient, as [`Wrapped`] names them.
    pub(super) fn identity(&self) -> (&'static str, String) {
        match self {
            Self::Age(recipient) => ("age", recipient.to_string()),
            Self::Kms { key, .. } => ("kms", key.clone()),
            Self::Pgp(public) => ("pgp", public.fingerprint()),
        }
    }

    /// The recipient in words.
    pub(super) fn describe(&self) -> String {
        let (kind, id) = self.identity();
        format!("{kind} {id}")
    }

    /// Encrypts the key of the object `name`, or of one whose name begins so.
    pub(super) async fn wrap(&self, key: &Secret, name: &str) -> Result<Wrapped> {
        let bytes = match self {
            Self::Age(recipient) => age::encrypt(recipient, key.expose_bytes())
                .map_err(|source| rejected("age cannot encrypt".into()).source(source))?,
            Self::Kms { key: id, service } => service.encrypt(id, key, &context(name)).await?,
            Self::Pgp(public) => public.encrypt(key)?,
        };
        let (kind, id) = self.identity();
        Ok(Wrapped { kind: kind.to_owned(), id, wrapped_key: STANDARD.encode(bytes) })
    }
}

/// The private keys at hand, and the service for the others.
#[derive(Default)]
pub struct Keyring {
    /// Age identities.
    pub identities: Vec<age::x25519::Identity>,
    /// The key service, when the plan has a recipient that needs it.
    pub service: Option<Arc<dyn KeyService>>,
    /// An OpenPGP private key.
    pub pgp: Option<KeyPair>,
}

impl Keyring {
    /// The keyring of the caller: the keys in the files that [`AGE_IDENTITY`] and [`PGP_KEY`] name.
    ///
    /// # Errors
    /// `Local` when a file cannot be read, is world-readable or does not contain a key.
    pub fn from_env(environment: &Environment, service: Option<Arc<dyn KeyService>>) -> Result<Self> {
        let file = |name: &str| environment.path(name);
        let identities = file(AGE_IDENTITY).map_or(Ok(Vec::new()), |path| read_identities(&path))?;
        let read_pgp = |path: PathBuf| KeyPair::parse(&read_private(&path, PGP_KEY)?);
        Ok(Self { identities, service, pgp: file(PGP_KEY).map(read_pgp).transpose()? })
    }

    /// Whether this process may be able to open what is encrypted for `recipient`.
    pub(super) fn may_open(&self, recipient: &Wrapped) -> bool {
        match recipient.kind.as_str() {
            "age" => self.identities.iter().any(|identity| identity.to_public().to_string() == recipient.id),
            "pgp" => self.pgp.as_ref().is_some_and(|key| key.fingerprint() == recipient.id),
            _ => self.service.is_some(),
        }
    }

    /// The object's key, from the first recipient that works; local keys go before services.
    pub(super) async fn unwrap(&self, recipients: &[Wrapped], name: &str) -> Result<Secret> {
        let mut failure = no_key(recipients, name);
        let (local, remote): (Vec<_>, Vec<_>) = recipients.iter().partition(|wrapped| wrapped.kind != "kms");
        for wrapped in local.into_iter().chain(remote).filter(|wrapped| self.may_open(wrapped)) {
            match self.unwrap_one(wrapped, name).await {
                Ok(key) => return Ok(key),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn unwrap_one(&self, wrapped: &Wrapped, name: &str) -> Result<Secret> {
        let damaged = || local(name, format!("the key for {} was changed", wrapped.id));
        let bytes = STANDARD.decode(&wrapped.wrapped_key).map_err(|_| damaged())?;
        match (wrapped.kind.as_str(), &self.service) {
            ("age", _) => self.age_decrypt(&bytes).ok_or_else(damaged),
            ("pgp", _) => self.pgp.as_ref().ok_or_else(damaged)?.decrypt_bytes(&bytes),
            ("kms", Some(service)) => service.decrypt(&bytes, &context(name)).await,
            (kind, _) => Err(local(name, format!("`{kind}` is not a way of encryption this version knows"))),
        }
    }

    fn age_decrypt(&self, bytes: &[u8]) -> Option<Secret> {
        let opened = self.identities.iter().find_map(|identity| age::decrypt(identity, bytes).ok());
        opened.map(Secret::new)
    }
}

/// Binds a wrapped key to its object, where the service can.
fn context(name: &str) -> Context {
    [("groundwork:custody".to_owned(), name.to_owned())].into()
}

/// The public keys in a plan's recipients that nothing can be encrypted for; files are relative to
/// `folder`. KMS keys are left to the canary.
pub fn check_all(recipients: &[RecipientSettings], folder: &Path) -> Vec<FieldError> {
    let check = |(position, recipient): (usize, &RecipientSettings)| {
        let (field, error) = match recipient {
            RecipientSettings::Age(key) if !unknown::is_unknown(key) => ("age", parse_age(key).err()?),
            RecipientSettings::Pgp(path) => ("pgp", PublicKey::read(folder, path).err()?),
            _ => return None,
        };
        let mistake = FieldError::new(format!("recipients[{position}].{field}"), error.to_string());
        Some(match error.advice {
            Some(advice) => mistake.help(advice),
            None => mistake,
        })
    };
    recipients.iter().enumerate().filter_map(check).collect()
}

/// The recipient in an age public key.
///
/// # Errors
/// `Rejected` when it is not one.
pub fn parse_age(key: &str) -> Result<age::x25519::Recipient> {
    key.parse().map_err(|why| {
        rejected(format!("`{key}` is not an age public key: {why}"))
            .advice("write the line after `# public key:` in the file that age-keygen made")
    })
}

/// A file with a private key, which `variable` names; refused when others may read it.
fn read_private(path: &Path, variable: &str) -> Result<Secret> {
    let unreadable = |source: std::io::Error| {
        local(variable, format!("cannot read {}: {source}", path.display()))
            .advice("let it name the file with the private key, as age-keygen or gpg wrote it")
    };
    let mode = path.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(local(variable, format!("{} may be read by everybody", path.display()))
            .advice(format!("chmod 600 {}", path.display())));
    }
    std::fs::read(path).map(Secret::new).map_err(unreadable)
}

fn read_identities(path: &Path) -> Result<Vec<age::x25519::Identity>> {
    parse_identities(&read_private(path, AGE_IDENTITY)?)
        .ok_or_else(|| local(AGE_IDENTITY, format!("{} holds no age identity", path.display())))
}

/// `None` when a line is neither a comment nor an identity, or when there is no identity at all.
fn parse_identities(text: &Secret) -> Option<Vec<age::x25519::Identity>> {
    let lines = text.expose_str()?.lines().map(str::trim);
    let identities: Option<Vec<_>> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.parse().ok())
        .collect();
    identities.filter(|identities| !identities.is_empty())
}

fn no_key(recipients: &[Wrapped], name: &str) -> Error {
    let ids: Vec<&str> = recipients.iter().map(|wrapped| wrapped.id.as_str()).collect();
    local(name, format!("none of its keys is at hand; it opens for {}", ids.join(", "))).advice(format!(
        "set {AGE_IDENTITY} or {PGP_KEY} to the file with the private key of one of them, or log in to AWS"
    ))
}

fn local(name: &str, message: String) -> Error {
    Error::new(ErrorKind::Local, format!("custody: {name}"), message)
}

fn rejected(message: String) -> Error {
    Error::new(ErrorKind::Rejected, "custody.recipients", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_file_must_be_private_and_valid() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.txt");
        let identity = age::x25519::Identity::generate();
        let line = secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
        std::fs::write(&path, format!("# created: today\n# public key: x\n{line}\n")).expect("writes");
        let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
        mode(0o644);
        let error = read_identities(&path).err().expect("refused");
        assert!(error.message.contains("everybody") && error.advice.is_some());
        mode(0o600);
        assert_eq!(read_identities(&path).expect("reads").len(), 1);
        std::fs::write(&path, "no key").expect("writes");
        assert!(read_identities(&path).is_err());
    }

    #[test]
    fn unusable_recipient_keys_are_found_offline() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("bob.asc"), "no key").expect("writes");
        let age = |key: String| RecipientSettings::Age(key);
        let good = age::x25519::Identity::generate().to_public().to_string();
        let recipients = [age("age1x".into()), age(good), RecipientSettings::Pgp("bob.asc".into())];
        let found = check_all(&recipients, folder.path());
        let paths: Vec<&str> = found.iter().map(|mistake| mistake.path.as_str()).collect();
        assert_eq!(paths, ["recipients[0].age", "recipients[2].pgp"]);
        assert!(found[1].message.contains("bob.asc") && found[1].help.is_some());
    }

    #[test]
    fn recipient_key_known_after_apply_is_refused() {
        let settings = RecipientSettings::Kms(unknown::marker("unseal_key.arn"));
        let error =
            Recipient::from_settings(&settings, Path::new("."), &Keyring::default()).err().expect("refused");
        assert!(error.message.contains("known after apply: unseal_key.arn"), "{error}");
    }
}
