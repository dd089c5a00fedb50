//! Empty servers of Vault that reach nothing outside of their folder, for what must not touch the world.
//!
//! A restored Vault acts by itself: it rotates the passwords of databases, revokes credentials at their services, and
//! writes to the audit log of its former configuration. These run in namespaces of their own: a network that has only
//! a loopback interface, by which they reach each other, and a root folder in memory. Each listens on a socket in
//! their folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Error;
use super::error::Doing;
use super::gate::{Gate, Launch, Tie};
use super::home::{Home, write_private};
use super::options::{Host, VaultServer};
use super::port;
use super::process::Process;
use super::python::Python;
use super::vault_binary::{Flavour, VaultBinary};
use super::vault_config::quote;
use crate::event::Events;
use crate::secret::Secret;

/// Encloses the server.
const ENCLOSE: &str = include_str!("enclose.py");
/// The beginning of its complaints.
const REFUSED: &str = "cannot enclose the server";
/// The server's name.
const NAME: &str = "vault";
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// The last of as many servers as any cluster has.
const MOST: usize = 98;
/// The longest path of a socket.
const LONGEST: usize = 100;
/// The ports of the first server, which are free because the network is its own.
const PORTS: [u16; 2] = [8200, 8201];
const KMS_PORT: u16 = 8203;
/// The difference between the ports of one server and the next.
const APART: u16 = 10;
const TAIL_LINES: usize = 12;
/// The variable with the key of a static seal.
const SEAL_KEY: &str = "GROUNDWORK_DRILL_SEAL_KEY";

/// The programs of an enclosure, installed and ready.
#[derive(Debug)]
pub struct Enclosing {
    python: Python,
    vault: VaultBinary,
    host: Host,
}

/// How a server unseals itself.
#[derive(Clone, Debug)]
pub enum EnclosedSeal {
    /// With a key of its own.
    Static {
        /// The name of the key.
        id: String,
        /// The key, in base64. It goes into the server's environment, and into no file.
        key: Secret,
    },
    /// With a key in AWS KMS, for which something answers at [`Room::kms`].
    Kms {
        /// The ARN of the key.
        key: String,
    },
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Enclosed {
    /// How it unseals itself; key shares open it where there is none.
    pub seal: Option<EnclosedSeal>,
    /// Whether it must be kept from reaching anything.
    pub confined: bool,
    /// How many servers start. Those that are not confined do not reach each other, so it is one then.
    pub servers: usize,
}

impl Enclosed {
    fn count(&self) -> usize {
        if self.confined { self.servers.max(1) } else { 1 }
    }
}

/// The folder of a server, made before it and deleted after it.
#[derive(Debug)]
pub struct Room {
    home: Home,
    _folder: TempDir,
}

impl Room {
    /// A new one in this folder.
    ///
    /// # Errors
    /// When it cannot be made, or a socket in it would have too long a path.
    pub fn within(dir: &Path) -> Result<Self, Error> {
        let made = tempfile::Builder::new().prefix("groundwork-drill-").tempdir_in(dir);
        let folder = made.doing(|| format!("make a folder in {}", dir.display()))?;
        // Links on the way are not there for the enclosed server.
        let root = folder.path().canonicalize().doing(|| "find the folder".to_owned())?;
        let room = Self { home: Home::create(&root)?, _folder: folder };
        match room.kms().as_os_str().len().max(socket(&room.home, MOST).as_os_str().len()) > LONGEST {
            true => Err(Error::LongPath { dir: dir.to_owned() }),
            false => Ok(room),
        }
    }

    /// The socket at which the server's requests to AWS KMS arrive.
    pub fn kms(&self) -> PathBuf {
        self.home.tmp().join("kms.sock")
    }
}

/// Servers in an enclosure. Dropping it ends them and deletes everything that they have left.
#[derive(Debug)]
pub struct Enclosure {
    process: Process,
    servers: usize,
    _tie: Option<Tie>,
    // Comes last, so that the folder outlives the server.
    room: Room,
}

impl Enclosing {
    /// Finds the programs, and installs what is missing.
    ///
    /// # Errors
    /// When there is none.
    pub async fn prepare(server: &VaultServer, host: Host, events: &Events) -> Result<Self, Error> {
        let python = Python::find(&host).await?;
        let vault = VaultBinary::find(server, &host, events).await?;
        Ok(Self { python, vault, host })
    }

    /// Starts empty servers, and waits until each listens.
    ///
    /// # Errors
    /// `Unconfined` when this machine does not let it be confined; when the server does not start.
    pub async fn start(&self, room: Room, how: &Enclosed) -> Result<Enclosure, Error> {
        let gate = Gate::close(&self.launch(&room, how)?, true)?;
        let process = gate.process.clone();
        let tie = gate.open().await;
        let enclosure = Enclosure { process, servers: how.count(), _tie: tie, room };
        enclosure.wait().await?;
        Ok(enclosure)
    }

