//! Starts a server so that none ever runs unrecorded.
//!
//! The server's process first waits at a gate: a shell that reads one line before it becomes the
//! server. Groundwork sends the line once it has recorded the process. If groundwork is killed in
//! between, the shell reads the end of its input and ends, so that no unrecorded process is left.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};

use super::Error;
use super::error::Doing;
use super::process::Process;

const FREE: &str = r#"read -r go && exec "$@" </dev/null"#;
/// The same, with a child beside the server that waits for the end of the input, which comes when
/// groundwork ends in any way, and then kills the group of both. The system does not reuse a group's
/// number while a member lives, so this cannot kill another process.
const TIED: &str =
    r#"read -r go || exit; exec 3<&0; { read -r end <&3; kill -KILL 0; } & exec "$@" </dev/null 3<&-"#;

/// A server's command.
#[derive(Debug)]
pub struct Launch {
    /// The program, by its absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment: nothing is inherited, least of all credentials.
    pub environment: Vec<(&'static str, OsString)>,
    /// The folder it runs in.
    pub folder: PathBuf,
    /// The file that its output is appended to.
    pub log: PathBuf,
}

/// A process that will become the server.
#[derive(Debug)]
pub struct Gate {
    /// The process to record before the gate opens.
    pub process: Process,
    input: ChildStdin,
    tied: bool,
}

/// Keeps a tied server alive until dropped.
#[derive(Debug)]
pub struct Tie(#[allow(dead_code, reason = "held for its drop")] ChildStdin);

impl Gate {
    /// Starts a process that waits at the gate.
    pub fn close(launch: &Launch, tied: bool) -> Result<Self, Error> {
        let doing = || format!("start {}", launch.program.display());
        let log = File::options().create(true).append(true).open(&launch.log).doing(doing)?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", if tied { TIED } else { FREE }, "sh"])
            .arg(&launch.program)
            .args(&launch.arguments)
            .env_clear()
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&launch.folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().doing(doing)?)
            .stderr(log)
            // A group of its own: Ctrl-C in the terminal is not for the servers.
            .process_group(0)
            .spawn()
            .doing(doing)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        match (pid.and_then(Process::of), child.stdin.take()) {
            (Some(process), Some(input)) => Ok(Self { process, input, tied }),
            _ => Err(std::io::Error::other("it ended at once")).doing(doing),
        }
    }

    /// Lets the process become the server; a tied one lives as long as the returned [`Tie`].
    pub async fn open(mut self) -> Option<Tie> {
        // The health check notices a process that has ended in the meantime.
        let _ = self.input.write_all(b"go\n").await;
        self.tied.then_some(Tie(self.input))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn sleeper(dir: &tempfile::TempDir) -> Launch {
        let log = dir.path().join("log");
        let folder = dir.path().to_owned();
        let program = PathBuf::from("/bin/sleep");
        Launch { program, arguments: vec!["60".into()], environment: Vec::new(), folder, log }
    }

    async fn ends(process: &Process) -> bool {
        let deadline = Instant::now() + Duration::from_secs(5);
        while process.is_running() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        !process.is_running()
    }

    #[tokio::test]
    async fn unopened_gate_leaves_no_process_behind() {
        let dir = tempfile::tempdir().unwrap();
        for tied in [false, true] {
            let Gate { process, input, .. } = Gate::close(&sleeper(&dir), tied).unwrap();
            assert!(process.is_running());
            drop(input);
            assert!(ends(&process).await, "tied: {tied}");
        }
    }

    #[tokio::test]
    async fn untied_server_outlives_its_starter_until_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let gate = Gate::close(&sleeper(&dir), false).unwrap();
        let process = gate.process.clone();
        assert!(gate.open().await.is_none());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(process.is_running());
        assert!(process.stop().await);
    }

    #[tokio::test]
    async fn tied_server_ends_with_its_tie() {
        let dir = tempfile::tempdir().unwrap();
        let gate = Gate::close(&sleeper(&dir), true).unwrap();
        let process = gate.process.clone();
        let tie = gate.open().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(process.is_running());
        drop(tie);
        assert!(ends(&process).await);
    }
}
