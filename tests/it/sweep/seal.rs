//! The sweep over `restart --migrate-seal`: each call of moving a server to a seal of its own and back × everything that can
//! go wrong with it. `SEAL_SWEEP=all` tries all of them.

use std::path::PathBuf;
use std::sync::Arc;

use age::x25519::Identity;
use groundwork::net::timeout::{HASTE, VARIABLE};
use serde_json::{Value, json};

use super::call::Service;
use super::fault::Fault;
use super::proxy::Proxy;
use super::wire::{Place, Wire};
use crate::canary::leaks;
use crate::cluster::{free_port, program, seal_status};
use crate::support::{Ran, TestEnvironment, custody_in, opened};

/// Of all cases, a test run takes every n-th.
const STRIDE: usize = 67;
/// What is not tried: these last as long as the longest time limit, or end the servers.
const LEFT_OUT: [Fault; 3] = [Fault::Hung, Fault::Sealed, Fault::Disabled];
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const STATIC: &str = "seal \"static\" { current_key_id = \"1\" current_key = \"env://SEAL_KEY\" }";
const DISABLED: &str =
    "seal \"static\" { current_key_id = \"1\" current_key = \"env://SEAL_KEY\" disabled = true }";

/// A server that a script restarts with what stands in its configuration.
struct Swept {
    environment: TestEnvironment,
    identity: Identity,
    port: u16,
    cluster_port: u16,
    wire: Arc<Wire>,
    vault: Proxy,
}

impl Swept {
    fn new() -> Self {
        let environment = TestEnvironment::new();
        let (identity, port, cluster_port) = (Identity::generate(), free_port(), free_port());
        let plan = json!({
            "version": 1, "name": "moved",
            "custody": { "recipients": [{ "age": identity.to_public().to_string() }], "stores": [{ "file": "custody" }] },
            "steps": { "cluster": { "kind": "vault.init", "shares": 2, "threshold": 2 } },
        });
        environment.write("plan.yaml", &plan.to_string());
        let script = format!(
            "if [ -e server.pid ]; then kill -9 \"$(cat server.pid)\"; fi\nexport SEAL_KEY={KEY}\n\
             setsid {} server -config server.hcl < /dev/null > /dev/null 2>> server.log &\necho $! > server.pid\n",
            program(&environment).display()
        );
        environment.write("restart.sh", &script);
        let url = format!("http://127.0.0.1:{port}");
        let wire = Arc::new(Wire::new(environment.folder.join(".groundwork/journal/moved.jsonl")));
        let vault = Proxy::start(Service::Vault, &url, &wire);
        let grants =
            [&url, &vault.url].map(|url| ["vault", "node"].map(|what| format!("--trust={what}={url}")));
        let grants: Vec<&str> = grants.iter().flatten().map(String::as_str).collect();
        environment.allow("plan.yaml", &grants);
        let swept = Self { environment, identity, port, cluster_port, wire, vault };
        std::fs::create_dir(swept.environment.folder.join("data")).expect("a folder");
        swept.configure("");
        let started = std::process::Command::new("sh")
            .arg("restart.sh")
            .current_dir(&swept.environment.folder)
            .status();
        assert!(started.expect("it runs").success());
        swept.status();
        // Custody knows the cluster under its own address; the proxy is another one of the same server.
        let made =
            swept.command(&["apply", "plan.yaml", "--yes"], &url).output().expect("the program starts");
        assert!(made.status.success(), "{:?}", Ran::of(made));
        swept
    }

    fn configure(&self, seal: &str) {
        let (port, beside, data) = (self.port, self.cluster_port, self.environment.folder.join("data"));
        let data = data.display();
        let config = format!(
            "api_addr = \"http://127.0.0.1:{port}\"\ncluster_addr = \"https://127.0.0.1:{beside}\"\n\
             storage \"raft\" {{\n path = \"{data}\"\n node_id = \"one\"\n performance_multiplier = 1\n}}\n\
             listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n cluster_address = \"127.0.0.1:{beside}\"\n tls_disable = true\n}}\n{seal}\n"
        );
        self.environment.write("server.hcl", &config);
    }

