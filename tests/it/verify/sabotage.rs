//! Faults made by the server's own API, each at one step. By default a few of them are tried;
//! `VERIFY_SABOTAGES=all` tries all.

use std::fmt;

use serde_json::{Value, json};

use crate::support::{Cluster, text_of};

/// A request to the server.
type Request = (&'static str, String, Value);

/// One fault, and how it is undone.
pub struct Sabotage {
    /// The step at fault.
    pub step: &'static str,
    namespace: &'static str,
    fault: Request,
    undo: Request,
    is_quick: bool,
    /// Trials that must fail, besides the comparison with the plan.
    pub shows: Vec<&'static str>,
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, path, body) = &self.fault;
        write!(f, "{}: {method} {path} {body}", self.step)
    }
}

impl Sabotage {
    /// A write to `path`, undone by another one.
    fn write(step: &'static str, path: &str, fault: Value, undo: Value) -> Self {
        let request = |body| ("POST", path.to_owned(), body);
        Self {
            step,
            namespace: "",
            fault: request(fault),
            undo: request(undo),
            is_quick: false,
            shows: Vec::new(),
        }
    }

    /// A deletion of `path`, undone by a write to `undo`.
    fn delete(step: &'static str, path: &str, undo: &str, body: Value) -> Self {
        let fault = ("DELETE", path.to_owned(), Value::Null);
        Self {
            step,
            namespace: "",
            fault,
            undo: ("POST", undo.to_owned(), body),
            is_quick: false,
            shows: Vec::new(),
        }
    }

    /// The same, in a namespace.
    fn within(self, namespace: &'static str) -> Self {
        Self { namespace, ..self }
    }

    /// The same, which a trial must show too.
    fn shows(mut self, trial: &'static str) -> Self {
        self.shows.push(trial);
        self
    }

    /// The same, tried every time.
    fn quick(self) -> Self {
        Self { is_quick: true, ..self }
    }

    /// Does it.
    pub fn does(&self, cluster: &Cluster) {
        self.send(cluster, &self.fault);
    }

    /// Undoes it.
    pub fn is_undone(&self, cluster: &Cluster) {
        self.send(cluster, &self.undo);
    }

    fn send(&self, cluster: &Cluster, (method, path, body): &Request) {
        let (status, answer) = cluster.ask(method, self.namespace, path, body);
        assert!((200..300).contains(&status), "{method} {path} {body}: {status} {answer}");
    }
}

/// The faults to try.
pub fn table(cluster: &Cluster) -> Vec<Sabotage> {
    let mut all = of_policies(cluster);
    all.extend(of_approle(cluster));
    all.extend(of_secrets(cluster));
    all.extend(of_mounts());
    all.extend(of_engines());
    all.extend(of_logins());
    let tries_all = std::env::var("VERIFY_SABOTAGES").is_ok_and(|which| which == "all");
    println!("{} sabotages, tried: {}", all.len(), if tries_all { "all" } else { "the quick ones" });
    all.retain(|sabotage| tries_all || sabotage.is_quick);
    all
}

fn of_policies(cluster: &Cluster) -> Vec<Sabotage> {
    let text = |namespace: &str, name: &str| {
        let path = format!("sys/policies/acl/{name}");
        text_of(&cluster.ask("GET", namespace, &path, &Value::Null).1["data"]["policy"]).to_owned()
    };
    let policy = |text: &str| json!({ "policy": text });
    let (reader, writer, team) = (text("", "reader"), text("", "writer"), text("team", "reader"));
    let more = |text: &str, path: &str, capability: &str| {
        policy(&format!("{text}\npath \"{path}\" {{ capabilities = [\"{capability}\"] }}"))
    };
    let at_reader = |fault| Sabotage::write("reader", "sys/policies/acl/reader", fault, policy(&reader));
    let at_writer = |fault| Sabotage::write("writer", "sys/policies/acl/writer", fault, policy(&writer));
    vec![
        at_reader(more(&reader, "secret/data/*", "read"))
            .shows("its capabilities on")
            .shows("is refused `secret/data/elsewhere/key`")
            .quick(),
        at_reader(policy("path \"secret/data/app/*\" { capabilities = [\"read\"] }"))
            .shows("lists `secret/metadata/app`")
            .quick(),
        at_reader(more(&reader, "secret/data/app/db", "deny")).shows("reads `secret/data/app/db`"),
        at_reader(more(&reader, "secret/data/app/*", "delete")),
        at_reader(more(&reader, "secret/destroy/app/*", "update")),
        at_reader(more(&reader, "sys/policies/acl/*", "update")),
        at_reader(policy("path \"*\" { capabilities = [\"read\", \"list\"] }")),
        at_writer(more(&writer, "secret/data/app/db", "delete")),
        at_writer(policy("path \"secret/data/app/db\" { capabilities = [\"update\"] }")),
        Sabotage::delete("writer", "sys/policies/acl/writer", "sys/policies/acl/writer", policy(&writer)),
        Sabotage::write(
            "team_reader",
            "sys/policies/acl/reader",
            more(&team, "secret/data/*", "read"),
            policy(&team),
        )
        .within("team")
        .quick(),
    ]
}

