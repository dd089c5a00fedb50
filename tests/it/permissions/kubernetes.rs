//! Least roles of Kubernetes, at a real API server.

use serde_json::{Value, json};

use crate::kubernetes::{KubeCluster, is_left_out};
use crate::support::{Ran, summary};

const RBAC: &str = "apis/rbac.authorization.k8s.io/v1";

/// Objects of a namespace that stands already, and one of the cluster.
fn steps() -> Value {
    json!({
        "settings": { "kind": "kubernetes.config_map", "namespace": "team", "name": "settings", "data": { "a": "1" } },
        "worker": { "kind": "kubernetes.service_account", "namespace": "team", "name": "worker" },
        "database": { "kind": "kubernetes.secret", "namespace": "team", "name": "database", "protect": false,
            "data": { "password": { "generate": {} } } },
        "reader": { "kind": "kubernetes.role", "namespace": "team", "name": "reader",
            "rules": [{ "api_groups": [""], "resources": ["configmaps"], "verbs": ["get"] }] },
        "reads": { "kind": "kubernetes.role_binding", "namespace": "team", "name": "reads", "role": "reader",
            "service_accounts": ["worker"] },
        "reviews": { "kind": "kubernetes.cluster_role_binding", "name": "worker-reviews",
            "cluster_role": "system:auth-delegator", "service_accounts": ["team/worker"] },
        "store": { "kind": "kubernetes.secret_store", "namespace": "team", "name": "vault", "backend": { "vault": {
            "server": "https://v", "mount": "secret",
            "auth": { "kubernetes": { "role": "r", "service_account": "worker" } } } } },
    })
}

/// The roles of a command on a plan, as the program derives them.
pub fn roles(cluster: &KubeCluster, plan: &str, command: &str) -> Vec<Value> {
    let ran = cluster.run(&["permissions", plan, "--for", command, "--format", "json"]);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    let of_cluster = told["policies"].as_array().expect("policies").iter();
    let of_cluster = of_cluster.filter(|policy| policy["connection"] == "kubernetes");
    let read =
        |policy: &Value| serde_saphyr::from_str(policy["policy"].as_str().expect("YAML")).expect("a role");
    of_cluster.map(read).collect()
}

/// Gives the service account `ops/operator` these roles, and no others.
pub fn give(cluster: &KubeCluster, roles: &[Value]) {
    let put = |path: &str, object: &Value| {
        let path = format!("{path}?fieldManager=test&force=true");
        let (status, told) = cluster.ask("PATCH", &path, "application/apply-patch+yaml", object);
        assert!(status < 300, "{told}");
    };
    for role in roles {
        let kind = role["kind"].as_str().expect("a kind");
        let place = role["metadata"]["namespace"].as_str();
        let place = place.map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
        let plural = kind.to_lowercase();
        put(&format!("{RBAC}{place}/{plural}s/groundwork"), role);
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"),
            "metadata": { "name": "groundwork" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "groundwork" },
            "subjects": [{ "kind": "ServiceAccount", "namespace": "ops", "name": "operator" }],
        });
        put(&format!("{RBAC}{place}/{plural}bindings/groundwork"), &binding);
    }
}

/// A kubeconfig of that service account, which may do nothing yet.
pub fn operator(cluster: &KubeCluster) -> std::path::PathBuf {
    cluster.create("api/v1/namespaces", &json!({ "metadata": { "name": "ops" } }));
    let token = cluster.token("ops", "operator");
    cluster.config_of("operator.json", &json!({ "token": token }))
}

struct Operator {
    cluster: KubeCluster,
    config: std::path::PathBuf,
}

impl Operator {
    fn new() -> Self {
        let cluster = KubeCluster::new();
        cluster.create("api/v1/namespaces", &json!({ "metadata": { "name": "team" } }));
        let config = operator(&cluster);
        cluster.declare("least", &steps());
        Self { cluster, config }
    }

    fn roles(&self, command: &str) -> Vec<Value> {
        roles(&self.cluster, "least.yaml", command)
    }

    fn give(&self, all: &[Value]) {
        give(&self.cluster, all);
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.cluster.environment.command(arguments);
        Ran::of(command.env("KUBECONFIG", &self.config).output().expect("it runs"))
    }
}

/// The roles without one verb of one rule, for each of them; and what is missing.
fn without_each(roles: &[Value]) -> Vec<(String, Vec<Value>)> {
    let mut all = Vec::new();
    for (index, role) in roles.iter().enumerate() {
        let rules = role["rules"].as_array().expect("rules");
        for (nth, rule) in rules.iter().enumerate() {
            for verb in rule["verbs"].as_array().expect("verbs") {
                let mut fewer = roles.to_vec();
                let verbs = fewer[index]["rules"][nth]["verbs"].as_array_mut().expect("verbs");
                verbs.retain(|one| one != verb);
                if verbs.is_empty() {
                    fewer[index]["rules"].as_array_mut().expect("rules").remove(nth);
                }
                all.push((format!("{verb} {} {}", rule["resources"], rule["resourceNames"]), fewer));
            }
        }
    }
    all
}

#[test]
fn kubernetes_plan_needs_each_verb_and_no_other() {
    if is_left_out("least roles of Kubernetes") {
        return;
    }
    let operator = Operator::new();
    let roles = operator.roles("apply");
    assert_eq!(roles.len(), 2, "{roles:#?}");
    operator.give(&roles);
    let done = operator.run(&["apply", "least.yaml", "--yes"]);
    assert_eq!(done.code, 0, "{done:?}");
    let again = operator.run(&["apply", "least.yaml", "--yes", "--format", "json"]);
    assert_eq!(summary(&again.events())["api_calls"]["write"], 0, "{again:?}");
    operator.give(&operator.roles("plan"));
    assert_eq!(operator.run(&["plan", "least.yaml", "--detailed-exitcode"]).code, 0);

    let gone = || {
        let gone = operator.cluster.run(&["destroy", "least.yaml", "--yes"]);
        assert_eq!(gone.code, 0, "{gone:?}");
    };
    gone();
    let cases = without_each(&roles);
    assert!(cases.len() > 15, "{cases:?}");
    for (missing, fewer) in cases {
        operator.give(&fewer);
        let ran = operator.run(&["apply", "least.yaml", "--yes"]);
        assert_ne!(ran.code, 0, "{missing} is not needed: {ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("ops:operator") || said.contains("attempting to grant"), "{missing}: {said}");
        gone();
    }
}

#[test]
fn kubernetes_plan_goes_with_the_roles_of_destroy() {
    if is_left_out("least roles of Kubernetes for a removal") {
        return;
    }
    let operator = Operator::new();
    operator.cluster.apply("least");
    operator.give(&operator.roles("destroy"));
    let gone = operator.run(&["destroy", "least.yaml", "--yes"]);
    assert_eq!(gone.code, 0, "{gone:?}");
    assert!(!operator.cluster.exists("api/v1/namespaces/team/secrets/database"));
    assert!(!operator.cluster.exists(&format!("{RBAC}/clusterrolebindings/worker-reviews")));
}
