//! Roles and their bindings: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>.

mod binding;

pub use binding::{ClusterRoleBinding, RoleBinding};

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::address::{Address, Api};
use super::meta::{META_RISKS, Meta, object_spec};
use super::object::{Kube, KubeObject};
use crate::access::Granting;
use crate::error::FieldError;
use crate::resource::risk::Category::{BroaderGrant, Wildcard};
use crate::resource::risk::{FieldChanges, FieldRisk, Finding, Risks, Severity, analysed};
use crate::run::{Access, Permission};

const VERSION: &str = "rbac.authorization.k8s.io/v1";
const UNJUDGED: Granting =
    Granting::Never("`access` follows AWS and Vault; Kubernetes answers with `kubectl auth can-i --list`");

/// A role in a namespace.
pub type Role = Kube<RoleSpec>;
/// A role in the whole cluster.
pub type ClusterRole = Kube<ClusterRoleSpec>;

/// One rule of a role. The order of names does not matter.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// API groups; `""` is the core.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub api_groups: BTreeSet<String>,
    /// Resources, such as `secrets` or `deployments/scale`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub resources: BTreeSet<String>,
    /// Only objects of these names.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub resource_names: BTreeSet<String>,
    /// Paths outside of the API, such as `/healthz`; only in a cluster role.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub non_resource_urls: BTreeSet<String>,
    /// What is allowed: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verbs: BTreeSet<String>,
}

impl Rule {
    fn json(&self) -> Value {
        let lists = [
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
            ("verbs", &self.verbs),
        ];
        let declared = lists.into_iter().filter(|(_, names)| !names.is_empty());
        Value::Object(declared.map(|(name, names)| (name.to_owned(), json!(names))).collect())
    }

    fn mistake(&self, at: &str, in_cluster: bool) -> Option<FieldError> {
        let message = match (self.resources.is_empty(), self.non_resource_urls.is_empty()) {
            _ if self.verbs.is_empty() => "allows nothing: it has no `verbs`",
            (true, true) => "needs `resources`",
            (true, false) if !in_cluster => "has `non_resource_urls`, which only a cluster role can have",
            (false, false) => "has both `resources` and `non_resource_urls`",
            (false, true) if self.api_groups.is_empty() => "needs `api_groups`; the core is `\"\"`",
            _ => return None,
        };
        Some(FieldError::new(at, message))
    }
}

/// The right to give away rights that the caller does not have:
/// <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>.
fn giving(access: Access, role: &Address, verb: &'static [&'static str]) -> Vec<Permission> {
    let gives = matches!(access, Access::Create | Access::Update);
    gives.then(|| Permission::new(role.path(), verb)).into_iter().collect()
}

fn role_address(namespace: Option<&str>, name: &str) -> Address {
    let api = match namespace {
        Some(_) => Api::new(VERSION, "Role", "roles", true),
        None => Api::new(VERSION, "ClusterRole", "clusterroles", false),
    };
    Address { api, namespace: namespace.map(str::to_owned), name: name.to_owned() }
}

fn rules(rules: &[Rule]) -> Map<String, Value> {
    let rules: Vec<Value> = rules.iter().map(Rule::json).collect();
    Map::from_iter([("rules".to_owned(), Value::Array(rules))])
}

fn check_rules(rules: &[Rule], in_cluster: bool) -> Vec<FieldError> {
    let each = rules.iter().enumerate();
    each.filter_map(|(index, rule)| rule.mistake(&format!("rules[{index}]"), in_cluster)).collect()
}

/// Rules that allow everything of something, or getting further rights.
fn rule_risks(changes: &FieldChanges<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for rule in changed_rules(changes) {
        let has = |field: &str, name: &str| {
            rule[field].as_array().is_some_and(|names| names.iter().any(|one| one == name))
        };
        let (verbs, resources) = (has("verbs", "*"), has("resources", "*"));
        let mut add = |severity, category, message: String| {
            let finding = Finding::new(severity, category, message);
            if !found.contains(&finding) {
                found.push(finding);
            }
        };
        if verbs && resources {
            add(Severity::High, Wildcard, "allows every verb on every resource".to_owned());
        } else if verbs || resources {
            add(Severity::Medium, Wildcard, "allows a wildcard (`*`)".to_owned());
        }
        for verb in ["escalate", "bind", "impersonate"].into_iter().filter(|verb| has("verbs", verb)) {
            let message = format!("allows `{verb}`, by which its holders can get further rights");
            add(Severity::High, BroaderGrant, message);
        }
    }
    found
}

