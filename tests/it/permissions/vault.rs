//! The least policy of Vault, on a real server.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Cluster, Ran, text_of};

/// The capabilities of each path.
pub type Rules = Vec<(String, Vec<String>)>;

/// The rules of a policy of Vault, as the program writes them.
fn rules(text: &str) -> Rules {
    let quoted = |line: &str| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut rules = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("path ") {
            Some(path) => rules.push((quoted(path).remove(0), Vec::new())),
            None if line.contains("capabilities") => rules.last_mut().expect("a path").1 = quoted(line),
            None => {}
        }
    }
    rules
}

fn text(rules: &[(String, Vec<String>)]) -> String {
    rules.iter().map(|(path, all)| format!("path {path:?} {{ capabilities = {all:?} }}\n")).collect()
}

/// The rules with which the program says that a command can run on the cluster's plan.
pub fn rules_for(cluster: &Cluster, command: &str) -> Rules {
    let ran = cluster.run(&["permissions", "plan.yaml", "--for", command, "--format", "hcl"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    rules(&ran.stdout)
}

/// Each path with each of its capabilities.
pub fn rights(rules: &Rules) -> Vec<(String, String)> {
    let each = rules.iter().flat_map(|(path, all)| all.iter().map(move |one| (path.clone(), one.clone())));
    each.collect()
}

/// The rules without one capability of one path.
pub fn without(rules: &Rules, path: &str, capability: &str) -> Rules {
    let mut less = rules.clone();
    for (_, kept) in less.iter_mut().filter(|(one, _)| one == path) {
        kept.retain(|one| one != capability);
    }
    less.retain(|(_, kept)| !kept.is_empty());
    less
}

/// A token of the cluster that has only what it is given.
pub struct Operator<'a> {
    cluster: &'a Cluster,
    token: String,
}

impl<'a> Operator<'a> {
    pub fn new(cluster: &'a Cluster) -> Self {
        let mut operator = Self { cluster, token: String::new() };
        operator.give(&[("sys/mounts".to_owned(), vec!["read".to_owned()])]);
        let (_, made) = cluster.ask("POST", "", "auth/token/create", &json!({ "policies": ["operator"] }));
        text_of(&made["auth"]["client_token"]).clone_into(&mut operator.token);
        operator
    }

    /// Takes away what it had, and gives it these rules.
    pub fn give(&self, rules: &[(String, Vec<String>)]) {
        // The server refuses an empty one.
        let nothing = "path \"nowhere\" { capabilities = [\"deny\"] }";
        let text = if rules.is_empty() { nothing.to_owned() } else { text(rules) };
        let policy = json!({ "policy": text });
        let (status, answer) = self.cluster.ask("POST", "", "sys/policies/acl/operator", &policy);
        assert!(status < 300, "{answer}");
    }

    /// The program with these arguments and the token.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.cluster.command(arguments);
        command.env("VAULT_TOKEN", &self.token);
        command
    }
}

/// The steps of a small plan of Vault; `text` is in every field that can change.
pub fn in_vault(text: &str, ttl: &str) -> Value {
    json!({
        "kv": { "kind": "vault.mount", "path": "kv", "type": "kv", "version": 2, "description": text, "protect": false },
        "secret": { "kind": "vault.kv_secret", "mount": "kv", "path": "a", "data": { "name": text, "uri": { "template": "x://{{ data.name }}" } },
                    "metadata": { "owner": text }, "protect": false },
        "policy": { "kind": "vault.policy", "name": "least", "rules": { "kv/data/a": ["read"], format!("kv/data/{text}"): ["read"] } },
        "approle": { "kind": "vault.auth_method", "path": "approle", "type": "approle", "description": text, "protect": false },
        "role": { "kind": "vault.approle_role", "name": "least", "token_policies": ["least"], "token_ttl": ttl },
    })
}

#[test]
fn small_plan_of_vault_needs_each_capability() {
    let cluster = Cluster::new("least");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let operator = Operator::new(&cluster);
    let run = |arguments: &[&str]| operator.run(arguments);
    let root = |arguments: &[&str]| {
        let ran = cluster.run(arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    let declare = |value: &str, ttl: &str| cluster.declare(&in_vault(value, ttl));
    let undeleted = || {
        let (status, _) = cluster.ask("DELETE", "", "kv/data/a", &Value::Null);
        assert!(status < 300);
    };
    for command in ["plan", "apply", "destroy"] {
        declare("one", "1h");
        let all = rules_for(&cluster, command);
        let each = rights(&all);
        let mut spared = Vec::new();
        if command == "apply" {
            root(&["destroy", "plan.yaml", "--yes"]);
        }
        for (path, capability) in &each {
            let less = without(&all, path, capability);
            declare("one", "1h");
            if command != "apply" {
                root(&["apply", "plan.yaml", "--yes"]);
            }
            operator.give(&less);
            let went_well = match command {
                "plan" => run(&["plan", "plan.yaml"]).code == 0,
                "destroy" => run(&["destroy", "plan.yaml", "--yes"]).code == 0,
                _ => {
                    run(&["apply", "plan.yaml", "--yes"]).code == 0 && {
                        undeleted();
                        declare("two", "2h");
                        run(&["apply", "plan.yaml", "--yes"]).code == 0
                    }
                }
            };
            if went_well {
                spared.push((path, capability));
            }
            if command == "apply" {
                root(&["destroy", "plan.yaml", "--yes"]);
            }
        }
        println!(
            "{:<28} {command:<8} {1:>4} rights  {1:>4} tried {2:>4} needed",
            "small, Vault",
            each.len(),
            each.len() - spared.len()
        );
        assert!(spared.is_empty(), "{command} goes well without {spared:?}");
        declare("one", "1h");
        if command != "apply" {
            root(&["apply", "plan.yaml", "--yes"]);
        }
        operator.give(&all);
        let yes = if command == "plan" { &[][..] } else { &["--yes"] };
        let ran = run(&[&[command, "plan.yaml"][..], yes].concat());
        assert_eq!(ran.code, 0, "the whole policy suffices: {ran:?}");
        if command == "apply" {
            undeleted();
            declare("two", "2h");
            let ran = run(&["apply", "plan.yaml", "--yes"]);
            assert_eq!(ran.code, 0, "it suffices for changes too: {ran:?}");
            root(&["destroy", "plan.yaml", "--yes"]);
        }
    }
}
