//! A folder with a plan, a sandbox of its own, and the program to run over both.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use groundwork::event::Events;
use groundwork::sandbox::{self, Options, Running, Settings};
use serde_json::Value;

/// A sandbox and a folder of plans, both gone when the test ends.
pub struct TestEnvironment {
    /// Where plans are; also the program's working directory.
    pub folder: PathBuf,
    /// The servers.
    pub sandbox: Running,
    _temporary: tempfile::TempDir,
}

impl TestEnvironment {
    /// One Vault node, no TLS.
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// Servers of these settings.
    pub fn with(settings: Settings) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = temporary.path().join("plans");
        std::fs::create_dir(&folder).expect("a folder for plans");
        let mut options = Options::new(temporary.path().join("sandbox"));
        options.settings = settings;
        options.tied = true;
        let sandbox = block_on(sandbox::up(&options, &Events::default())).expect("the sandbox starts");
        Self { folder, sandbox, _temporary: temporary }
    }

    /// Writes a file beside the plans.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, text).expect("written");
        path
    }

    /// The program with these arguments, led to the sandbox.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_groundwork"));
        command.args(arguments).current_dir(&self.folder).env("NO_COLOR", "1").env_remove("CI");
        self.sandbox.apply_to(&mut command);
        command
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    /// `plan --format json`.
    pub fn plan(&self, plan: &str) -> Value {
        let ran = self.run(&["plan", plan, "--format", "json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no changeset: {error}\n{ran:?}"))
    }

    /// `apply --yes --format json`, which must succeed: the events.
    pub fn apply(&self, plan: &str) -> Vec<Value> {
        let ran = self.run(&["apply", plan, "--yes", "--format", "json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.events()
    }
}

impl Drop for TestEnvironment {
    fn drop(&mut self) {
        // A server that is already gone is what is wanted.
        let _ = block_on(sandbox::down(&self.sandbox.dir(), true, &Events::default()));
    }
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// From a finished process.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output as one JSON value a line.
    pub fn events(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
    }
}

/// The summary event of a run.
pub fn summary(events: &[Value]) -> &Value {
    events.iter().find(|event| event["event"] == "summary").expect("a summary")
}

/// A step of a changeset.
pub fn step<'a>(changeset: &'a Value, id: &str) -> &'a Value {
    let steps = changeset["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no step {id} in {changeset:#}"))
}

/// The paths of a step's changes.
pub fn paths(step: &Value) -> Vec<&str> {
    let changes = step["changes"].as_array().expect("changes");
    changes.iter().map(|change| change["path"].as_str().expect("a path")).collect()
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                _ => found.push(entry.path()),
            }
        }
    }
    found
}

/// Runs a future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(future)
}
