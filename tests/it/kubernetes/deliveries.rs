//! Secrets that are made elsewhere and delivered into a Secret: an access key, and a copy of a generated value.

use groundwork::sandbox::{Extra, Settings};
use serde_json::{Value, json};

use super::relay::FAULTS;
use super::{ApiServer, Relay, is_left_out};
use crate::canary::{leaking_files, leaks};
use crate::support::{Cluster, Ran, paths, step, summary};

const SECRET: &str = "api/v1/namespaces/team/secrets/aws";
const COPY: &str = "api/v1/namespaces/team/secrets/mail";

fn steps() -> Value {
    json!({
        "team": { "kind": "kubernetes.namespace", "name": "team", "protect": false },
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "mail": { "kind": "vault.kv_secret", "mount": "secret", "path": "mail", "needs": ["kv"],
                  "data": { "password": { "generate": { "length": 32 } } } },
        "copy": { "kind": "kubernetes.secret", "namespace": "team", "name": "mail", "protect": false,
                  "data": { "password": { "secret": "mail.data.password" } } },
        "user": { "kind": "aws.iam_user", "name": "worker" },
        "key": { "kind": "aws.iam_access_key", "user": "{{ user.name }}", "deliver": [
            { "vault_kv": { "mount": "secret", "path": "aws" } },
            { "kubernetes_secret": { "namespace": "team", "name": "aws", "fields": { "id": "id", "secret": "secret" } } },
        ] },
    })
}

struct Delivered {
    cluster: Cluster,
    server: ApiServer,
}

impl Delivered {
    fn new() -> Self {
        let with = [Extra::Kubernetes].into();
        let cluster = Cluster::with("deliveries", Settings { with, ..Settings::default() });
        let server = ApiServer::of(&cluster.environment);
        cluster.declare(&steps());
        Self { cluster, server }
    }

    /// A value of a Secret.
    fn value(&self, secret: &str, key: &str) -> String {
        super::secrets::value(&self.server.get(secret), key)
    }

    fn key(&self) -> (String, String) {
        (self.value(SECRET, "id"), self.value(SECRET, "secret"))
    }
}

#[test]
fn key_and_copy_reach_a_secret_and_stay_beside_others() {
    if is_left_out("deliveries into a Secret") {
        return;
    }
    let delivered = Delivered::new();
    let Delivered { cluster, server } = &delivered;
    server.create("api/v1/namespaces", &json!({ "metadata": { "name": "team" } }));
    server.create(
        "api/v1/namespaces/team/secrets",
        &json!({ "metadata": { "name": "aws" }, "data": { "region": "ZXU=", "id": "b2xk" } }),
    );
    cluster.edit(|plan| plan["steps"]["team"]["adopt"] = json!(true));
    cluster.apply(&[]);
    assert_eq!(summary(&cluster.apply(&[]))["api_calls"]["write"], 0);
    let (id, secret) = delivered.key();
    assert!(id.starts_with("AKIA") && secret.len() >= 32, "{id}");
    assert_eq!(delivered.value(SECRET, "region"), "eu");
    let password = delivered.value(COPY, "password");
    assert_eq!(password.len(), 32);

    // Drift is shown for the place that has it, and mended from custody and Vault.
    server.edit(SECRET, &json!({ "data": { "secret": "b3RoZXI=", "more": "bW9yZQ==" } }));
    server.delete(COPY);
    let changeset = cluster.plan();
    assert_eq!(paths(step(&changeset, "key")), ["deliver.kubernetes_secret.team/aws"]);
    assert_eq!(step(&changeset, "copy")["action"], "create");
    cluster.apply(&[]);
    assert_eq!(delivered.key(), (id.clone(), secret.clone()));
    assert_eq!(delivered.value(COPY, "password"), password);
    server.delete(SECRET);
    cluster.apply(&[]);
    assert_eq!(delivered.key(), (id, secret.clone()));
    server.edit(SECRET, &json!({ "data": { "more": "bW9yZQ==" } }));

    // A rotation changes both, and nothing beside them.
    let rotated = cluster.run(&["rotate", "plan.yaml", "key", "mail", "--yes"]);
    assert_eq!(rotated.code, 0, "{rotated:?}");
    let (newer, next) = (delivered.key().1, delivered.value(COPY, "password"));
    assert!(newer != secret && newer.len() >= 32, "the key is another one");
    assert!(next != password && next.len() == 32, "the copy follows");
    assert_eq!(delivered.value(SECRET, "more"), "more");

    let values = [("key", secret), ("newer key", newer), ("password", password), ("newer password", next)];
    holds_no_value(&delivered, &values.map(|(name, value)| (name.to_owned(), value.into_bytes())));
}

