//! The sandbox's API server.

use groundwork::event::Events;
use groundwork::sandbox;
use serde_json::{Value, json};

use super::{KubeCluster, is_left_out};
use crate::support::block_on;

#[test]
fn sandbox_has_a_real_api_server_with_its_definitions() {
    if is_left_out("the sandbox's API server") {
        return;
    }
    let cluster = KubeCluster::new();
    let (status, version) = cluster.ask("GET", "version", "application/json", &Value::Null);
    assert_eq!((status, version["minor"].as_str()), (200, Some("34")), "{version}");
    for path in [
        "apis/external-secrets.io/v1/secretstores",
        "apis/external-secrets.io/v1beta1/externalsecrets",
        "apis/external-secrets.io/v1alpha1/pushsecrets",
        "apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasses",
    ] {
        assert!(cluster.exists(path), "{path}");
    }
    let status = block_on(sandbox::status(&cluster.environment.sandbox.dir())).expect("a status");
    let server = status.servers.iter().find(|server| server.name == "kubernetes").expect("the server");
    assert!(server.health.answers() && server.address == cluster.url());
    assert!(
        status.environment["KUBECONFIG"].as_str().is_some_and(|path| path.ends_with("config/kubeconfig"))
    );
    block_on(sandbox::down(&cluster.environment.sandbox.dir(), false, &Events::default())).expect("down");
    assert!(!cluster.environment.sandbox.kubeconfig().expect("a path").exists());
}

/// Rights are those of the user: a service account may do nothing until a role says otherwise.
#[test]
fn sandbox_authorises_by_roles_and_empties_namespaces() {
    if is_left_out("the sandbox's authorisation") {
        return;
    }
    let cluster = KubeCluster::new();
    cluster.create("api/v1/namespaces", &json!({ "metadata": { "name": "team" } }));
    let token = cluster.token("team", "nobody");
    cluster.config_of("nobody.json", &json!({ "token": token }));
    cluster.declare("refused", &json!({
        "map": { "kind": "kubernetes.config_map", "namespace": "team", "name": "x", "data": { "a": "1" } },
    }));
    let mut command = cluster.environment.command(&["plan", "refused.yaml"]);
    command.env("KUBECONFIG", cluster.environment.folder.join("nobody.json"));
    let output = command.output().expect("it runs");
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(said.contains("system:serviceaccount:team:nobody"), "{said}");
    assert!(cluster.ask("DELETE", "api/v1/namespaces/team", "application/json", &Value::Null).0 < 300);
    let gone = || !cluster.exists("api/v1/namespaces/team");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !gone() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(gone(), "the namespace stays");
}
