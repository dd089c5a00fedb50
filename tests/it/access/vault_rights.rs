//! Random policies on random paths, and what OpenBao's `sys/capabilities` says of them.

use std::collections::BTreeMap;

use groundwork::providers::vault::Acl;
use groundwork::providers::vault::acl::{DEFAULT, Group, Identity, Source, parse};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::asked;
use crate::fuzz::Random;
use crate::support::{Cluster, block_on};

/// How many sets of policies are compared, and the seed of the first.
const SETS: &str = "CAPABILITY_SETS";
const SEED: &str = "CAPABILITY_SEED";
/// Paths that one set is asked about.
const PATHS: usize = 60;
/// The most policies of one token.
const POLICIES: usize = 4;

/// Parts of paths: few, so that rules meet.
const PARTS: [&str; 9] = ["a", "b", "ab", "abc", "x", "data", "", "+", "a+"];
const CAPABILITIES: [&str; 9] =
    ["create", "read", "update", "delete", "list", "sudo", "deny", "patch", "scan"];

fn path(random: &mut Random, parts: &[&str]) -> String {
    let count = 1 + random.below(4);
    let made: Vec<&str> = (0..count).map(|_| *random.pick(parts)).collect();
    let end = if random.below(4) == 0 { "/" } else { "" };
    format!("{}{end}", made.join("/"))
}

fn policy(random: &mut Random) -> String {
    let rule = |random: &mut Random| {
        let start = if random.below(12) == 0 { "/" } else { "" };
        let mut path = format!("{start}{}", path(random, &[&PARTS[..], &["+", "+", "+x"]].concat()));
        // The server refuses `+*`.
        if random.below(2) == 0 && !path.ends_with('+') {
            path.push('*');
        }
        let shorthand = (random.below(10) == 0).then(|| *random.pick(&["read", "write", "sudo", "deny"]));
        if let Some(word) = shorthand {
            return format!("path \"{path}\" {{ policy = \"{word}\" }}");
        }
        let count = 1 + random.below(3);
        // Denials are rare, so that other differences show.
        let mut names: Vec<&str> = (0..count).map(|_| *random.pick(&CAPABILITIES)).collect();
        if random.below(3) > 0 {
            names.retain(|name| *name != "deny");
        }
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        format!("path \"{path}\" {{ capabilities = [{}] }}", names.join(", "))
    };
    let rules: Vec<String> = (0..=random.below(6)).map(|_| rule(random)).collect();
    rules.join("\n")
}

/// Asks a server with its root token.
struct Server {
    http: reqwest::Client,
    address: String,
    token: String,
}

impl Server {
    fn of(cluster: &Cluster) -> Self {
        let address = cluster.environment.sandbox.vault_addrs()[0].clone();
        Self { http: cluster.environment.http(), address, token: cluster.root_token() }
    }

