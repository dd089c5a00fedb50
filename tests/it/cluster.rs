//! Clusters of real servers that start with the configurations that a plan rendered, each with another
//! seal, opened by `vault.init`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use groundwork::sandbox::{OpenBao, Settings, VaultServer};
use serde_json::{Map, Value, json};

use crate::aws::{OWN, secret_key};
use crate::support::{TestEnvironment, block_on, custody_in, opened, paths, root_token, step, summary};

/// A server, ended with the value.
pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program of the sandbox's own server.
pub fn program(environment: &TestEnvironment) -> PathBuf {
    let servers = environment.sandbox.pids();
    let programs = servers.iter().filter_map(|(_, pid)| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
    let is_vault = |path: &PathBuf| path.file_name().is_some_and(|name| name == "bao" || name == "vault");
    programs.into_iter().find(is_vault).expect("a Vault runs in the sandbox")
}

/// Starts the sandbox's server program with a configuration.
pub fn start(environment: &TestEnvironment, config: &Path, variables: &[(&str, String)]) -> Server {
    let log = std::fs::File::create(config.with_extension("log")).expect("a log");
    let mut command = Command::new(program(environment));
    command.arg("server").arg("-config").arg(config).envs(variables.iter().cloned());
    Server(command.stdout(Stdio::null()).stderr(log).spawn().expect("it starts"))
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// Waits until a server answers.
pub fn seal_status(http: &reqwest::Client, url: &str) -> Value {
    let started = Instant::now();
    block_on(async {
        loop {
            match http.get(format!("{url}/v1/sys/seal-status")).send().await {
                Ok(answer) => return answer.json().await.expect("JSON"),
                Err(error) => {
                    assert!(
                        started.elapsed() < Duration::from_mins(1),
                        "the server does not answer: {error}"
                    );
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

/// A node: where it is, and its name.
#[derive(Clone)]
pub struct Node {
    name: String,
    pub port: u16,
    cluster_port: u16,
}

impl Node {
    fn new(name: String) -> Self {
        Self { name, port: free_port(), cluster_port: free_port() }
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

/// A cluster of servers that run with what `servers.yaml` rendered; `cluster.yaml` opens it.
pub struct Cluster<'a> {
    pub environment: &'a TestEnvironment,
    pub nodes: Vec<Node>,
    pub seal: Value,
    variables: Vec<(&'static str, String)>,
    pub servers: Vec<Server>,
    identity: age::x25519::Identity,
}

impl<'a> Cluster<'a> {
    /// Starts as many servers with this seal, `null` for key shares, and these variables.
    pub fn start(
        environment: &'a TestEnvironment,
        nodes: usize,
        seal: Value,
        variables: Vec<(&'static str, String)>,
    ) -> Self {
        let nodes = (1..=nodes).map(|number| Node::new(format!("node-{number}"))).collect();
        let identity = age::x25519::Identity::generate();
        let mut cluster = Self { environment, nodes, seal, variables, servers: Vec::new(), identity };
        cluster.render();
        cluster.declare();
        let servers = (0..cluster.nodes.len()).map(|index| cluster.start_node(index)).collect();
        cluster.servers = servers;
        cluster
    }

    /// What a plan renders for each node.
    pub fn render(&self) {
        let tls = self.environment.sandbox.ca_cert().expect("the sandbox has TLS");
        let file = |name: &str| tls.with_file_name(name);
        let mut steps = Map::new();
        steps.insert("seal_key".to_owned(), json!({ "kind": "aws.kms_key", "alias": "alias/gw-seal" }));
        for (index, node) in self.nodes.iter().enumerate() {
            let others = self.nodes.iter().filter(|other| other.name != node.name);
            let join: Vec<Value> = others
                .map(|other| json!({ "leader_api_addr": other.url(), "leader_ca_cert_file": file("ca.pem") }))
                .collect();
            let data = self.data(index);
            std::fs::create_dir_all(&data).expect("a folder");
            let config = json!({
                "kind": "vault.server_config", "path": format!("rendered/{index}.hcl"),
                "cluster_name": "rendered", "api_addr": node.url(),
                "cluster_addr": format!("https://127.0.0.1:{}", node.cluster_port),
                "raft": {
                    "path": data, "node_id": node.name, "performance_multiplier": 1, "retry_join": join,
                    "autopilot_update_interval": "500ms", "autopilot_reconcile_interval": "1s",
                },
                "listeners": [{
                    "address": format!("127.0.0.1:{}", node.port),
                    "cluster_address": format!("127.0.0.1:{}", node.cluster_port),
                    "tls_cert_file": file("server.pem"), "tls_key_file": file("server-key.pem"),
                }],
                "seal": self.seal,
                "telemetry": { "prometheus_retention_time": "24h", "disable_hostname": true },
                "audit": [{
                    "type": "file", "name": "log",
                    "options": { "file_path": self.environment.folder.join("audit.log"), "mode": "0600" },
                }],
            });
            steps.insert(format!("node_{index}"), config);
        }
        let plan =
            json!({ "version": 1, "name": "servers", "aws": { "region": "us-east-1" }, "steps": steps });
        self.environment.write("servers.yaml", &plan.to_string());
        self.environment.apply("servers.yaml");
    }

    /// The plan that opens the cluster.
    fn declare(&self) {
        let addresses: Vec<String> = self.nodes.iter().map(Node::url).collect();
        let ca = std::fs::read_to_string(self.environment.sandbox.ca_cert().expect("TLS")).expect("readable");
        self.environment.write("ca.pem", &ca);
        let plan = json!({
            "version": 1, "name": "cluster", "aws": { "region": "us-east-1" },
            "vault": { "address": addresses[0], "nodes": addresses, "ca_cert": "ca.pem" },
            "custody": {
                "recipients": [{ "kms": "{{ key.arn }}" }, { "age": self.identity.to_public().to_string() }],
                "stores": [{ "file": "custody" }],
            },
            "steps": {
                "key": { "kind": "aws.kms_key", "alias": "alias/gw-cluster" },
                "cluster": { "kind": "vault.init", "shares": 3, "threshold": 2 },
                "audit": { "kind": "vault.audit", "path": "log", "type": "file" },
            },
        });
        self.environment.write("cluster.yaml", &plan.to_string());
        let grants = |address: &String| ["vault", "node"].map(|what| format!("--trust={what}={address}"));
        let grants: Vec<String> = addresses.iter().flat_map(grants).collect();
        self.environment.allow("cluster.yaml", &grants.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn data(&self, index: usize) -> PathBuf {
        self.environment.folder.join(format!("data-{index}"))
    }

    fn start_node(&self, index: usize) -> Server {
        let config = self.environment.folder.join(format!("rendered/{index}.hcl"));
        let server = start(self.environment, &config, &self.variables);
        seal_status(&self.environment.http(), &self.nodes[index].url());
        server
    }

    /// Opens the cluster; another run has nothing to do.
    pub fn open(&self) {
        self.environment.apply("cluster.yaml");
        let again = self.environment.apply("cluster.yaml");
        assert_eq!(summary(&again)["api_calls"]["write"], 0, "{:#}", summary(&again));
    }

    pub fn custody(&self) -> Vec<(String, Vec<u8>)> {
        custody_in(&self.environment.folder.join("custody"), &self.identity)
    }

    /// Kills a node, and puts an empty one with another name and another address among its peers where
    /// it was.
    fn replace(&mut self, index: usize) {
        self.servers.remove(index);
        std::fs::remove_dir_all(self.data(index)).expect("removed");
        let (name, cluster_port) = (format!("{}-new", self.nodes[index].name), free_port());
        self.nodes[index] = Node { name, cluster_port, ..self.nodes[index].clone() };
        self.render();
        let server = self.start_node(index);
        self.servers.insert(index, server);
    }

    /// What the servers say, asked with the root token.
    pub fn ask(&self, path: &str) -> Value {
        let token = root_token(&self.custody());
        let http = self.environment.http();
        block_on(async {
            for node in &self.nodes {
                let request = http.get(format!("{}/v1/{path}", node.url())).header("X-Vault-Token", &token);
                if let Ok(answer) = request.send().await
                    && answer.status().is_success()
                {
                    return answer.json::<Value>().await.expect("JSON")["data"].clone();
                }
            }
            panic!("nobody answers {path}");
        })
    }

    /// The names of all servers that the cluster counts, each of which may vote.
    pub fn voters(&self) -> Vec<String> {
        let configuration = self.ask("sys/storage/raft/configuration");
        let servers = configuration["config"]["servers"].as_array().expect("servers").iter();
        let voter = |server: &Value| {
            assert_eq!(server["voter"], true, "{configuration:#}");
            server["node_id"].as_str().expect("a name").to_owned()
        };
        let mut voters: Vec<String> = servers.map(voter).collect();
        voters.sort();
        voters
    }

    /// A server is only let go while all others are healthy. On a busy machine one may miss a heartbeat just
    /// then; the next run lets go.
    pub fn open_until_settled(&self) {
        let started = Instant::now();
        self.environment.apply("cluster.yaml");
        while self.voters() != self.names() {
            let (voters, names) = (self.voters(), self.names());
            assert!(started.elapsed() < Duration::from_mins(2), "{voters:?} vote in place of {names:?}");
            self.environment.apply("cluster.yaml");
        }
        self.open();
    }

    pub fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }
}

pub fn environment() -> TestEnvironment {
    TestEnvironment::with(Settings { tls: true, ..Settings::default() })
}

#[test]
fn rendered_cluster_removes_member_replaced_under_another_name() {
    let environment = environment();
    let mut cluster = Cluster::start(&environment, 3, Value::Null, Vec::new());
    cluster.open();
    assert_eq!(cluster.voters(), ["node-1", "node-2", "node-3"]);
    assert_eq!(opened(&cluster.custody(), "keys_base64").len(), 3);

    cluster.replace(2);
    let changeset = environment.plan("cluster.yaml");
    let step = step(&changeset, "cluster");
    let sealed = format!("nodes[{}].sealed", cluster.nodes[2].url());
    assert!(paths(step).contains(&sealed.as_str()), "{step:#}");
    cluster.open_until_settled();
}

#[test]
fn rendered_cluster_unseals_by_transit_of_another_vault() {
    let environment = environment();
    let (transit, token) = transit(&environment);
    let seal = json!({ "transit": {
        "address": transit, "key_name": "unseal", "mount_path": "transit/",
        "tls_ca_cert": environment.sandbox.ca_cert().expect("TLS"),
    } });
    let mut cluster = Cluster::start(&environment, 3, seal, vec![("VAULT_TOKEN", token)]);
    cluster.open();
    assert_eq!(cluster.voters(), cluster.names());
    assert_eq!(opened(&cluster.custody(), "recovery_keys_base64").len(), 3);

    // One that is replaced joins and unseals itself; its predecessor is still to go.
    cluster.replace(2);
    let started = Instant::now();
    while paths(step(&environment.plan("cluster.yaml"), "cluster")) != ["servers[node-3]"] {
        assert!(started.elapsed() < Duration::from_mins(1), "nobody misses it");
        std::thread::sleep(Duration::from_millis(500));
    }
    cluster.open_until_settled();

    // A server that is started again unseals itself.
    cluster.servers.remove(1);
    let server = cluster.start_node(1);
    cluster.servers.insert(1, server);
    let started = Instant::now();
    while seal_status(&environment.http(), &cluster.nodes[1].url())["sealed"] == true {
        assert!(started.elapsed() < Duration::from_mins(1), "it stays sealed");
        std::thread::sleep(Duration::from_millis(100));
    }
    cluster.open();
}

/// Opens the sandbox's own Vault, and gives its address and a token for its transit engine.
pub fn transit(environment: &TestEnvironment) -> (String, String) {
    let identity = age::x25519::Identity::generate();
    let plan = json!({
        "version": 1, "name": "transit", "aws": { "region": "us-east-1" },
        "custody": {
            "recipients": [{ "kms": "{{ key.arn }}" }, { "age": identity.to_public().to_string() }],
            "stores": [{ "file": "transit-custody" }],
        },
        "steps": {
            "key": { "kind": "aws.kms_key", "alias": "alias/gw-transit" },
            "other": { "kind": "vault.init", "shares": 1, "threshold": 1 },
            "engine": { "kind": "vault.mount", "path": "transit", "type": "transit" },
            "unseal": { "kind": "vault.transit_key", "mount": "{{ engine.path }}", "name": "unseal" },
            "policy": { "kind": "vault.policy", "name": "unseal", "rules": {
                "transit/encrypt/unseal": ["update"], "transit/decrypt/unseal": ["update"],
            } },
        },
    });
    environment.write("transit.yaml", &plan.to_string());
    environment.apply("transit.yaml");
    let root = root_token(&custody_in(&environment.folder.join("transit-custody"), &identity));
    let address = environment.sandbox.vault_addrs()[0].clone();
    let request = environment.http().post(format!("{address}/v1/auth/token/create-orphan"));
    let body = json!({ "policies": ["unseal"], "period": "1h" }).to_string();
    let answer: Value = block_on(async {
        let answer = request.header("X-Vault-Token", root).body(body).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    });
    (address, answer["auth"]["client_token"].as_str().expect("a token").to_owned())
}

/// One node with a seal of its own.
fn opens_itself(environment: &TestEnvironment, seal: Value, variables: Vec<(&'static str, String)>) {
    let cluster = Cluster::start(environment, 1, seal, variables);
    cluster.open();
    assert_eq!(cluster.voters(), cluster.names());
    assert_eq!(opened(&cluster.custody(), "recovery_keys_base64").len(), 3);
    assert_eq!(opened(&cluster.custody(), "keys_base64"), [""; 0]);
}

#[test]
fn rendered_node_unseals_with_a_static_key() {
    let seal = json!({ "static": { "current_key_id": "1", "current_key": "env://CLUSTER_SEAL_KEY" } });
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned();
    opens_itself(&environment(), seal, vec![("CLUSTER_SEAL_KEY", key)]);
}

#[test]
fn rendered_node_unseals_with_the_plans_kms_key() {
    let vault = VaultServer::Pinned(OpenBao::WithKmsSeal);
    let environment = TestEnvironment::with(Settings { tls: true, vault, ..Settings::default() });
    let endpoint = environment.sandbox.aws_url();
    let seal = json!({ "awskms": {
        "region": "us-east-1", "kms_key_id": "{{ seal_key.arn }}", "endpoint": endpoint,
    } });
    let secret = secret_key(&environment.sandbox);
    let root = [("AWS_ACCESS_KEY_ID", OWN.to_owned()), ("AWS_SECRET_ACCESS_KEY", secret)];
    opens_itself(&environment, seal, root.into());
}
