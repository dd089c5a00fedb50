//! The sweep over `rotate --shares`: each call of splitting the key again × everything that can go wrong with it.
//! `REKEY_SWEEP=all` tries all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use groundwork::event::Events;
use groundwork::net::timeout::{HASTE, VARIABLE};
use groundwork::sandbox;
use serde_json::{Value, json};

use super::call::Service;
use super::fault::Fault;
use super::proxy::Proxy;
use super::wire::{Place, Wire};
use crate::canary::leaks;
use crate::support::{Cluster, Ran, block_on};

/// Of all cases, a test run takes every n-th.
const STRIDE: usize = 11;
/// What is not tried: these last as long as the longest time limit, or end the servers.
const LEFT_OUT: [Fault; 3] = [Fault::Hung, Fault::Sealed, Fault::Disabled];
const ROTATE: [&str; 4] = ["rotate", "plan.yaml", "--shares", "--yes"];

struct Swept {
    cluster: Cluster,
    wire: Arc<Wire>,
    vault: Proxy,
}

impl Swept {
    fn new() -> Self {
        let cluster = Cluster::new("rekeyed");
        let plan = json!({
            "version": 1, "name": "rekeyed",
            "custody": { "recipients": [{ "age": cluster.recipient() }], "stores": [{ "file": "custody" }] },
            "steps": { "cluster": { "kind": "vault.init", "shares": 2, "threshold": 2 } },
        });
        cluster.environment.write("plan.yaml", &plan.to_string());
        cluster.apply(&[]);
        let wire = Arc::new(Wire::new(cluster.environment.folder.join(".groundwork/journal/rekeyed.jsonl")));
        let vault = Proxy::start(Service::Vault, &cluster.environment.sandbox.vault_addrs()[0], &wire);
        // Custody knows the cluster under its own address; the proxy is another one of the same server.
        let grants = ["vault", "node"].map(|what| format!("--trust={what}={}", vault.url));
        cluster.environment.allow("plan.yaml", &grants.each_ref().map(String::as_str));
        Self { cluster, wire, vault }
    }

    /// Runs the program, and this goes wrong on the way.
    fn run(&self, words: &[&str], planned: Option<(Place, Fault)>) -> Ran {
        let mut command = self.cluster.command(words);
        command.env("VAULT_ADDR", &self.vault.url).env("GROUNDWORK_VAULT_NODES", &self.vault.url);
        command.env(VARIABLE, "20").env(HASTE, HASTE);
        self.wire.run(planned, command)
    }

    fn shares(&self) -> Vec<(String, Vec<u8>)> {
        let one = |number: &str| {
            let ran =
                self.run(&["custody", "export-share", "plan.yaml", "--index", number, "--to", "-"], None);
            assert_eq!(ran.code, 0, "{ran:?}");
            ("share".to_owned(), ran.stdout.trim().as_bytes().to_vec())
        };
        ["1", "2"].map(one).into()
    }

    /// Nothing is under way, and the shares in custody open the server.
    fn is_whole(&self, case: &str, restarts: bool) {
        let (_, state) = self.cluster.ask("GET", "", "sys/rotate/root/init", &Value::Null);
        assert_eq!(state["data"]["started"], false, "{case}: {state}");
        let (status, backup) = self.cluster.ask("GET", "", "sys/rotate/root/backup", &Value::Null);
        assert_eq!(status, 400, "{case}: {backup}");
        let journal = self.run(&["journal", "plan.yaml"], None);
        assert!(journal.stdout.contains("Nothing is open."), "{case}: {journal:?}");
        if restarts {
            let folder = self.cluster.environment.sandbox.dir();
            block_on(sandbox::restart(&folder, "vault-1", &Events::default())).expect("restarted");
            let opened = self.run(&["unseal", "plan.yaml"], None);
            assert_eq!(opened.code, 0, "{case}: {opened:?}");
        }
    }
}

/// Reads with the root token until it is stopped; gives how often it was refused.
fn probe(cluster: &Cluster, stopped: &AtomicBool, read: &AtomicUsize) -> usize {
    let mut refused = 0;
    while !stopped.load(Ordering::SeqCst) {
        let (status, _) = cluster.ask("GET", "", "auth/token/lookup-self", &Value::Null);
        refused += usize::from(status != 200);
        read.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
    }
    refused
}

#[test]
fn rekey_ends_whole_or_is_begun_again_whatever_goes_wrong() {
    let swept = Swept::new();
    let (stopped, read) = (AtomicBool::new(false), AtomicUsize::new(0));
    let calls = std::thread::scope(|scope| {
        let prober = scope.spawn(|| probe(&swept.cluster, &stopped, &read));
        let first = swept.run(&ROTATE, None);
        let calls = swept.wire.trace();
        stopped.store(true, Ordering::SeqCst);
        assert_eq!(first.code, 0, "{first:?}");
        assert_eq!(prober.join().expect("reads"), 0, "clients are served all the while");
        calls
    });
    assert!(read.load(Ordering::SeqCst) > 3);
    let cases = calls.iter().flat_map(|(call, place)| {
        let suiting = Fault::ALL.into_iter().filter(|fault| fault.suits(call) && !LEFT_OUT.contains(fault));
        suiting.map(|fault| (place.clone(), fault))
    });
    let cases: Vec<_> = cases.step_by(super::every("REKEY_SWEEP", STRIDE)).collect();
    println!("{} calls, {} cases", calls.len(), cases.len());
    for (index, (place, fault)) in cases.into_iter().enumerate() {
        let case = format!("{fault} at {} ({})", place.label, place.occurrence);
        let ran = swept.run(&ROTATE, Some((place, fault)));
        assert!(swept.wire.met(), "{case}: it has not come to that: {ran:?}");
        if index % 2 == 0 {
            // The server forgets what was under way; what is in custody opens it.
            let folder = swept.cluster.environment.sandbox.dir();
            block_on(sandbox::restart(&folder, "vault-1", &Events::default())).expect("restarted");
            let opened = swept.run(&["unseal", "plan.yaml"], None);
            assert_eq!(opened.code, 0, "{case}: {ran:?}, then {opened:?}");
        }
        let again = swept.run(&ROTATE, None);
        assert_eq!(again.code, 0, "{case}: {ran:?}, and once more: {again:?}");
        swept.is_whole(&case, index % 3 == 0);
        let secrets = swept.shares();
        assert_eq!(leaks(format!("{ran:?}{again:?}").as_bytes(), &secrets), Vec::<&str>::new(), "{case}");
    }
}
