//! Steps in namespaces of OpenBao: the same names in several of them, and namespaces that the plan makes.

use serde_json::{Value, json};

use crate::support::{Cluster, TestEnvironment, paths, step, summary, text_of};

/// The same policy in the root, in a namespace and in one within that, each with a mount and a role, as
/// declared: what needs what is for the program to find.
fn everywhere() -> Value {
    let rules = |path: &str| json!({ path: ["read"] });
    json!({
        "project_role": { "kind": "vault.approle_role", "namespace": "team/project", "name": "ci",
                          "token_policies": ["app"] },
        "project_login": { "kind": "vault.auth_method", "namespace": "team/project", "type": "approle",
                           "protect": false },
        "project_policy": { "kind": "vault.policy", "namespace": "team/project", "name": "app",
                            "rules": rules("secret/data/project") },
        "project": { "kind": "vault.namespace", "namespace": "{{ team.name }}", "name": "project",
                     "protect": false },
        "team_secret": { "kind": "vault.kv_secret", "namespace": "{{ team.name }}", "mount": "secret",
                         "path": "app", "data": { "user": "team" }, "protect": false },
        "team_mount": { "kind": "vault.mount", "namespace": "team", "path": "secret", "type": "kv",
                        "protect": false },
        "team_entity": { "kind": "vault.entity", "namespace": "team", "name": "service", "policies": ["app"] },
        "team_policy": { "kind": "vault.policy", "namespace": "team", "name": "app",
                         "rules": rules("secret/data/team") },
        "team": { "kind": "vault.namespace", "name": "team", "protect": false },
        "policy": { "kind": "vault.policy", "name": "app", "rules": rules("secret/data/root") },
    })
}

fn policy(cluster: &Cluster, namespace: &str) -> String {
    let (_, told) = cluster.ask("GET", namespace, "sys/policies/acl/app", &Value::Null);
    text_of(&told["data"]["policy"]).to_owned()
}

#[test]
fn same_name_in_several_namespaces_means_separate_things() {
    let cluster = Cluster::new("namespaces");
    cluster.declare(&everywhere());
    let shown = cluster.plan();
    let name = |id: &str| step(&shown, id)["name"].as_str().expect("a name").to_owned();
    assert_eq!(name("policy"), "app");
    assert_eq!(name("team_policy"), "app (namespace team)");
    assert_eq!(name("project_role"), "auth/approle/role/ci (namespace team/project)");
    let needs = |id: &str| step(&shown, id)["needs"].as_array().cloned().expect("needs");
    assert!(needs("team_policy").contains(&json!("team")));
    assert!(needs("project").contains(&json!("team")));
    for needed in ["project", "project_login", "project_policy"] {
        assert!(needs("project_role").contains(&json!(needed)), "{needed}");
    }
    assert!(!needs("project_role").contains(&json!("team_policy")), "that is another policy");

    cluster.apply(&[]);
    for (namespace, path) in [("", "root"), ("team", "team"), ("team/project", "project")] {
        assert!(policy(&cluster, namespace).contains(&format!("secret/data/{path}")), "{namespace}");
    }
    let (_, secret) = cluster.ask("GET", "team", "secret/data/app", &Value::Null);
    assert_eq!(secret["data"]["data"]["user"], "team");
    assert_eq!(cluster.ask("GET", "", "identity/entity/name/service", &Value::Null).0, 404);
    assert_eq!(summary(&cluster.apply(&[]))["api_calls"]["write"], 0);

    // Somebody changes one of them; the others are as they were.
    let body = json!({ "policy": "path \"other\" { capabilities = [\"list\"] }" });
    cluster.ask("POST", "team", "sys/policies/acl/app", &body);
    let shown = cluster.plan();
    assert_eq!(paths(step(&shown, "team_policy")), ["rules"]);
    for other in ["policy", "project_policy", "team_secret", "project"] {
        assert_eq!(step(&shown, other)["action"], "none", "{other}");
    }
}

