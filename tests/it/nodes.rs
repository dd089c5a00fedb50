//! Key shares go to nodes that were proven to be of the cluster, and to no other that a plan lists.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use groundwork::sandbox::Settings;
use serde_json::{Value, json};

use crate::cluster::{free_port, seal_status};
use crate::listener::{self, Listener};
use crate::support::{Cluster, Ran, TestEnvironment, block_on, custody_in, root_token, step};

/// Answers like a sealed node of the cluster, takes no share, and keeps every request.
struct Stranger {
    listener: Listener,
    url: String,
}

impl Stranger {
    fn start() -> Self {
        let listener = Listener::start(|request| {
            let sealed = r#"{"type":"shamir","initialized":true,"sealed":true,"t":1,"n":1}"#;
            Some(match request.contains("/sys/unseal") {
                true => listener::json("400 Bad Request", r#"{"errors":["no"]}"#),
                false => listener::json("200 OK", sealed),
            })
        });
        Self { url: listener.address.clone(), listener }
    }

    /// Whether it got a share, or was told to join.
    fn got_shares(&self) -> bool {
        let requests = self.listener.requests();
        assert!(requests.iter().any(|request| request.contains("sys/seal-status")), "it was never asked");
        requests.iter().any(|request| request.contains("/sys/unseal") || request.contains("/join"))
    }
}

/// An initialised cluster, then a plan that lists a stranger's node beside its own.
fn with_stranger() -> (Cluster, Stranger, String) {
    let cluster = Cluster::new("strangers");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let (stranger, own) = (Stranger::start(), cluster.environment.sandbox.vault_addrs()[0].clone());
    declare_vault(&cluster, &json!({ "nodes": [own, stranger.url] }));
    // Even one that may get credentials may not get shares.
    cluster.environment.allow("plan.yaml", &[&format!("--trust=vault={}", stranger.url)]);
    (cluster, stranger, own)
}

fn declare_vault(cluster: &Cluster, settings: &Value) {
    let path = cluster.environment.folder.join("plan.yaml");
    let mut plan: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    plan["vault"] = settings.clone();
    cluster.environment.write("plan.yaml", &plan.to_string());
}

#[test]
fn share_never_reaches_a_node_only_the_plan_names() {
    let (cluster, stranger, _) = with_stranger();
    let flag = format!("--trust node={}", stranger.url);
    let plan = cluster.plan();
    let init = step(&plan, "cluster");
    assert_eq!(init["action"], "blocked", "{plan:#}");
    assert!(init["reason"].as_str().is_some_and(|reason| reason.contains(&flag)), "{init:#}");
    let nodes = plan["risks"].as_array().unwrap().iter().find(|risk| risk["step"] == "vault.nodes");
    assert!(nodes.is_some_and(|risk| risk["severity"] == "high"), "{plan:#}");
    let ran = cluster.run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let ran = cluster.run(&["unseal", "plan.yaml"]);
    assert!(ran.code != 0 && ran.stderr.contains(&flag), "{ran:?}");
    assert!(!stranger.got_shares());

    // The caller's word, and nothing else, lets it have them.
    let trust = format!("node={}", stranger.url);
    let ran = cluster.run(&["plan", "plan.yaml", "--format", "json", "--trust", &trust]);
    let plan: Value = serde_json::from_str(&ran.stdout).expect("a changeset");
    let risks = plan["risks"].as_array().unwrap();
    let risk = risks.iter().find(|risk| risk["step"] == "cluster").expect("a risk of the step");
    assert_eq!(risk["severity"], "high", "{plan:#}");
    assert!(risk["message"].as_str().unwrap().contains(&stranger.url), "{plan:#}");
    let ran = cluster.run(&["unseal", "plan.yaml", "--trust", &trust]);
    assert!(ran.code != 0 && stranger.got_shares(), "the listener sees shares: {ran:?}");
}

#[test]
fn typed_share_never_reaches_a_stranger_either() {
    let (cluster, stranger, own) = with_stranger();
    let (status, _) = cluster.ask("PUT", "", "sys/seal", &json!({}));
    assert_eq!(status, 204);
    let mut command = cluster.environment.command(&["unseal", "plan.yaml", "--share"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let share = "ab".repeat(32);
    child.stdin.take().expect("a pipe").write_all(format!("{share}\n").as_bytes()).expect("written");
    let ran = Ran::of(child.wait_with_output().expect("it ends"));
    assert!(!stranger.got_shares(), "{ran:?}");
    assert!(ran.stderr.contains(&format!("--trust node={}", stranger.url)), "{ran:?}");
    assert!(!ran.stderr.contains(&share) && !ran.stdout.contains(&share), "the share is shown");
    // Its own node is still opened from custody.
    let ran = cluster.run(&["unseal", "plan.yaml"]);
    assert!(ran.code != 0 && ran.stderr.contains(&stranger.url), "{ran:?}");
    let status = seal_status(&cluster.environment.http(), &own);
    assert_eq!(status["sealed"], false);
}

#[test]
fn further_nodes_of_a_fresh_cluster_need_the_flag() {
    let cluster = Cluster::new("fresh");
    cluster.declare(&json!({}));
    let own = cluster.environment.sandbox.vault_addrs()[0].clone();
    let further = format!("http://127.0.0.1:{}", free_port());
    declare_vault(&cluster, &json!({ "nodes": [own, further] }));
    cluster.environment.allow("plan.yaml", &[&format!("--trust=vault={further}")]);
    let ran = cluster.run(&["apply", "plan.yaml", "--yes"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    let status = seal_status(&cluster.environment.http(), &own);
    assert_eq!(status["initialized"], false, "nothing was initialised: {ran:?}");
}

/// A sealed server of a plan that names its address itself, so that nothing but its record proves it.
#[test]
fn node_with_another_certificate_authority_is_refused() {
    use age::secrecy::ExposeSecret;
    let environment = TestEnvironment::with(Settings { tls: true, ..Settings::default() });
    let own = environment.sandbox.vault_addrs()[0].clone();
    let identity = age::x25519::Identity::generate();
    let file = environment.write("identity.txt", identity.to_string().expose_secret());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("private");
    let plan = json!({
        "version": 1, "name": "authority", "vault": { "address": own },
        "custody": { "recipients": [{ "age": identity.to_public().to_string() }], "stores": [{ "file": "custody" }] },
        "steps": { "cluster": { "kind": "vault.init", "shares": 1, "threshold": 1 } },
    });
    environment.write("plan.yaml", &plan.to_string());
    let ca = environment.sandbox.ca_cert().expect("TLS");
    let text = std::fs::read_to_string(&ca).expect("readable");
    let other = environment.write("other.pem", &format!("{text}\n"));
    let run = |arguments: &[&str], ca: &Path| {
        let mut command = environment.command(arguments);
        command.env("VAULT_CACERT", ca).env("GROUNDWORK_AGE_IDENTITY", &file);
        command.env_remove("GROUNDWORK_VAULT_NODES").env_remove("GROUNDWORK_TRUST");
        Ran::of(command.output().expect("the program starts"))
    };
    let applied = run(&["apply", "plan.yaml", "--yes"], &ca);
    assert_eq!(applied.code, 0, "{applied:?}");
    let journal = run(&["journal", "plan.yaml"], &ca);
    assert!(journal.stdout.contains(&format!("{own} belongs to the cluster (ca sha256:")), "{journal:?}");

    let token = root_token(&custody_in(&environment.folder.join("custody"), &identity));
    let request = environment.http().put(format!("{own}/v1/sys/seal")).header("X-Vault-Token", token);
    assert!(block_on(request.send()).expect("an answer").status().is_success());
    let refused = run(&["unseal", "plan.yaml"], &other);
    assert!(
        refused.code != 0 && refused.stderr.contains("is not the server that got key shares"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains(&format!("--trust node={own}")), "{refused:?}");
    assert_eq!(seal_status(&environment.http(), &own)["sealed"], true);
    let opened = run(&["unseal", "plan.yaml"], &ca);
    assert_eq!(opened.code, 0, "{opened:?}");
}
