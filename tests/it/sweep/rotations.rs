//! The sweep over `rotate`: each call of a rotation and of its later phases × everything that can go wrong with it,
//! while a prober uses what is delivered. `ROTATE_SWEEP=all` tries all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use groundwork::net::timeout::{HASTE, VARIABLE};
use serde_json::{Value, json};

use super::call::Service;
use super::fault::Fault;
use super::proxy::Proxy;
use super::wire::{Place, Wire};
use crate::aws::{config, is_taken_within};
use crate::canary::{leaking_files, leaks};
use crate::support::{Cluster, Ran, block_on, text_of};

/// Of all cases, a test run takes every n-th.
const STRIDE: usize = 149;
/// What is not tried: these last as long as the longest time limit, or end the servers.
const LEFT_OUT: [Fault; 3] = [Fault::Hung, Fault::Sealed, Fault::Disabled];
const BEGIN: [&str; 6] = ["rotate", "plan.yaml", "db", "key", "login", "--yes"];
const GO_ON: [&str; 4] = ["rotate", "plan.yaml", "--due", "--yes"];
/// A rotation, the end of the old secret-id with the deactivation of the old key, and the deletion of that key.
const PHASES: [&[&str]; 3] = [&BEGIN, &GO_ON, &GO_ON];

struct Swept {
    cluster: Cluster,
    wire: Arc<Wire>,
    vault: Proxy,
    aws: Proxy,
}

impl Swept {
    fn new() -> Self {
        let cluster = Cluster::new("turned");
        cluster.declare(&json!({
            "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
            "db": { "kind": "vault.kv_secret", "mount": "secret", "path": "db",
                    "data": { "password": { "generate": { "length": 24 } } }, "overlap": { "password": "before" } },
            "people": { "kind": "vault.auth_method", "type": "userpass" },
            "app": { "kind": "vault.userpass_user", "name": "app", "password": { "secret": "db.data.password" } },
            "approle": { "kind": "vault.auth_method", "type": "approle" },
            "role": { "kind": "vault.approle_role", "name": "app", "token_ttl": "1m" },
            "login": { "kind": "vault.approle_secret_id", "role": "app", "name": "one", "overlap": "0s",
                       "deliver": { "file": "login.json" } },
            "user": { "kind": "aws.iam_user", "name": "gw-user" },
            "key": { "kind": "aws.iam_access_key", "user": "gw-user",
                     "rotation": { "quiet_minutes": 0, "wait_hours": 0 },
                     "deliver": [{ "vault_kv": { "mount": "secret", "path": "aws" } }] },
        }));
        let file = cluster.environment.folder.join("plan.yaml");
        let mut plan: Value =
            serde_json::from_str(&std::fs::read_to_string(file).expect("the plan")).expect("JSON");
        plan["aws"] = json!({ "region": "us-east-1" });
        cluster.environment.write("plan.yaml", &plan.to_string());
        cluster.apply(&[]);
        let sandbox = &cluster.environment.sandbox;
        let wire = Arc::new(Wire::new(cluster.environment.folder.join(".groundwork/journal/turned.jsonl")));
        let vault = Proxy::start(Service::Vault, &sandbox.vault_addrs()[0], &wire);
        let aws = Proxy::start(Service::Aws, &sandbox.aws_url(), &wire);
        Self { cluster, wire, vault, aws }
    }

    /// Runs the program, and this goes wrong on the way.
    fn run(&self, words: &[&str], planned: Option<(Place, Fault)>) -> Ran {
        let mut command = self.cluster.command(words);
        command.env("VAULT_ADDR", &self.vault.url).env("GROUNDWORK_VAULT_NODES", &self.vault.url);
        command.env("AWS_ENDPOINT_URL", &self.aws.url).env(VARIABLE, "20").env(HASTE, HASTE);
        self.wire.run(planned, command)
    }

    fn nothing_is_open(&self) -> bool {
        self.cluster.run(&["journal", "plan.yaml"]).stdout.contains("Nothing is open.")
    }

    /// Clean runs, until everything that was begun has ended.
    fn ends(&self, case: &str) {
        for _ in 0..6 {
            if self.nothing_is_open() {
                break;
            }
            let ran = self.run(&GO_ON, None);
            assert!([0, 2].contains(&ran.code), "{case}, and once more: {ran:?}");
        }
        assert!(self.nothing_is_open(), "{case}: {:?}", self.cluster.run(&["journal", "plan.yaml"]));
        let iam = aws_sdk_iam::Client::new(&config(&self.cluster.environment.sandbox));
        let keys = block_on(iam.list_access_keys().user_name("gw-user").send()).expect("listed");
        assert_eq!(keys.access_key_metadata.len(), 1, "{case}: one key is left");
        let ids = self.cluster.ask("LIST", "", "auth/approle/role/app/secret-id", &Value::Null).1;
        assert_eq!(ids["data"]["keys"].as_array().map(Vec::len), Some(1), "{case}: one secret-id is left");
        let shown = self.cluster.plan();
        assert_eq!(
            shown["summary"]["none"],
            shown["steps"].as_array().map_or(0, Vec::len),
            "{case}: {shown:#}"
        );
    }
}