#[test]
fn pruned_thing_is_removed_from_its_own_namespace() {
    let cluster = Cluster::new("namespaces");
    cluster.declare(&everywhere());
    cluster.apply(&[]);
    let mut fewer = everywhere();
    let left_out =
        ["team_policy", "team_entity", "project", "project_policy", "project_role", "project_login"];
    for id in left_out {
        fewer.as_object_mut().expect("steps").remove(id);
    }
    cluster.declare(&fewer);
    let told = cluster.plan();
    assert_eq!(told["summary"]["delete"], 0, "only what is asked for is removed");
    cluster.apply(&["--prune"]);
    assert_eq!(policy(&cluster, "team"), "");
    assert!(policy(&cluster, "").contains("secret/data/root"), "the one of the same name stays");
    assert_eq!(cluster.ask("GET", "team", "sys/namespaces/project", &Value::Null).0, 404);
    assert_eq!(cluster.ask("GET", "team", "secret/data/app", &Value::Null).0, 200);
    assert_eq!(summary(&cluster.apply(&[]))["api_calls"]["write"], 0);
}

#[test]
fn access_key_is_delivered_into_a_namespace() {
    let cluster = Cluster::new("namespaces");
    cluster.declare(&json!({
        "key": { "kind": "aws.iam_access_key", "user": "reporter",
                 "deliver": [{ "vault_kv": { "namespace": "{{ team.name }}", "mount": "secret", "path": "aws" } }] },
        "user": { "kind": "aws.iam_user", "name": "reporter" },
        "team_mount": { "kind": "vault.mount", "namespace": "team", "path": "secret", "type": "kv" },
        "team": { "kind": "vault.namespace", "name": "team" },
    }));
    let needs = step(&cluster.plan(), "key")["needs"].as_array().cloned().expect("needs");
    assert!(needs.contains(&json!("team_mount")) && needs.contains(&json!("team")), "{needs:?}");
    cluster.apply(&[]);
    let (_, delivered) = cluster.ask("GET", "team", "secret/data/aws", &Value::Null);
    let id = text_of(&delivered["data"]["data"]["aws_access_key_id"]).to_owned();
    assert!(!id.is_empty(), "{delivered:#}");
    assert_eq!(summary(&cluster.apply(&[]))["api_calls"]["write"], 0);

    // Somebody deletes it there; the same key is delivered again.
    cluster.ask("DELETE", "team", "secret/data/aws", &Value::Null);
    assert_eq!(paths(step(&cluster.plan(), "key")), ["deliver.vault_kv.team/secret/aws"]);
    cluster.apply(&[]);
    let (_, delivered) = cluster.ask("GET", "team", "secret/data/aws", &Value::Null);
    assert_eq!(text_of(&delivered["data"]["data"]["aws_access_key_id"]), id);
}

#[test]
fn namespace_mistakes_name_their_place() {
    let environment = TestEnvironment::new();
    let validate = |step: &str| {
        let text = format!("version: 1\nname: namespaces\nsteps:\n  one:\n    kind: {step}\n");
        environment.write("plan.yaml", &text);
        let ran = environment.run(&["validate", "plan.yaml"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        format!("{}{}", ran.stdout, ran.stderr)
    };
    let said = validate("vault.policy\n    name: a\n    rules: { b: [read] }\n    namespace: /team");
    assert!(said.contains("is not the path of a namespace") && said.contains("plan.yaml:8"), "{said}");
    let said = validate(
        "aws.iam_access_key\n    user: a\n    deliver: [{ vault_kv: { namespace: a//b, mount: kv, path: c } }]",
    );
    assert!(said.contains("is not the path of a namespace") && said.contains("plan.yaml:7"), "{said}");
    let said = validate("vault.quota\n    name: a\n    rate: 5\n    namespace: team");
    assert!(said.contains("unknown key `namespace`"), "{said}");
}