/// The rules after a change. Those of a new role are changes field by field.
fn changed_rules(changes: &FieldChanges<'_>) -> Vec<Value> {
    let mut rules: BTreeMap<String, Value> = BTreeMap::new();
    for change in &changes.changes {
        match (change.path.rsplit_once('.'), &change.after) {
            (Some((rule, field)), names @ Value::Array(_)) if rule.ends_with(']') => {
                rules.entry(rule.to_owned()).or_insert_with(|| json!({}))[field] = names.clone();
            }
            (_, Value::Array(all)) => {
                rules.extend(all.iter().enumerate().map(|(index, rule)| (index.to_string(), rule.clone())));
            }
            _ => {}
        }
    }
    rules.into_values().collect()
}

object_spec! {
    /// The declared fields of a role.
    pub struct RoleSpec in a namespace {
        /// The rules.
        pub rules: Vec<Rule>,
    }
}

object_spec! {
    /// The declared fields of a cluster role.
    pub struct ClusterRoleSpec of the cluster {
        /// The rules.
        pub rules: Vec<Rule>,
    }
}

const RULE_RISKS: &[FieldRisk] = &[analysed("rules", rule_risks)];

impl KubeObject for RoleSpec {
    const KIND: &'static str = "kubernetes.role";
    const ABOUT: &'static str = "A role: what can be done with the objects of a namespace.";
    const EXAMPLE: &'static str = "\
reader:
  kind: kubernetes.role
  namespace: payments
  name: reader
  rules:
    - { api_groups: [\"\"], resources: [configmaps], verbs: [get, list, watch] }
";
    const GRANTS: Granting = UNJUDGED;
    const RISKS: Risks = &[META_RISKS, RULE_RISKS];
    const FIELDS: &'static [(&'static str, &'static str)] = &[];

    fn api(&self) -> Api {
        Api::new(VERSION, "Role", "roles", true)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        rules(&self.rules)
    }

    fn further_permissions(&self, access: Access) -> Vec<Permission> {
        giving(access, &role_address(Some(&self.namespace), &self.name), &["escalate"])
    }

    fn check(&self) -> Vec<FieldError> {
        check_rules(&self.rules, false)
    }
}

impl KubeObject for ClusterRoleSpec {
    const KIND: &'static str = "kubernetes.cluster_role";
    const ABOUT: &'static str =
        "A cluster role: what can be done with objects of the cluster, or of any namespace.";
    const EXAMPLE: &'static str = "\
metrics:
  kind: kubernetes.cluster_role
  name: metrics-reader
  rules:
    - { non_resource_urls: [/metrics], verbs: [get] }
";
    const GRANTS: Granting = UNJUDGED;
    const RISKS: Risks = &[META_RISKS, RULE_RISKS];
    const FIELDS: &'static [(&'static str, &'static str)] = &[];

    fn api(&self) -> Api {
        Api::new(VERSION, "ClusterRole", "clusterroles", false)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        rules(&self.rules)
    }

    fn further_permissions(&self, access: Access) -> Vec<Permission> {
        giving(access, &role_address(None, &self.name), &["escalate"])
    }

    fn check(&self) -> Vec<FieldError> {
        check_rules(&self.rules, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Change;

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).expect("a rule")
    }

    #[test]
    fn rules_that_allow_nothing_are_mistakes() {
        let good = rule(json!({ "api_groups": [""], "resources": ["pods"], "verbs": ["get"] }));
        let urls = rule(json!({ "non_resource_urls": ["/healthz"], "verbs": ["get"] }));
        let idle = rule(json!({ "api_groups": [""], "resources": ["pods"], "verbs": [] }));
        assert!(check_rules(&[good.clone(), urls.clone()], true).is_empty());
        assert_eq!(check_rules(&[good, urls, idle], false).len(), 2);
    }

    #[test]
    fn wildcards_are_risks_in_new_and_changed_roles() {
        let severities = |path: &str, after: Value| {
            let change = Change { path: path.to_owned(), after, ..Change::default() };
            let changes = FieldChanges { field: "rules", changes: vec![&change], is_new: false };
            rule_risks(&changes).into_iter().map(|finding| finding.severity).collect::<Vec<_>>()
        };
        let all = json!([{ "verbs": ["*"], "resources": ["*"] }]);
        assert_eq!(severities("rules", all), [Severity::High]);
        assert_eq!(severities("rules[0].verbs", json!(["*"])), [Severity::Medium]);
        assert_eq!(severities("rules[0].verbs", json!(["get", "bind"])), [Severity::High]);
        assert!(severities("rules[0].verbs", json!(["get"])).is_empty());
    }
}
