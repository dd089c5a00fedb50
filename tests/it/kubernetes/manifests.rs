//! Manifests: objects of any kind, and their definitions.

use serde_json::{Value, json};

use super::{KubeCluster, is_left_out};
use crate::support::{paths, step, summary};

const WIDGETS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: widgets.example.net }
spec:
  group: example.net
  names: { kind: Widget, listKind: WidgetList, plural: widgets, singular: widget }
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      subresources: { status: {} }
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: { type: object, properties: { size: { type: integer, default: 3 }, colour: { type: string } } }
            status: { type: object, x-kubernetes-preserve-unknown-fields: true }
";

fn widget(spec: &Value) -> Value {
    json!({ "apiVersion": "example.net/v1", "kind": "Widget", "metadata": { "name": "one" }, "spec": spec })
}

fn set(name: &str, objects: &Value) -> Value {
    json!({ "kind": "kubernetes.manifest", "name": name, "namespace": "default", "objects": objects })
}

#[test]
fn definition_and_its_objects_are_made_by_one_plan() {
    if is_left_out("definitions and their objects") {
        return;
    }
    let cluster = KubeCluster::new();
    let mut steps = json!({ "widget": set("widgets", &json!([widget(&json!({ "colour": "red" }))])) });
    cluster.declare("widgets", &steps);
    // Without its definition the kind is unknown, and the error says what to do.
    let ran = cluster
        .environment
        .command(&["apply", "widgets.yaml", "--yes"])
        .env("GROUNDWORK_HASTE", "200")
        .output();
    let ran = crate::support::Ran::of(ran.expect("it runs"));
    assert_ne!(ran.code, 0, "{ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("example.net/v1/Widget") && said.contains("custom resource definition"), "{said}");
    steps["definition"] =
        json!({ "kind": "kubernetes.manifest", "name": "definitions", "file": "widgets.yaml.txt" });
    cluster.environment.write("widgets.yaml.txt", WIDGETS);
    steps["widget"]["needs"] = json!(["definition"]);
    cluster.declare("widgets", &steps);
    cluster.apply("widgets");
    let path = "apis/example.net/v1/namespaces/default/widgets/one";
    assert_eq!(cluster.get(path)["spec"], json!({ "colour": "red", "size": 3 }));
    assert_eq!(summary(&cluster.apply("widgets"))["api_calls"]["write"], 0, "a default is no difference");
    let ran = cluster.run(&["destroy", "widgets.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!cluster.exists("apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.net"));
}

#[test]
fn object_that_leaves_the_manifest_is_deleted() {
    if is_left_out("objects that leave a manifest") {
        return;
    }
    let cluster = KubeCluster::new();
    let map = |name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": "1" } });
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "q" }, "spec": { "hard": { "pods": "2" } } });
    cluster.declare("set", &json!({ "all": set("all", &json!([map("a"), quota])) }));
    cluster.apply("set");
    // All objects are replaced by others of another kind: what was there is found by its label.
    cluster.declare("set", &json!({ "all": set("all", &json!([map("b")])) }));
    let plan = cluster.plan("set");
    let shown = paths(step(&plan, "all"));
    assert!(
        shown.contains(&"ConfigMap/b")
            && shown.contains(&"ConfigMap/a")
            && shown.contains(&"ResourceQuota/q"),
        "{plan:#}"
    );
    cluster.apply("set");
    assert!(!cluster.exists("api/v1/namespaces/default/resourcequotas/q"));
    assert!(!cluster.exists("api/v1/namespaces/default/configmaps/a"));
    assert!(cluster.exists("api/v1/namespaces/default/configmaps/b"));
}

#[test]
fn wait_ends_when_the_condition_is_true_and_says_why_it_is_not() {
    if is_left_out("waiting for a condition") {
        return;
    }
    let cluster = KubeCluster::new();
    let mut store = json!({
        "kind": "kubernetes.secret_store", "namespace": "default", "name": "vault", "wait": { "condition": "Ready", "seconds": 2 },
        "backend": { "vault": { "server": "https://v", "mount": "secret",
            "auth": { "kubernetes": { "role": "r", "service_account": "worker" } } } },
    });
    cluster.declare("waits", &json!({ "store": store }));
    let ran = cluster.run(&["apply", "waits.yaml", "--yes"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("not reported after 2 s"), "{said}");
    assert!(said.contains("store: waits for Ready of default/vault: not reported (at most"), "{said}");
    let path = "apis/external-secrets.io/v1/namespaces/default/secretstores/vault";
    let status = |value: &str, message: &str| {
        let conditions = json!([{ "type": "Ready", "status": value, "message": message }]);
        cluster.edit(&format!("{path}/status"), &json!({ "status": { "conditions": conditions } }));
    };
    status("False", "unable to log in");
    store["labels"] = json!({ "team": "a" });
    cluster.declare("waits", &json!({ "store": store }));
    let ran = cluster.run(&["apply", "waits.yaml", "--yes"]);
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("unable to log in"), "{ran:?}");
    status("True", "store validated");
    cluster.apply("waits");
    assert_eq!(summary(&cluster.apply("waits"))["api_calls"]["write"], 0);
}
