//! The access key of a sandbox's own AWS: the only one that its guard accepts from the start.

use std::fs;
use std::io::ErrorKind;

use rand::Rng;

use super::Error;
use super::error::Doing;
use super::home::{Home, write_private};
use crate::secret::{Secret, random_bytes};

/// AWS does not use this prefix, so the key cannot be mistaken for that of a real account.
const PREFIX: &str = "GWSB";
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// An access key of the root of account 000000000000. With the same secret, an id of twelve digits is the
/// root of that account.
#[derive(Clone, Debug)]
pub struct AwsKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
}

impl AwsKey {
    /// The key of this sandbox; `None` for one that an older groundwork started.
    pub fn load(home: &Home) -> Result<Option<Self>, Error> {
        let path = home.aws_credentials();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.doing(|| format!("read {}", path.display()))?,
        };
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
            line.map(|value| value.trim().to_owned())
        };
        match (value("aws_access_key_id"), value("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Ok(Some(Self { id, secret: Secret::new(secret.into_bytes()) })),
            _ => Err(Error::State { path, detail: "it holds no access key".to_owned() }),
        }
    }

    /// Makes a key for a new sandbox, in a file that AWS's tools read and only this user can open.
    pub fn make(home: &Home) -> Result<Self, Error> {
        let mut random = rand::rng();
        let letters = (0..16).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]));
        let id: String = PREFIX.chars().chain(letters).collect();
        let secret = Secret::new(hex::encode(random_bytes(20)).into_bytes());
        let mut file = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = ").into_bytes();
        file.extend_from_slice(secret.expose_bytes());
        file.push(b'\n');
        write_private(&home.aws_credentials(), &file)?;
        Ok(Self { id, secret })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_sandbox_has_its_own_private_key() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let homes = dirs.each_ref().map(|dir| Home::create(dir.path()).unwrap());
        assert!(AwsKey::load(&homes[0]).unwrap().is_none());
        let made = homes.each_ref().map(|home| AwsKey::make(home).unwrap());
        assert_ne!(made[0].id, made[1].id);
        assert_ne!(made[0].secret.expose_bytes(), made[1].secret.expose_bytes());
        let read = AwsKey::load(&homes[0]).unwrap().unwrap();
        assert_eq!((&read.id, read.secret.expose_bytes()), (&made[0].id, made[0].secret.expose_bytes()));
        assert!(read.id.len() == 20 && read.secret.len() == 40);
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&homes[0].aws_credentials()), 0o600);
        assert_eq!(mode(homes[0].aws_credentials().parent().unwrap()), 0o700);
    }

    #[test]
    fn credentials_file_without_a_key_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        fs::write(home.aws_credentials(), "[default]\n").unwrap();
        assert!(AwsKey::load(&home).is_err_and(|error| error.to_string().contains("no access key")));
    }
}