/// No value is anywhere in the cluster but in the data of its Secret, nor in a file of the program's.
fn holds_no_value(delivered: &Delivered, values: &[(String, Vec<u8>)]) {
    let Delivered { cluster, server } = delivered;
    for path in [SECRET, COPY] {
        let mut object = server.get(path);
        assert!(!object["metadata"]["managedFields"].is_null() && !object["data"].take().is_null());
        assert_eq!(leaks(object.to_string().as_bytes(), values), [""; 0], "{object}");
    }
    let events = server.get("api/v1/events");
    assert_eq!(leaks(events.to_string().as_bytes(), values), [""; 0]);
    let logs = cluster.environment.sandbox.dir().join("logs");
    let log = |name: &str| std::fs::read(logs.join(name)).expect("a log of the server");
    let control = [("control".to_owned(), b"namespaces/team/secrets/aws".to_vec())];
    assert_eq!(leaks(&log("kubernetes-audit.log"), &control), ["control"]);
    for name in ["kubernetes-audit.log", "kubernetes.log"] {
        assert_eq!(leaks(&log(name), values), [""; 0], "{name}");
    }
    assert_eq!(leaking_files(&cluster.environment.folder, values), [""; 0]);
}

/// A key whose place is refused is not made: nothing else would have its secret.
#[test]
fn key_is_not_made_for_a_secret_that_refuses_it() {
    if is_left_out("a Secret that takes no delivery") {
        return;
    }
    let delivered = Delivered::new();
    let Delivered { cluster, server } = &delivered;
    server.create("api/v1/namespaces", &json!({ "metadata": { "name": "team" } }));
    let fixed = json!({ "metadata": { "name": "aws" }, "data": { "id": "b2xk" }, "immutable": true });
    server.create("api/v1/namespaces/team/secrets", &fixed);
    let keys = || {
        let iam = aws_sdk_iam::Client::new(&crate::aws::config(&cluster.environment.sandbox));
        let listed = crate::support::block_on(iam.list_access_keys().user_name("worker").send());
        listed.map_or(0, |listed| listed.access_key_metadata().len())
    };
    let refused = |words: &str| {
        let ran = cluster.run(&["apply", "plan.yaml", "--yes"]);
        let said = format!("{}{}", ran.stdout, ran.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(ran.code != 0 && said.contains(words), "{words}: {ran:?}");
        assert!(said.contains("the credential was not made"), "{ran:?}");
        assert_eq!(keys(), 0);
    };
    cluster.edit(|plan| plan["steps"]["team"]["adopt"] = json!(true));
    refused("immutable");
    // In no namespace.
    cluster.edit(|plan| {
        plan["steps"]["key"]["deliver"][1]["kubernetes_secret"]["namespace"] = json!("elsewhere");
    });
    refused("namespaces \"elsewhere\" not found");
}

/// A delivery that fails, or whose answer is lost, is made good by the next run, with the same key.
#[test]
fn faults_of_a_delivery_are_made_good_with_one_key() {
    if is_left_out("faults of a delivery into a Secret") {
        return;
    }
    let delivered = Delivered::new();
    let Delivered { cluster, server } = &delivered;
    server.create("api/v1/namespaces", &json!({ "metadata": { "name": "team" } }));
    let mut only_key = steps();
    only_key.as_object_mut().expect("steps").retain(|id, _| ["kv", "user", "key"].contains(&id.as_str()));
    cluster.declare(&only_key);
    let relay = Relay::start(ApiServer::of(&cluster.environment));
    let config = relay.config(&cluster.environment);
    let run = |arguments: &[&str]| {
        let mut command = cluster.command(arguments);
        command.env("KUBECONFIG", &config).env("GROUNDWORK_HASTE", "50").env("GROUNDWORK_TIMEOUT", "3");
        Ran::of(command.output().expect("it runs"))
    };
    let mut known = None;
    for fault in FAULTS {
        relay.plan(Some((1, fault)));
        let first = run(&["apply", "plan.yaml", "--yes"]);
        assert!(!format!("{}{}", first.stdout, first.stderr).contains("panicked"), "{fault:?}: {first:?}");
        relay.plan(None);
        let second = run(&["apply", "plan.yaml", "--yes"]);
        assert_eq!(second.code, 0, "{fault:?}: {first:?}\n{second:?}");
        let third = run(&["apply", "plan.yaml", "--yes", "--format", "json"]);
        assert_eq!(summary(&third.events())["api_calls"]["write"], 0, "{fault:?}: {third:?}");
        let key = delivered.key();
        assert_eq!(known.get_or_insert_with(|| key.clone()), &key, "{fault:?}: another key");
        server.delete(SECRET);
    }
}
