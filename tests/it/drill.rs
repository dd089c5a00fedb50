//! Drills: the real backup with the real shares, in a server apart; production is only read, and nothing is left.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::relay::Relay;
use crate::support::{Cluster, Ran, files, opened};

/// What must never be seen outside of Vault.
const CANARY: &str = "canary-of-the-drill-77c2e0b1a4";

/// A cluster with a backup, and a plan that says how a recovery is to be.
struct Drilled {
    cluster: Cluster,
    /// For what the program puts into temporary files.
    temporary: tempfile::TempDir,
}

impl Drilled {
    fn new(name: &'static str) -> Self {
        Self::of(Cluster::new(name))
    }

    fn of(cluster: Cluster) -> Self {
        cluster.declare(&json!({
            "cluster": { "kind": "vault.init", "shares": 3, "threshold": 2 },
            "secrets": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
            "reader": { "kind": "vault.policy", "name": "reader", "rules": { "secret/data/*": ["read"] } },
            "logins": { "kind": "vault.auth_method", "path": "approle", "type": "approle" },
            "app": { "kind": "vault.approle_role", "name": "app", "token_policies": ["reader"], "needs": ["logins"] },
        }));
        let drilled = Self { cluster, temporary: tempfile::tempdir().expect("a folder") };
        drilled.plan(&json!({}));
        drilled.cluster.apply(&[]);
        drilled.write("secret/data/app/db", &json!({ "password": CANARY, "user": "app" }));
        drilled
    }

    /// Adds what the plan says of a recovery.
    fn plan(&self, more: &Value) {
        let file = self.cluster.environment.folder.join("plan.yaml");
        let text = std::fs::read_to_string(file).expect("the plan");
        let mut plan: Value = serde_json::from_str(&text).expect("JSON");
        plan["backup"] = json!({ "stores": [{ "file": "backups" }] });
        plan["recovery"] = json!({ "rto": "10m", "rpo": "1h", "canaries": [
            { "path": "secret/app/db", "field": "password" },
            { "path": "secret/app/db", "field": "user", "sha256": sha256("app") },
        ] });
        for (key, value) in more.as_object().expect("fields") {
            plan["recovery"][key] = value.clone();
        }
        self.cluster.environment.write("plan.yaml", &plan.to_string());
    }

    fn write(&self, path: &str, data: &Value) {
        let (status, answer) = self.cluster.ask("POST", "", path, &json!({ "data": data }));
        assert_eq!(status, 200, "{answer}");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.cluster.command(&[&["drill", "plan.yaml"], arguments].concat());
        command.env("TMPDIR", self.temporary.path());
        command
    }

    /// What is left of drills in temporary folders.
    fn left(&self) -> Vec<PathBuf> {
        files(self.temporary.path())
    }

    fn reports(&self) -> Vec<PathBuf> {
        let mut all = files(&self.cluster.environment.folder.join(".groundwork/drills"));
        all.sort();
        all
    }

    fn audit_log(&self) -> Vec<u8> {
        let log = self.cluster.environment.sandbox.audit_log().expect("it is declared");
        std::fs::read(log).expect("readable")
    }
}

fn sha256(text: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no JSON: {error}\n{ran:?}"))
}

fn assert_without(files: &[PathBuf], secrets: &[String]) {
    for file in files {
        let bytes = std::fs::read(file).unwrap_or_default();
        for secret in secrets {
            let has_it = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!has_it, "a secret is in {}", file.display());
        }
    }
}