    fn launch(&self, room: &Room, how: &Enclosed) -> Result<Launch, Error> {
        let home = &room.home;
        let configs = (0..how.count()).map(|index| {
            let config = home.config(&name(index));
            let ports = if how.confined { ports(index).to_vec() } else { port::pick(PORTS.len())? };
            write_private(&config, self.config(home, how, index, &ports)?.as_bytes())?;
            Ok(config.into_os_string())
        });
        let configs = configs.collect::<Result<Vec<_>, Error>>()?;
        let mut environment = vec![
            ("PATH", self.host.path.clone()),
            ("HOME", home.root().into()),
            ("TMPDIR", home.tmp().into()),
        ];
        let mut relay = OsString::new();
        match &how.seal {
            Some(EnclosedSeal::Static { key, .. }) => {
                environment.push((SEAL_KEY, key.expose_str().unwrap_or_default().into()));
            }
            Some(EnclosedSeal::Kms { .. }) => {
                relay.push(format!("{KMS_PORT}="));
                relay.push(room.kms());
            }
            None => {}
        }
        let (program, arguments) = if how.confined {
            let script = home.enclose();
            write_private(&script, ENCLOSE.as_bytes())?;
            home.make_root()?;
            // Nothing of the caller's own Python has a part in it.
            let vault = self.vault.program.clone().into_os_string();
            let script = ["-I".into(), script.into_os_string(), home.root().into(), relay, vault];
            (self.python.program.clone(), script.into_iter().chain(configs).collect())
        } else {
            let mut option = OsString::from("-config=");
            option.push(home.config(NAME));
            (self.vault.program.clone(), vec!["server".into(), option])
        };
        let (folder, log) = (home.tmp(), home.log(NAME));
        Ok(Launch { program, arguments, environment, folder, log })
    }

    /// No audit device is declared: a restored server then lets go of those that its former configuration declared, and
    /// does not refuse to start because they differ. The old way to a root token by key shares is open, for a backup
    /// in which no other login works; only this program reaches the socket.
    fn config(&self, home: &Home, how: &Enclosed, index: usize, ports: &[u16]) -> Result<String, Error> {
        let path = |path: &Path| quote(&path.to_string_lossy());
        let (api, cluster, name) = (ports[0], ports[1], name(index));
        let (data, socket) = (path(&home.data(&name)?), path(&socket(home, index)));
        let (generation, mlock) = match self.vault.flavour {
            Flavour::OpenBao => ("  disable_unauthed_generate_root_endpoints = false\n", ""),
            Flavour::HashiCorp => ("", "disable_mlock = true\n"),
        };
        let seal = how.seal.as_ref().map(|seal| match seal {
            EnclosedSeal::Static { id, .. } => {
                let id = quote(id);
                format!("seal \"static\" {{\n  current_key_id = {id}\n  current_key = \"env://{SEAL_KEY}\"\n}}\n")
            }
            // The answers from there need no credentials, and the server does not start without.
            EnclosedSeal::Kms { key } => format!(
                "seal \"awskms\" {{\n  region = {}\n  kms_key_id = {}\n  endpoint = \"http://127.0.0.1:{KMS_PORT}\"\n  \
                 access_key = \"none\"\n  secret_key = \"none\"\n}}\n",
                quote(key.split(':').nth(3).unwrap_or("us-east-1")),
                quote(key)
            ),
        });
        Ok(format!(
            "storage \"raft\" {{\n  path = {data}\n  node_id = \"{name}\"\n  performance_multiplier = 1\n}}\n\
             listener \"unix\" {{\n  address = {socket}\n  socket_mode = \"600\"\n  tls_disable = true\n{generation}}}\n\
             listener \"tcp\" {{\n  address = \"127.0.0.1:{api}\"\n  tls_disable = true\n}}\n{}\
             api_addr = \"http://127.0.0.1:{api}\"\ncluster_addr = \"https://127.0.0.1:{cluster}\"\nui = false\n{mlock}",
            seal.unwrap_or_default()
        ))
    }
}

/// The name of the server with this index.
fn name(index: usize) -> String {
    if index == 0 { NAME.to_owned() } else { format!("{NAME}-{}", index + 1) }
}

fn socket(home: &Home, index: usize) -> PathBuf {
    home.tmp().join(format!("{}.sock", name(index)))
}

/// The ports of the confined server with this index: for requests, and for the other servers.
fn ports(index: usize) -> [u16; 2] {
    let further = APART.saturating_mul(u16::try_from(index).unwrap_or(u16::MAX));
    PORTS.map(|port| port.saturating_add(further))
}

impl Enclosure {
    /// The sockets that the servers listen on, of which there is at least one, each with the address at which confined
    /// servers reach this one.
    pub fn sockets(&self) -> Vec<(PathBuf, String)> {
        let server = |index| {
            let [api, _] = ports(index);
            (socket(&self.room.home, index), format!("http://127.0.0.1:{api}"))
        };
        (0..self.servers).map(server).collect()
    }

