//! A real server starts with a configuration that a plan rendered.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{TestEnvironment, block_on, paths, step};

/// A server, ended with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program of the sandbox's own server.
fn program(environment: &TestEnvironment) -> PathBuf {
    let servers = environment.sandbox.pids();
    let programs = servers.iter().filter_map(|(_, pid)| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
    let is_vault = |path: &PathBuf| path.file_name().is_some_and(|name| name == "bao" || name == "vault");
    programs.into_iter().find(is_vault).expect("a Vault runs in the sandbox")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

async fn seal_status(url: &str) -> Value {
    let started = Instant::now();
    loop {
        match reqwest::get(format!("{url}/v1/sys/seal-status")).await {
            Ok(answer) => return answer.json().await.expect("JSON"),
            Err(error) => {
                assert!(started.elapsed() < Duration::from_mins(1), "the server does not answer: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[test]
fn a_server_starts_with_what_was_rendered() {
    let environment = TestEnvironment::new();
    let (port, cluster_port) = (free_port(), free_port());
    let (url, data) = (format!("http://127.0.0.1:{port}"), environment.folder.join("data"));
    std::fs::create_dir(&data).expect("a folder");
    let log = environment.folder.join("audit.log");
    let config = json!({
        "kind": "vault.server_config", "path": "rendered/vault.hcl", "api_addr": url,
        "cluster_addr": format!("https://127.0.0.1:{cluster_port}"), "cluster_name": "rendered",
        "raft": { "path": data, "node_id": "one", "performance_multiplier": 1 },
        "listeners": [{ "address": format!("127.0.0.1:{port}"), "tls_disable": true }],
        "seal": { "static": { "current_key_id": "1", "current_key": "env://CONTRACT_SEAL_KEY" } },
        "telemetry": { "prometheus_retention_time": "24h", "disable_hostname": true },
        "audit": [{ "type": "file", "name": "log", "options": { "file_path": log, "mode": "0600" } }],
    });
    let plan = json!({ "version": 1, "name": "rendered", "steps": { "node": config } });
    environment.write("rendered.yaml", &plan.to_string());
    environment.apply("rendered.yaml");
    let file = environment.folder.join("rendered/vault.hcl");
    let mut command = Command::new(program(&environment));
    command
        .arg("server")
        .arg("-config")
        .arg(&file)
        .env("CONTRACT_SEAL_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let _server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"));
    let status = block_on(seal_status(&url));
    assert_eq!(status["type"], "static", "{status:#}");
    assert_eq!(status["storage_type"], "raft", "{status:#}");

    // Another notation is no change; another meaning is exactly one.
    let text = std::fs::read_to_string(&file).expect("rendered");
    std::fs::write(&file, format!("# by hand\n\n{}", text.replace("  ", "\t"))).expect("written");
    assert_eq!(step(&environment.plan("rendered.yaml"), "node")["action"], "none");
    std::fs::write(&file, text.replace("\"24h\"", "\"1h\"")).expect("written");
    assert_eq!(paths(step(&environment.plan("rendered.yaml"), "node")), ["telemetry"]);
}