/// Uses the delivered credentials, again and again.
struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

/// Where the credentials are, and who takes them.
#[derive(Clone)]
struct Consumer {
    vault: String,
    token: String,
    file: std::path::PathBuf,
    aws: aws_config::SdkConfig,
}

impl Consumer {
    async fn vault(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = reqwest::Client::new().request(method, format!("{}/v1/{path}", self.vault));
        let answer = request.header("X-Vault-Token", &self.token).body(body.to_string()).send().await;
        let Ok(answer) = answer else { return (0, Value::Null) };
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap_or_default()).unwrap_or_default())
    }

    async fn kv(&self, path: &str) -> Value {
        self.vault("GET", &format!("secret/data/{path}"), &Value::Null).await.1["data"]["data"].take()
    }

    /// Logs in as the user, with the password or the one before.
    async fn user(&self) -> bool {
        let kept = self.kv("db").await;
        for password in [&kept["password"], &kept["before"]] {
            let body = json!({ "password": password });
            if password.is_string() && self.vault("POST", "auth/userpass/login/app", &body).await.0 == 200 {
                return true;
            }
        }
        false
    }

    async fn secret_id(&self) -> bool {
        let kept = std::fs::read(&self.file).expect("delivered");
        let kept: Value = serde_json::from_slice(&kept).expect("JSON");
        let body = json!({ "role_id": kept["role_id"], "secret_id": kept["secret_id"] });
        self.vault("POST", "auth/approle/login", &body).await.0 == 200
    }

    async fn access_key(&self) -> bool {
        let kept = self.kv("aws").await;
        let (id, secret) = (text_of(&kept["aws_access_key_id"]), text_of(&kept["aws_secret_access_key"]));
        is_taken_within(&self.aws, id, secret).await
    }

    /// The credentials that do not work. One that was replaced between the look and the use is fetched again, as its
    /// users do.
    async fn failures(&self) -> Vec<String> {
        let mut failed = Vec::new();
        for what in ["user", "secret-id", "access key"] {
            let mut works = false;
            for _ in 0..3 {
                works = works
                    || match what {
                        "user" => self.user().await,
                        "secret-id" => self.secret_id().await,
                        _ => self.access_key().await,
                    };
            }
            if !works {
                failed.push(format!("no working {what}"));
            }
        }
        failed
    }
}

impl Prober {
    fn start(consumer: Consumer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            block_on(async {
                let (mut rounds, mut failed) = (0, Vec::new());
                while !ends.load(Ordering::Relaxed) {
                    failed.extend(consumer.failures().await);
                    rounds += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                (rounds, failed)
            })
        });
        Self { stop, thread }
    }

    fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the prober ends")
    }
}

#[test]
fn rotation_never_leaves_a_user_without_a_working_credential() {
    let swept = Swept::new();
    let sandbox = &swept.cluster.environment.sandbox;
    let consumer = Consumer {
        vault: sandbox.vault_addrs()[0].clone(),
        token: swept.cluster.root_token(),
        file: swept.cluster.environment.folder.join("login.json"),
        aws: config(sandbox),
    };
    assert_eq!(block_on(consumer.failures()), Vec::<String>::new(), "before anything is rotated");
    let mut cases = Vec::new();
    for (phase, words) in PHASES.into_iter().enumerate() {
        let ran = swept.run(words, None);
        assert!([0, 2].contains(&ran.code), "phase {phase}: {ran:?}");
        for (call, place) in swept.wire.trace() {
            let suiting =
                Fault::ALL.into_iter().filter(|fault| fault.suits(&call) && !LEFT_OUT.contains(fault));
            cases.extend(suiting.map(|fault| (phase, place.clone(), fault)));
        }
    }
    swept.ends("a clean rotation");
    let chosen: Vec<_> = cases.iter().cloned().step_by(super::every("ROTATE_SWEEP", STRIDE)).collect();
    println!("{} cases, of which {} are tried", cases.len(), chosen.len());
    let mut met = 0;
    for (phase, place, fault) in chosen.iter().cloned() {
        let case = format!("phase {phase}: {fault} at {} ({})", place.label, place.occurrence);
        let prober = Prober::start(consumer.clone());
        for words in &PHASES[..phase] {
            assert!([0, 2].contains(&swept.run(words, None).code), "{case}");
        }
        let ran = swept.run(PHASES[phase], Some((place, fault)));
        met += usize::from(swept.wire.met());
        swept.ends(&case);
        let (rounds, failed) = prober.stop();
        assert!(rounds > 0 && failed.is_empty(), "{case}: of {rounds} rounds {failed:?}; {ran:?}");
        let db = block_on(consumer.kv("db"));
        let secrets = [("password".to_owned(), text_of(&db["password"]).as_bytes().to_vec())];
        assert_eq!(leaks(format!("{ran:?}").as_bytes(), &secrets), Vec::<&str>::new(), "{case}");
        let kept = swept.cluster.environment.folder.join(".groundwork");
        assert_eq!(leaking_files(&kept, &secrets), Vec::<String>::new(), "{case}");
    }
    // How often a run reads something may differ by one.
    assert!(met * 10 >= chosen.len() * 9, "only {met} of {} came to pass", chosen.len());
}
