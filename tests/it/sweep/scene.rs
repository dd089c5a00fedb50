//! Servers, proxies and a folder for one case.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use groundwork::net::timeout;
use groundwork::sandbox::{Running, Settings};

use super::call::Service;
use super::canary;
use super::fault::Fault;
use super::proxy::Proxy;
use super::stage::{Stage, end};
use super::wire::{Place, Wire};
use crate::support::{Ran, copy_templates, files};

/// How long a run may take before it counts as one that never ends.
const PATIENCE: Duration = Duration::from_mins(5);
/// Seconds that a request may take, on a machine that has other things to do.
const TIMEOUT: &str = "20";
/// How much sooner the tool tries again than it does with real servers.
const HASTE: &str = "10";

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
    stage: Stage,
    outputs: Vec<(String, Vec<u8>)>,
    plan: PathBuf,
    environment: Vec<(String, String)>,
    _proxies: Vec<Proxy>,
    folder: tempfile::TempDir,
}

impl Scene {
    /// Fresh servers and a fresh folder.
    pub fn new(subject: &Subject) -> Self {
        Self::on(Stage::new(&subject.settings), subject)
    }

    /// As [`Scene::new`], on the servers of a case that is over.
    pub fn after(mut stage: Stage, subject: &Subject) -> Self {
        stage.renew();
        Self::on(stage, subject)
    }

    /// The servers, for the next case.
    pub fn into_stage(mut self) -> Stage {
        self.stage.used = self.wire.touched();
        self.stage
    }

    fn on(stage: Stage, subject: &Subject) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let plans = folder.path().join("home/plans");
        std::fs::create_dir_all(&plans).expect("a folder");
        std::fs::create_dir_all(folder.path().join("home/tmp")).expect("a folder");
        copy_templates(&folder.path().join("home/templates"));
        let plan = plans.join("plan.yaml");
        let wire =
            Arc::new(Wire::new(plans.join(".groundwork/journal").join(format!("{}.jsonl", subject.name))));
        let aws = Proxy::start(Service::Aws, &stage.sandbox().aws_url(), &wire);
        let nodes = stage.sandbox().vault_addrs();
        let nodes: Vec<Proxy> = nodes.iter().map(|url| Proxy::start(Service::Vault, url, &wire)).collect();
        let urls: Vec<String> = nodes.iter().map(|proxy| proxy.url.clone()).collect();
        let text = subject.plan.replace("NODES", &format!("[ {} ]", urls.join(", ")));
        std::fs::write(&plan, text).expect("written");
        // The relays stand for the sandbox's nodes, and get key shares as these do.
        let nodes_allowed: Vec<String> = urls.iter().map(|url| format!("node={url}")).collect();
        let environment = vec![
            ("GROUNDWORK_TRUST".to_owned(), nodes_allowed.join(",")),
            ("AWS_ENDPOINT_URL".to_owned(), aws.url.clone()),
            ("VAULT_ADDR".to_owned(), urls[0].clone()),
            ("GROUNDWORK_VAULT_NODES".to_owned(), urls.join(",")),
        ];
        let proxies = nodes.into_iter().chain([aws]).collect();
        Self { wire, stage, outputs: Vec::new(), plan, environment, _proxies: proxies, folder }
    }

    /// Sets a variable for all runs from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The servers, without the proxies.
    pub fn sandbox(&self) -> &Running {
        self.stage.sandbox()
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
        let program = std::env::var_os("SWEEP_PROGRAM");
        let mut command = Command::new(program.unwrap_or_else(|| crate::support::BINARY.into()));
        command.args(words).arg(&self.plan).current_dir(&home);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.sandbox().apply_to(&mut command);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("NO_COLOR", "1").env("HOME", &home).env("TMPDIR", home.join("tmp")).env_remove("CI");
        command.env("GROUNDWORK_CONFIG_DIR", home.join("config"));
        command.env(timeout::VARIABLE, TIMEOUT).env(timeout::HASTE, HASTE);
        command
    }

    /// Whether the servers are as they were at the beginning: the emulator got nothing but reading
    /// requests, and Vault neither did nor was it restarted.
    pub fn is_untouched(&self) -> bool {
        self.wire.touched().is_empty()
    }

    /// The first Vault node's process.
    pub fn vault_pid(&self) -> u32 {
        self.stage.vault_pid()
    }

    /// Ends the first Vault node and starts it again: it comes back sealed.
    pub fn restart_vault(&mut self) {
        self.stage.restart_vault();
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
