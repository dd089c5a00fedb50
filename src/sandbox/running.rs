//! A sandbox that is up.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::aws_key::AwsKey;
use super::environment;
use super::gate::Tie;
use super::home::Home;
use super::state::{Server, State};

/// A sandbox that is up. Dropping it leaves the servers running, unless they are tied.
#[derive(Debug)]
pub struct Running {
    home: Home,
    state: State,
    key: AwsKey,
    /// The folder of the program that plays Vault, which is its command line too.
    tools: PathBuf,
    /// Whether no server ran before.
    pub started: bool,
    _ties: Vec<Tie>,
}

impl Running {
    pub(super) fn new(
        home: Home,
        state: State,
        key: AwsKey,
        tools: PathBuf,
        ties: Vec<Tie>,
        started: bool,
    ) -> Self {
        Self { home, state, key, tools, started, _ties: ties }
    }

    /// The folder that `down` and `status` take.
    pub fn dir(&self) -> PathBuf {
        self.home.root().to_owned()
    }

    /// The URL of the AWS emulator.
    pub fn aws_url(&self) -> String {
        self.state.aws().map(|aws| self.state.url(aws)).unwrap_or_default()
    }

    /// The URLs of the Vault nodes; the others join the first.
    pub fn vault_addrs(&self) -> Vec<String> {
        self.state.nodes().map(|node| self.state.url(node)).collect()
    }

    /// The certificate authority of the Vault nodes, when they speak TLS.
    pub fn ca_cert(&self) -> Option<PathBuf> {
        self.state.settings.tls.then(|| self.home.ca_cert())
    }

    /// The kubeconfig of the administrator, when the sandbox has Kubernetes.
    pub fn kubeconfig(&self) -> Option<PathBuf> {
        self.state.kubernetes().map(|_| self.home.kubeconfig())
    }

    /// Vault's audit log, when its configuration declares one; all nodes write to it.
    pub fn audit_log(&self) -> Option<PathBuf> {
        self.state.audited.then(|| self.home.audit_log())
    }

    /// Each server's name and process id.
    pub fn pids(&self) -> Vec<(String, i32)> {
        let pid = |server: &Server| Some((server.name.clone(), server.process.as_ref()?.pid));
        self.state.servers.iter().filter_map(pid).collect()
    }

    /// The variables that lead AWS and Vault clients here.
    pub fn environment(&self) -> Vec<(String, String)> {
        environment::variables(&self.home, &self.state, Some(&self.key))
    }

    /// The folder of Vault's command line (`bao`, or what the sandbox was given), for the end of `PATH`.
    pub fn tools(&self) -> &Path {
        &self.tools
    }

    /// Sets [`Self::environment`] for a command and removes every other AWS and Vault variable
    /// from it, so that the command cannot reach real servers or use real credentials. The command finds
    /// [`Self::tools`] behind everything else on its `PATH`.
    pub fn apply_to(&self, command: &mut Command) {
        environment::apply(&self.environment(), command);
        environment::add_to_path(&self.tools, command);
    }
}
