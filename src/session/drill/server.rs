//! The servers of a drill: started; one initialised, restored into, and opened; the others joined to it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::stand_in::StandIn;
use super::{Proven, of_sandbox, scope};
use crate::apply::by_command;
use crate::custody::KeyService;
use crate::drill;
use crate::error::{Error, ErrorKind, Result};
use crate::providers::vault::{NodeClient, VaultClient};
use crate::sandbox::{self, Enclosed, EnclosedSeal, Enclosing, Enclosure, Room};
use crate::secret::Secret;
use crate::snapshot::{Seal, Vitals};

/// How often the server is asked.
const POLL: Duration = Duration::from_millis(100);
/// How long it may take to restore.
const RESTORES_WITHIN: Duration = Duration::from_mins(15);
/// How long it may take to serve once it is open.
const SERVES_WITHIN: Duration = Duration::from_mins(1);

/// Servers that were started.
pub(super) struct Started {
    /// The one that gets the backup.
    pub(super) vault: VaultClient,
    pub(super) node: NodeClient,
    /// The empty ones that join it afterwards.
    pub(super) others: Vec<(VaultClient, NodeClient)>,
    version: String,
    isolation: &'static str,
    enclosure: Enclosure,
    stand_in: Option<StandIn>,
}

/// The answer of a server that was initialised, to be thrown away.
#[derive(Deserialize)]
struct Made {
    #[serde(default)]
    keys_base64: Vec<String>,
    root_token: String,
}

/// Starts `servers` empty ones for a backup; a single one on a machine that cannot confine them.
///
/// # Errors
/// When one does not start; when the backup must not be restored on this machine, or into this server.
pub(super) async fn start(
    enclosing: &Enclosing,
    folder: &Path,
    proven: &Proven,
    servers: usize,
) -> Result<Started> {
    let room = || Room::within(folder).map_err(|error| of_sandbox(&error));
    let own = room()?;
    let (seal, stand_in) = seal(&own, proven)?;
    let how = Enclosed { seal, confined: true, servers };
    let (enclosure, isolation) = match enclosing.start(own, &how).await {
        Ok(enclosure) => (
            enclosure,
            "it had a network and a root folder of its own, with nothing else of this machine in them",
        ),
        Err(refused @ sandbox::Error::Unconfined { .. }) => {
            let mut reaching = scope::reaching(&proven.opened.contents);
            if stand_in.is_some() {
                reaching.push("its seal".to_owned());
            }
            if !reaching.is_empty() {
                let message = format!(
                    "restored, this backup would act on the world ({}), and this machine does not keep a server from \
                     it: {refused}",
                    reaching.join(", ")
                );
                return Err(Error::new(ErrorKind::Rejected, "drill", message)
                    .advice("run the drill where that is allowed"));
            }
            let open = enclosing.start(room()?, &Enclosed { confined: false, ..how }).await;
            (open.map_err(|error| of_sandbox(&error))?, "nothing in the backup reaches out of it")
        }
        Err(error) => return Err(of_sandbox(&error)),
    };
    let clients = enclosure.sockets().into_iter().map(|(socket, address)| {
        let vault = VaultClient::of_socket(&socket, &address, Arc::default())?;
        let node = vault.nodes().swap_remove(0);
        Ok((vault, node))
    });
    let mut clients = clients.collect::<Result<Vec<_>>>()?;
    let (vault, node) = clients.remove(0);
    let version = node.seal_status().await?.version;
    if let Some(newest) = proven.vitals.newer_than(&version) {
        let message = format!(
            "the backup was written by version {newest}, and the drill's server is version {version}: it would take it \
             and never become active"
        );
        return Err(Error::new(ErrorKind::Rejected, "drill", message)
            .advice(format!("name a server of version {newest} or newer with `--vault`")));
    }
    Ok(Started { vault, node, others: clients, version, isolation, enclosure, stand_in })
}

