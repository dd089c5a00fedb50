//! Key shares go to nodes that were proven to be of the cluster, and to no other that a plan lists.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use groundwork::sandbox::Settings;
use serde_json::{Value, json};

use crate::cluster::{free_port, seal_status};
use crate::confirm::Session;
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
fn share_never_reaches_node_named_only_by_plan() {
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

const TYPE_IT: &str = "type its address: ";

/// Consent at a terminal: the address is typed, with a flag as well as without.
#[test]
fn new_node_is_confirmed_by_typing_its_address() {
    let (cluster, stranger, _) = with_stranger();
    for word in ["", "y", "http://127.0.0.1:1"] {
        let mut session = Session::start(cluster.command(&["apply", "plan.yaml"]));
        session.wait_for(TYPE_IT);
        session.say(word);
        // It stays blocked; the review names it, and the flag.
        session.wait_for("[y/N]");
        let (code, shown) = session.answer("n");
        assert!(code == 1 && shown.contains("nothing was changed"), "{word:?}: {code} {shown}");
        assert!(shown.contains(&format!("--trust node={}", stranger.url)), "{word:?}: {shown}");
    }
    let flag = format!("--trust=node={}", stranger.url);
    let mut session = Session::start(cluster.command(&["apply", "plan.yaml", &flag]));
    session.wait_for(TYPE_IT);
    let (code, shown) = session.answer("yes");
    assert!(code == 1 && shown.contains("nothing was changed"), "{code} {shown}");
    assert!(shown.contains("gets key shares for the first time"), "{shown}");
    assert!(!stranger.got_shares());

    let mut session = Session::start(cluster.command(&["apply", "plan.yaml"]));
    session.wait_for(TYPE_IT);
    session.say(&stranger.url);
    session.wait_for("[y/N]");
    let (_, shown) = session.answer("y");
    assert!(shown.contains("gets key shares for the first time"), "{shown}");
    assert!(stranger.got_shares(), "the listener sees shares: {shown}");
}

#[test]
fn nodes_in_callers_environment_are_trusted() {
    let (cluster, stranger, own) = with_stranger();
    let mut command = cluster.command(&["plan", "plan.yaml", "--format", "json"]);
    command.env("GROUNDWORK_VAULT_NODES", format!("{own}, {}", stranger.url));
    let ran = Ran::of(command.output().expect("the program starts"));
    let plan: Value = serde_json::from_str(&ran.stdout).expect("a changeset");
    let init = step(&plan, "cluster");
    assert_eq!(init["action"], "update", "{plan:#}");
    let path = format!("nodes[{}].first_shares", stranger.url);
    let changes = init["changes"].as_array().expect("changes");
    assert!(changes.iter().any(|change| change["path"] == path.as_str()), "{init:#}");
}

#[test]
fn typed_share_never_reaches_an_untrusted_node() {
    let (cluster, stranger, own) = with_stranger();
    let (status, _) = cluster.ask("PUT", "", "sys/seal", &json!({}));
    assert_eq!(status, 204);
    let mut command = cluster.environment.command(&["unseal", "plan.yaml", "--share"]);
    let share = "ab".repeat(32);
    let ran = Ran::fed(&mut command, format!("{share}\n"));
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
fn additional_nodes_of_fresh_cluster_require_trust() {
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

/// Passes connections on to a server that can be replaced by another, as an address can.
struct Switch {
    url: String,
    server: Arc<Mutex<String>>,
}

impl Switch {
    fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let server = Arc::new(Mutex::new(server.to_owned()));
        let current = Arc::clone(&server);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = current.lock().expect("unharmed").clone();
                let Ok(upstream) = TcpStream::connect(server.trim_start_matches("https://")) else {
                    continue;
                };
                for (mut from, mut to) in [(&client, &upstream), (&upstream, &client)].map(|(from, to)| {
                    (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"))
                }) {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { url, server }
    }

    fn to(&self, server: &str) {
        server.clone_into(&mut self.server.lock().expect("unharmed"));
    }
}

/// Both servers have certificates of authorities that the system trusts, so that their public keys tell
/// them apart.
#[test]
fn node_with_another_public_key_is_refused() {
    use age::secrecy::ExposeSecret;
    let [ours, theirs] =
        [(), ()].map(|()| TestEnvironment::with(Settings { tls: true, ..Settings::default() }));
    let servers = [&ours, &theirs].map(|one| one.sandbox.vault_addrs()[0].clone());
    let switch = Switch::start(&servers[0]);
    let authorities = [&ours, &theirs]
        .map(|one| std::fs::read_to_string(one.sandbox.ca_cert().expect("TLS")).expect("readable"));
    let system = ours.write("system.pem", &authorities.join("\n"));
    let identity = age::x25519::Identity::generate();
    let file = ours.write("identity.txt", identity.to_string().expose_secret());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("private");
    let plan = json!({
        "version": 1, "name": "public-key", "vault": { "address": switch.url },
        "custody": { "recipients": [{ "age": identity.to_public().to_string() }], "stores": [{ "file": "custody" }] },
        "steps": { "cluster": { "kind": "vault.init", "shares": 3, "threshold": 2 } },
    });
    ours.write("plan.yaml", &plan.to_string());
    let run = |arguments: &[&str]| {
        let mut command = ours.command(arguments);
        command.env("SSL_CERT_FILE", &system).env("GROUNDWORK_AGE_IDENTITY", &file);
        command.env("GROUNDWORK_TRUST", format!("vault={}", switch.url));
        for variable in ["VAULT_CACERT", "VAULT_ADDR", "GROUNDWORK_VAULT_NODES"] {
            command.env_remove(variable);
        }
        Ran::of(command.output().expect("the program starts"))
    };
    let applied = run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let journal = run(&["journal", "plan.yaml"]);
    assert!(
        journal.stdout.contains(&format!("{} belongs to the cluster (key sha256:", switch.url)),
        "{journal:?}"
    );

    let http = theirs.http();
    let body = json!({ "secret_shares": 3, "secret_threshold": 3 }).to_string();
    let request = http.post(format!("{}/v1/sys/init", servers[1])).body(body);
    assert!(block_on(request.send()).expect("an answer").status().is_success());
    switch.to(&servers[1]);
    for command in [&["unseal", "plan.yaml"][..], &["apply", "plan.yaml", "--yes"]] {
        let refused = run(command);
        assert_ne!(refused.code, 0, "{refused:?}");
        let said = format!("{}{}", refused.stdout, refused.stderr);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("is not the server that got key shares before"), "{said}");
        assert_eq!(seal_status(&http, &servers[1])["progress"], 0, "it got a share: {refused:?}");
    }
    switch.to(&servers[0]);
    let opened = run(&["unseal", "plan.yaml"]);
    assert_eq!(opened.code, 0, "{opened:?}");
}