fn of_approle(cluster: &Cluster) -> Vec<Sabotage> {
    let entity = app_entity(cluster);
    let app = |fault, undo| Sabotage::write("app_role", "auth/approle/role/app", fault, undo);
    let short = "auth/approle/role/short";
    let declared = json!({
        "token_policies": ["reader"], "token_ttl": "5m", "token_num_uses": 3, "token_no_default_policy": true,
        "secret_id_ttl": "10s",
    });
    let group = "identity/group/name/strays";
    let strays = json!({ "policies": ["writer-of-all"], "member_entity_ids": [entity] });
    vec![
        app(json!({ "token_ttl": "19m" }), json!({ "token_ttl": "20m" }))
            .shows("the TTL of its token")
            .quick(),
        app(json!({ "token_max_ttl": "2h" }), json!({ "token_max_ttl": "1h" }))
            .shows("the maximum TTL of its token")
            .quick(),
        app(json!({ "token_policies": ["reader"] }), json!({ "token_policies": ["reader", "writer"] }))
            .shows("its policies")
            .quick(),
        app(
            json!({ "token_policies": ["reader", "writer", "root-like"] }),
            json!({ "token_policies": ["reader", "writer"] }),
        ),
        app(json!({ "token_bound_cidrs": ["192.0.2.0/24"] }), json!({ "token_bound_cidrs": [] })).quick(),
        app(json!({ "token_num_uses": 5 }), json!({ "token_num_uses": 0 })),
        app(json!({ "token_period": "5m" }), json!({ "token_period": 0 })),
        app(json!({ "token_explicit_max_ttl": "30m" }), json!({ "token_explicit_max_ttl": 0 })),
        app(json!({ "token_no_default_policy": true }), json!({ "token_no_default_policy": false })),
        app(json!({ "token_type": "batch" }), json!({ "token_type": "default" })),
        app(json!({ "secret_id_ttl": "1h" }), json!({ "secret_id_ttl": "10m" })),
        app(json!({ "secret_id_num_uses": 0 }), json!({ "secret_id_num_uses": 5 })),
        app(json!({ "secret_id_bound_cidrs": ["192.0.2.0/24"] }), json!({ "secret_id_bound_cidrs": [] })),
        Sabotage::write("short_role", short, json!({ "token_ttl": "6m" }), json!({ "token_ttl": "5m" })),
        Sabotage::write("short_role", short, json!({ "token_num_uses": 4 }), json!({ "token_num_uses": 3 })),
        Sabotage::delete("short_role", short, short, declared),
        Sabotage {
            undo: ("DELETE", group.to_owned(), Value::Null),
            ..Sabotage::write("app_role", group, strays, Value::Null)
        }
        .shows("its policies by identity")
        .quick(),
    ]
}

/// The entity that the logins of the role `app` belong to.
fn app_entity(cluster: &Cluster) -> Value {
    let get = |path: &str| cluster.ask("GET", "", path, &Value::Null).1["data"].clone();
    let role_id = get("auth/approle/role/app/role-id")["role_id"].clone();
    let accessor = get("sys/auth")["approle/"]["accessor"].clone();
    let body = json!({ "alias_name": role_id, "alias_mount_accessor": accessor });
    cluster.ask("POST", "", "identity/lookup/entity", &body).1["data"]["id"].clone()
}

fn of_secrets(cluster: &Cluster) -> Vec<Sabotage> {
    let value = cluster.ask("GET", "", "secret/data/app/db", &Value::Null).1["data"]["data"].clone();
    let about = |owner: &str, days: &str| json!({ "custom_metadata": { "owner": owner, "type": "database", "rotation_days": days } });
    let metadata = |fault| Sabotage::write("database", "secret/metadata/app/db", fault, about("team", "90"));
    let first = json!({ "versions": [1] });
    vec![
        Sabotage::delete("database", "secret/data/app/db", "secret/undelete/app/db", first.clone()).quick(),
        Sabotage::write("database", "secret/data/app/db", json!({ "data": {} }), json!({ "data": value }))
            .quick(),
        Sabotage::delete(
            "other",
            "secret/data/elsewhere/key",
            "secret/undelete/elsewhere/key",
            first.clone(),
        ),
        Sabotage::delete("team_secret", "secret/data/key", "secret/undelete/key", first).within("team"),
        metadata(about("somebody", "90")),
        metadata(about("team", "9000")),
        metadata(json!({ "custom_metadata": {} })),
    ]
}