/// The seal of the server, which must be that of the backup, and what answers for its service.
fn seal(room: &Room, proven: &Proven) -> Result<(Option<EnclosedSeal>, Option<StandIn>)> {
    let key = proven.vitals.root.key_id.clone();
    match (&proven.vitals.seal, &proven.keys.seal_key, &proven.keys.service) {
        (Seal::Shamir, _, _) => Ok((None, None)),
        (Seal::Static, Some(secret), _) => {
            let secret = Secret::from(BASE64_STANDARD.encode(secret.expose_bytes()));
            Ok((Some(EnclosedSeal::Static { id: key, key: secret }), None))
        }
        (Seal::AwsKms, _, Some(service)) => {
            let stand_in = StandIn::serve(&room.kms(), &key, Arc::clone(service))?;
            Ok((Some(EnclosedSeal::Kms { key }), Some(stand_in)))
        }
        (seal, _, _) => {
            let message = format!(
                "the backup is proven, and no server can be opened with it here: its seal is {seal}, whose service the \
                 drill's server does not reach"
            );
            Err(Error::new(ErrorKind::Rejected, "drill", message)
                .advice("restore it into a server with that seal, in an account of its own"))
        }
    }
}

impl Started {
    /// The service that opens what this server encrypts, where its seal has one.
    pub(super) fn key_service(&self) -> Option<Arc<dyn KeyService>> {
        self.stand_in.as_ref().map(StandIn::service)
    }

    /// The server as the report has it.
    pub(super) fn facts(&self) -> drill::Server {
        drill::Server { version: self.version.clone(), isolation: self.isolation.to_owned() }
    }

    /// Initialises it in the shape of the backup's shares: restored into any other, it would not take the shares of
    /// the backup before its process is started again.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn initialise(&self, vitals: &Vitals) -> Result<()> {
        let (permit, config) = (by_command(), &vitals.config);
        let body = match vitals.seal {
            Seal::Shamir => {
                json!({ "secret_shares": config.shares, "secret_threshold": config.threshold })
            }
            _ => json!({ "recovery_shares": 0, "recovery_threshold": 0 }),
        };
        let answer = self.node.init(&permit, &body).await?;
        // The serde error is left out: it could quote the answer.
        let made: Made = serde_json::from_slice(answer.expose_bytes()).map_err(|_| {
            Error::new(ErrorKind::Unknown, "POST sys/init", "the answer is not that of a Vault")
        })?;
        let shares: Vec<Secret> = made.keys_base64.into_iter().map(Secret::from).collect();
        self.enter(&shares).await?;
        self.await_active("it does not become active").await?;
        self.vault.set_token(Secret::from(made.root_token)).await;
        Ok(())
    }

    /// Restores the backup, and waits until the server has read it. Returns whether it is sealed then.
    ///
    /// # Errors
    /// When the server refuses, or does not come back.
    pub(super) async fn restore(&self, file: &File) -> Result<bool> {
        let before = self.node.leader().await?.active_time;
        self.vault.restore_snapshot(&by_command(), &self.node, file, true).await?;
        let started = Instant::now();
        loop {
            // Both hang until the server has gone through what it was given.
            if self.node.seal_status().await.is_ok_and(|status| status.sealed) {
                return Ok(true);
            }
            let leader = self.node.leader().await.ok().filter(|leader| leader.is_self);
            if leader.is_some_and(|leader| leader.active_time != before) {
                return Ok(false);
            }
            if started.elapsed() > RESTORES_WITHIN {
                return Err(self.stuck("it has taken the backup and does not come back"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Opens it with the shares of the backup, and waits until it serves.
    ///
    /// # Errors
    /// When the shares do not open it, or it does not serve.
    pub(super) async fn unseal(&self, sealed: bool, shares: &[Secret]) -> Result<()> {
        if sealed {
            self.enter(shares).await?;
        }
        self.await_active("it is open and never becomes active").await?;
        self.vault.reset_readiness().await;
        self.vault.clear_token().await;
        Ok(())
    }

    async fn enter(&self, shares: &[Secret]) -> Result<()> {
        let permit = by_command();
        let mut status = self.node.seal_status().await?;
        for share in shares {
            if status.sealed {
                status = self.node.unseal(&permit, share).await?;
            }
        }
        match status.sealed {
            true => Err(self.stuck("the key shares do not open it")),
            false => Ok(()),
        }
    }

    async fn await_active(&self, otherwise: &str) -> Result<()> {
        let started = Instant::now();
        while !self.node.leader().await.is_ok_and(|leader| leader.is_self) {
            if started.elapsed() > SERVES_WITHIN {
                return Err(self.stuck(otherwise));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn stuck(&self, why: &str) -> Error {
        let complaints = self.enclosure.complaints();
        let log =
            if complaints.is_empty() { String::new() } else { format!("; its log says:\n{complaints}") };
        Error::new(ErrorKind::Unavailable, "restore into the drill's server", format!("{why}{log}"))
    }
}
