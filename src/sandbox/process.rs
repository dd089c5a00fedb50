//! Identifies our processes beyond doubt.
//!
//! The system reuses a process id once its process has ended. A record therefore has the start time
//! too, and the program once it is known; the sandbox only signals a process that matches all of
//! them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

/// Time to end in good order before being killed.
const GRACE: Duration = Duration::from_secs(8);

/// A process, by more than its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The process id, which is its process group's too.
    pub pid: i32,
    started: String,
    executable: Option<PathBuf>,
}

impl Process {
    /// The living process with this id. Does not record its program, because the process may not have
    /// started the final one yet.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, started: look(pid)?.started, executable: None })
    }

    /// Adds the program that the process runs now.
    pub fn identify(&mut self) {
        self.executable = executable(self.pid);
    }

    /// Whether this very process lives.
    pub fn is_running(&self) -> bool {
        let same_program = || self.executable.is_none() || executable(self.pid) == self.executable;
        look(self.pid).is_some_and(|seen| seen.started == self.started) && same_program()
    }

    /// Ends the process and its group; true once it is gone.
    pub async fn stop(&self) -> bool {
        self.end(&[Signal::TERM, Signal::KILL]).await
    }

    /// As [`Self::stop`], without giving it time to put anything in order.
    pub async fn kill(&self) -> bool {
        self.end(&[Signal::KILL]).await
    }

    /// As [`Self::kill`], for where nothing can be awaited. Waits a moment until it is gone.
    pub fn kill_now(&self) {
        if self.signal(Signal::KILL) {
            let deadline = Instant::now() + GRACE;
            while self.is_running() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    async fn end(&self, signals: &[Signal]) -> bool {
        for &signal in signals {
            if self.signal(signal) {
                self.wait(GRACE).await;
            }
        }
        !self.is_running()
    }

    /// Signals the process's group if the process is ours; returns whether it was.
    fn signal(&self, signal: Signal) -> bool {
        let ours = self.is_running();
        if ours && let Some(pid) = Pid::from_raw(self.pid) {
            // It fails if the process ends in this moment, which is the goal anyway.
            let _ = kill_process_group(pid, signal);
        }
        ours
    }

    async fn wait(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.is_running() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    started: String,
}

/// The living process with this id; one that only waits to be reaped has ended.
fn look(pid: i32) -> Option<Seen> {
    if Path::new("/proc/self/stat").exists() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        from_stat(&stat, boot.trim())
    } else {
        from_ps(&ps(pid)?)
    }
}

/// Reads `/proc/PID/stat`. The second field is the program's name in brackets and may itself
/// hold spaces and brackets, so the count begins after the last one.
fn from_stat(stat: &str, boot: &str) -> Option<Seen> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    // Field 22: clock ticks since the machine started, hence the start's own name beside it.
    let ticks = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| Seen { started: format!("{boot}:{ticks}") })
}

fn ps(pid: i32) -> Option<String> {
    let output = Command::new("/bin/ps")
        .args(["-o", "lstart=", "-o", "stat=", "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()
}

/// Reads `ps -o lstart= -o stat=`: a date and the state.
fn from_ps(line: &str) -> Option<Seen> {
    let (started, state) = line.trim().rsplit_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| Seen { started: started.trim().to_owned() })
}

/// The program of a process, where the system reports it. A program replaced on disk still counts as
/// the same.
fn executable(pid: i32) -> Option<PathBuf> {
    let link = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = link.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(PathBuf::from);
    Some(name.unwrap_or(link))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4711 (a) b (c) S 1 4711 4711 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 9 0 98765 1 2 3";

    #[test]
    fn start_time_is_field_22_for_any_name() {
        assert_eq!(from_stat(STAT, "boot").unwrap().started, "boot:98765");
    }

    #[test]
    fn zombie_process_counts_as_ended() {
        assert_eq!(from_stat(&STAT.replace(") S ", ") Z "), "boot"), None);
        assert_eq!(from_ps("Sun Nov 22 03:14:52 2026 Z+\n"), None);
        assert_eq!(from_ps("Sun Nov 22 03:14:52 2026 Ss\n").unwrap().started, "Sun Nov 22 03:14:52 2026");
        assert_eq!(from_ps("\n"), None);
    }

    #[test]
    fn process_with_reused_pid_is_not_ours() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut ours = Process::of(pid).unwrap();
        ours.identify();
        assert!(ours.is_running());
        let earlier = Process { started: "boot:1".to_owned(), ..ours.clone() };
        let other = Process { executable: Some("/bin/other".into()), ..ours };
        assert!(!earlier.is_running() && !other.is_running());
        // It would kill this very test if it trusted the number.
        assert!(!earlier.signal(Signal::KILL) && !other.signal(Signal::KILL));
    }
}
