//! Secrets: nothing of a value is anywhere but in the object's data.

use serde_json::{Value, json};

use super::{KubeCluster, is_left_out};
use crate::support::{files, paths, step, summary};

const SECRET: &str = "api/v1/namespaces/default/secrets/database";

pub fn value(object: &Value, key: &str) -> String {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    let text = object["data"][key].as_str().expect("a value");
    String::from_utf8(BASE64_STANDARD.decode(text).expect("base64")).expect("text")
}

#[test]
fn secret_values_are_nowhere_but_in_its_data() {
    if is_left_out("the canaries of Secrets") {
        return;
    }
    let cluster = KubeCluster::new();
    let canary = "canary-Zk3!x/+=?";
    let steps = |more: Value| {
        let mut data = json!({
            "user": "app", "password": { "generate": { "length": 32 } }, "token": { "env": "CANARY" },
            "url": { "template": "db://{{ data.user }}:{{ data.password | urlencode }}@x/" },
        });
        data.as_object_mut().expect("data").extend(more.as_object().expect("more").clone());
        json!({ "db": { "kind": "kubernetes.secret", "namespace": "default", "name": "database", "data": data } })
    };
    cluster.declare("secrets", &steps(json!({})));
    let run = |arguments: &[&str]| {
        let mut command =
            cluster.environment.command(&[arguments, &["--env", "CANARY", "--verbose"]].concat());
        crate::support::Ran::of(command.env("CANARY", canary).output().expect("it runs"))
    };
    let mut said = String::new();
    let mut all = |arguments: &[&str]| {
        let ran = run(arguments);
        said.push_str(&ran.stdout);
        said.push_str(&ran.stderr);
        ran
    };
    assert_eq!(all(&["plan", "secrets.yaml"]).code, 0);
    assert_eq!(all(&["apply", "secrets.yaml", "--yes"]).code, 0);
    let object = cluster.get(SECRET);
    let password = value(&object, "password");
    assert_eq!((password.len(), value(&object, "token").as_str()), (32, canary));
    let again = all(&["apply", "secrets.yaml", "--yes", "--format", "json"]);
    assert_eq!(summary(&again.events())["api_calls"]["write"], 0, "{again:?}");
    // Drift of a value, by the manager that made it: another run with another canary.
    cluster.edit(SECRET, &json!({ "data": { "extra": "ZXh0cmE=" } }));
    assert_eq!(all(&["plan", "secrets.yaml"]).code, 0);
    cluster.declare("secrets", &steps(json!({ "more": "1" })));
    let planned = all(&["plan", "secrets.yaml", "--format", "json"]);
    let plan: Value = serde_json::from_str(&planned.stdout).expect("a changeset");
    assert_eq!(paths(step(&plan, "db")), ["data.more"]);
    assert_eq!(all(&["apply", "secrets.yaml", "--yes"]).code, 0);
    let object = cluster.get(SECRET);
    assert_eq!(value(&object, "password"), password, "made once and kept");
    assert_eq!(value(&object, "extra"), "extra", "another's key stays");
    let encoded = object["data"]["token"].as_str().expect("a value").to_owned();
    let mut without_data = object.clone();
    without_data["data"] = Value::Null;
    let events = cluster.get("api/v1/namespaces/default/events");
    let logs = cluster.environment.sandbox.dir().join("logs/kubernetes.log");
    let log = std::fs::read_to_string(logs).expect("the server's log");
    let kept: Vec<(String, String)> = files(&cluster.environment.folder)
        .into_iter()
        .filter_map(|path| {
            Some((
                path.display().to_string(),
                String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned(),
            ))
        })
        .collect();
    let places = [
        ("output".to_owned(), said),
        ("object".to_owned(), without_data.to_string()),
        ("events".to_owned(), events.to_string()),
        ("log".to_owned(), log),
    ];
    for (place, text) in places.iter().chain(&kept) {
        for secret in [canary, password.as_str(), encoded.as_str()] {
            assert!(!text.contains(secret), "{place} has a secret value");
        }
    }
}

#[test]
fn drift_of_a_value_is_shown_and_mended_by_force() {
    if is_left_out("the drift of Secrets") {
        return;
    }
    let cluster = KubeCluster::new();
    cluster.declare("drift", &json!({ "db": {
        "kind": "kubernetes.secret", "namespace": "default", "name": "database", "data": { "user": "app" }, "force": true,
    } }));
    cluster.apply("drift");
    cluster.edit(SECRET, &json!({ "data": { "user": "b3RoZXI=" } }));
    let plan = cluster.plan("drift");
    assert_eq!(paths(step(&plan, "db")), ["data.user"], "{plan:#}");
    assert_eq!(step(&plan, "db")["changes"][0]["sensitive"], true);
    cluster.apply("drift");
    assert_eq!(value(&cluster.get(SECRET), "user"), "app");
}
