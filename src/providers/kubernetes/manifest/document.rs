//! The objects of a file.

use serde_json::{Map, Value, json};

use super::super::address::{Address, Api, name_mistake};
use super::super::client::KubernetesClient;
use super::super::ownership;
use crate::error::Result;
use crate::template::unknown::is_unknown;

/// The label with the set of an object.
pub(super) const SET: &str = "groundwork/set";
/// The annotation with the kinds of the set.
pub(super) const KINDS: &str = "groundwork/kinds";
/// Built-in kinds that are in no namespace, so that the set's own is not theirs.
const OF_THE_CLUSTER: [&str; 12] = [
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "PersistentVolume",
    "StorageClass",
    "PriorityClass",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ClusterSecretStore",
];

/// The objects of a text in YAML. Empty documents are left out.
///
/// # Errors
/// When it is not YAML, or one of them is not an object of Kubernetes.
pub(super) fn parse(text: &str) -> Result<Vec<Value>, String> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    let all: Vec<Value> = all.into_iter().filter(|one| !one.is_null()).collect();
    for (index, object) in all.iter().enumerate() {
        if let Some(mistake) = mistake(object) {
            return Err(format!("document {}: {mistake}", index + 1));
        }
    }
    if all.is_empty() { Err("there is no object in it".to_owned()) } else { Ok(all) }
}

/// Why a value is not an object that can be applied; `None` when it is.
pub(super) fn mistake(object: &Value) -> Option<String> {
    if is_list(object) {
        return object["items"].as_array().into_iter().flatten().find_map(mistake);
    }
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let missing = |field: &str| Some(format!("has no `{field}`"));
    let Some(_) = text(&object["apiVersion"]) else { return missing("apiVersion") };
    let Some(kind) = text(&object["kind"]) else { return missing("kind") };
    let Some(name) = text(&object["metadata"]["name"]) else { return missing("metadata.name") };
    if let Some(mistake) = name_mistake(&name).filter(|_| !is_unknown(&name)) {
        return Some(format!("its name {mistake}"));
    }
    if kind == "Secret" && (object.get("data").is_some() || object.get("stringData").is_some()) {
        return Some(format!(
            "the Secret `{name}` has values; declare it as `kubernetes.secret`, whose values come from sources"
        ));
    }
    let own = |field: &str| object["metadata"][field].as_object().into_iter().flatten();
    let reserved =
        own("labels").chain(own("annotations")).find(|(name, _)| name.starts_with(ownership::PREFIX));
    reserved.map(|(name, _)| format!("`{name}` is reserved"))
}

fn is_list(object: &Value) -> bool {
    object["kind"] == "List" && object["items"].is_array()
}

/// The items of a list, or the object itself.
pub(super) fn expanded(object: Value) -> Vec<Value> {
    match is_list(&object) {
        true => object["items"].as_array().cloned().unwrap_or_default(),
        false => vec![object],
    }
}

/// The object with the set's namespace, if it names none and is in one.
pub(super) fn in_namespace(mut object: Value, namespace: Option<&str>) -> Value {
    let is_of_cluster = object["kind"].as_str().is_some_and(|kind| OF_THE_CLUSTER.contains(&kind));
    if let Some(namespace) = namespace.filter(|_| !is_of_cluster)
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.entry("namespace").or_insert_with(|| json!(namespace));
    }
    // The server's, and not for a plan to say.
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    object
}

/// Marks the objects of a set.
pub(super) fn marked(objects: &[Value], set: &str, plan: &str) -> Vec<Value> {
    let mut kinds: Vec<String> = objects.iter().map(kind_of).collect();
    kinds.sort();
    kinds.dedup();
    let kinds = kinds.join(" ");
    let mark = |object: &Value| {
        let mut object = object.clone();
        let metadata = object["metadata"].as_object_mut();
        let mut metadata = metadata.map(std::mem::take).unwrap_or_default();
        ownership::mark(&mut metadata, plan);
        metadata["labels"][SET] = json!(ownership::label(set));
        let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        annotations[KINDS] = json!(kinds);
        object["metadata"] = Value::Object(metadata);
        object
    };
    objects.iter().map(mark).collect()
}

/// The API version and the kind in one word: `apps/v1/Deployment`.
pub(super) fn kind_of(object: &Value) -> String {
    format!(
        "{}/{}",
        object["apiVersion"].as_str().unwrap_or_default(),
        object["kind"].as_str().unwrap_or_default()
    )
}

/// The two parts of such a word.
pub(super) fn parts(kind: &str) -> Option<(&str, &str)> {
    kind.rsplit_once('/')
}

/// The identity of an object: kind without version, namespace, name.
pub fn key(object: &Value) -> String {
    let group = object["apiVersion"]
        .as_str()
        .and_then(|version| version.split_once('/'))
        .map_or("", |(group, _)| group);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!("{group}/{}/{}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

/// The name of an object in a plan: `ConfigMap/settings`.
pub fn shown(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// Where an object is; `None` when the server does not have its kind.
pub(super) async fn address(client: &KubernetesClient, object: &Value) -> Result<Option<Address>> {
    let kind = kind_of(object);
    let Some((version, kind)) = parts(&kind) else { return Ok(None) };
    Ok(client.api(version, kind).await?.map(|api| address_of(api, object)))
}

/// Where an object of this resource is.
pub(super) fn address_of(api: Api, object: &Value) -> Address {
    let text = |name: &str| object["metadata"][name].as_str().map(str::to_owned);
    let namespace = text("namespace").filter(|_| api.namespaced);
    Address { api, namespace, name: text("name").unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "
apiVersion: v1
kind: ConfigMap
metadata: { name: a }
---
# Nothing here.
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: b }
";

    #[test]
    fn documents_get_the_namespace_of_the_set() {
        let all: Vec<Value> =
            parse(TWO).expect("YAML").into_iter().map(|one| in_namespace(one, Some("team"))).collect();
        assert_eq!(
            all.iter().map(key).collect::<Vec<_>>(),
            ["/ConfigMap/team/a", "rbac.authorization.k8s.io/ClusterRole//b"]
        );
        let marked = marked(&all, "set", "plan");
        assert_eq!(
            marked[0]["metadata"]["labels"],
            json!({ "groundwork/plan": "plan", "groundwork/set": "set" })
        );
        let kinds = "rbac.authorization.k8s.io/v1/ClusterRole v1/ConfigMap";
        assert_eq!(marked[1]["metadata"]["annotations"][KINDS], kinds);
        assert_eq!(
            parts("rbac.authorization.k8s.io/v1/ClusterRole"),
            Some(("rbac.authorization.k8s.io/v1", "ClusterRole"))
        );
    }

    #[test]
    fn what_cannot_be_applied_is_named() {
        let mistakes = [
            ("kind: A\nmetadata: { name: a }", "document 1: has no `apiVersion`"),
            ("apiVersion: v1\nkind: A\nmetadata: { generateName: a }", "document 1: has no `metadata.name`"),
            ("# nothing", "there is no object in it"),
        ];
        for (text, mistake) in mistakes {
            assert_eq!(parse(text).expect_err(text), mistake);
        }
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": { "a": "hunter2" } });
        let told = mistake(&secret).expect("refused");
        assert!(told.contains("kubernetes.secret") && !told.contains("hunter2"));
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [secret] });
        assert!(mistake(&list).is_some() && expanded(list).len() == 1);
    }
}
