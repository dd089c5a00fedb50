//! A real server starts with a configuration that a plan rendered.

use serde_json::json;

use crate::cluster::{free_port, seal_status, start};
use crate::support::{TestEnvironment, paths, step};

#[test]
fn server_starts_with_the_rendered_configuration() {
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
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned();
    let _server = start(&environment, &file, &[("CONTRACT_SEAL_KEY", key)]);
    let status = seal_status(&environment.http(), &url);
    assert_eq!(status["type"], "static", "{status:#}");
    assert_eq!(status["storage_type"], "raft", "{status:#}");

    // Another notation is no change; another meaning is exactly one.
    let text = std::fs::read_to_string(&file).expect("rendered");
    std::fs::write(&file, format!("# by hand\n\n{}", text.replace("  ", "\t"))).expect("written");
    assert_eq!(step(&environment.plan("rendered.yaml"), "node")["action"], "none");
    std::fs::write(&file, text.replace("\"24h\"", "\"1h\"")).expect("written");
    assert_eq!(paths(step(&environment.plan("rendered.yaml"), "node")), ["telemetry"]);
}
