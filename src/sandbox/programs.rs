//! The servers' programs, and the command that starts each server.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::RngCore;

use super::Error;
use super::environment::REGION;
use super::error::Doing;
use super::gate::Launch;
use super::home::{Home, write_private};
use super::install::installed;
use super::kubernetes;
use super::options::{Extra, Host, Options, Seal};
use super::postgres;
use super::python::Python;
use super::requirements::EMULATOR;
use super::state::{Role, Server, State};
use super::vault_binary::{Flavour, VaultBinary};
use super::vault_config::{SealStanza, VaultConfig};
use crate::event::Events;

/// The programs, installed and ready.
#[derive(Clone, Debug)]
pub struct Programs {
    python: Python,
    emulator: PathBuf,
    vault: VaultBinary,
    /// The folder of PostgreSQL's programs, if the sandbox has it.
    postgres: Option<PathBuf>,
    /// The installation of the API server, if the sandbox has one.
    kubernetes: Option<PathBuf>,
    host: Host,
}

impl Programs {
    /// Finds the programs and installs what is missing.
    pub async fn prepare(options: &Options, events: &Events) -> Result<Self, Error> {
        let host = options.host.clone();
        let python = Python::find(&host).await?;
        let tag = format!("-{}", python.tag());
        let emulator = installed(&EMULATOR, &tag, &host, events);
        let vault = VaultBinary::find(&options.settings.vault, &host, events);
        let with_postgres = options.settings.with.contains(&Extra::Postgres);
        let postgres = with_postgres.then(|| postgres::find(&host)).transpose()?;
        let kubernetes = async {
            match options.settings.with.contains(&Extra::Kubernetes) {
                true => kubernetes::installed(&host, events).await.map(Some),
                false => Ok(None),
            }
        };
        let (emulator, vault, kubernetes) = tokio::try_join!(emulator, vault, kubernetes)?;
        Ok(Self { python, emulator, vault, postgres, kubernetes, host })
    }

    /// Whether Vault's configuration can declare the audit log.
    pub fn declares_audit(&self) -> bool {
        self.vault.flavour == Flavour::OpenBao
    }

    /// Makes the data of a server that does not do so itself.
    pub async fn make_data(&self, home: &Home, server: &Server) -> Result<(), Error> {
        match (&self.postgres, server.role) {
            (Some(programs), Role::Postgres) => postgres::initialise(home, programs, &server.name).await,
            _ => Ok(()),
        }
    }

    /// The installation of the API server, if the sandbox has one.
    pub fn kubernetes(&self) -> Option<&Path> {
        self.kubernetes.as_deref()
    }

    /// The folder with Vault's program.
    pub fn tools(&self) -> PathBuf {
        self.vault.program.parent().map(PathBuf::from).unwrap_or_default()
    }

    /// The command of a server, with its configuration written.
    pub fn launch(&self, home: &Home, state: &State, server: &Server) -> Result<Launch, Error> {
        let (program, arguments, mut environment) = match server.role {
            Role::Aws => self.emulator(home, state, server)?,
            Role::Vault { cluster_port } => self.vault(home, state, server, cluster_port)?,
            Role::Postgres => {
                let programs = self.postgres.as_deref().unwrap_or(Path::new(""));
                let (program, arguments) = postgres::command(home, programs, &server.name, server.port)?;
                (program, arguments, Vec::new())
            }
            Role::Kubernetes { etcd_port } => {
                let program = kubernetes::program(self.kubernetes().unwrap_or(Path::new("")));
                (program, kubernetes::arguments(home, server.port, etcd_port)?, Vec::new())
            }
        };
        environment.push(("PATH", self.host.path.clone()));
        environment.push(("HOME", home.root().into()));
        environment.push(("TMPDIR", home.tmp().into()));
        let (folder, log) = (home.tmp(), home.log(&server.name));
        Ok(Launch { program, arguments, environment, folder, log })
    }

