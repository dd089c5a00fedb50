//! Runs that are told to stop, with real signals.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Ran, TestEnvironment, summary};

/// A ceremony, and steps behind it.
fn environment() -> (TestEnvironment, age::x25519::Identity) {
    let environment = TestEnvironment::new();
    let identity = age::x25519::Identity::generate();
    let plan = json!({
        "version": 1, "name": "signals",
        "custody": { "recipients": [ { "age": identity.to_public().to_string() } ], "stores": [ { "file": "custody" } ] },
        "steps": {
            "server": { "kind": "vault.init", "shares": 3, "threshold": 2 },
            "policy": { "kind": "vault.policy", "name": "app", "rules": { "secret/data/app/*": ["read"] } },
        },
    });
    environment.write("plan.yaml", &plan.to_string());
    (environment, identity)
}

fn command(environment: &TestEnvironment, identity: &age::x25519::Identity, format: &str) -> Command {
    use age::secrecy::ExposeSecret;
    let file = environment.write("identity.txt", identity.to_string().expose_secret());
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("for the owner alone");
    let mut command = environment.command(&["apply", "plan.yaml", "--yes", "--format", format]);
    command.env("GROUNDWORK_AGE_IDENTITY", file).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running apply whose events are read as they come.
struct Applying {
    child: Child,
    lines: BufReader<ChildStdout>,
    events: Vec<Value>,
}

impl Applying {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, lines, events: Vec::new() }
    }

    /// Reads events until one of this name has come.
    fn wait_for(&mut self, name: &str) {
        while let Some(event) = self.next() {
            if event["event"] == name {
                return;
            }
        }
        let mut stderr = String::new();
        let _ = self.child.stderr.as_mut().map(|pipe| pipe.read_to_string(&mut stderr));
        panic!("no {name}: {:?} {stderr}", self.events);
    }

    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("readable");
        let event: Value = serde_json::from_str(&line).ok()?;
        self.events.push(event.clone());
        Some(event)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// The exit code, all events, and standard error.
    fn end(mut self) -> (Option<i32>, Vec<Value>, String) {
        while self.next().is_some() {}
        let mut stderr = String::new();
        let pipe = self.child.stderr.as_mut().expect("piped");
        pipe.read_to_string(&mut stderr).expect("text");
        (self.child.wait().expect("it ends").code(), self.events, stderr)
    }
}

fn is_about(event: &Value, name: &str, step: &str) -> bool {
    event["event"] == name && event["id"] == step
}

#[test]
fn first_signal_finishes_ceremony_and_skips_the_rest() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let (environment, identity) = environment();
        let mut applying = Applying::start(command(&environment, &identity, "json"));
        applying.wait_for("step_started");
        std::thread::sleep(Duration::from_millis(200));
        applying.signal(signal);
        let (code, events, stderr) = applying.end();
        assert_eq!(code, Some(1), "{signal:?}: {events:?} {stderr}");
        assert!(
            events.iter().any(|event| is_about(event, "step_finished", "server")),
            "{signal:?}: {events:?}"
        );
        assert!(
            events.iter().any(|event| is_about(event, "step_skipped", "policy")),
            "{signal:?}: {events:?}"
        );
        let again = Ran::of(command(&environment, &identity, "json").output().expect("the program starts"));
        assert_eq!(again.code, 0, "{signal:?}: {again:?}");
        let last = Ran::of(command(&environment, &identity, "json").output().expect("the program starts"));
        assert_eq!(summary(&last.events())["api_calls"]["write"], 0, "{signal:?}: {last:?}");
    }
}

#[test]
fn second_signal_stops_and_names_unknown_outcomes() {
    let (environment, identity) = environment();
    let mut applying = Applying::start(command(&environment, &identity, "json"));
    applying.wait_for("step_started");
    // Until the intent is on the disk, the request has not been sent.
    let journal = environment.folder.join(".groundwork/journal/signals.jsonl");
    let begun = Instant::now();
    while !std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("\"intent\"")) {
        assert!(begun.elapsed() < Duration::from_secs(10), "no intent");
        std::thread::sleep(Duration::from_millis(5));
    }
    applying.signal(Signal::TERM);
    applying.wait_for("warning");
    applying.signal(Signal::TERM);
    let (code, events, stderr) = applying.end();
    assert_eq!(code, Some(4), "{events:?} {stderr}");
    for told in ["create server", "the intent ", "not known"] {
        assert!(stderr.contains(told), "{told} in {stderr}");
    }
    // The response that was under way is in custody all the same.
    let again = Ran::of(command(&environment, &identity, "json").output().expect("the program starts"));
    assert_eq!(again.code, 0, "{again:?}");
}

#[test]
fn closed_output_pipe_loses_nothing() {
    for format in ["json", "human"] {
        let (environment, identity) = environment();
        let mut child = command(&environment, &identity, format).spawn().expect("the program starts");
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{format}");
        let again = Ran::of(command(&environment, &identity, "json").output().expect("the program starts"));
        assert_eq!(summary(&again.events())["unchanged"], 2, "{format}: {again:?}");
    }
}

/// AWS with a user that cannot be made: a refusal that may pass, for ever.
fn reluctant_aws() -> String {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = vec![0; 65536];
            let read = stream.read(&mut request).unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..read]);
            let (status, body) = if request.contains("GetCallerIdentity") {
                let identity =
                    "<Arn>arn:aws:iam::1:root</Arn><UserId>1</UserId><Account>000000000001</Account>";
                (
                    "200 OK",
                    format!(
                        "<GetCallerIdentityResponse><GetCallerIdentityResult>{identity}</GetCallerIdentityResult></GetCallerIdentityResponse>"
                    ),
                )
            } else {
                let code =
                    if request.contains("Action=Create") { "ConcurrentModification" } else { "NoSuchEntity" };
                (
                    "409 Conflict",
                    format!(
                        "<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
                    ),
                )
            };
            let head =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    address
}

#[test]
fn signal_ends_a_retry_wait() {
    let (environment, identity) = environment();
    let plan = "version: 1\nname: signals\nsteps: { user: { kind: aws.iam_user, name: gw-user } }\n";
    environment.write("plan.yaml", plan);
    let mut command = command(&environment, &identity, "json");
    command.env("AWS_ENDPOINT_URL", reluctant_aws());
    let mut applying = Applying::start(command);
    for _ in 0..5 {
        applying.wait_for("step_retried");
    }
    let stopped = Instant::now();
    applying.signal(Signal::TERM);
    let (code, events, stderr) = applying.end();
    assert_eq!(code, Some(1), "{events:?} {stderr}");
    // The fifth wait alone takes four seconds, and seven longer ones would follow.
    assert!(stopped.elapsed() < Duration::from_secs(2), "{:?}", stopped.elapsed());
}
