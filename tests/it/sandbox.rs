//! The sandbox, with its real servers: up, down, and what remains when it is killed in between.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use groundwork::event::Events;
use groundwork::sandbox::{self, Error, Health, Options, Running, Settings};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

/// Tied, so that a failing test leaves no server behind.
fn options(dir: &TempDir) -> Options {
    Options { tied: true, ..Options::new(dir.path().join("sandbox")) }
}

async fn up(options: &Options) -> Running {
    sandbox::up(options, &Events::default()).await.unwrap()
}

async fn down(options: &Options) -> bool {
    sandbox::down(&options.dir, true, &Events::default()).await.unwrap()
}

async fn health(dir: &Path) -> Vec<Health> {
    sandbox::status(dir).await.unwrap().servers.iter().map(|server| server.health).collect()
}

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).unwrap()
}

fn alive(number: i32) -> bool {
    test_kill_process(pid(number)).is_ok()
}

/// Kills a server of ours and waits until it is gone.
async fn kill(number: i32) {
    kill_process(pid(number), Signal::KILL).unwrap();
    gone(number).await;
}

/// Waits until a process is gone: one that has ended is there until its parent, which is this test,
/// has been told.
async fn gone(number: i32) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while alive(number) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    !alive(number)
}

#[tokio::test]
async fn up_is_idempotent_and_down_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir);
    let first = up(&options).await;
    assert!(first.started);
    assert_eq!(health(&options.dir).await, [Health::Healthy, Health::Uninitialised]);

    let second = up(&options).await;
    assert!(!second.started);
    assert_eq!(second.pids(), first.pids());
    assert_eq!(second.environment(), first.environment());

    assert!(down(&options).await);
    for (name, number) in first.pids() {
        assert!(gone(number).await, "{name} is still there");
    }
    assert_eq!(health(&options.dir).await, []);
    assert!(!down(&options).await);
}

#[tokio::test]
async fn servers_listen_on_loopback_only() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir);
    let running = up(&options).await;
    for (name, number) in running.pids() {
        let sockets = listening(number);
        assert!(!sockets.is_empty(), "{name}");
        assert!(sockets.iter().all(|address| address == LOOPBACK), "{name}: {sockets:?}");
    }
    down(&options).await;
}

/// 127.0.0.1 as `/proc/net/tcp` writes it on a little-endian machine.
const LOOPBACK: &str = "0100007F";

/// The addresses that a process listens on. An IPv6 one is never ours.
fn listening(number: i32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{number}/fd")).unwrap();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let sockets: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/net/{table}")).unwrap());
    let address = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours = fields.get(3) == Some(&"0A") && sockets.contains(&format!("socket:[{}]", fields[9]));
        ours.then(|| fields[1].split(':').next().unwrap_or_default().to_owned())
    };
    tables.iter().flat_map(|table| table.lines().filter_map(address)).collect()
}

#[tokio::test]
async fn dead_server_restarts_at_the_same_address() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir);
    let first = up(&options).await;
    let before = first.pids();
    kill(before[1].1).await;
    assert_eq!(health(&options.dir).await, [Health::Healthy, Health::Stopped]);

    let second = up(&options).await;
    let after = second.pids();
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
    assert_eq!(second.environment(), first.environment());
    down(&options).await;
}

#[tokio::test]
async fn killed_sandbox_starts_again_empty() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir);
    let first = up(&options).await;
    for (_, number) in first.pids() {
        kill(number).await;
    }
    let second = up(&options).await;
    assert!(second.started);
    assert_eq!(health(&options.dir).await, [Health::Healthy, Health::Uninitialised]);
    down(&options).await;
}

/// A process that has nothing to do with any sandbox.
struct Stranger(Child);