/// The sandbox's server declares an audit device whose file is elsewhere, as every production server does: restored
/// into a server that declares it differently, the backup would never become active.
#[test]
fn drill_recovers_the_newest_backup_and_only_reads_production() {
    let drilled = Drilled::new("drilled");
    let cluster = &drilled.cluster;
    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);
    let (vault, aws) = (Arc::new(Relay::default()), Arc::new(Relay::default()));
    let sandbox = &cluster.environment.sandbox;
    let address = vault.start(&sandbox.vault_addrs()[0]);
    let (audited, journal) = (drilled.audit_log(), journal(&cluster.environment.folder));
    let mut command = drilled.command(&["--format", "json"]);
    command.env("VAULT_ADDR", &address).env("GROUNDWORK_VAULT_NODES", &address);
    command.env("AWS_ENDPOINT_URL", aws.start(&sandbox.aws_url()));
    let ran = Ran::of(command.output().expect("the program starts"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = json_of(&ran);
    assert_eq!(
        (&report["verdict"], &report["format_version"]),
        (&json!("passed"), &json!("1")),
        "{report:#}"
    );
    assert_eq!(report["findings"], json!([]), "{report:#}");
    let phases = report["phases"].as_array().expect("phases");
    let names: Vec<&str> = phases.iter().filter_map(|phase| phase["name"].as_str()).collect();
    let expected = [
        "fetch",
        "prove",
        "start",
        "initialise",
        "restore",
        "unseal",
        "log_in",
        "compare",
        "canaries",
        "roles",
    ];
    assert_eq!(names, expected, "{report:#}");
    assert_eq!(report["rpo"]["measured_ms"], 0, "nothing was written since: {report:#}");
    assert!(report["rto"]["measured_ms"].as_u64().is_some_and(|ms| ms > 1000), "{report:#}");
    assert_eq!(report["canaries"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["logins"], json!([{ "role": "approle/app", "error": null }]));

    // Of production it was asked how far it is, without a token, and nothing else.
    let asked = vault.take();
    let may_be = |line: &&String| {
        line.starts_with("GET /v1/sys/leader ") || line.starts_with("GET /v1/sys/seal-status ")
    };
    assert!(!asked.is_empty() && asked.iter().all(|line| may_be(&line)), "{asked:?}");
    assert_eq!(aws.take(), [""; 0], "backup and custody are in files");
    assert_eq!(drilled.audit_log(), audited, "the restored server has not written to the log of its origin");
    assert_eq!(self::journal(&cluster.environment.folder), journal);

    // The report is kept in three forms, and nothing else is.
    let ends: Vec<_> =
        drilled.reports().iter().filter_map(|file| file.extension().map(|end| end.to_owned())).collect();
    assert_eq!(ends, ["html", "json", "md"]);
    assert!(drilled.left().is_empty(), "{:?}", drilled.left());
    let mut secrets = opened(&cluster.custody(), "keys_base64");
    secrets.extend([cluster.root_token(), CANARY.to_owned()]);
    assert_without(&drilled.reports(), &secrets);
    assert!(secrets.iter().all(|secret| !format!("{ran:?}").contains(secret)), "{ran:?}");
}

/// The others join after the restore, by their own network in the enclosure, and are opened with the same shares.
#[test]
fn drill_of_several_nodes_has_them_join() {
    let settings = groundwork::sandbox::Settings { nodes: 3, ..Default::default() };
    let drilled = Drilled::of(Cluster::with("several", settings));
    assert_eq!(drilled.cluster.run(&["backup", "plan.yaml"]).code, 0);
    let ran = Ran::of(drilled.command(&["--format", "json"]).output().expect("the program starts"));
    let report = json_of(&ran);
    assert_eq!((ran.code, &report["findings"]), (0, &json!([])), "{report:#}");
    let phases = report["phases"].as_array().expect("phases");
    let join = phases.iter().find(|phase| phase["name"] == "join").expect("they join");
    assert_eq!((&join["end"], &join["detail"]), (&json!("done"), &json!("2 servers")), "{report:#}");
    assert!(!report["not_rehearsed"].to_string().contains("joining"), "{report:#}");
    assert!(drilled.left().is_empty(), "{:?}", drilled.left());
}

fn journal(folder: &Path) -> Vec<Vec<u8>> {
    let all = files(&folder.join(".groundwork/journal"));
    all.iter().map(|file| std::fs::read(file).expect("readable")).collect()
}

#[test]
fn drill_tells_what_did_not_come_back_as_it_should() {
    let drilled = Drilled::new("wanting");
    let cluster = &drilled.cluster;
    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);
    drilled.write("secret/data/later", &json!({ "value": "x" }));
    drilled.plan(&json!({ "rpo": "1ms", "canaries": [
        { "path": "secret/app/db", "field": "password", "sha256": sha256("other") },
        { "path": "secret/later" },
    ] }));
    // Holders enter the shares, and custody is not asked.
    let shares = opened(&cluster.custody(), "keys_base64")[1..].join("\n");
    let ran = entering(&mut drilled.command(&["--share"]), &shares);
    assert_eq!(ran.code, 3, "{ran:?}");
    for expected in [
        "drill of wanting: missed",
        "and the target is",
        "secret/app/db: its field password has another value",
        "secret/later: there is no field value",
        "2 good shares of standard input",
        "the time until the holders have entered their shares",
    ] {
        assert!(ran.stdout.contains(expected), "{expected}: {ran:?}");
    }
    assert!(!format!("{ran:?}").contains(CANARY));
    assert!(drilled.left().is_empty(), "{:?}", drilled.left());

    // Shares of another cluster do not open the backup, and there is a report of that too.
    let foreign = ["11", "22"].map(|byte| byte.repeat(33)).join("\n");
    let ran = entering(&mut drilled.command(&["--share", "--format", "json"]), &foreign);
    let report = json_of(&ran);
    assert_eq!((ran.code, &report["verdict"]), (1, &json!("failed")), "{report:#}");
    assert!(
        report["findings"][0].as_str().is_some_and(|why| why.contains("of another cluster")),
        "{report:#}"
    );
    assert!(report["rto"]["measured_ms"].is_null(), "{report:#}");
    assert_eq!(drilled.reports().len(), 6);
}

/// A drill that is stopped ends its server and deletes its folder; one that is killed leaves no server, and nothing of
/// value.
#[test]
fn drill_that_is_cut_off_leaves_nothing_of_value() {
    let drilled = Drilled::new("cut");
    assert_eq!(drilled.cluster.run(&["backup", "plan.yaml"]).code, 0);
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::KILL] {
        let mut child = drilled.command(&[]).stderr(Stdio::null()).spawn().expect("starts");
        let socket = |file: &PathBuf| file.ends_with("tmp/vault.sock");
        while !drilled.left().iter().any(socket) {
            assert!(child.try_wait().expect("asked").is_none(), "it goes on");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let folder = drilled.left().iter().find(|file| socket(file)).cloned().expect("there");
        // It is in the middle of restoring.
        std::thread::sleep(std::time::Duration::from_secs(2));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).expect("signalled");
        child.wait().expect("ended");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(&folder).is_ok() {
            assert!(std::time::Instant::now() < deadline, "the server still runs");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        if signal == rustix::process::Signal::INT {
            assert!(drilled.left().is_empty(), "{:?}", drilled.left());
        }
    }
    let mut secrets = opened(&drilled.cluster.custody(), "keys_base64");
    secrets.extend([drilled.cluster.root_token(), CANARY.to_owned()]);
    assert_without(&drilled.left(), &secrets);
    assert!(drilled.reports().is_empty(), "{:?}", drilled.reports());
}

/// A snapshot of OpenBao 2.7.2 with namespaces, an AppRole, and an audit device whose file is nowhere here.
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/snapshot/testdata/shamir.snapshot");
const SHARES: &str = include_str!("../../src/snapshot/testdata/shares.txt");

/// A plan without anything but the targets of its recovery, and a drill of a snapshot with shares that are entered.
fn drill_of_a_file(folder: &Path, server: &str, wrap: fn(Command) -> Command) -> Ran {
    let plan = json!({
        "version": 1, "name": "file", "vault": { "address": "http://127.0.0.1:1" },
        "recovery": { "canaries": [
            { "path": "secret/app/db", "field": "password", "sha256": sha256("canary-three-22d0") },
            { "path": "team/sub/kv/n", "field": "v" },
        ] },
        "steps": {},
    });
    std::fs::write(folder.join("plan.yaml"), plan.to_string()).expect("written");
    let mut command = crate::support::program();
    command.args([
        "drill",
        "plan.yaml",
        "--from",
        SNAPSHOT,
        "--share",
        "--vault",
        server,
        "--format",
        "json",
    ]);
    command.current_dir(folder).env("GROUNDWORK_TRUST", "vault=http://127.0.0.1:1");
    entering(&mut wrap(command), SHARES)
}

/// Runs a command that reads this from its input.
fn entering(command: &mut Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    Ran::of(child.wait_with_output().expect("ended"))
}

/// The same command where no further namespace can be made, as in most containers.
pub fn in_a_container(command: Command) -> Command {
    let mut inside = Command::new("unshare");
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    inside.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]);
    inside.arg(command.get_program()).args(command.get_args());
    inside.current_dir(command.get_current_dir().expect("a folder"));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    inside
}

