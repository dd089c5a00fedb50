//! The least roles of a cluster that give some permissions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{ClusterRole, Role, object};
use crate::place::Place;
use crate::providers::file::to_yaml;
use crate::resource::Resource;
use crate::run::{LeastPolicy, Needs};
use crate::template::unknown::is_unknown;

/// The name of the roles in their texts.
const NAME: &str = "groundwork";

/// A group and a resource of it.
type Noun = (String, String);
/// The verbs of each object; of every object where the name is not known yet.
type Objects = BTreeMap<Option<String>, BTreeSet<&'static str>>;
/// What is needed in a namespace, or in the cluster.
type Rules = BTreeMap<Noun, Objects>;

/// A role for each namespace, and one for the cluster; none if nothing is needed.
pub(super) fn policies(connection: &Place, needs: &[&Needs]) -> Vec<LeastPolicy> {
    let mut roles: BTreeMap<Option<String>, Rules> = BTreeMap::new();
    for one in needs.iter().flat_map(|needs| &needs.permissions) {
        let Some((namespace, noun, name)) = parts(&one.on) else { continue };
        let objects = roles.entry(namespace).or_default().entry(noun).or_default();
        objects.entry(name).or_default().extend(one.any_of.first());
    }
    if roles.is_empty() {
        return Vec::new();
    }
    // By it the cluster is known.
    let identity = ((String::new(), "namespaces".to_owned()), Some("kube-system".to_owned()));
    let of_cluster = roles.entry(None).or_default().entry(identity.0).or_default();
    of_cluster.entry(identity.1).or_default().insert("get");
    roles.iter().map(|(namespace, rules)| policy(connection, namespace.as_deref(), rules)).collect()
}

fn policy(connection: &Place, namespace: Option<&str>, all: &Rules) -> LeastPolicy {
    let rules: Vec<Value> = all.iter().flat_map(|(noun, objects)| rules(noun, objects)).collect();
    let (step, mut notes) = match namespace {
        None => (
            (ClusterRole::KIND, json!({ "rules": rules })),
            vec![
                "Bind it to the user that runs the program with a ClusterRoleBinding.".to_owned(),
                "A plan asks the server what a write would do, which takes the right to it: without, the changes are \
                 shown as refused."
                    .to_owned(),
                "The objects of `kubernetes.manifest` are not in it: only the server knows what their kinds are called."
                    .to_owned(),
            ],
        ),
        Some(namespace) => (
            (Role::KIND, json!({ "namespace": namespace, "rules": rules })),
            vec![format!("Bind it to that user with a RoleBinding in {namespace}.")],
        ),
    };
    if all.keys().any(|(_, resource)| resource.ends_with("roles")) {
        notes.push("`escalate` and `bind` let it give away what it does not have itself.".to_owned());
    }
    let text = text(&step.1, namespace.is_some());
    LeastPolicy { connection: connection.connection("kubernetes"), step, text, ending: "yaml", notes }
}

/// The role as `kubectl apply` takes it.
fn text(fields: &Value, is_namespaced: bool) -> String {
    let mut fields = fields.clone();
    fields["name"] = json!(NAME);
    let document = if is_namespaced {
        serde_json::from_value::<<Role as Resource>::Desired>(fields).map(|role| object::document(&role))
    } else {
        serde_json::from_value::<<ClusterRole as Resource>::Desired>(fields)
            .map(|role| object::document(&role))
    };
    to_yaml(&[document.expect("the fields of a role")]).trim_end().to_owned()
}

