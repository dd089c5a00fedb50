//! Reports the state of a sandbox.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Error;
use super::aws_key::AwsKey;
use super::environment;
use super::health::{Health, Prober};
use super::home::Home;
use super::state::{Server, State};

/// A sandbox as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its folder.
    pub dir: PathBuf,
    /// Whether every server answers.
    pub up: bool,
    /// Its servers; none if it is down.
    pub servers: Vec<ServerStatus>,
    /// The variables that lead clients to it.
    pub environment: serde_json::Map<String, serde_json::Value>,
}

/// One server as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// `aws`, `vault-1` …
    pub name: String,
    /// Its URL.
    pub address: String,
    /// Its state.
    pub health: Health,
    /// Its process, while that lives.
    pub pid: Option<i32>,
    /// The file with its output.
    pub log: PathBuf,
}

/// Asks every server for its state. Changes nothing and takes no lock.
pub async fn status(dir: &Path) -> Result<Status, Error> {
    let home = Home::at(dir)?;
    let dir = home.root().to_owned();
    // A persisting sandbox keeps its record while it is down.
    let Some(state) = State::load(&home)?.filter(|state| !state.servers.iter().all(is_down)) else {
        return Ok(Status { dir, up: false, servers: Vec::new(), environment: serde_json::Map::new() });
    };
    let prober = Prober::new(&home, &state)?;
    let looks = state.servers.iter().map(|server| look(&home, &state, &prober, server));
    let servers = futures::future::join_all(looks).await;
    let environment = environment::variables(&home, &state, AwsKey::load(&home)?.as_ref());
    let environment = environment.into_iter().map(|(name, value)| (name, value.into())).collect();
    let up = servers.iter().all(|server| server.health.answers());
    Ok(Status { dir, up, servers, environment })
}

fn is_down(server: &Server) -> bool {
    server.process.is_none()
}

async fn look(home: &Home, state: &State, prober: &Prober, server: &Server) -> ServerStatus {
    let health = prober.health(state, server).await;
    let pid = server.process.as_ref().map(|process| process.pid).filter(|_| health != Health::Stopped);
    ServerStatus {
        name: server.name.clone(),
        address: state.url(server),
        health,
        pid,
        log: home.log(&server.name),
    }
}
