//! What is asked before something is written, at a terminal: a pseudo-terminal on which the test types.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::json;

use crate::aws::tables;
use crate::support::TestEnvironment;

/// The program at a terminal.
pub struct Session {
    child: Child,
    terminal: File,
    shown: String,
}

impl Session {
    pub fn start(mut command: Command) -> Self {
        let ours: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("a name");
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let theirs = OpenOptions::new().read(true).write(true).open(path).expect("the other end");
        let end = || Stdio::from(theirs.try_clone().expect("another handle"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("the program starts");
        Self { child, terminal: File::from(ours), shown: String::new() }
    }

    /// Reads until `words` are shown.
    pub fn wait_for(&mut self, words: &str) {
        while !self.shown.contains(words) {
            assert!(self.read(), "{words:?} is never shown: {}", self.shown);
        }
    }

    /// Whether there was more; a terminal whose other end is closed gives an error.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.terminal.read(&mut buffer) {
            Ok(count @ 1..) => {
                self.shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
                true
            }
            _ => false,
        }
    }

    /// Whether the terminal shows what is typed.
    fn shows_typing(&self) -> bool {
        tcgetattr(&self.terminal).expect("a terminal").local_modes.contains(LocalModes::ECHO)
    }

    /// Types a line.
    pub fn say(&mut self, line: &str) {
        writeln!(self.terminal, "{line}").expect("typed");
    }

    /// Types a line; the exit code, and everything that was shown.
    pub fn answer(mut self, line: &str) -> (i32, String) {
        self.say(line);
        while self.read() {}
        let code = self.child.wait().expect("it ends").code();
        (code.unwrap_or(-1), self.shown)
    }
}

/// Runs the program, types `line` once `question` is asked.
fn answered(environment: &TestEnvironment, arguments: &[&str], question: &str, line: &str) -> (i32, String) {
    let mut session = Session::start(environment.command(arguments));
    session.wait_for(question);
    session.answer(line)
}

/// A table, which is protected unless a plan says otherwise, and a file.
fn environment() -> TestEnvironment {
    let environment = TestEnvironment::new();
    let plan = json!({
        "version": 1, "name": "precious", "aws": { "region": "us-east-1" },
        "steps": {
            "table": { "kind": "aws.dynamodb_table", "name": "gw-table", "protect": false,
                       "preset": "terraform_lock" },
            "note": { "kind": "file.template", "path": "note.txt", "content": "x" },
        },
    });
    environment.write("plan.yaml", &plan.to_string());
    environment
}

const APPLY: &str = "Apply these 2 changes? [y/N]";
const DESTROY: &str = "type the plan's name, precious:";

#[test]
fn apply_and_destroy_require_the_right_answer() {
    let environment = environment();
    let note = environment.folder.join("note.txt");
    for refusal in ["", "n", "precious", "yes please"] {
        let (code, shown) = answered(&environment, &["apply", "plan.yaml"], APPLY, refusal);
        assert!(code == 1 && shown.contains("nothing was changed"), "{refusal:?}: {code} {shown}");
        assert!(!note.exists() && tables(&environment).is_empty(), "{refusal:?}");
    }
    let (code, shown) = answered(&environment, &["apply", "plan.yaml"], APPLY, "y");
    assert!(code == 0 && note.exists() && tables(&environment) == ["gw-table"], "{code} {shown}");

    for refusal in ["", "y", "yes", "Precious", "precious2", "plan.yaml"] {
        let (code, shown) = answered(&environment, &["destroy", "plan.yaml"], DESTROY, refusal);
        assert!(code == 1 && shown.contains("nothing was changed"), "{refusal:?}: {code} {shown}");
        assert!(note.exists() && tables(&environment) == ["gw-table"], "{refusal:?}");
    }
    for alone in ["apply", "destroy"] {
        std::fs::write(&note, "by hand").expect("written");
        let ran = environment.run(&[alone, "plan.yaml"]);
        assert!(ran.code == 1 && ran.stderr.contains("Use --yes"), "{alone}: {ran:?}");
        assert!(note.exists() && tables(&environment) == ["gw-table"], "{alone}");
    }
    let (code, shown) = answered(&environment, &["destroy", "plan.yaml"], DESTROY, "precious");
    assert!(code == 0 && !note.exists() && tables(&environment).is_empty(), "{code} {shown}");
}