impl Stranger {
    fn new() -> Self {
        Self(Command::new("sleep").arg("300").spawn().unwrap())
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn process_with_reused_pid_is_left_running() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir);
    let running = up(&options).await;
    let mut stranger = Stranger::new();
    // The record of a server that died long ago, whose number somebody else has now.
    let record = options.dir.join("state.json");
    let (_, dead) = running.pids()[1].clone();
    kill(dead).await;
    let text = std::fs::read_to_string(&record).unwrap();
    let stale = text.replace(&format!("\"pid\": {dead},"), &format!("\"pid\": {},", stranger.0.id()));
    assert_ne!(text, stale);
    std::fs::write(&record, stale).unwrap();

    assert_eq!(health(&options.dir).await, [Health::Healthy, Health::Stopped]);
    down(&options).await;
    assert!(stranger.lives());
}

#[tokio::test]
async fn running_sandbox_refuses_other_settings() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir);
    let running = up(&options).await;
    let settings = Settings { tls: true, ..Settings::default() };
    let outcome = sandbox::up(&Options { settings, ..options.clone() }, &Events::default()).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("tls is false, asked was true") && error.contains("sandbox down"), "{error}");
    assert!(running.pids().iter().all(|(_, number)| alive(*number)));
    down(&options).await;
}

#[tokio::test]
async fn three_nodes_speak_tls() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.settings = Settings { nodes: 3, tls: true, ..Settings::default() };
    let running = up(&options).await;
    assert_eq!(running.vault_addrs().len(), 3);
    assert!(running.vault_addrs().iter().all(|address| address.starts_with("https://127.0.0.1:")));
    assert!(running.ca_cert().is_some_and(|path| path.exists()));
    let health = health(&options.dir).await;
    assert_eq!(health[0], Health::Healthy);
    assert_eq!(health[1..], [Health::Uninitialised; 3]);
    down(&options).await;
}

#[tokio::test]
async fn lost_server_restarts_empty_and_others_continue() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.settings.nodes = 2;
    let first = up(&options).await;
    let held = options.dir.join("data/vault-2/held");
    std::fs::write(&held, "something").unwrap();
    let lost = async |server: &str| sandbox::lose(&options.dir, server, &Events::default()).await;

    lost("vault-2").await.unwrap();
    assert_eq!(health(&options.dir).await, [Health::Healthy, Health::Uninitialised, Health::Stopped]);
    assert!(!held.exists());
    let unknown = lost("vault-3").await.unwrap_err().to_string();
    assert!(unknown.contains("no server `vault-3`; it has aws, vault-1, vault-2"), "{unknown}");

    let second = up(&options).await;
    assert_eq!(health(&options.dir).await, [Health::Healthy, Health::Uninitialised, Health::Uninitialised]);
    assert_eq!(second.environment(), first.environment());
    assert_eq!(second.pids()[..2], first.pids()[..2]);
    down(&options).await;
    assert!(matches!(lost("vault-2").await, Err(Error::Down { .. })));
}

#[tokio::test]
async fn persistent_sandbox_keeps_its_environment() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.settings.persist = true;
    let first = up(&options).await;
    let environment = first.environment();
    sandbox::down(&options.dir, false, &Events::default()).await.unwrap();
    assert_eq!(health(&options.dir).await, []);
    let second = up(&options).await;
    assert_eq!(second.environment(), environment);
    assert!(second.started);
    down(&options).await;
}

#[tokio::test]
async fn concurrent_starts_share_one_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir);
    let (one, two) = tokio::join!(up(&options), up(&options));
    assert_eq!(one.pids(), two.pids());
    assert!(one.started != two.started);
    down(&options).await;
}

#[tokio::test]
async fn tied_sandbox_ends_with_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir);
    let running = up(&options).await;
    drop(running);
    let deadline = Instant::now() + Duration::from_secs(10);
    while health(&options.dir).await != [Health::Stopped, Health::Stopped] {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!down(&options).await);
}

#[tokio::test]
async fn missing_python_error_names_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.host.path = dir.path().into();
    let error = sandbox::up(&options, &Events::default()).await.unwrap_err();
    assert!(matches!(error, Error::NoPython { .. }));
    assert!(error.to_string().contains("apt install python3"), "{error}");
}
