//! The sweep over `backup`: each call of taking one × everything that can go wrong with it. `BACKUP_SWEEP=all` tries
//! all of them.

use std::sync::Arc;
use std::time::Duration;

use groundwork::net::timeout::{HASTE, VARIABLE};
use serde_json::{Value, json};

use super::call::Service;
use super::fault::Fault;
use super::proxy::Proxy;
use super::wire::{Place, Wire};
use crate::aws::{config_with, credentials};
use crate::support::{Cluster, Ran, block_on, files};

/// Of all cases, a test run takes every n-th.
const STRIDE: usize = 29;
/// What is not tried: these last as long as the longest time limit, or end the servers.
pub const LEFT_OUT: [Fault; 3] = [Fault::Hung, Fault::Sealed, Fault::Disabled];
const BUCKET: &str = "gw-swept";

/// A cluster, and wires on which something can go wrong.
pub struct Swept {
    pub cluster: Cluster,
    pub wire: Arc<Wire>,
    vault: Proxy,
    aws: Proxy,
    s3: aws_sdk_s3::Client,
}

impl Swept {
    pub fn new() -> Self {
        let cluster = Cluster::new("swept");
        cluster.declare(&json!({
            "secrets": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        }));
        cluster.edit(|plan| {
            plan["aws"] = json!({ "region": "us-east-1" });
            plan["backup"] = json!({ "stores": [{ "file": "backups" }, { "s3": format!("s3://{BUCKET}/vault") }],
                                     "keep": { "last": 3, "daily": 0 } });
        });
        cluster.apply(&[]);
        let sandbox = &cluster.environment.sandbox;
        let s3 = aws_sdk_s3::Client::new(&config_with(sandbox, credentials(sandbox), "us-east-1"));
        block_on(s3.create_bucket().bucket(BUCKET).send()).expect("made");
        let wire = Arc::new(Wire::new(cluster.environment.folder.join(".groundwork/journal/swept.jsonl")));
        let vault = Proxy::start(Service::Vault, &sandbox.vault_addrs()[0], &wire);
        let aws = Proxy::start(Service::Aws, &sandbox.aws_url(), &wire);
        Self { cluster, wire, vault, aws, s3 }
    }

    /// Runs the program, and this goes wrong on the way.
    pub fn run(&self, words: &[&str], planned: Option<(Place, Fault)>) -> Ran {
        let mut command = self.cluster.command(words);
        command.env("VAULT_ADDR", &self.vault.url).env("GROUNDWORK_VAULT_NODES", &self.vault.url);
        command.env("AWS_ENDPOINT_URL", &self.aws.url).env(VARIABLE, "20").env(HASTE, HASTE);
        self.wire.run(planned, command)
    }

    /// The objects of both stores: name and content.
    fn stores(&self) -> Vec<Vec<(String, Vec<u8>)>> {
        let folder = self.cluster.environment.folder.join("backups");
        let named =
            |file: &std::path::PathBuf| file.strip_prefix(&folder).expect("below").display().to_string();
        let local =
            files(&folder).iter().map(|file| (named(file), std::fs::read(file).expect("readable"))).collect();
        let listed = block_on(self.s3.list_objects_v2().bucket(BUCKET).send()).expect("listed");
        let keys = listed.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
        let read = |key: String| {
            let bytes = block_on(async {
                let got = self.s3.get_object().bucket(BUCKET).key(&key).send().await.expect("there");
                got.body.collect().await.expect("read").into_bytes().to_vec()
            });
            (key.trim_start_matches("vault/").to_owned(), bytes)
        };
        vec![local, keys.map(read).collect()]
    }

    /// Where a manifest is, all that it names is whole. Gives the names of the manifests of each store.
    fn manifests(&self, case: &str) -> Vec<Vec<String>> {
        let of_store = |objects: Vec<(String, Vec<u8>)>| {
            let mut names = Vec::new();
            for (name, bytes) in objects.iter().filter(|(name, _)| name.strip_suffix(".json").is_some()) {
                let written: Value = serde_json::from_slice(bytes).expect("a manifest is whole");
                let manifest = &written["manifest"];
                let companions = manifest["companions"].as_array().into_iter().flatten();
                for named in companions.chain([&manifest["snapshot"]]) {
                    let found = objects.iter().find(|(name, _)| named["name"] == json!(name));
                    let (_, bytes) = found.unwrap_or_else(|| panic!("{case}: {name} without {named}"));
                    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
                    assert_eq!(named["sha256"], hex::encode(digest), "{case}: {name}");
                }
                names.push(name.clone());
            }
            names.sort();
            names
        };
        self.stores().into_iter().map(of_store).collect()
    }
}

/// Names of backups have seconds.
fn next_second() {
    std::thread::sleep(Duration::from_millis(1050));
}

#[test]
fn backup_is_whole_or_reported_whatever_goes_wrong() {
    let swept = Swept::new();
    let first = swept.run(&["backup", "plan.yaml"], None);
    assert_eq!(first.code, 0, "{first:?}");
    let calls = swept.wire.trace();
    let cases = calls.iter().flat_map(|(call, place)| {
        let suiting = Fault::ALL.into_iter().filter(|fault| fault.suits(call) && !LEFT_OUT.contains(fault));
        suiting.map(|fault| (place.clone(), fault))
    });
    let is_all = std::env::var("BACKUP_SWEEP").is_ok_and(|all| all == "all");
    let cases: Vec<_> = cases.step_by(if is_all { 1 } else { STRIDE }).collect();
    println!("{} calls, {} cases", calls.len(), cases.len());
    for (place, fault) in cases {
        let case = format!("{fault} at {} ({})", place.label, place.occurrence);
        next_second();
        let before = swept.manifests(&case);
        let ran = swept.run(&["backup", "plan.yaml"], Some((place, fault)));
        assert!(swept.wire.met(), "{case}: it has not come to that");
        let after = swept.manifests(&case);
        let stored = before.iter().zip(&after).filter(|(before, after)| after.last() > before.last()).count();
        match ran.code {
            0 => assert_eq!(stored, 2, "{case}: it says that every store has it: {ran:?}"),
            3 => assert!(stored >= 1, "{case}: it says that a store has it: {ran:?}"),
            // Killed, or there is none.
            _ => assert!(stored == 0 || ran.code == -1, "{case}: it says that no store has it: {ran:?}"),
        }
        next_second();
        let again = swept.run(&["backup", "plan.yaml"], None);
        assert_eq!(again.code, 0, "{case}, and once more: {again:?}");
        let proven = swept.run(&["backup", "check", "--latest", "plan.yaml"], None);
        assert_eq!(proven.code, 0, "{case}: {proven:?}");
    }
}
