//! What is asked before something is written, at a terminal: a pseudo-terminal on which the test types.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;

use crate::aws::tables;
use crate::support::TestEnvironment;

/// The program at a terminal.
struct Session {
    child: Child,
    terminal: File,
    shown: String,
}

impl Session {
    fn start(environment: &TestEnvironment, arguments: &[&str]) -> Self {
        let ours: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("a name");
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let theirs = OpenOptions::new().read(true).write(true).open(path).expect("the other end");
        let end = || Stdio::from(theirs.try_clone().expect("another handle"));
        let mut command = environment.command(arguments);
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("the program starts");
        Self { child, terminal: File::from(ours), shown: String::new() }
    }

    /// Reads until `words` are shown.
    fn wait_for(&mut self, words: &str) {
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

    /// Types a line; the exit code, and everything that was shown.
    fn answer(mut self, line: &str) -> (i32, String) {
        writeln!(self.terminal, "{line}").expect("typed");
        while self.read() {}
        let code = self.child.wait().expect("it ends").code();
        (code.unwrap_or(-1), self.shown)
    }
}

/// Runs the program, types `line` once `question` is asked.
fn answered(environment: &TestEnvironment, arguments: &[&str], question: &str, line: &str) -> (i32, String) {
    let mut session = Session::start(environment, arguments);
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
fn nothing_is_written_or_removed_without_the_right_word() {
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
        assert!(ran.code == 1 && ran.stderr.contains("add --yes"), "{alone}: {ran:?}");
        assert!(note.exists() && tables(&environment) == ["gw-table"], "{alone}");
    }
    let (code, shown) = answered(&environment, &["destroy", "plan.yaml"], DESTROY, "precious");
    assert!(code == 0 && !note.exists() && tables(&environment).is_empty(), "{code} {shown}");
}

#[test]
fn what_is_not_protected_goes_with_a_yes() {
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
