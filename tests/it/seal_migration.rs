//! `restart --migrate-seal`: clusters of servers that run with what a plan rendered move to another seal and back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use groundwork::sandbox::{OpenBao, Settings, VaultServer};
use serde_json::{Value, json};

use crate::aws::{OWN, secret_key};
use crate::canary::leaks;
use crate::cluster::{Cluster, Node, environment, program, seal_status, transit};
use crate::support::{Ran, TestEnvironment, block_on, opened, root_token};

/// The key of the static seal.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Servers that a script has started, which end with the value.
struct Restarted<'a> {
    environment: &'a TestEnvironment,
    ports: Vec<u16>,
}

impl<'a> Restarted<'a> {
    /// Writes `restart.sh`, which starts the server of `VAULT_ADDR` again with what is rendered for it now. Before or
    /// after that it kills the program that runs it, when a file says so: `before-2` at its second time.
    fn by_script(cluster: &Cluster<'a>, variables: &[(&str, String)]) -> Self {
        let environment = cluster.environment;
        for (index, (node, server)) in cluster.nodes.iter().zip(&cluster.servers).enumerate() {
            environment.write(&format!("index-{}", node.port), &index.to_string());
            environment.write(&format!("pid-{}", node.port), &server.0.id().to_string());
        }
        environment.write("count", "0");
        let export: Vec<String> = variables.iter().map(|(name, value)| format!("{name}='{value}'")).collect();
        let script = format!(
            "set -eu\nport=${{VAULT_ADDR##*:}}\ncount=$(($(cat count) + 1))\necho $count > count\n\
             die() {{ if [ -e $1-$count ]; then rm $1-$count; kill -9 $PPID; fi; }}\n\
             die before\nkill -9 \"$(cat pid-$port)\"\nexport {}\nconfig=rendered/$(cat index-$port)\n\
             setsid {} server -config $config.hcl < /dev/null > /dev/null 2>> $config.log &\necho $! > pid-$port\n\
             die after\n",
            export.join(" "),
            program(environment).display()
        );
        environment.write("restart.sh", &script);
        Self { environment, ports: cluster.nodes.iter().map(|node| node.port).collect() }
    }

    fn restart(&self, flags: &[&str]) -> Ran {
        let words = [&["restart", "cluster.yaml", "--yes"], flags, &["--", "sh", "restart.sh"]].concat();
        self.environment.run(&words)
    }

    fn migrate(&self, seal: &str) -> Ran {
        self.restart(&["--migrate-seal", seal])
    }

    /// Has the program killed at this time of the script.
    fn kill(&self, time: &str) {
        self.environment.write("count", "0");
        self.environment.write(time, "");
    }

    /// How often the script ran since it was last counted.
    fn count(&self) -> usize {
        let count = std::fs::read_to_string(self.environment.folder.join("count")).expect("counted");
        self.environment.write("count", "0");
        count.trim().parse().expect("a number")
    }
}

