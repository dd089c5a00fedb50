//! Vault's Kubernetes method, configured from the plan's own cluster, with real token reviews.

use serde_json::{Value, json};

use super::{KubeCluster, is_left_out};
use crate::permissions::kubernetes::{give, operator, roles};
use crate::support::{Ran, custody_in, root_token};

/// The steps of a login with a service account's token.
fn steps() -> Value {
    json!({
        "init": { "kind": "vault.init", "shares": 1, "threshold": 1 },
        "team": { "kind": "kubernetes.namespace", "name": "clinical-ai", "protect": false },
        "worker": { "kind": "kubernetes.service_account", "namespace": "clinical-ai", "name": "worker" },
        "reviews": {
            "kind": "kubernetes.cluster_role_binding", "name": "worker-reviews-tokens",
            "cluster_role": "system:auth-delegator", "service_accounts": ["clinical-ai/worker"],
        },
        "pods": { "kind": "vault.auth_method", "type": "kubernetes", "path": "kubernetes" },
        "cluster": {
            "kind": "vault.kubernetes_auth", "kubernetes_host": "{{ kubernetes.host }}",
            "kubernetes_ca_cert": "{{ kubernetes.ca_cert }}", "disable_local_ca_jwt": true,
        },
        "kv": { "kind": "vault.mount", "type": "kv", "path": "secret", "version": 2, "protect": false },
        "reads": { "kind": "vault.policy", "name": "reads", "rules": { "secret/data/clinical-ai/aws": ["read"] } },
        "role": {
            "kind": "vault.kubernetes_role", "name": "worker", "bound_service_account_names": ["worker"],
            "bound_service_account_namespaces": ["clinical-ai"], "audience": "vault",
            "token_policies": ["reads"], "token_ttl": "1h",
        },
    })
}

#[test]
fn role_is_proven_with_a_requested_token() {
    if is_left_out("a login with a service account's token") {
        return;
    }
    let cluster = KubeCluster::new();
    let environment = &cluster.environment;
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let key = environment.write("identity", secrecy::ExposeSecret::expose_secret(&identity.to_string()));
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, private).expect("private");
    let plan = json!({
        "version": 1, "name": "login",
        "custody": { "recipients": [{ "age": recipient }], "stores": [{ "file": "custody" }] },
        "steps": steps(),
    });
    environment.write("login.yaml", &plan.to_string());
    let run = |arguments: &[&str], token: Option<&str>| {
        let mut command = environment.command(arguments);
        command.env("GROUNDWORK_AGE_IDENTITY", &key);
        if let Some(token) = token {
            command.env("VAULT_TOKEN", token);
        }
        Ran::of(command.output().expect("it runs"))
    };
    let ran = run(&["apply", "login.yaml", "--yes"], None);
    assert_eq!(ran.code, 0, "{ran:?}");
    let token = root_token(&custody_in(&environment.folder.join("custody"), &identity));
    let verified = run(&["verify", "login.yaml", "--format", "json", "role"], Some(&token));
    assert_eq!(verified.code, 0, "{verified:?}");
    let report: Value = serde_json::from_str(&verified.stdout).expect("a report");
    let text = report.to_string();
    assert!(text.contains("logs in") && !text.contains("\"untried\":1"), "{report:#}");
    // A caller that has the rights of `verify` requests the token too, and one without that right cannot.
    let config = operator(&cluster);
    let mut all = roles(&cluster, "login.yaml", "verify");
    let verify = |all: &[Value]| {
        give(&cluster, all);
        let mut command = environment.command(&["verify", "login.yaml", "--format", "json", "role"]);
        command.env("GROUNDWORK_AGE_IDENTITY", &key).env("VAULT_TOKEN", &token).env("KUBECONFIG", &config);
        Ran::of(command.output().expect("it runs"))
    };
    let verified = verify(&all);
    assert!(verified.code == 0 && verified.stdout.contains("logs in"), "{verified:?}");
    for role in &mut all {
        let rules = role["rules"].as_array_mut().expect("rules");
        rules.retain(|rule| rule["resources"] != json!(["serviceaccounts/token"]));
    }
    let verified = verify(&all);
    let refused = "cannot create resource \"serviceaccounts/token\"";
    assert!(verified.code != 0 && verified.stderr.contains(refused), "{verified:?}");
    // Without the right to have tokens reviewed, the login fails and the report says so.
    cluster.delete("apis/rbac.authorization.k8s.io/v1/clusterrolebindings/worker-reviews-tokens");
    let verified = run(&["verify", "login.yaml", "--format", "json", "role"], Some(&token));
    assert_ne!(verified.code, 0, "{verified:?}");
    assert!(!format!("{}{}", verified.stdout, verified.stderr).contains("eyJ"), "a token is shown");
}