    fn status(&self) -> Value {
        seal_status(&reqwest::Client::new(), &format!("http://127.0.0.1:{}", self.port))
    }

    fn command(&self, words: &[&str], address: &str) -> std::process::Command {
        let mut command = self.environment.command(words);
        command.env("GROUNDWORK_AGE_IDENTITY", self.environment.identity_file(&self.identity));
        command.env("VAULT_ADDR", address).env("GROUNDWORK_VAULT_NODES", address);
        command.env(VARIABLE, "20").env(HASTE, HASTE);
        command
    }

    /// Runs the program, and this goes wrong on the way.
    fn run(&self, words: &[&str], planned: Option<(Place, Fault)>) -> Ran {
        self.wire.run(planned, self.command(words, &self.vault.url))
    }

    fn migrate(&self, seal: &str, planned: Option<(Place, Fault)>) -> Ran {
        self.run(
            &["restart", "plan.yaml", "--yes", "--migrate-seal", seal, "--", "sh", "restart.sh"],
            planned,
        )
    }

    /// The server is open with this seal, and nothing is under way.
    fn has(&self, seal: &str, case: &str) {
        let status = self.status();
        assert_eq!((&status["type"], &status["sealed"]), (&json!(seal), &json!(false)), "{case}: {status}");
        let journal = self.run(&["journal", "plan.yaml"], None);
        assert!(journal.stdout.contains("Nothing is open."), "{case}: {journal:?}");
    }

    fn secrets(&self) -> Vec<(String, Vec<u8>)> {
        let custody = custody_in(&self.environment.folder.join("custody"), &self.identity);
        let shares = opened(&custody, "keys_base64");
        assert_eq!(shares.len(), 2);
        shares
            .into_iter()
            .chain([KEY.to_owned()])
            .map(|one| ("secret".to_owned(), one.into_bytes()))
            .collect()
    }

    fn pid_file(&self) -> PathBuf {
        self.environment.folder.join("server.pid")
    }
}

impl Drop for Swept {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.pid_file()).ok().and_then(|pid| pid.trim().parse().ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
    }
}

#[test]
fn migration_ends_with_the_seal_whatever_goes_wrong() {
    let swept = Swept::new();
    let secrets = swept.secrets();
    let mut cases = Vec::new();
    for (seal, config) in [("static", STATIC), ("shamir", DISABLED)] {
        swept.configure(config);
        let clean = swept.migrate(seal, None);
        assert_eq!(clean.code, 0, "{clean:?}");
        for (call, place) in swept.wire.trace() {
            let suiting =
                Fault::ALL.into_iter().filter(|fault| fault.suits(&call) && !LEFT_OUT.contains(fault));
            cases.extend(suiting.map(|fault| (seal, place.clone(), fault)));
        }
        swept.has(seal, "clean");
    }
    let cases: Vec<_> = cases.into_iter().step_by(super::every("SEAL_SWEEP", STRIDE)).collect();
    println!("{} cases", cases.len());
    let (mut now, mut met) = ("shamir", 0);
    let tried = cases.len();
    for (seal, place, fault) in cases {
        let case = format!("to {seal}, {fault} at {} ({})", place.label, place.occurrence);
        if now == seal {
            // Back, without a fault.
            let (other, config) = if seal == "static" { ("shamir", DISABLED) } else { ("static", STATIC) };
            swept.configure(config);
            let back = swept.migrate(other, None);
            assert_eq!(back.code, 0, "{case}: {back:?}");
        }
        swept.configure(if seal == "static" { STATIC } else { DISABLED });
        let ran = swept.migrate(seal, Some((place, fault)));
        // How often a server is asked while it comes up differs from run to run.
        match swept.wire.met() {
            true => met += 1,
            false => assert_eq!(ran.code, 0, "{case}: {ran:?}"),
        }
        let again = swept.migrate(seal, None);
        assert_eq!(again.code, 0, "{case}: {ran:?}, and once more: {again:?}");
        swept.has(seal, &case);
        assert_eq!(leaks(format!("{ran:?}{again:?}").as_bytes(), &secrets), Vec::<&str>::new(), "{case}");
        now = seal;
    }
    assert!(2 * met > tried, "only {met} of {tried} faults were met");
}
