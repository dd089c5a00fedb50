//! What the program does not do with secrets.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{Ran, TestEnvironment, files};

const USER: &str = "version: 1\nname: hygiene\nsteps: { user: { kind: aws.iam_user, name: gw-user } }\n";
const POLICY: &str =
    "version: 1\nname: hygiene\nsteps: { app: { kind: vault.policy, name: app, rules: { a: [read] } } }\n";

fn run_with(environment: &TestEnvironment, plan: &str, variables: &[(&str, &str)]) -> Ran {
    environment.write("plan.yaml", plan);
    let mut command = environment.command(&["plan", "plan.yaml"]);
    Ran::of(command.envs(variables.iter().copied()).output().expect("the program starts"))
}

#[test]
fn credentials_go_only_to_aws_or_loopback() {
    let environment = TestEnvironment::new();
    let foreign = "http://192.0.2.1:4566";
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_S3"] {
        let refused = run_with(&environment, USER, &[(name, foreign), ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")]);
        assert_eq!(refused.code, 1, "{name}: {refused:?}");
        assert!(
            refused.stderr.contains(foreign) && refused.stderr.contains("GROUNDWORK_ALLOW_ENDPOINT"),
            "{refused:?}"
        );
    }
    let local = run_with(&environment, USER, &[]);
    assert_eq!(local.code, 0, "{local:?}");
    // An endpoint that nothing is asked of here: allowed, it does no harm.
    let variables = [("AWS_ENDPOINT_URL_KMS", foreign), ("GROUNDWORK_ALLOW_ENDPOINT", "1")];
    assert_eq!(run_with(&environment, USER, &variables).code, 0);
}

#[test]
fn token_is_never_sent_unencrypted() {
    let environment = TestEnvironment::new();
    let refused = run_with(&environment, POLICY, &[("VAULT_ADDR", "http://192.0.2.1:8200")]);
    assert!(
        refused.stdout.contains("not encrypted") || refused.stderr.contains("not encrypted"),
        "{refused:?}"
    );
}

/// A server that takes a connection and never answers, so that the program stays for a look.
fn silent() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    (listener, address)
}

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn process_memory_is_protected_from_others() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", POLICY);
    let (listener, address) = silent();
    let mut command = environment.command(&["plan", "plan.yaml"]);
    command.env("VAULT_ADDR", address).env_remove("GROUNDWORK_VAULT_NODES");
    command.env("VAULT_TOKEN", "hvs.canary").stdout(Stdio::null());
    let mut child = Guard(command.spawn().expect("the program starts"));
    let _connection = loop {
        match listener.accept() {
            Ok(connection) => break connection,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        let ended = child.0.try_wait().expect("a child");
        assert!(ended.is_none(), "it ended without asking: {ended:?}");
    };
    let process = format!("/proc/{}", child.0.id());
    let limits = std::fs::read_to_string(format!("{process}/limits")).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    // What may not be dumped belongs to root; for root that tells nothing, so its own id is left out.
    let arguments = std::fs::read(format!("{process}/cmdline")).expect("arguments");
    assert!(!String::from_utf8_lossy(&arguments).contains("hvs.canary"));
    if !rustix::process::getuid().is_root() {
        let owner = std::fs::metadata(format!("{process}/environ")).expect("there").uid();
        assert_eq!(owner, 0, "others of the same user may not look");
    }
}

#[test]
fn written_files_are_private_to_the_owner() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", USER);
    environment.apply("plan.yaml");
    let written = files(&environment.folder.join(".groundwork"));
    assert!(written.len() >= 2, "a journal and a lock: {written:?}");
    for file in written {
        let mode = file.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
}