    fn emulator(&self, home: &Home, state: &State, server: &Server) -> Result<Command, Error> {
        let data = home.data(&server.name)?;
        let persist = if state.settings.persist { "1" } else { "0" };
        let environment = vec![
            ("PYTHONPATH", self.emulator.clone().into()),
            ("PYTHONNOUSERSITE", "1".into()),
            ("PYTHONDONTWRITEBYTECODE", "1".into()),
            ("PYTHONUNBUFFERED", "1".into()),
            ("BIND_HOST", "127.0.0.1".into()),
            ("GATEWAY_PORT", server.port.to_string().into()),
            ("MINISTACK_REGION", REGION.into()),
            ("AUTH", "true".into()),
            // These two would listen on every interface, whatever BIND_HOST says.
            ("IOT_MTLS_ENABLED", "0".into()),
            ("SFTP_ENABLED", "0".into()),
            ("PERSIST_STATE", persist.into()),
            ("S3_PERSIST", persist.into()),
            ("STATE_DIR", data.join("state").into()),
            ("S3_DATA_DIR", data.join("s3").into()),
        ];
        let guard = home.guard();
        write_private(&guard, GUARD.as_bytes())?;
        let arguments =
            vec![guard.into(), server.port.to_string().into(), home.aws_credentials().into_os_string()];
        Ok((self.python.program.clone(), arguments, environment))
    }

    fn vault(
        &self,
        home: &Home,
        state: &State,
        server: &Server,
        cluster_port: u16,
    ) -> Result<Command, Error> {
        let others = state.nodes().filter(|other| other.name != server.name);
        let config = VaultConfig {
            flavour: self.vault.flavour,
            node: server.name.clone(),
            data: home.data(&server.name)?,
            address: state.url(server),
            port: server.port,
            cluster_port,
            tls: state.settings.tls.then(|| home.tls()),
            join: others.map(|other| state.url(other)).collect(),
            audit_log: home.audit_log(),
            api_audit: state.settings.api_audit,
            seal: seal(home, state)?,
        };
        let file = home.config(&server.name);
        write_private(&file, config.render().as_bytes())?;
        let mut option = OsString::from("-config=");
        option.push(file);
        // For the KMS seal only; the key in KMS belongs to the emulator's root.
        let environment = vec![("AWS_SHARED_CREDENTIALS_FILE", home.aws_credentials().into())];
        Ok((self.vault.program.clone(), vec!["server".into(), option], environment))
    }
}

/// Serves the emulator only to clients with the sandbox's access key.
const GUARD: &str = include_str!("guard.py");

type Command = (PathBuf, Vec<OsString>, Vec<(&'static str, OsString)>);

fn seal(home: &Home, state: &State) -> Result<Option<SealStanza>, Error> {
    Ok(match (&state.settings.seal, state.aws()) {
        (Seal::Static, _) => Some(SealStanza::Static(static_key(home)?)),
        (Seal::AwsKms { key }, Some(aws)) => {
            Some(SealStanza::AwsKms { key: key.clone(), endpoint: state.url(aws) })
        }
        _ => None,
    })
}

/// The static seal's key, the same for all nodes and for as long as the data lives.
fn static_key(home: &Home) -> Result<String, Error> {
    let path = home.seal_key();
    if !path.exists() {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        write_private(&path, BASE64_STANDARD.encode(key).as_bytes())?;
    }
    std::fs::read_to_string(&path).doing(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guard_serves_the_services_of_the_kinds_only() {
        let manifest = include_str!("../../Cargo.toml");
        let crates = manifest.lines().filter_map(|line| line.strip_prefix("aws-sdk-")?.split(' ').next());
        // The service's name in a signature, where it differs from the SDK's name.
        let mut used: Vec<&str> = crates
            .map(|name| match name {
                "cloudwatch" => "monitoring",
                "cloudwatchlogs" => "logs",
                same => same,
            })
            .collect();
        used.sort_unstable();
        let table = GUARD.split_once("SERVED = {").and_then(|(_, rest)| rest.split_once('}')).unwrap().0;
        let served: Vec<&str> = table.lines().filter_map(|line| line.trim().split('"').nth(1)).collect();
        assert_eq!(served, used);
    }
}