/// Rules for the objects of one resource: those with the same verbs together.
fn rules((group, resource): &Noun, objects: &Objects) -> Vec<Value> {
    let everywhere = objects.get(&None).cloned().unwrap_or_default();
    let mut by_verbs: BTreeMap<BTreeSet<&str>, BTreeSet<&str>> = BTreeMap::new();
    for (name, verbs) in objects.iter().filter_map(|(name, verbs)| Some((name.as_deref()?, verbs))) {
        let more: BTreeSet<&str> = verbs.difference(&everywhere).copied().collect();
        if !more.is_empty() {
            by_verbs.entry(more).or_default().insert(name);
        }
    }
    let rule =
        |verbs: &BTreeSet<&str>| json!({ "api_groups": [group], "resources": [resource], "verbs": verbs });
    let of_names = by_verbs.iter().map(|(verbs, names)| {
        let mut rule = rule(verbs);
        rule["resource_names"] = json!(names);
        rule
    });
    of_names.chain((!everywhere.is_empty()).then(|| rule(&everywhere))).collect()
}

/// The namespace, the resource and the name in the path of an object. What is not known yet may be any.
fn parts(path: &str) -> Option<(Option<String>, Noun, Option<String>)> {
    let mut parts = path.split('/');
    let group = match parts.next()? {
        "api" => String::new(),
        _ => parts.next()?.to_owned(),
    };
    let rest: Vec<&str> = parts.skip(1).collect();
    let known = |text: &str| (!is_unknown(text)).then(|| text.to_owned());
    match rest.as_slice() {
        ["namespaces", namespace, resource, name] => {
            Some((known(namespace), (group, (*resource).to_owned()), known(name)))
        }
        ["namespaces", namespace, resource, name, part] => {
            Some((known(namespace), (group, format!("{resource}/{part}")), known(name)))
        }
        [resource, name] => Some((None, (group, (*resource).to_owned()), known(name))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Permission;
    use crate::template::unknown::marker;

    fn of(all: &[(&str, &'static [&'static str])]) -> Vec<LeastPolicy> {
        let permissions = all.iter().map(|(path, verbs)| Permission::new(*path, verbs)).collect();
        let needs = Needs {
            step: "a".to_owned(),
            provider: "kubernetes",
            place: Place::OWN,
            may_exist: true,
            permissions,
        };
        policies(&Place::OWN, &[&needs])
    }

    #[test]
    fn names_with_the_same_verbs_share_a_rule() {
        let secret = |name: &str| format!("api/v1/namespaces/team/secrets/{name}");
        let unknown = secret(&marker("a.name"));
        let made = of(&[
            (&secret("a"), &["get"]),
            (&secret("b"), &["get"]),
            (&secret("b"), &["patch"]),
            (&secret("c"), &["get"]),
            (&unknown, &["delete"]),
        ]);
        let [cluster, team] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!(
            cluster.step.1["rules"],
            json!([{ "api_groups": [""], "resources": ["namespaces"], "verbs": ["get"], "resource_names": ["kube-system"] }])
        );
        let rules = &team.step.1["rules"];
        assert_eq!(rules[0]["resource_names"], json!(["a", "c"]));
        assert_eq!(
            (&rules[1]["verbs"], &rules[1]["resource_names"]),
            (&json!(["get", "patch"]), &json!(["b"]))
        );
        assert_eq!((&rules[2]["verbs"], rules[2].get("resource_names")), (&json!(["delete"]), None));
        assert!(
            team.text.starts_with("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n"),
            "{}",
            team.text
        );
    }

    #[test]
    fn objects_of_the_cluster_and_of_groups_are_told_apart() {
        let store = "apis/external-secrets.io/v1/namespaces/team/secretstores/vault";
        let (namespace, noun, name) = parts(store).expect("an object");
        assert_eq!((namespace.as_deref(), name.as_deref()), (Some("team"), Some("vault")));
        assert_eq!(noun, ("external-secrets.io".to_owned(), "secretstores".to_owned()));
        let (namespace, noun, _) = parts("api/v1/namespaces/team").expect("an object");
        assert_eq!((namespace, noun.1.as_str()), (None, "namespaces"));
        let (_, noun, name) = parts("api/v1/namespaces/team/serviceaccounts/worker/token").expect("a part");
        assert_eq!((noun.1.as_str(), name.as_deref()), ("serviceaccounts/token", Some("worker")));
        assert!(of(&[]).is_empty());
    }
}