#[test]
fn drill_works_while_nothing_of_production_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = drill_of_a_file(folder.path(), "2.7.2", |command| command);
    let report = json_of(&ran);
    // There is no custody that could have a login.
    assert_eq!((ran.code, &report["verdict"]), (3, &json!("missed")), "{report:#}");
    let findings = report["findings"].to_string();
    assert!(findings.contains("no manifest") && findings.contains("no login in custody works"), "{report:#}");
    assert!(report["rpo"]["measured_ms"].is_null());
    let states: Vec<_> =
        report["canaries"].as_array().expect("a list").iter().map(|one| &one["state"]).collect();
    assert_eq!(states[0], "same", "{report:#}");
    assert_eq!(report["logins"][0]["role"], "approle/app", "{report:#}");
    assert!(!ran.stdout.contains("canary-three"));
}

/// It would take the backup, unseal, and never become active.
#[test]
fn newer_backup_is_not_put_into_an_older_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = drill_of_a_file(folder.path(), "2.6.2", |command| command);
    let report = json_of(&ran);
    assert_eq!((ran.code, &report["verdict"]), (1, &json!("failed")), "{report:#}");
    let finding = report["findings"].to_string();
    assert!(
        finding.contains("written by version 2.7.2, and the drill's server is version 2.6.2"),
        "{report:#}"
    );
    let names: Vec<_> = report["phases"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["fetch", "prove", "start"], "{report:#}");
}

/// Its audit device would write into a file of this machine.
#[test]
fn backup_that_reaches_out_is_not_put_into_a_server_that_is_not_confined() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = drill_of_a_file(folder.path(), "2.7.2", in_a_container);
    let report = json_of(&ran);
    assert_eq!((ran.code, &report["verdict"]), (1, &json!("failed")), "{report:#}");
    let findings = report["findings"].to_string();
    assert!(findings.contains("act on the world (the audit device main/)"), "{report:#}");
    assert!(report["server"].is_null(), "{report:#}");
}
