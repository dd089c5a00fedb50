//! Every write of an apply goes wrong in every way; a clean run afterwards comes to the same.

use serde_json::json;

use super::relay::{FAULTS, Fault, Relay};
use super::{ApiServer, KubeCluster, is_left_out};
use crate::support::{Ran, summary};

#[test]
fn any_lost_or_failed_write_is_made_good() {
    if is_left_out("faults of the API server") {
        return;
    }
    let cluster = KubeCluster::new();
    let relay = Relay::start(ApiServer::of(&cluster.environment));
    let config = relay.config(&cluster.environment);
    let run = |arguments: &[&str]| {
        let mut command = cluster.environment.command(arguments);
        command.env("KUBECONFIG", &config).env("GROUNDWORK_HASTE", "50").env("GROUNDWORK_TIMEOUT", "3");
        Ran::of(command.output().expect("it runs"))
    };
    let map = |data: &str| json!({ "a": data });
    cluster.declare("faulty", &json!({
        "map": { "kind": "kubernetes.config_map", "namespace": "default", "name": "f", "data": map("1"), "force": true },
        "secret": { "kind": "kubernetes.secret", "namespace": "default", "name": "f", "protect": false,
            "data": { "made": { "generate": {} } }, "needs": ["map"] },
        "set": { "kind": "kubernetes.manifest", "name": "f", "namespace": "default", "needs": ["secret"], "objects": [
            { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "g" }, "data": map("1") },
        ] },
    }));
    let plan = |fault: Option<(usize, Fault)>| relay.plan(fault);
    let is_there = |name: &str| cluster.exists(&format!("api/v1/namespaces/default/{name}"));
    let objects = ["configmaps/f", "secrets/f", "configmaps/g"];
    for nth in 1..=3 {
        for fault in FAULTS {
            let case = format!("{fault:?} at write {nth}");
            plan(Some((nth, fault)));
            let first = run(&["apply", "faulty.yaml", "--yes"]);
            assert!(!format!("{}{}", first.stdout, first.stderr).contains("panicked"), "{case}: {first:?}");
            plan(None);
            let second = run(&["apply", "faulty.yaml", "--yes"]);
            assert_eq!(second.code, 0, "{case}: {first:?}\n{second:?}");
            assert!(objects.iter().all(|name| is_there(name)), "{case}");
            let third = run(&["apply", "faulty.yaml", "--yes", "--format", "json"]);
            assert_eq!(summary(&third.events())["api_calls"]["write"], 0, "{case}: {third:?}");
            plan(Some((nth, fault)));
            run(&["destroy", "faulty.yaml", "--yes"]);
            plan(None);
            let gone = run(&["destroy", "faulty.yaml", "--yes"]);
            assert_eq!(gone.code, 0, "{case}: {gone:?}");
            assert!(!objects.iter().any(|name| is_there(name)), "{case}: something stays");
        }
    }
}
