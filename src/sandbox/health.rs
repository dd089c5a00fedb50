//! The health that the servers report.

use std::fmt;
use std::time::Duration;

use reqwest::{Certificate, Client, StatusCode};
use serde::{Deserialize, Serialize};

use super::Error;
use super::error::Doing;
use super::home::Home;
use super::kubernetes;
use super::postgres;
use super::state::{Role, Server, State};
use crate::net::http;

const PATIENCE: Duration = Duration::from_secs(5);

/// The state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its process is gone.
    Stopped,
    /// Its process lives but does not answer.
    Unreachable,
    /// It answers; the emulator, PostgreSQL and Kubernetes have no finer states.
    Healthy,
    /// A Vault node without a seal configuration.
    Uninitialised,
    /// A Vault node that cannot read its storage yet.
    Sealed,
    /// A Vault node that waits to take over.
    Standby,
    /// The Vault node that serves.
    Active,
}

impl Health {
    /// Whether the server answers as it should.
    pub fn answers(self) -> bool {
        !matches!(self, Self::Stopped | Self::Unreachable)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stopped => "stopped",
            Self::Unreachable => "unreachable",
            Self::Healthy => "healthy",
            Self::Uninitialised => "uninitialised",
            Self::Sealed => "sealed",
            Self::Standby => "standby",
            Self::Active => "active",
        })
    }
}

/// Asks the servers of one sandbox.
#[derive(Clone, Debug)]
pub struct Prober {
    client: Client,
}

impl Prober {
    /// A client that trusts only the sandbox's own certificate authorities, if it has any.
    pub fn new(home: &Home, state: &State) -> Result<Self, Error> {
        let mut builder = http::direct().timeout(PATIENCE);
        let of_vault = state.settings.tls.then(|| home.ca_cert());
        let of_kubernetes = state.kubernetes().map(|_| kubernetes::authority(home));
        let mut authorities = Vec::new();
        for path in of_vault.into_iter().chain(of_kubernetes) {
            let pem = std::fs::read(&path).doing(|| format!("read {}", path.display()))?;
            authorities.push(Certificate::from_pem(&pem)?);
        }
        if !authorities.is_empty() {
            builder = builder.tls_certs_only(authorities);
        }
        Ok(Self { client: builder.build()? })
    }

    /// The state of the server; always [`Health::Stopped`] if its process does not live.
    pub async fn health(&self, state: &State, server: &Server) -> Health {
        if !server.is_running() {
            return Health::Stopped;
        }
        let path = match server.role {
            Role::Aws => "_ministack/health",
            Role::Vault { .. } => "v1/sys/health",
            Role::Postgres if postgres::answers(server.port).await => return Health::Healthy,
            Role::Postgres => return Health::Unreachable,
            Role::Kubernetes { .. } => "readyz",
        };
        let reply = self.client.get(format!("{}/{path}", state.url(server))).send().await;
        match reply.map(|reply| reply.status()) {
            Ok(status) if server.is_vault() => vault_health(status),
            Ok(status) if status.is_success() => Health::Healthy,
            _ => Health::Unreachable,
        }
    }
}

fn vault_health(status: StatusCode) -> Health {
    match status.as_u16() {
        200 => Health::Active,
        429 | 472 | 473 => Health::Standby,
        501 => Health::Uninitialised,
        503 => Health::Sealed,
        _ => Health::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_codes_have_names() {
        let of = |code: u16| vault_health(StatusCode::from_u16(code).unwrap());
        assert_eq!(of(501), Health::Uninitialised);
        assert_eq!(of(503), Health::Sealed);
        assert_eq!(of(429), Health::Standby);
        assert_eq!(of(200), Health::Active);
        assert!(!of(500).answers());
    }
}