fn of_mounts() -> Vec<Sabotage> {
    let tuned =
        |step, path: &str, fault, undo| Sabotage::write(step, &format!("sys/{path}/tune"), fault, undo);
    let described = |step, path: &str| {
        tuned(step, path, json!({ "description": "changed" }), json!({ "description": "" }))
    };
    vec![
        described("kv", "mounts/secret").quick(),
        described("transit", "mounts/transit"),
        described("people", "auth/userpass"),
        described("jwt", "auth/jwt"),
        described("approle", "auth/approle"),
        tuned("pki", "mounts/pki", json!({ "max_lease_ttl": "8999h" }), json!({ "max_lease_ttl": "9000h" })),
        tuned("approle", "auth/approle", json!({ "max_lease_ttl": "2m" }), json!({ "max_lease_ttl": "0" }))
            .shows("the TTL of its token, of the role of `app_role`")
            .quick(),
    ]
}

fn of_engines() -> Vec<Sabotage> {
    let hosts = "pki/roles/hosts";
    let host = |field: &str, value: Value| {
        let mut role = host_role();
        role[field] = value;
        Sabotage::write("hosts", hosts, role, host_role())
    };
    let words = "sys/policies/password/words";
    let made = |letters: &str| json!({ "policy": format!("length = 20\nrule \"charset\" {{ charset = \"{letters}\" }}\n") });
    let rotated = |step, name: &str| {
        let path = format!("transit/keys/{name}/config");
        Sabotage::write(
            step,
            &path,
            json!({ "auto_rotate_period": "1h" }),
            json!({ "auto_rotate_period": 0 }),
        )
    };
    vec![
        host("allowed_domains", json!(["example.org"])).shows("issues a certificate").quick(),
        host("allow_subdomains", json!(false)),
        host("allow_any_name", json!(true)),
        host("ttl", json!("1h")),
        host("client_flag", json!(false)),
        Sabotage::delete("hosts", hosts, hosts, host_role()),
        Sabotage::write("words", words, made("abc"), made("abcdefghij")),
        Sabotage::delete("words", words, words, made("abcdefghij")),
        rotated("cipher", "cipher"),
        rotated("signer", "signer"),
        Sabotage::write(
            "hasher",
            "transit/keys/hasher/config",
            json!({ "deletion_allowed": true }),
            json!({ "deletion_allowed": false }),
        ),
    ]
}

fn host_role() -> Value {
    json!({
        "allowed_domains": ["example.internal"], "allow_subdomains": true, "key_type": "ec", "key_bits": 256,
        "server_flag": true, "client_flag": true,
    })
}

fn of_logins() -> Vec<Sabotage> {
    let (alice, pods, jobs) = ("auth/userpass/users/alice", "auth/jwt/role/pods", "auth/token/roles/jobs");
    let user =
        json!({ "password": "correct-horse-battery", "token_policies": ["reader"], "token_ttl": "8h" });
    let pod = |field: &str, value: Value| {
        let mut role = pod_role();
        role[field] = value;
        Sabotage::write("pods", pods, role, pod_role())
    };
    let job = |fault, undo| Sabotage::write("jobs", jobs, fault, undo);
    let password = format!("{alice}/password");
    vec![
        Sabotage::write(
            "alice",
            &password,
            json!({ "password": "another-password" }),
            json!({ "password": "correct-horse-battery" }),
        )
        .shows("logs in")
        .quick(),
        Sabotage::write(
            "alice",
            alice,
            json!({ "token_policies": ["writer"] }),
            json!({ "token_policies": ["reader"] }),
        ),
        Sabotage::write("alice", alice, json!({ "token_ttl": "9h" }), json!({ "token_ttl": "8h" })),
        Sabotage::delete("alice", alice, alice, user),
        pod("bound_audiences", json!(["elsewhere"])).shows("logs in").quick(),
        pod("user_claim", json!("aud")),
        pod("token_policies", json!(["reader", "writer"])),
        pod("token_ttl", json!("11m")),
        Sabotage::delete("pods", pods, pods, pod_role()),
        job(json!({ "orphan": false }), json!({ "orphan": true }))
            .shows("whether its tokens are orphans")
            .quick(),
        job(json!({ "allowed_policies": ["reader", "writer"] }), json!({ "allowed_policies": ["reader"] })),
        job(json!({ "renewable": false }), json!({ "renewable": true })),
        job(json!({ "token_period": "1h" }), json!({ "token_period": 0 })),
        job(json!({ "token_type": "service" }), json!({ "token_type": "default-service" })),
        Sabotage::delete("jobs", jobs, jobs, json!({ "allowed_policies": ["reader"], "orphan": true })),
    ]
}

fn pod_role() -> Value {
    json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": ["reader"],
        "token_ttl": "10m",
    })
}