impl Drop for Restarted<'_> {
    fn drop(&mut self) {
        for port in &self.ports {
            let Ok(pid) = std::fs::read_to_string(self.environment.folder.join(format!("pid-{port}"))) else {
                continue;
            };
            let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
}

/// The seal of each server, and whether it is sealed.
fn seals(cluster: &Cluster<'_>) -> Vec<Value> {
    let http = cluster.environment.http();
    let status = |node: &Node| seal_status(&http, &node.url());
    cluster.nodes.iter().map(status).map(|status| json!([status["type"], status["sealed"]])).collect()
}

/// Every server has this seal and is open, and the plan has nothing to do; custody opens the cluster.
fn has_seal(cluster: &Cluster<'_>, seal: &str) {
    assert_eq!(seals(cluster), vec![json!([seal, false]); cluster.nodes.len()]);
    cluster.open();
    let checked = cluster.environment.run(&["custody", "check", "cluster.yaml"]);
    assert!(
        checked.code == 0 && checked.stdout.contains("3 shares can be obtained, 2 are needed"),
        "{checked:?}"
    );
    let journal = cluster.environment.run(&["journal", "cluster.yaml"]);
    assert!(journal.stdout.contains("Nothing is open."), "{journal:?}");
}

fn static_seal() -> Value {
    json!({ "static": { "current_key_id": "1", "current_key": "env://CLUSTER_SEAL_KEY" } })
}

fn set_seal(cluster: &mut Cluster<'_>, seal: Value) {
    cluster.seal = seal;
    cluster.render();
}

/// The same seal, there only to move away from it.
fn disabled(seal: &Value) -> Value {
    let mut seal = seal.clone();
    for (_, settings) in seal.as_object_mut().expect("a seal") {
        settings["disabled"] = json!(true);
    }
    seal
}

/// What must not be printed: the shares, the root token, the key of the static seal.
fn secrets(cluster: &Cluster<'_>) -> Vec<(String, Vec<u8>)> {
    let custody = cluster.custody();
    let mut secrets = opened(&custody, "keys_base64");
    secrets.extend(opened(&custody, "recovery_keys_base64"));
    assert_eq!(secrets.len(), 3);
    secrets.extend([root_token(&custody), KEY.to_owned()]);
    secrets.into_iter().map(|secret| ("secret".to_owned(), secret.into_bytes())).collect()
}

/// Moves to `seal` and back to key shares, one command each.
fn moves_there_and_back(cluster: &mut Cluster<'_>, restarted: &Restarted<'_>, seal: &Value) {
    let name = seal.as_object().and_then(|seal| seal.keys().next()).expect("a seal").clone();
    let nodes = cluster.nodes.len();
    set_seal(cluster, seal.clone());
    let moved = restarted.migrate(&name);
    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(moved.stdout.contains(&format!("every server has the seal {name}")), "{moved:?}");
    // Each server once to move, and each that has not opened by itself since once more; of one alone that is the same.
    assert_eq!(restarted.count(), if nodes == 1 { 2 } else { 2 * nodes - 1 }, "{moved:?}");
    has_seal(cluster, &name);
    let again = restarted.migrate(&name);
    assert!(again.code == 0 && restarted.count() == 0, "nothing is restarted: {again:?}");

    set_seal(cluster, disabled(seal));
    let back = restarted.migrate("shamir");
    assert!(back.code == 0 && back.stdout.contains("every server has the seal shamir"), "{back:?}");
    assert_eq!(restarted.count(), nodes);
    set_seal(cluster, Value::Null);
    let rolled = restarted.restart(&[]);
    assert_eq!(rolled.code, 0, "custody opens them: {rolled:?}");
    has_seal(cluster, "shamir");
    let said = format!("{moved:?}{again:?}{back:?}{rolled:?}");
    assert_eq!(leaks(said.as_bytes(), &secrets(cluster)), Vec::<&str>::new());
}

#[test]
fn single_server_moves_to_static_seal_and_back() {
    let environment = environment();
    let mut cluster = Cluster::start(&environment, 1, Value::Null, Vec::new());
    cluster.open();
    let restarted = Restarted::by_script(&cluster, &[("CLUSTER_SEAL_KEY", KEY.to_owned())]);
    moves_there_and_back(&mut cluster, &restarted, &static_seal());
}

#[test]
fn server_with_another_seal_gets_no_share_without_consent() {
    let environment = environment();
    let mut cluster = Cluster::start(&environment, 1, Value::Null, Vec::new());
    cluster.open();
    let restarted = Restarted::by_script(&cluster, &[("CLUSTER_SEAL_KEY", KEY.to_owned())]);
    // With the configuration that it had, nothing is moved.
    let stale = restarted.migrate("static");
    assert!(stale.code == 1 && stale.stderr.contains("configuration with the seal static"), "{stale:?}");
    set_seal(&mut cluster, static_seal());
    let refused = restarted.restart(&[]);
    assert!(refused.code == 1 && refused.stderr.contains("it is sealed"), "{refused:?}");
    let refused = environment.run(&["unseal", "cluster.yaml"]);
    assert_eq!(refused.code, 0, "it still has the configuration from before: {refused:?}");
    let refused = restarted.restart(&[]);
    assert!(refused.code == 1 && refused.stderr.contains("--migrate-seal"), "{refused:?}");

    // Holders enter theirs, and the next run has nothing left but the proof.
    let shares: Vec<String> = opened(&cluster.custody(), "keys_base64");
    let mut command = environment.command(&["unseal", "cluster.yaml", "--share", "--migrate-seal"]);
    let entered = Ran::fed(&mut command, format!("{}\n{}\n", shares[0], shares[1]));
    assert_eq!(entered.code, 0, "{entered:?}");
    restarted.count();
    let proven = restarted.migrate("static");
    assert!(proven.code == 0 && restarted.count() == 1, "{proven:?}");
    has_seal(&cluster, "static");
}

/// Reads with the root token from whichever server answers until it is stopped; gives the longest time without an answer.
fn probe(cluster: &(Vec<String>, String), http: &reqwest::Client, stopped: &AtomicBool) -> Duration {
    let (urls, token) = cluster;
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    while !stopped.load(Ordering::SeqCst) {
        let answered = block_on(async {
            for url in urls {
                let request =
                    http.get(format!("{url}/v1/auth/token/lookup-self")).header("X-Vault-Token", token);
                if request.send().await.is_ok_and(|answer| answer.status().is_success()) {
                    return true;
                }
            }
            false
        });
        if answered {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    longest.max(last.elapsed())
}

/// Stops a prober when it goes.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn three_servers_move_to_static_seal_and_back_while_they_serve() {
    let environment = environment();
    let mut cluster = Cluster::start(&environment, 3, Value::Null, Vec::new());
    cluster.open();
    let restarted = Restarted::by_script(&cluster, &[("CLUSTER_SEAL_KEY", KEY.to_owned())]);
    let probed = (cluster.nodes.iter().map(Node::url).collect(), root_token(&cluster.custody()));
    let (http, stopped) = (environment.http(), AtomicBool::new(false));
    let longest = std::thread::scope(|scope| {
        let prober = scope.spawn(|| probe(&probed, &http, &stopped));
        // Also when the migration fails, or the test would not end.
        let ends = Stopping(&stopped);
        moves_there_and_back(&mut cluster, &restarted, &static_seal());
        drop(ends);
        prober.join().expect("reads")
    });
    // Elections on a busy machine take their time; a server that waits for shares would take for ever.
    println!("longest time without an answer: {longest:?}");
    assert!(longest < Duration::from_secs(20), "{longest:?} without an answer");
    assert_eq!(cluster.voters(), cluster.names());
}

#[test]
fn migration_that_is_killed_goes_on_where_it_was() {
    let environment = environment();
    let mut cluster = Cluster::start(&environment, 3, Value::Null, Vec::new());
    cluster.open();
    let restarted = Restarted::by_script(&cluster, &[("CLUSTER_SEAL_KEY", KEY.to_owned())]);
    let mut said = String::new();
    let mut killed = |times: &[&str], seal: &str| {
        for time in times {
            restarted.kill(time);
            let ran = restarted.migrate(seal);
            assert_eq!(ran.code, -1, "{time}: {ran:?}");
            said.push_str(&format!("{ran:?}"));
        }
        let ran = restarted.migrate(seal);
        assert_eq!(ran.code, 0, "{ran:?}");
        said.push_str(&format!("{ran:?}"));
    };
    set_seal(&mut cluster, static_seal());
    // At the first server, the second one, the leader, and during the proof.
    killed(&["before-1", "after-1", "after-1", "after-1", "after-2"], "static");
    has_seal(&cluster, "static");
    set_seal(&mut cluster, disabled(&static_seal()));
    killed(&["after-1", "before-2", "after-1"], "shamir");
    has_seal(&cluster, "shamir");
    assert_eq!(leaks(said.as_bytes(), &secrets(&cluster)), Vec::<&str>::new());
}

#[test]
fn person_restarts_the_server_that_is_named() {
    let environment = environment();
    let mut cluster = Cluster::start(&environment, 1, Value::Null, Vec::new());
    cluster.open();
    let restarted = Restarted::by_script(&cluster, &[("CLUSTER_SEAL_KEY", KEY.to_owned())]);
    set_seal(&mut cluster, static_seal());
    let mut command =
        environment.command(&["restart", "cluster.yaml", "--yes", "--migrate-seal", "static", "--by-hand"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("it starts");
    // The record of the migration is written before a person is asked.
    let started = Instant::now();
    while !environment.run(&["journal", "cluster.yaml"]).stdout.contains("migrate the seal") {
        assert!(started.elapsed() < Duration::from_mins(1), "it does not begin");
    }
    let url = cluster.nodes[0].url();
    let by_hand = std::process::Command::new("sh")
        .arg("restart.sh")
        .current_dir(&environment.folder)
        .env("VAULT_ADDR", &url)
        .status();
    assert!(by_hand.expect("it runs").success());
    let ran = Ran::of(child.wait_with_output().expect("its output"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains(&format!("restart {url} now")) && ran.stderr.contains("once more"),
        "{ran:?}"
    );
    assert_eq!(restarted.count(), 1);
    has_seal(&cluster, "static");
}

#[test]
fn server_moves_to_transit_seal_of_another_vault_and_back() {
    let environment = environment();
    let (address, token) = transit(&environment);
    let mut cluster = Cluster::start(&environment, 1, Value::Null, Vec::new());
    cluster.open();
    let restarted = Restarted::by_script(&cluster, &[("VAULT_TOKEN", token)]);
    let seal = json!({ "transit": {
        "address": address, "key_name": "unseal", "mount_path": "transit/",
        "tls_ca_cert": environment.sandbox.ca_cert().expect("TLS"),
    } });
    moves_there_and_back(&mut cluster, &restarted, &seal);
}

#[test]
fn server_moves_to_kms_seal_and_back() {
    let vault = VaultServer::Pinned(OpenBao::WithKmsSeal);
    let environment = TestEnvironment::with(Settings { tls: true, vault, ..Settings::default() });
    let seal = json!({ "awskms": {
        "region": "us-east-1", "kms_key_id": "{{ seal_key.arn }}", "endpoint": environment.sandbox.aws_url(),
    } });
    let mut cluster = Cluster::start(&environment, 1, Value::Null, Vec::new());
    cluster.open();
    let secret = secret_key(&environment.sandbox);
    let keys = [("AWS_ACCESS_KEY_ID", OWN.to_owned()), ("AWS_SECRET_ACCESS_KEY", secret)];
    let restarted = Restarted::by_script(&cluster, &keys);
    moves_there_and_back(&mut cluster, &restarted, &seal);
}

#[test]
fn backups_from_before_the_move_open_and_come_back() {
    let environment = environment();
    let mut cluster = Cluster::start(&environment, 1, Value::Null, Vec::new());
    let file = environment.folder.join("cluster.yaml");
    let mut plan: Value =
        serde_json::from_str(&std::fs::read_to_string(file).expect("the plan")).expect("JSON");
    plan["backup"] = json!({ "stores": [{ "file": "backups" }] });
    environment.write("cluster.yaml", &plan.to_string());
    cluster.open();
    let restarted = Restarted::by_script(&cluster, &[("CLUSTER_SEAL_KEY", KEY.to_owned())]);
    let backups = || -> Vec<String> {
        let all = crate::support::files(&environment.folder.join("backups"));
        let all = all.iter().filter(|file| file.extension().is_some_and(|end| end == "snap"));
        all.map(|file| file.display().to_string()).collect()
    };
    assert_eq!(environment.run(&["backup", "cluster.yaml"]).code, 0);
    let before = backups().remove(0);
    set_seal(&mut cluster, static_seal());
    let moved = restarted.migrate("static");
    assert_eq!(moved.code, 0, "{moved:?}");
    let checked = environment.run(&["backup", "check", &before, "cluster.yaml"]);
    assert!(checked.code == 0 && checked.stdout.contains("proven"), "custody's shares open it: {checked:?}");
    // The key of the seal opens one from after the move.
    let key = environment.write("seal-key", KEY).display().to_string();
    let made = environment.run(&["backup", "cluster.yaml"]);
    let after = backups().into_iter().find(|one| *one != before).unwrap_or_else(|| panic!("{made:?}"));
    let checked = environment.run(&["backup", "check", &after, "cluster.yaml", "--seal-key", &key]);
    assert!(checked.code == 0 && checked.stdout.contains("proven"), "{checked:?}");

    // It does not come back into servers with another seal, which it would lock out.
    let refused = environment.run(&["restore", "cluster.yaml", "--from", &before, "--confirm", "cluster"]);
    assert!(refused.code == 1 && refused.stderr.contains("this one has the seal static"), "{refused:?}");
    // Restored past the program, the server leads with a seal that its data do not have, and is moved once more.
    let url = format!("{}/v1/sys/storage/raft/snapshot-force", cluster.nodes[0].url());
    let request = environment.http().post(url).header("X-Vault-Token", root_token(&cluster.custody()));
    let snapshot = std::fs::read(&before).expect("a snapshot");
    let restored = block_on(request.body(snapshot).send()).expect("an answer").status();
    assert_eq!(restored, 204);
    let (url, started) = (cluster.nodes[0].url(), Instant::now());
    while seal_status(&environment.http(), &url)["errors"].is_null() {
        assert!(started.elapsed() < Duration::from_mins(1), "it has not been restored");
        std::thread::sleep(Duration::from_millis(200));
    }
    let again = restarted.migrate("static");
    assert_eq!(again.code, 0, "{again:?}");
    has_seal(&cluster, "static");
    let said = format!("{moved:?}{made:?}{checked:?}{refused:?}{again:?}");
    assert_eq!(leaks(said.as_bytes(), &secrets(&cluster)), Vec::<&str>::new());
}
