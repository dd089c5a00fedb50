//! Starts servers and waits until they answer.

use std::fs;
use std::time::{Duration, Instant};

use super::Error;
use super::aws_key::AwsKey;
use super::gate::{Gate, Tie};
use super::health::Prober;
use super::home::Home;
use super::kms;
use super::kubernetes;
use super::options::Seal;
use super::postgres;
use super::programs::Programs;
use super::state::{Role, Server, State};
use crate::event::Events;

const PATIENCE: Duration = Duration::from_mins(1);
const TAIL_LINES: usize = 12;

/// Brings the servers of one record up.
#[derive(Debug)]
pub struct Starter<'a> {
    /// The sandbox's folder.
    pub home: &'a Home,
    /// The programs to start.
    pub programs: &'a Programs,
    /// The servers die with this process.
    pub tied: bool,
    /// The receiver of progress messages.
    pub events: &'a Events,
}

impl Starter<'_> {
    /// Starts every server that does not run and waits until all answer. The returned ties keep tied
    /// servers alive.
    pub async fn start(&self, state: &mut State) -> Result<Vec<Tie>, Error> {
        let missing: Vec<usize> =
            (0..state.servers.len()).filter(|&index| !state.servers[index].is_running()).collect();
        let logs = Logs::now(self.home, state);
        let mut ties = Vec::new();
        for &index in &missing {
            if state.servers[index].is_vault() {
                self.unseal_key(state, &logs).await?;
            }
            ties.extend(self.spawn(state, index).await?);
        }
        self.healthy(state, &logs, state.servers.iter().collect()).await?;
        if let (Some(server), Some(installation)) = (state.kubernetes(), self.programs.kubernetes()) {
            kubernetes::install(self.home, &state.url(server), installation).await?;
        }
        for &index in &missing {
            self.events.progress(format!("{} answers", state.servers[index].name));
        }
        // By now each process has become its server.
        state.servers.iter_mut().filter_map(|server| server.process.as_mut()).for_each(|process| {
            process.identify();
        });
        state.save(self.home)?;
        Ok(ties)
    }

    /// Records the process before it becomes the server.
    async fn spawn(&self, state: &mut State, index: usize) -> Result<Option<Tie>, Error> {
        let server = &state.servers[index];
        self.events.progress(format!("starting {} on 127.0.0.1:{}", server.name, server.port));
        self.programs.make_data(self.home, server).await?;
        let gate = Gate::close(&self.programs.launch(self.home, state, server)?, self.tied)?;
        state.servers[index].process = Some(gate.process.clone());
        state.save(self.home)?;
        Ok(gate.open().await)
    }

    /// A Vault that is unsealed by KMS does not start before its key is there.
    async fn unseal_key(&self, state: &State, logs: &Logs) -> Result<(), Error> {
        let (Seal::AwsKms { key }, Some(aws)) = (&state.settings.seal, state.aws()) else { return Ok(()) };
        self.healthy(state, logs, vec![aws]).await?;
        let unguarded = || Error::Unguarded { dir: self.home.root().to_owned() };
        let credentials = AwsKey::load(self.home)?.ok_or_else(unguarded)?;
        kms::ensure_key(&state.url(aws), &credentials, key).await
    }

    async fn healthy(&self, state: &State, logs: &Logs, servers: Vec<&Server>) -> Result<(), Error> {
        let prober = Prober::new(self.home, state)?;
        let waits = servers.into_iter().map(|server| self.wait(&prober, state, logs, server));
        futures::future::try_join_all(waits).await.map(drop)
    }

    async fn wait(&self, prober: &Prober, state: &State, logs: &Logs, server: &Server) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The log proves that the server itself listens: another program may have taken the port.
            if logs.is_listening(self.home, server) && prober.health(state, server).await.answers() {
                return Ok(());
            }
            let log = self.home.log(&server.name);
            if !server.is_running() {
                let tail = logs.tail(self.home, server);
                return Err(Error::Died { server: server.name.clone(), log, tail });
            }
            if Instant::now() > deadline {
                let (server, address) = (server.name.clone(), state.url(server));
                return Err(Error::NotHealthy { server, address, seconds: PATIENCE.as_secs(), log });
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

/// The length of each log before its server was started; `None` if the server ran before.
#[derive(Debug)]
struct Logs(Vec<(String, Option<u64>)>);

impl Logs {
    fn now(home: &Home, state: &State) -> Self {
        let length = |server: &Server| fs::metadata(home.log(&server.name)).map_or(0, |file| file.len());
        let start = |server: &Server| (!server.is_running()).then(|| length(server));
        Self(state.servers.iter().map(|server| (server.name.clone(), start(server))).collect())
    }

    /// The server's output since it was started; `None` if it ran before.
    fn since(&self, home: &Home, server: &Server) -> Option<String> {
        let (_, start) = self.0.iter().find(|(name, _)| *name == server.name)?;
        let start = usize::try_from((*start)?).ok()?;
        let text = fs::read(home.log(&server.name)).unwrap_or_default();
        Some(String::from_utf8_lossy(text.get(start..).unwrap_or_default()).into_owned())
    }

    /// Whether the server's log says that it listens on its port.
    fn is_listening(&self, home: &Home, server: &Server) -> bool {
        let words = match server.role {
            Role::Aws => "Running on http",
            Role::Vault { .. } => "server started!",
            Role::Postgres => postgres::LISTENING,
            Role::Kubernetes { .. } => "Serving securely on",
        };
        self.since(home, server).is_none_or(|text| text.contains(words))
    }

    fn tail(&self, home: &Home, server: &Server) -> String {
        let text = self.since(home, server).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}
