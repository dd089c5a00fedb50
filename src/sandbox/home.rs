//! The sandbox's folder and the names in it.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::error::Doing;
use super::trust;

/// Marks a folder as a sandbox's, and its lock keeps two commands from using it at once.
const LOCK: &str = "groundwork-sandbox.lock";
/// The folders of one generation of servers.
const FOLDERS: [&str; 5] = ["caller", "config", "data", "tls", "tmp"];
const LOGS: &str = "logs";

/// The sandbox's folder, by its absolute path.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// Names the folder. An existing folder must be this user's own, because its records decide which
    /// processes are killed and where tokens are sent.
    pub fn at(dir: &Path) -> Result<Self, Error> {
        let root = std::path::absolute(dir).doing(|| format!("find the folder {}", dir.display()))?;
        trust::require_private(&root, "name a folder of your own with --dir")?;
        Ok(Self { root })
    }

    /// Makes the folder, readable for its owner only. Refuses a folder in other use, because `down`
    /// deletes its content.
    pub fn create(dir: &Path) -> Result<Self, Error> {
        let home = Self::at(dir)?;
        if home.root.exists() && !home.exists() && !is_empty(&home.root)? {
            return Err(Error::ForeignFolder { dir: home.root });
        }
        make_private(&home.root)?;
        // Comes first, so that an interrupted `create` leaves a folder that is recognised as ours.
        let mark = fs::File::options().create(true).append(true).open(home.lock());
        mark.doing(|| format!("write {}", home.lock().display()))?;
        home.make_folders()?;
        // It holds keys and audit logs, and often lies inside a repository.
        let ignore = home.root.join(".gitignore");
        fs::write(&ignore, "*\n").doing(|| format!("write {}", ignore.display()))?;
        Ok(home)
    }

    fn make_folders(&self) -> Result<(), Error> {
        FOLDERS.iter().chain([&LOGS]).try_for_each(|name| make_private(&self.root.join(name)))
    }

    /// Whether a sandbox has ever been here.
    pub fn exists(&self) -> bool {
        self.lock().exists()
    }

    /// Deletes everything that the servers have left except their logs.
    pub fn clear(&self) -> Result<(), Error> {
        let state = self.state();
        remove(&state, |path| fs::remove_file(path))?;
        FOLDERS.iter().try_for_each(|name| remove(&self.root.join(name), |path| fs::remove_dir_all(path)))
    }

    /// The configuration folder of those who use the sandbox: signing keys and answers go with it.
    pub fn caller(&self) -> PathBuf {
        self.root.join("caller")
    }

    /// Deletes the data of one server.
    pub fn clear_data(&self, server: &str) -> Result<(), Error> {
        remove(&self.root.join("data").join(server), |path| fs::remove_dir_all(path))
    }

    /// Deletes the logs.
    pub fn clear_logs(&self) -> Result<(), Error> {
        remove(&self.root.join(LOGS), |path| fs::remove_dir_all(path))
    }

    /// An empty folder for a new generation of servers.
    pub fn renew(&self) -> Result<(), Error> {
        self.clear()?;
        self.clear_logs()?;
        self.make_folders()
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file whose lock guards the folder.
    pub fn lock(&self) -> PathBuf {
        self.root.join(LOCK)
    }

    /// The record of the servers.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// A server's configuration file.
    pub fn config(&self, server: &str) -> PathBuf {
        self.root.join("config").join(format!("{server}.hcl"))
    }

    /// The access key of the sandbox's own AWS, in the form of AWS's shared credentials.
    pub fn aws_credentials(&self) -> PathBuf {
        self.root.join("config/aws-credentials")
    }

    /// The password of the superuser of the sandbox's PostgreSQL.
    pub fn postgres_password(&self) -> PathBuf {
        self.root.join("config/postgres-password")
    }

    /// The kubeconfig of the administrator of the sandbox's Kubernetes.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("config/kubeconfig")
    }

    /// The program that serves the AWS emulator.
    pub fn guard(&self) -> PathBuf {
        self.root.join("config/guard.py")
    }

    /// The program that encloses a server.
    pub fn enclose(&self) -> PathBuf {
        self.root.join("config/enclose.py")
    }

    /// Makes the folder at which an enclosed server has its root.
    pub fn make_root(&self) -> Result<(), Error> {
        make_private(&self.root.join("root"))
    }

    /// The key of the static seal.
    pub fn seal_key(&self) -> PathBuf {
        self.root.join("config/seal-key")
    }

    /// The folder of a server's data.
    pub fn data(&self, server: &str) -> Result<PathBuf, Error> {
        let folder = self.root.join("data").join(server);
        make_private(&folder)?;
        Ok(folder)
    }

    /// The file with a server's output.
    pub fn log(&self, server: &str) -> PathBuf {
        self.root.join(LOGS).join(format!("{server}.log"))
    }

    /// Vault's audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.root.join(LOGS).join("vault-audit.log")
    }

    /// The folder of certificates and keys.
    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// The certificate authority's certificate.
    pub fn ca_cert(&self) -> PathBuf {
        self.tls().join("ca.pem")
    }

    /// The servers' temporary folder.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

/// Writes a file that only its owner can read, whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        // Such a file has mode 0600 from the start.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().doing(|| format!("write {}", path.display()))
}

fn make_private(folder: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.doing(|| format!("make the folder {}", folder.display()))
}

fn is_empty(folder: &Path) -> Result<bool, Error> {
    let mut entries = fs::read_dir(folder).doing(|| format!("read the folder {}", folder.display()))?;
    Ok(entries.next().is_none())
}

fn remove(path: &Path, how: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
    match how(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("delete {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn folder_in_other_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        assert!(matches!(Home::create(dir.path()), Err(Error::ForeignFolder { .. })));
    }

    #[test]
    fn private_files_are_private_and_replaced_atomically() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn clearing_keeps_logs_and_renewing_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(&dir.path().join("deep/sandbox")).unwrap();
        fs::write(home.log("aws"), "x").unwrap();
        fs::write(home.state(), "{}").unwrap();
        home.clear().unwrap();
        assert!(home.log("aws").exists() && !home.state().exists() && !home.tmp().exists());
        home.renew().unwrap();
        assert!(!home.log("aws").exists() && home.tmp().exists());
    }
}