    async fn send(&self, namespace: &str, path: &str, body: &Value) -> (u16, String) {
        let request =
            self.http.post(format!("{}/v1/{path}", self.address)).header("X-Vault-Token", &self.token);
        let request = request.header("X-Vault-Namespace", namespace).body(body.to_string());
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    async fn ask(&self, namespace: &str, path: &str, body: &Value) -> Value {
        let (status, text) = self.send(namespace, path, body).await;
        assert!(status < 300, "{path} {body}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn token(&self, namespace: &str, body: &Value) -> String {
        let answer = self.ask(namespace, "auth/token/create", body).await;
        answer["auth"]["client_token"].as_str().expect("a token").to_owned()
    }

    /// The capabilities of a token by path.
    async fn capabilities(
        &self,
        namespace: &str,
        token: &str,
        paths: &[String],
    ) -> BTreeMap<String, Vec<String>> {
        let answer =
            self.ask(namespace, "sys/capabilities", &json!({ "token": token, "paths": paths })).await;
        serde_json::from_value(answer["data"].clone())
            .map(|mut told: BTreeMap<String, Vec<String>>| {
                // The server adds it when it was asked about one path.
                told.retain(|path, _| paths.contains(path));
                told
            })
            .expect("capabilities by path")
    }
}

/// One server serves all comparisons.
#[test]
fn capabilities_of_random_policies_are_those_of_the_server() {
    let cluster = Cluster::new("rights");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let server = Server::of(&cluster);
    block_on(async {
        compare_random(&server).await;
        compare_identities(&server).await;
        compare_namespaces(&server).await;
        compare_default(&server).await;
    });
}

async fn compare_random(server: &Server) {
    let mut tokens = Vec::new();
    let names: Vec<String> = (0..POLICIES).map(|number| format!("random-{number}")).collect();
    for count in 1..=POLICIES {
        let body = json!({ "policies": names[..count], "no_default_policy": true, "ttl": "24h" });
        tokens.push(server.token("", &body).await);
    }
    let (first, sets) = (asked(SEED, 0), asked(SETS, 300));
    let (mut compared, mut granted) = (0, 0);
    for seed in first..first + sets {
        let mut random = Random(u64::try_from(seed).expect("small"));
        let policies: Vec<String> = (0..=random.below(POLICIES)).map(|_| policy(&mut random)).collect();
        for (name, text) in names.iter().zip(&policies) {
            server.ask("", &format!("sys/policies/acl/{name}"), &json!({ "policy": text })).await;
        }
        let mut paths: Vec<String> = (0..PATHS).map(|_| path(&mut random, &PARTS)).collect();
        // The server reads a path without the slash at its start, and wants one that is not empty.
        paths.retain(|path| !path.starts_with('/') && !path.is_empty());
        paths.sort();
        paths.dedup();
        let told = server.capabilities("", &tokens[policies.len() - 1], &paths).await;
        let acl = Acl::of(policies.iter().map(String::as_str));
        for path in &paths {
            assert_eq!(acl.reported(path), told[path], "{SEED}={seed}: {path} by {policies:#?}");
            compared += 1;
            granted += usize::from(told[path] != ["deny"]);
        }
    }
    println!("{sets} sets, {compared} paths compared, {granted} with capabilities, no difference");
    assert!(granted * 5 > compared, "too few rules meet: {granted} of {compared}");
}

/// Paths with parts of the identity.
async fn compare_identities(server: &Server) {
    let accessor = {
        let answer = server.http.get(format!("{}/v1/sys/auth", server.address));
        let answer = answer.header("X-Vault-Token", &server.token).send().await.expect("an answer");
        let told: Value = answer.json().await.expect("JSON");
        told["data"]["token/"]["accessor"].as_str().expect("an accessor").to_owned()
    };
    let entity = json!({ "name": "alice", "metadata": { "team": "blue", "bad": "a/b", "star": "x*" } });
    let made = server.ask("", "identity/entity", &entity).await;
    let id = made["data"]["id"].as_str().expect("an id").to_owned();
    let alias = json!({ "name": "alice@idp", "mount_accessor": accessor, "canonical_id": id });
    server.ask("", "identity/entity-alias", &alias).await;
    let group = json!({ "name": "ops", "member_entity_ids": [id], "metadata": { "area": "north" } });
    let group = server.ask("", "identity/group", &group).await;
    let group = group["data"]["id"].as_str().expect("an id").to_owned();
    let text = format!(
        "path \"kv/{{{{identity.entity.name}}}}/*\" {{ capabilities = [\"read\"] }}\n\
         path \"kv/{{{{ identity.entity.id }}}}\" {{ capabilities = [\"list\"] }}\n\
         path \"kv/{{{{identity.entity.metadata.team}}}}\" {{ capabilities = [\"update\"] }}\n\
         path \"kv/{{{{identity.entity.metadata.none}}}}\" {{ capabilities = [\"update\"] }}\n\
         path \"kv/{{{{identity.entity.aliases.{accessor}.name}}}}\" {{ capabilities = [\"delete\"] }}\n\
         path \"kv/{{{{identity.groups.names.ops.id}}}}\" {{ capabilities = [\"create\"] }}\n\
         path \"kv/{{{{identity.groups.ids.{group}.name}}}}\" {{ capabilities = [\"patch\"] }}\n\
         path \"kv/{{{{identity.groups.names.ops.metadata.area}}}}\" {{ capabilities = [\"scan\"] }}\n\
         path \"kv/{{{{identity.groups.names.other.id}}}}\" {{ capabilities = [\"scan\"] }}\n\
         path \"kv/+/deep\" {{ capabilities = [\"sudo\"] }}"
    );
    server.ask("", "sys/policies/acl/own", &json!({ "policy": text })).await;
    let role = json!({ "allowed_policies": ["own"], "allowed_entity_aliases": ["alice@idp"] });
    server.ask("", "auth/token/roles/people", &role).await;
    let body = json!({ "policies": ["own"], "no_default_policy": true, "entity_alias": "alice@idp" });
    let answer = server.ask("", "auth/token/create/people", &body).await;
    let token = answer["auth"]["client_token"].as_str().expect("a token").to_owned();
    let anonymous = server.token("", &json!({ "policies": ["own"], "no_default_policy": true })).await;
    let known = [
        ("id", id.as_str()),
        ("name", "alice"),
        ("metadata.team", "blue"),
        ("metadata.bad", "a/b"),
        ("metadata.star", "x*"),
        (&format!("aliases.{accessor}.name"), "alice@idp"),
    ];
    let entity = known.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let metadata = BTreeMap::from([("area".to_owned(), "north".to_owned())]);
    let groups = vec![Group { id: group.clone(), name: "ops".to_owned(), metadata }];
    let alice = Identity { entity: Some(entity), groups, is_complete: true };
    let paths = [
        "alice/x",
        "alice",
        &id,
        "blue",
        "a/b",
        "x*",
        "xy",
        "none",
        "alice@idp",
        &group,
        "ops",
        "north",
        "bob/deep",
        "alice/deep",
    ];
    let paths = paths.map(|path| format!("kv/{path}"));
    for part in ["bad", "star"] {
        let text =
            format!("path \"kv/{{{{identity.entity.metadata.{part}}}}}\" {{ capabilities = [\"update\"] }}");
        let both = format!("{text}\npath \"kv/other\" {{ capabilities = [\"read\"] }}");
        server.ask("", "sys/policies/acl/own", &json!({ "policy": both })).await;
        let asked = json!({ "token": token, "paths": ["kv/other"] });
        let refused = server.send("", "sys/capabilities", &asked).await;
        assert!(refused.0 == 403 && refused.1.contains("forbidden value"), "{part}: {refused:?}");
        let rules = parse(&both).expect("a policy");
        let source = Source { name: "own", rules: &rules, namespace: "" };
        assert_eq!(Acl::with([source], &alice, Timestamp::now()).reported("kv/other"), ["deny"], "{part}");
    }
    server.ask("", "sys/policies/acl/own", &json!({ "policy": text })).await;
    for (token, identity) in [(token, &alice), (anonymous, &Identity::NOBODY)] {
        let told = server.capabilities("", &token, &paths).await;
        let rules = parse(&text).expect("a policy");
        let source = Source { name: "own", rules: &rules, namespace: "" };
        let acl = Acl::with([source], identity, Timestamp::now());
        for path in &paths {
            assert_eq!(acl.reported(path), told[path], "{path} for {identity:?}");
        }
    }
}

/// The rules of a namespace's policies are below its path; the parent's may reach into it.
async fn compare_namespaces(server: &Server) {
    server.ask("", "sys/namespaces/team", &json!({})).await;
    let inner = "path \"kv/*\" { capabilities = [\"read\"] } path \"+/x\" { capabilities = [\"list\"] }";
    let outer =
        "path \"team/kv/a\" { capabilities = [\"update\"] } path \"+/kv/+\" { capabilities = [\"scan\"] }";
    server.ask("team", "sys/policies/acl/inner", &json!({ "policy": inner })).await;
    server.ask("", "sys/policies/acl/outer", &json!({ "policy": outer })).await;
    let paths = ["kv/a", "kv/x", "kv/b/c", "y/x"].map(str::to_owned);
    let (inner, outer) = (parse(inner).expect("a policy"), parse(outer).expect("a policy"));
    let rows = [
        ("team", Source { name: "inner", rules: &inner, namespace: "team/" }),
        ("", Source { name: "outer", rules: &outer, namespace: "" }),
    ];
    for (namespace, source) in rows {
        let body = json!({ "policies": [source.name], "no_default_policy": true });
        let token = server.token(namespace, &body).await;
        let told = server.capabilities("team", &token, &paths).await;
        let acl = Acl::with([source], &Identity::NOBODY, Timestamp::now());
        for path in &paths {
            assert_eq!(acl.reported(&format!("team/{path}")), told[path], "{path} by {source:?}");
        }
    }
}

async fn compare_default(server: &Server) {
    let url = format!("{}/v1/sys/policies/acl/default", server.address);
    let answer = server.http.get(url).header("X-Vault-Token", &server.token).send().await.expect("an answer");
    let told: Value = answer.json().await.expect("JSON");
    let rules = |text: &str| {
        let mut all = groundwork::providers::vault::granted(text);
        for (_, capabilities) in &mut all {
            capabilities.sort();
        }
        all.sort();
        all
    };
    let served = told["data"]["policy"].as_str().expect("a policy");
    assert_eq!(rules(DEFAULT), rules(served), "the policy `default` of a new server");
}