    /// The last lines of its log that report a problem.
    pub fn complaints(&self) -> String {
        let text = self.log();
        let lines = text.lines().filter(|line| line.contains("[ERROR]") || line.starts_with("Error"));
        last(&lines.collect::<Vec<_>>())
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(self.room.home.log(NAME)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    async fn wait(&self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A server writes the line before the socket is there. All write to one log.
            let log = self.log();
            let started = log.matches("server started!").count() >= self.servers;
            if started && self.sockets().iter().all(|(socket, _)| socket.exists()) {
                return Ok(());
            }
            if !self.process.is_running() {
                let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
                let tail = last(&lines);
                return Err(match log.contains(REFUSED) {
                    true => Error::Unconfined { detail: tail },
                    false => Error::Ended { tail },
                });
            }
            if Instant::now() > deadline {
                return Err(Error::Ended {
                    tail: format!("it did not listen within {} s", PATIENCE.as_secs()),
                });
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

fn last(lines: &[&str]) -> String {
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

impl Drop for Enclosure {
    /// The folder is deleted next, in which a server that still runs would go on writing.
    fn drop(&mut self) {
        self.process.kill_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enclosing(flavour: Flavour) -> Enclosing {
        let vault = VaultBinary { program: "/cache/bao".into(), flavour };
        let python = Python { program: "/usr/bin/python3".into(), version: (3, 11) };
        Enclosing { python, vault, host: Host { cache: None, path: OsString::new() } }
    }

    fn static_seal() -> EnclosedSeal {
        EnclosedSeal::Static { id: "k \"1".to_owned(), key: Secret::from("c2VjcmV0".to_owned()) }
    }

    #[test]
    fn configuration_declares_no_audit_device_and_holds_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::within(folder.path()).unwrap();
        let how = Enclosed { seal: Some(static_seal()), confined: true, servers: 1 };
        let text = enclosing(Flavour::OpenBao).config(&room.home, &how, 0, &PORTS).unwrap();
        assert!(!text.contains("audit") && !text.contains("c2VjcmV0"), "{text}");
        assert!(text.contains(r#"current_key_id = "k \"1""#) && text.contains("env://"), "{text}");
        assert!(text.contains("disable_unauthed_generate_root_endpoints = false"));
        let text = enclosing(Flavour::HashiCorp).config(&room.home, &how, 0, &PORTS).unwrap();
        assert!(text.contains("disable_mlock = true") && !text.contains("unauthed"));
        let seal = Some(EnclosedSeal::Kms { key: "arn:aws:kms:eu-west-1:1:key/k".to_owned() });
        let text =
            enclosing(Flavour::OpenBao).config(&room.home, &Enclosed { seal, ..how }, 0, &PORTS).unwrap();
        assert!(text.contains("region = \"eu-west-1\"") && text.contains("http://127.0.0.1:8203"), "{text}");
    }

    #[test]
    fn confined_server_is_started_by_the_script_and_the_key_is_in_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::within(folder.path()).unwrap();
        let how = Enclosed { seal: Some(static_seal()), confined: true, servers: 1 };
        let launch = enclosing(Flavour::OpenBao).launch(&room, &how).unwrap();
        assert_eq!(launch.program, Path::new("/usr/bin/python3"));
        assert!(launch.environment.iter().any(|(name, value)| *name == SEAL_KEY && value == "c2VjcmV0"));
        assert_eq!(launch.arguments.len(), 6);
        let three = Enclosed { servers: 3, ..how.clone() };
        let launch = enclosing(Flavour::OpenBao).launch(&room, &three).unwrap();
        let configs: Vec<String> = launch.arguments[5..]
            .iter()
            .map(|config| std::fs::read_to_string(config).expect("written"))
            .collect();
        assert!(configs[2].contains("127.0.0.1:8221") && configs[2].contains("node_id = \"vault-3\""));
        assert_eq!(configs.len(), 3);
        let open = Enclosed { confined: false, servers: 3, ..how };
        let launch = enclosing(Flavour::OpenBao).launch(&room, &open).unwrap();
        assert_eq!((launch.program.as_path(), launch.arguments.len()), (Path::new("/cache/bao"), 2));
    }

    #[test]
    fn folder_with_a_long_path_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(90));
        std::fs::create_dir(&deep).unwrap();
        assert!(matches!(Room::within(&deep), Err(Error::LongPath { .. })));
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0);
    }
}
