//! The servers of a sweep. They outlive their cases: what they hold is thrown away, and only those
//! that cannot forget are started again.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use groundwork::event::Events;
use groundwork::sandbox::{self, Options, Running, Seal, Settings};
use rustix::process::{Pid, Signal, kill_process};

use super::call::Service;
use crate::aws::secret_key;
use crate::support::block_on;

/// One set of servers, for one case at a time.
pub struct Stage {
    /// The servers that were written to.
    pub used: BTreeSet<Service>,
    options: Options,
    /// The servers at their first start, among them the emulator, which stays.
    first: Running,
    /// Later starts, of Vault nodes alone. Each keeps alive what it has started.
    later: Vec<Running>,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Fresh servers.
    pub fn new(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Options::new(folder.path().join("sandbox"));
        (options.settings, options.tied) = (settings.clone(), true);
        let first = up(&options);
        Self { used: BTreeSet::new(), options, first, later: Vec::new(), _folder: folder }
    }

    /// The servers as they are now.
    pub fn sandbox(&self) -> &Running {
        self.later.last().unwrap_or(&self.first)
    }

    /// The same servers with nothing in them. A server that was not written to goes on as it is.
    pub fn renew(&mut self) {
        let used = std::mem::take(&mut self.used);
        // The key of such a Vault is in the emulator.
        let sealed_by_kms = matches!(self.options.settings.seal, Seal::AwsKms { .. });
        let vault = used.contains(&Service::Vault) || sealed_by_kms && !used.is_empty();
        if vault {
            self.end_vaults();
        }
        if used.contains(&Service::Aws) {
            self.empty_emulator();
        }
        if vault {
            self.start_vaults();
        }
    }

    /// Starts empty Vault nodes where they were, or all servers elsewhere if another process was faster.
    fn start_vaults(&mut self) {
        match block_on(sandbox::up(&self.options, &Events::default())) {
            Ok(running) => self.later.push(running),
            Err(sandbox::Error::PortTaken { .. }) => *self = Self::new(&self.options.settings),
            Err(error) => panic!("the sandbox starts: {error:?}"),
        }
    }

    /// Ends the Vault nodes and deletes what they held.
    fn end_vaults(&mut self) {
        for (_, pid) in self.vaults() {
            end(pid);
        }
        let audit = self.sandbox().audit_log();
        self.later.clear();
        for (name, _) in self.vaults() {
            remove(&self.options.dir.join("data").join(name));
        }
        if let Some(log) = audit {
            // A node that was never unsealed has written none.
            let _ = std::fs::remove_file(log);
        }
    }

    fn empty_emulator(&self) {
        let secret = secret_key(&self.first);
        let reset = format!("{}/_ministack/reset", self.first.aws_url());
        let answer = block_on(async { reqwest::Client::new().post(reset).bearer_auth(secret).send().await });
        answer.and_then(reqwest::Response::error_for_status).expect("the emulator forgets");
    }

    /// The first Vault node's process.
    pub fn vault_pid(&self) -> u32 {
        self.vaults().first().expect("a node").1
    }

    /// Ends the first Vault node and starts it again: it comes back sealed.
    pub fn restart_vault(&mut self) {
        end(self.vault_pid());
        self.later.push(up(&self.options));
    }

    fn vaults(&self) -> Vec<(String, u32)> {
        let pids = self.sandbox().pids().into_iter().filter(|(name, _)| name.starts_with("vault"));
        pids.map(|(name, pid)| (name, u32::try_from(pid).expect("a process id"))).collect()
    }
}

fn up(options: &Options) -> Running {
    block_on(sandbox::up(options, &Events::default())).expect("the sandbox starts")
}

fn remove(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}

/// Ends a process of ours as `kill -9` does; it may have ended by itself.
pub fn end(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = kill_process(pid, Signal::KILL);
    while Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).join("exe").read_link().is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
}