#[test]
fn unprotected_thing_is_removed_after_yes() {
    let environment = TestEnvironment::new();
    let note = environment.folder.join("note.txt");
    environment.write(
        "plan.yaml",
        "version: 1\nname: notes\nsteps: { note: { kind: file.template, path: note.txt, content: x } }\n",
    );
    let (code, shown) = answered(&environment, &["apply", "plan.yaml"], "Apply this change? [y/N]", "yes");
    assert!(code == 0 && note.exists(), "{shown}");
    let question = "Remove this one thing? [y/N]";
    let (code, shown) = answered(&environment, &["destroy", "plan.yaml"], question, "n");
    assert!(code == 1 && note.exists(), "{shown}");
    let (code, shown) = answered(&environment, &["destroy", "plan.yaml"], question, "y");
    assert!(code == 0 && !note.exists(), "{shown}");
}

/// The program at a prompt whose answer is not shown.
fn hidden(folder: &Path, plan: &str, arguments: &[&str], question: &str) -> Session {
    std::fs::write(folder.join("plan.yaml"), plan).expect("written");
    let mut command = crate::support::program();
    command.args(arguments).current_dir(folder).env("NO_COLOR", "1").env("VAULT_ADDR", "http://127.0.0.1:1");
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
    command.env("GROUNDWORK_TRUST", "aws-role=arn:aws:iam::123456789012:role/deployer");
    let mut session = Session::start(command);
    session.wait_for(question);
    session
}

#[test]
fn terminal_shows_typing_again_after_a_signal() {
    let dir = tempfile::tempdir().expect("a folder");
    let share = "version: 1\nname: p\nsteps: { m: { kind: vault.mount, path: x, type: kv } }\n";
    let code = "version: 1\nname: p\naws:\n  region: us-east-1\n  assume_role:\n    \
                role_arn: arn:aws:iam::123456789012:role/deployer\n    mfa_serial: arn:aws:iam::123456789012:mfa/me\n\
                steps: { u: { kind: aws.iam_user, name: u } }\n";
    let prompts = [
        (share, &["unseal", "plan.yaml", "--share"][..], "Share 1"),
        (code, &["plan", "plan.yaml"], "Code of the MFA device"),
        (code, &["apply", "plan.yaml", "--yes"], "Code of the MFA device"),
    ];
    for (plan, arguments, question) in prompts {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let mut session = hidden(dir.path(), plan, arguments, question);
            assert!(!session.shows_typing(), "{arguments:?}");
            kill_process(Pid::from_child(&session.child), signal).expect("it runs");
            let ended = session.child.wait().expect("it ends");
            assert!(!ended.success(), "{arguments:?} {signal:?}");
            assert!(session.shows_typing(), "{arguments:?} {signal:?}: {}", session.shown);
        }
    }
}

#[test]
fn terminal_shows_typing_again_after_an_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    let plan = "version: 1\nname: p\nsteps: { m: { kind: vault.mount, path: x, type: kv } }\n";
    let mut session = hidden(dir.path(), plan, &["unseal", "plan.yaml", "--share"], "Share 1");
    writeln!(session.terminal, "the-share-of-a-holder").expect("typed");
    session.wait_for("Share 2");
    writeln!(session.terminal).expect("typed");
    assert!(!session.child.wait().expect("it ends").success());
    assert!(session.shows_typing());
    while session.read() {}
    assert!(!session.shown.contains("the-share-of-a-holder"), "{}", session.shown);
}
