//! Objects in files, for which no cluster is asked.

use serde_json::{Value, json};

use crate::support::{TestEnvironment, paths, step, summary};

const FILE: &str = "rendered/objects.yaml";

fn declare(environment: &TestEnvironment, replicas: u8) {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "worker" },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "worker" } }, "template": {
            "metadata": { "labels": { "app": "worker" } }, "spec": { "containers": [{ "name": "a", "image": "a" }] },
        } },
    });
    let template =
        "{% raw %}{{ with secret \"secret/data/team/aws\" }}{{ .Data.data.key }}{{ end }}{% endraw %}";
    let plan = json!({ "version": 1, "name": "files", "steps": { "objects": {
        "kind": "kubernetes.rendered", "path": FILE,
        "objects": [
            { "kind": "kubernetes.config_map", "namespace": "team", "name": "settings", "data": { "mode": "on" } },
            {
                "kind": "kubernetes.manifest", "name": "worker", "namespace": "team", "objects": [deployment],
                "agents": { "Deployment/worker": { "role": "worker", "files": {
                    "aws": { "mount": "secret", "path": "team/aws", "template": template },
                } } },
            },
        ],
    } } });
    environment.write("files.yaml", &plan.to_string());
}

fn documents(environment: &TestEnvironment) -> Vec<Value> {
    let text = std::fs::read_to_string(environment.folder.join(FILE)).expect("rendered");
    serde_saphyr::from_multiple(&text).expect("YAML")
}

#[test]
fn objects_in_a_file_need_no_cluster() {
    let environment = TestEnvironment::new();
    declare(&environment, 1);
    environment.apply("files.yaml");
    let written = documents(&environment);
    assert_eq!(written[0]["data"], json!({ "mode": "on" }));
    let annotations = &written[1]["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["vault.hashicorp.com/agent-inject-secret-aws"], "secret/data/team/aws");
    let template = r#"{{ with secret "secret/data/team/aws" }}{{ .Data.data.key }}{{ end }}"#;
    assert_eq!(annotations["vault.hashicorp.com/agent-inject-template-aws"], template);
    assert_eq!(summary(&environment.apply("files.yaml"))["done"], 0);

    // Another notation of the same is not a change; another value is, and so is a document of another hand.
    let path = environment.folder.join(FILE);
    let text = std::fs::read_to_string(&path).expect("rendered");
    std::fs::write(&path, format!("# by hand\n{}", text.replace("\"on\"", "'on'"))).expect("written");
    assert_eq!(step(&environment.plan("files.yaml"), "objects")["action"], "none");
    let other = "---\napiVersion: v1\nkind: Service\nmetadata: { name: more, namespace: team }\n";
    std::fs::write(&path, format!("{}{other}", text.replace("\"on\"", "true"))).expect("written");
    let changeset = environment.plan("files.yaml");
    let found = paths(step(&changeset, "objects"));
    assert_eq!(found, ["team/ConfigMap/settings.data.mode", "team/Service/more"], "{changeset:#}");
    declare(&environment, 2);
    environment.apply("files.yaml");
    let written = documents(&environment);
    assert_eq!((written.len(), &written[1]["spec"]["replicas"]), (2, &json!(2)));

    let gone = environment.run(&["destroy", "files.yaml", "--yes"]);
    assert!(gone.code == 0 && !path.exists(), "{gone:?}");
}
