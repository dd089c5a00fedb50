//! The sweep over `break-glass`: the run is killed before and after each of its calls. The server ends what it left at its
//! time, and the next run's sweep before that. `GLASS_SWEEP=all` tries all of them.

use std::process::Stdio;
use std::sync::Arc;

use groundwork::net::timeout::{HASTE, VARIABLE};
use serde_json::{Value, json};

use super::call::Service;
use super::fault::Fault;
use super::proxy::Proxy;
use super::wire::{Place, Wire};
use crate::canary::{leaking_files, leaks};
use crate::support::{Cluster, Ran, opened};

/// Of all cases, a test run takes every n-th.
const STRIDE: usize = 3;
const GLASS: [&str; 10] = [
    "break-glass",
    "plan.yaml",
    "--reason",
    "a drill",
    "--ttl",
    "1h",
    "--shares-in-custody",
    "--",
    "sh",
    "inside.sh",
];
const SWEEP: [&str; 3] = ["break-glass", "plan.yaml", "--sweep"];

struct Swept {
    cluster: Cluster,
    wire: Arc<Wire>,
    vault: Proxy,
}

impl Swept {
    fn new() -> Self {
        let cluster = Cluster::new("glass");
        cluster.declare(&json!({}));
        cluster.apply(&[]);
        cluster.environment.write("inside.sh", "printf %s \"$VAULT_TOKEN\" >> given\necho >> given\n");
        let wire = Arc::new(Wire::new(cluster.environment.folder.join(".groundwork/journal/glass.jsonl")));
        let vault = Proxy::start(Service::Vault, &cluster.environment.sandbox.vault_addrs()[0], &wire);
        let grants = ["vault", "node"].map(|what| format!("--trust={what}={}", vault.url));
        cluster.environment.allow("plan.yaml", &grants.each_ref().map(String::as_str));
        Self { cluster, wire, vault }
    }

    fn run(&self, words: &[&str], planned: Option<(Place, Fault)>) -> Ran {
        let mut command = self.cluster.command(words);
        command.env("VAULT_ADDR", &self.vault.url).env("GROUNDWORK_VAULT_NODES", &self.vault.url);
        command.env(VARIABLE, "20").env(HASTE, HASTE).stdin(Stdio::null());
        self.wire.run(planned, command)
    }

    /// The tokens that may do everything, besides the root token with which the cluster was made: for each, when the server
    /// ends it, in seconds; 0 is never.
    fn strays(&self) -> Vec<u64> {
        let ask = |method: &str, path: &str, body: &Value| self.cluster.ask(method, "", path, body).1;
        let own = ask("GET", "auth/token/lookup-self", &Value::Null)["data"]["accessor"].clone();
        let listed = ask("LIST", "auth/token/accessors", &Value::Null);
        let accessors = listed["data"]["keys"].as_array().expect("accessors").clone();
        let others = accessors.into_iter().filter(|accessor| *accessor != own);
        let about = others
            .map(|accessor| ask("POST", "auth/token/lookup-accessor", &json!({ "accessor": accessor })));
        let roots = about.filter(|about| about["data"]["policies"] == json!(["root"]));
        roots.map(|about| about["data"]["ttl"].as_u64().expect("a time")).collect()
    }

    /// The tokens that the command was given so far.
    fn given(&self) -> Vec<(String, Vec<u8>)> {
        let text = std::fs::read_to_string(self.cluster.environment.folder.join("given")).unwrap_or_default();
        text.lines().map(|token| ("token".to_owned(), token.as_bytes().to_vec())).collect()
    }
}

#[test]
fn killed_break_glass_leaves_no_root_after_the_sweep() {
    let swept = Swept::new();
    let first = swept.run(&GLASS, None);
    let calls = swept.wire.trace();
    assert!(first.code == 0 && swept.strays().is_empty(), "{first:?}");
    assert!(calls.len() >= 8, "{calls:?}");
    let kills = [Fault::KilledBefore, Fault::KilledAfter];
    let cases = calls.iter().flat_map(|(_, place)| kills.map(|fault| (place.clone(), fault)));
    let cases: Vec<_> = cases.step_by(super::every("GLASS_SWEEP", STRIDE)).collect();
    println!("{} calls, {} cases", calls.len(), cases.len());
    let mut left = 0;
    for (place, fault) in cases {
        let case = format!("{fault} at {} ({})", place.label, place.occurrence);
        let ran = swept.run(&GLASS, Some((place, fault)));
        assert!(swept.wire.met() && ran.code == -1, "{case}: {ran:?}");
        let strays = swept.strays();
        left += strays.len();
        // At most the root token, for a moment, and the access in its place.
        assert!(strays.iter().all(|ttl| *ttl <= 3_600) && strays.len() <= 2, "{case}: {strays:?}");
        // At each place the access is found too, whose response may be lost.
        let cleaned = swept.run(&SWEEP, None);
        // The root token of the plan's own initialisation is named, and is nobody's to end here.
        assert!([0, 3].contains(&cleaned.code), "{case}: {cleaned:?}");
        assert!(swept.strays().is_empty(), "{case}: {:?}, then {cleaned:?}", swept.strays());
        let again = swept.run(&GLASS, None);
        let (_, attempt) = swept.cluster.ask("GET", "", "sys/generate-root-token/attempt", &Value::Null);
        if again.code != 0 {
            // It died between the attempt and its record: nothing says that the attempt is this plan's, and it has no share.
            assert!(again.stderr.contains("another person makes a root token"), "{case}: {again:?}");
            assert_eq!(attempt["data"]["progress"], 0, "{case}: {attempt}");
            swept.cluster.ask("DELETE", "", "sys/generate-root-token/attempt", &Value::Null);
        }
        assert!(swept.strays().is_empty(), "{case}: {again:?}");
        let journal = swept.run(&["journal", "plan.yaml"], None);
        assert!(journal.stdout.contains("Nothing is open."), "{case}: {journal:?}");
        let said = format!("{ran:?}{cleaned:?}{again:?}");
        assert_eq!(leaks(said.as_bytes(), &swept.given()), Vec::<&str>::new(), "{case}");
    }
    assert!(left > 0, "no kill has left anything: the cases are not the right ones");
    let mut secrets = swept.given();
    assert!(secrets.len() > 1);
    let shares = opened(&swept.cluster.custody(), "keys_base64");
    secrets.extend(shares.into_iter().map(|share| ("share".to_owned(), share.into_bytes())));
    let folder = swept.cluster.environment.folder.join(".groundwork");
    assert_eq!(leaking_files(&folder, &secrets), Vec::<String>::new());
}
