//! Other managers, other plans, and what is not there yet.

use serde_json::{Value, json};

use super::{KubeCluster, is_left_out};
use crate::support::{paths, step, summary};

const MAP: &str = "api/v1/namespaces/default/configmaps/settings";

fn settings(data: &Value) -> Value {
    json!({ "settings": { "kind": "kubernetes.config_map", "namespace": "default", "name": "settings", "data": data } })
}

fn reason(step: &Value) -> &str {
    step["reason"].as_str().unwrap_or_default()
}

#[test]
fn second_apply_writes_nothing_and_undeclared_objects_go() {
    if is_left_out("a second apply") {
        return;
    }
    let cluster = KubeCluster::new();
    let mut steps = settings(&json!({ "a": "1", "b": "2" }));
    for number in 0..20 {
        steps[format!("more{number}")] = json!({
            "kind": "kubernetes.config_map", "namespace": "default", "name": format!("more-{number}"),
            "data": { "number": number.to_string() },
        });
    }
    cluster.declare("maps", &steps);
    let events = cluster.apply("maps");
    assert_eq!(summary(&events)["done"], 21);
    let object = cluster.get(MAP);
    let manager = &object["metadata"]["managedFields"][0];
    assert_eq!((&manager["manager"], &manager["operation"]), (&json!("groundwork-maps"), &json!("Apply")));
    assert_eq!(object["metadata"]["labels"]["groundwork/plan"], "maps");
    // The identity of the cluster, and one list for all objects of a kind.
    let again = cluster.apply("maps");
    assert_eq!(summary(&again)["api_calls"]["write"], 0, "{again:?}");
    assert!(summary(&again)["api_calls"]["read"].as_u64().expect("a number") <= 2, "{again:?}");
    cluster.declare("maps", &settings(&json!({ "a": "1" })));
    let plan = cluster.plan("maps");
    assert_eq!(paths(step(&plan, "settings")), ["data.b"], "{plan:#}");
    let ran = cluster.run(&["apply", "maps.yaml", "--yes", "--prune"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!cluster.exists("api/v1/namespaces/default/configmaps/more-3"));
    assert_eq!(cluster.get(MAP)["data"], json!({ "a": "1" }));
    assert_eq!(cluster.run(&["destroy", "maps.yaml", "--yes"]).code, 0);
    assert!(!cluster.exists(MAP));
}

#[test]
fn field_of_another_manager_is_taken_over_only_by_force() {
    if is_left_out("two managers") {
        return;
    }
    let cluster = KubeCluster::new();
    cluster.declare("ours", &settings(&json!({ "region": "eu", "url": "a" })));
    cluster.apply("ours");
    cluster.edit(MAP, &json!({ "data": { "region": "us", "theirs": "1" } }));
    let plan = cluster.plan("ours");
    let settings_step = step(&plan, "settings");
    assert_eq!(settings_step["action"], "blocked", "{plan:#}");
    assert!(reason(settings_step).contains("data.region (kubectl-edit)"), "{settings_step:#}");
    assert!(reason(settings_step).contains("`force: true`"), "{settings_step:#}");
    assert_eq!(cluster.get(MAP)["data"]["region"], "us", "nothing is written");
    let mut forced = settings(&json!({ "region": "eu", "url": "a" }));
    forced["settings"]["force"] = json!(true);
    cluster.declare("ours", &forced);
    assert_eq!(paths(step(&cluster.plan("ours"), "settings")), ["data.region"]);
    cluster.apply("ours");
    let data = cluster.get(MAP)["data"].clone();
    assert_eq!(data, json!({ "region": "eu", "url": "a", "theirs": "1" }), "what is not declared stays");
}

#[test]
fn object_of_another_plan_is_left_alone() {
    if is_left_out("two plans") {
        return;
    }
    let cluster = KubeCluster::new();
    cluster.declare("first", &settings(&json!({ "a": "1" })));
    cluster.apply("first");
    cluster.declare("second", &settings(&json!({ "a": "1", "b": "2" })));
    let plan = cluster.plan("second");
    let found = step(&plan, "settings");
    assert_eq!(found["action"], "blocked", "{plan:#}");
    assert!(reason(found).contains("belongs to the plan `first`"), "{found:#}");
    let ran = cluster.run(&["apply", "second.yaml", "--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(cluster.get(MAP)["data"], json!({ "a": "1" }));
    assert_eq!(cluster.run(&["destroy", "second.yaml", "--yes"]).code, 0);
    assert!(cluster.exists(MAP), "the other plan's object stays");
}

#[test]
fn refusals_are_found_before_anything_is_written() {
    if is_left_out("refusals in a plan") {
        return;
    }
    let cluster = KubeCluster::new();
    let mut steps = settings(&json!({ "a": "1" }));
    steps["account"] = json!({
        "kind": "kubernetes.service_account", "namespace": "default", "name": "worker", "labels": { "team": "a b" },
    });
    cluster.declare("refused", &steps);
    let plan = cluster.plan("refused");
    let account = step(&plan, "account");
    assert_eq!(account["action"], "blocked", "{plan:#}");
    assert!(reason(account).contains("a valid label"), "{account:#}");
    assert_eq!(step(&plan, "settings")["action"], "create");
    assert!(!cluster.exists(MAP), "a plan writes nothing");
}

#[test]
fn finalizer_of_a_stranger_is_named_and_kept() {
    if is_left_out("a finalizer") {
        return;
    }
    let cluster = KubeCluster::new();
    let mut steps = settings(&json!({ "a": "1" }));
    steps["other"] =
        json!({ "kind": "kubernetes.config_map", "namespace": "default", "name": "o", "data": { "a": "1" } });
    cluster.declare("held", &steps);
    cluster.apply("held");
    cluster.edit(MAP, &json!({ "metadata": { "finalizers": ["example.net/guard"] } }));
    steps.as_object_mut().expect("steps").remove("settings");
    cluster.declare("held", &steps);
    let ran = cluster.run(&["apply", "held.yaml", "--yes", "--prune"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("example.net/guard") && said.contains("remove the finalizer by hand"), "{said}");
    // Declared again while it is being deleted, it is blocked with the same reason.
    cluster.declare("held", &settings(&json!({ "a": "2" })));
    let plan = cluster.plan("held");
    let found = step(&plan, "settings");
    assert_eq!(found["action"], "blocked", "{plan:#}");
    assert!(
        reason(found).contains("being deleted") && reason(found).contains("example.net/guard"),
        "{found:#}"
    );
    cluster.edit(MAP, &json!({ "metadata": { "finalizers": [] } }));
    cluster.apply("held");
    assert_eq!(cluster.get(MAP)["data"], json!({ "a": "2" }));
}

#[test]
fn namespace_that_is_being_deleted_takes_nothing_new() {
    if is_left_out("a namespace that is being deleted") {
        return;
    }
    let cluster = KubeCluster::new();
    cluster.create("api/v1/namespaces", &json!({ "metadata": { "name": "ending" } }));
    let map = json!({ "metadata": { "name": "guard", "finalizers": ["example.net/guard"] } });
    cluster.create("api/v1/namespaces/ending/configmaps", &map);
    cluster.ask("DELETE", "api/v1/namespaces/ending", "application/json", &Value::Null);
    cluster.declare("late", &json!({
        "map": { "kind": "kubernetes.config_map", "namespace": "ending", "name": "late", "data": { "a": "1" } },
    }));
    let plan = cluster.plan("late");
    let found = step(&plan, "map");
    assert_eq!(found["action"], "blocked", "{plan:#}");
    assert!(reason(found).contains("is being deleted"), "{found:#}");
}

#[test]
fn namespace_comes_before_what_is_in_it_and_goes_after() {
    if is_left_out("the order of namespaces") {
        return;
    }
    let cluster = KubeCluster::new();
    let steps = json!({
        "map": { "kind": "kubernetes.config_map", "namespace": "team", "name": "settings", "data": { "a": "1" } },
        "team": { "kind": "kubernetes.namespace", "name": "team", "protect": false },
    });
    cluster.declare("ordered", &steps);
    let plan = cluster.plan("ordered");
    assert_eq!(step(&plan, "map")["action"], "create", "{plan:#}");
    assert_eq!(step(&plan, "map")["needs"], json!(["team"]));
    cluster.apply("ordered");
    let ran = cluster.run(&["destroy", "ordered.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!cluster.exists("api/v1/namespaces/team"));
}

#[test]
fn caller_with_half_of_the_rights_gets_half_and_an_explanation() {
    if is_left_out("a caller with half of the rights") {
        return;
    }
    let cluster = KubeCluster::new();
    let rules = json!({
        "metadata": { "name": "half" },
        "rules": [
            { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch", "delete"] },
            { "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "list"] },
        ],
    });
    cluster.create("apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", &rules);
    let binding = json!({
        "metadata": { "name": "half" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "half" },
        "subjects": [{ "kind": "ServiceAccount", "namespace": "default", "name": "robot" }],
    });
    cluster.create("apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding);
    let identity = json!({
        "metadata": { "name": "identity" },
        "rules": [{ "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"] }],
    });
    cluster.create("apis/rbac.authorization.k8s.io/v1/clusterroles", &identity);
    let binding = json!({
        "metadata": { "name": "identity" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "identity" },
        "subjects": [{ "kind": "ServiceAccount", "namespace": "default", "name": "robot" }],
    });
    cluster.create("apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding);
    let user = json!({ "token": cluster.token("default", "robot") });
    let config = cluster.config_of("robot.json", &user);
    let mut steps = settings(&json!({ "a": "1" }));
    steps["second"] =
        json!({ "kind": "kubernetes.config_map", "namespace": "default", "name": "s", "data": { "a": "1" } });
    steps["account"] =
        json!({ "kind": "kubernetes.service_account", "namespace": "default", "name": "worker" });
    cluster.declare("half", &steps);
    let run = |arguments: &[&str]| {
        let output =
            cluster.environment.command(arguments).env("KUBECONFIG", &config).output().expect("it runs");
        crate::support::Ran::of(output)
    };
    let ran = run(&["plan", "half.yaml", "--format", "json"]);
    let plan: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!(step(&plan, "settings")["action"], "create", "lists are not needed: {plan:#}");
    let account = step(&plan, "account");
    assert_eq!(account["action"], "blocked", "{plan:#}");
    let why = reason(account);
    assert!(why.contains("system:serviceaccount:default:robot") && why.contains("cannot patch"), "{why}");
    let ran = run(&["apply", "half.yaml", "--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(cluster.exists(MAP));
}
