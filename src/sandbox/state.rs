//! The record of a sandbox's servers.

use std::fs;
use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::Error;
use super::error::Doing;
use super::home::{Home, write_private};
use super::kubernetes;
use super::options::{Extra, Settings};
use super::process::Process;

const FORMAT: u32 = 1;

/// The record of the servers with their ports and settings; written before any server runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    format: u32,
    /// The properties of the servers.
    pub settings: Settings,
    /// Whether Vault's configuration declares the audit log.
    pub audited: bool,
    /// The AWS emulator first, then the Vault nodes in order, then further servers.
    pub servers: Vec<Server>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// `aws`, `vault-1`, `vault-2` …, `postgres`, `kubernetes`.
    pub name: String,
    /// Its role in the sandbox.
    pub role: Role,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its process, while it has one.
    pub process: Option<Process>,
}

/// The role of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The AWS emulator.
    Aws,
    /// A Vault node.
    Vault {
        /// The port for the other nodes.
        cluster_port: u16,
    },
    /// PostgreSQL.
    Postgres,
    /// A Kubernetes API server.
    Kubernetes {
        /// The port of its etcd.
        etcd_port: u16,
    },
}

impl Server {
    fn new(name: String, role: Role, port: u16) -> Self {
        Self { name, role, port, process: None }
    }

    /// Whether its very process lives.
    pub fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_running)
    }

    /// Whether it is a Vault node.
    pub fn is_vault(&self) -> bool {
        matches!(self.role, Role::Vault { .. })
    }

    /// All its ports.
    pub fn ports(&self) -> Vec<u16> {
        match self.role {
            Role::Aws | Role::Postgres => vec![self.port],
            Role::Vault { cluster_port: second } | Role::Kubernetes { etcd_port: second } => {
                vec![self.port, second]
            }
        }
    }
}

impl State {
    /// How many ports a sandbox with these settings takes.
    pub fn ports_needed(settings: &Settings) -> usize {
        let of_extra = |extra: &Extra| if *extra == Extra::Kubernetes { 2 } else { 1 };
        1 + 2 * usize::from(settings.nodes) + settings.with.iter().map(of_extra).sum::<usize>()
    }

    /// A record of servers that do not run yet. Servers without a port of their own are left out.
    pub fn new(settings: Settings, audited: bool, ports: &[u16]) -> Self {
        let mut ports = ports.iter().copied();
        let aws = ports.next().map(|port| Server::new("aws".to_owned(), Role::Aws, port));
        let node = |number: u8| {
            let (port, cluster_port) = (ports.next()?, ports.next()?);
            Some(Server::new(format!("vault-{number}"), Role::Vault { cluster_port }, port))
        };
        let nodes: Vec<Server> = (1..=settings.nodes).map_while(node).collect();
        let extra = |extra: &Extra| {
            let port = ports.next()?;
            Some(match extra {
                Extra::Postgres => Server::new("postgres".to_owned(), Role::Postgres, port),
                Extra::Kubernetes => Server::new(
                    kubernetes::NAME.to_owned(),
                    Role::Kubernetes { etcd_port: ports.next()? },
                    port,
                ),
            })
        };
        let extras: Vec<Server> = settings.with.iter().map_while(extra).collect();
        let servers = aws.into_iter().chain(nodes).chain(extras).collect();
        Self { format: FORMAT, servers, settings, audited }
    }

    /// Reads the record; `None` where there is none.
    pub fn load(home: &Home) -> Result<Option<Self>, Error> {
        let path = home.state();
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.doing(|| format!("read {}", path.display()))?,
        };
        let unreadable = |detail: String| Error::State { path: path.clone(), detail };
        let state: Self = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if state.format != FORMAT {
            return Err(unreadable(format!(
                "it has format {}, this groundwork knows {FORMAT}",
                state.format
            )));
        }
        Ok(Some(state))
    }

    /// Writes the record.
    pub fn save(&self, home: &Home) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::from);
        write_private(&home.state(), &text.doing(|| format!("write {}", home.state().display()))?)
    }

    /// The URL of a server.
    pub fn url(&self, server: &Server) -> String {
        let scheme = match server.role {
            Role::Postgres => "postgres",
            Role::Kubernetes { .. } => "https",
            Role::Vault { .. } if self.settings.tls => "https",
            Role::Vault { .. } | Role::Aws => "http",
        };
        format!("{scheme}://127.0.0.1:{}", server.port)
    }

    /// The Vault nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.is_vault())
    }

    /// The AWS emulator.
    pub fn aws(&self) -> Option<&Server> {
        self.servers.iter().find(|server| server.role == Role::Aws)
    }

    /// PostgreSQL, if the sandbox has it.
    pub fn postgres(&self) -> Option<&Server> {
        self.servers.iter().find(|server| server.role == Role::Postgres)
    }

    /// The Kubernetes API server.
    pub fn kubernetes(&self) -> Option<&Server> {
        self.servers.iter().find(|server| matches!(server.role, Role::Kubernetes { .. }))
    }

    /// Whether any server runs.
    pub fn any_running(&self) -> bool {
        self.servers.iter().any(Server::is_running)
    }

    /// Ends every server that runs and forgets its process.
    pub async fn stop(&mut self) -> Result<(), Error> {
        let stops = self.servers.iter().map(async |server| match &server.process {
            Some(process) if !process.stop().await => {
                Err(Error::Undying { server: server.name.clone(), pid: process.pid })
            }
            _ => Ok(()),
        });
        futures::future::join_all(stops).await.into_iter().collect::<Result<(), Error>>()?;
        self.servers.iter_mut().for_each(|server| server.process = None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> State {
        let settings = Settings { nodes: 3, tls: true, ..Settings::default() };
        State::new(settings, true, &[1, 2, 3, 4, 5, 6, 7])
    }

    #[test]
    fn every_server_has_its_ports() {
        let state = three();
        let names: Vec<&str> = state.servers.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, ["aws", "vault-1", "vault-2", "vault-3"]);
        let ports: Vec<u16> = state.servers.iter().flat_map(Server::ports).collect();
        assert_eq!(ports, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(ports.len(), State::ports_needed(&state.settings));
        assert_eq!(state.url(&state.servers[0]), "http://127.0.0.1:1");
        assert_eq!(state.url(&state.servers[3]), "https://127.0.0.1:6");
    }

    #[test]
    fn kubernetes_comes_last_and_speaks_tls() {
        let with = [Extra::Kubernetes].into();
        let settings = Settings { with, ..Settings::default() };
        assert_eq!(State::ports_needed(&settings), 5);
        let state = State::new(settings, true, &[1, 2, 3, 4, 5]);
        let server = state.kubernetes().unwrap();
        assert_eq!((server.name.as_str(), server.ports()), ("kubernetes", vec![4, 5]));
        assert_eq!(state.url(server), "https://127.0.0.1:4");
        assert_eq!((state.nodes().count(), state.aws().unwrap().port), (1, 1));
    }

    #[test]
    fn state_survives_a_save_and_load() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        assert_eq!(State::load(&home).unwrap(), None);
        let mut state = three();
        state.servers[0].process = Process::of(i32::try_from(std::process::id()).unwrap());
        state.save(&home).unwrap();
        assert_eq!(State::load(&home).unwrap(), Some(state.clone()));
        assert!(state.any_running());
    }

    #[test]
    fn unreadable_state_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        let mut newer = three();
        newer.format = 2;
        newer.save(&home).unwrap();
        assert!(State::load(&home).unwrap_err().to_string().contains("format 2"));
        fs::write(home.state(), "{").unwrap();
        assert!(matches!(State::load(&home), Err(Error::State { .. })));
    }
}
