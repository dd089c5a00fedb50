//! Servers, proxies and a folder for one case.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use groundwork::event::Events;
use groundwork::sandbox::{self, Options, Running, Settings};
use rustix::process::{Pid, Signal, kill_process};

use super::call::Service;
use super::canary;
use super::fault::Fault;
use super::proxy::Proxy;
use super::wire::{Place, Wire};
use crate::support::{Ran, block_on, files};

/// How long a run may take before it counts as one that never ends.
const PATIENCE: Duration = Duration::from_mins(3);
/// Seconds that a request may take; see `groundwork::providers::timeout`.
const TIMEOUT: &str = "4";

/// What is applied in a case.
#[derive(Clone, Debug)]
pub struct Subject {
    /// For the table.
    pub name: &'static str,
    /// The plan's text.
    pub plan: String,
    /// The servers.
    pub settings: Settings,
}

/// Servers, proxies and a folder for one case.
pub struct Scene {
    /// What all proxies share.
    pub wire: Arc<Wire>,
    /// The servers, without the proxies.
    pub sandbox: Running,
    earlier: Vec<Running>,
    outputs: Vec<(String, Vec<u8>)>,
    plan: PathBuf,
    environment: Vec<(String, String)>,
    options: Options,
    _proxies: Vec<Proxy>,
    folder: tempfile::TempDir,
}

impl Scene {
    /// Fresh servers and a fresh folder.
    pub fn new(subject: &Subject) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Options::new(folder.path().join("sandbox"));
        (options.settings, options.tied) = (subject.settings.clone(), true);
        let sandbox = block_on(sandbox::up(&options, &Events::default())).expect("the sandbox starts");
        let plans = folder.path().join("home/plans");
        std::fs::create_dir_all(&plans).expect("a folder");
        std::fs::create_dir_all(folder.path().join("home/tmp")).expect("a folder");
        copy_templates(folder.path());
        let plan = plans.join("plan.yaml");
        let wire =
            Arc::new(Wire::new(plans.join(".groundwork/journal").join(format!("{}.jsonl", subject.name))));
        let aws = Proxy::start(Service::Aws, &sandbox.aws_url(), &wire);
        let nodes = sandbox.vault_addrs();
        let nodes: Vec<Proxy> = nodes.iter().map(|url| Proxy::start(Service::Vault, url, &wire)).collect();
        let urls: Vec<String> = nodes.iter().map(|proxy| proxy.url.clone()).collect();
        let text = subject.plan.replace("NODES", &format!("[ {} ]", urls.join(", ")));
        std::fs::write(&plan, text).expect("written");
        let environment = vec![
            ("AWS_ENDPOINT_URL".to_owned(), aws.url.clone()),
            ("VAULT_ADDR".to_owned(), urls[0].clone()),
            ("GROUNDWORK_VAULT_NODES".to_owned(), urls.join(",")),
        ];
        let proxies = nodes.into_iter().chain([aws]).collect();
        Self {
            wire,
            sandbox,
            earlier: Vec::new(),
            outputs: Vec::new(),
            plan,
            environment,
            options,
            _proxies: proxies,
            folder,
        }
    }

    /// Applies the plan; this goes wrong on the way.
    pub fn apply(&mut self, planned: Option<(Place, Fault)>) -> Ran {
        self.run(&["apply", "--yes"], planned, &[])
    }

    /// Runs the program over the plan with these variables.
    pub fn run(
        &mut self,
        words: &[&str],
        planned: Option<(Place, Fault)>,
        variables: &[(&str, String)],
    ) -> Ran {
        self.wire.begin(planned);
        let mut command = self.command(words);
        command.envs(variables.iter().map(|(name, value)| (*name, value)));
        let child = command.spawn().expect("the program starts");
        let pid = child.id();
        self.wire.watch(pid);
        let (done, finished) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let output = child.wait_with_output().expect("its output");
            // Nobody listens when the patience has ended.
            let _ = done.send(());
            output
        });
        if finished.recv_timeout(PATIENCE).is_err() {
            end(pid);
        }
        let ran = Ran::of(waiting.join().expect("a thread"));
        for (name, text) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
            self.outputs.push((format!("{name} of {}", words.join(" ")), text.clone().into_bytes()));
        }
        ran
    }

    /// The program with these words before the plan's path.
    pub fn command(&self, words: &[&str]) -> Command {
        let home = self.folder.path().join("home");
        let mut command = Command::new(env!("CARGO_BIN_EXE_groundwork"));
        command.args(words).arg(&self.plan).current_dir(&home);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.sandbox.apply_to(&mut command);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("NO_COLOR", "1").env("HOME", &home).env("TMPDIR", home.join("tmp")).env_remove("CI");
        command.env(groundwork::providers::timeout::VARIABLE, TIMEOUT);
        command
    }

    /// The first Vault node's process.
    pub fn vault_pid(&self) -> u32 {
        let pids = self.sandbox.pids();
        let node = pids.iter().find(|(name, _)| name == "vault-1").expect("a node");
        u32::try_from(node.1).expect("a process id")
    }

    /// Ends the first Vault node and starts it again: it comes back sealed.
    pub fn restart_vault(&mut self) {
        end(self.vault_pid());
        let again = block_on(sandbox::up(&self.options, &Events::default())).expect("it starts again");
        // The other servers live only as long as what started them.
        self.earlier.push(std::mem::replace(&mut self.sandbox, again));
    }

    /// The folder in which the tool works.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Every file that the tool may have written, and its text.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let home = self.home();
        let read = |path: PathBuf| {
            let name = path.strip_prefix(&home).unwrap_or(&path).display().to_string();
            Some((name, std::fs::read(&path).ok()?))
        };
        let mut found: Vec<_> = files(&home).into_iter().filter_map(read).collect();
        found.sort();
        found
    }

    /// P7 over all that the tool has left anywhere.
    pub fn leaks(&self) -> Vec<String> {
        let surroundings = self.wire.surroundings();
        let (files, around) =
            (self.files(), surroundings.iter().map(|text| ("argv or environ", text.as_slice())));
        let kept = self.outputs.iter().chain(&files).map(|(name, text)| (name.as_str(), text.as_slice()));
        canary::leaks(&self.wire.secrets(), kept.chain(around))
    }
}

/// Ends a process of ours as `kill -9` does; it may have ended by itself.
pub fn end(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = kill_process(pid, Signal::KILL);
    while Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).join("exe").read_link().is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn copy_templates(folder: &Path) {
    let to = folder.join("home/templates");
    std::fs::create_dir_all(&to).expect("a folder");
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("templates"))
        .expect("templates")
        .flatten()
    {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}
