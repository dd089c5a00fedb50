//! Who has a role.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::address::Api;
use super::super::meta::{META_RISKS, Meta, object_spec};
use super::super::object::{Kube, KubeObject};
use super::{UNJUDGED, VERSION, giving, role_address};
use crate::access::Granting;
use crate::error::FieldError;
use crate::resource::risk::Category::BroaderGrant;
use crate::resource::risk::{FieldRisk, Risks, added, fixed, safe};
use crate::resource::{Blocked, Requirement};
use crate::run::{Access, Permission};
use crate::template::unknown::is_unknown;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Who has a role in a namespace.
pub type RoleBinding = Kube<RoleBindingSpec>;
/// Who has a role in the whole cluster.
pub type ClusterRoleBinding = Kube<ClusterRoleBindingSpec>;

object_spec! {
    /// The declared fields of a role binding.
    pub struct RoleBindingSpec in a namespace {
        /// The role, of the same namespace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub role: Option<String>,
        /// The cluster role, which then applies in this namespace only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cluster_role: Option<String>,
        /// Service accounts, as `NAMESPACE/NAME`, or by name in the same namespace.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        pub service_accounts: BTreeSet<String>,
        /// Users.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        pub users: BTreeSet<String>,
        /// Groups.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        pub groups: BTreeSet<String>,
    }
}

object_spec! {
    /// The declared fields of a cluster role binding.
    pub struct ClusterRoleBindingSpec of the cluster {
        /// The cluster role, such as `system:auth-delegator` for what has tokens reviewed.
        pub cluster_role: String,
        /// Service accounts, as `NAMESPACE/NAME`.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        pub service_accounts: BTreeSet<String>,
        /// Users.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        pub users: BTreeSet<String>,
        /// Groups.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        pub groups: BTreeSet<String>,
    }
}

/// Who is bound.
struct Subjects<'a> {
    service_accounts: &'a BTreeSet<String>,
    users: &'a BTreeSet<String>,
    groups: &'a BTreeSet<String>,
    /// The namespace of service accounts that are given by name only.
    namespace: Option<&'a str>,
}

impl Subjects<'_> {
    fn accounts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.service_accounts.iter().filter_map(|account| match account.split_once('/') {
            Some((namespace, name)) => Some((namespace, name)),
            None => self.namespace.map(|namespace| (namespace, account.as_str())),
        })
    }

    fn json(&self) -> Value {
        let account =
            |(namespace, name)| json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name });
        let named = |kind: &'static str| move |name: &String| json!({ "apiGroup": GROUP, "kind": kind, "name": name });
        let users = self.users.iter().map(named("User"));
        Value::Array(
            self.accounts().map(account).chain(users).chain(self.groups.iter().map(named("Group"))).collect(),
        )
    }

    fn check(&self) -> Vec<FieldError> {
        let is_wrong = |account: &&String| {
            let parts = account.split('/').collect::<Vec<_>>();
            let is_named = parts.len() == 2 || parts.len() == 1 && self.namespace.is_some();
            !is_unknown(account) && (!is_named || parts.contains(&""))
        };
        let help = "write it as NAMESPACE/NAME";
        let mistake = |account: &String| {
            FieldError::new("service_accounts", format!("`{account}` is not a service account")).help(help)
        };
        self.service_accounts.iter().filter(is_wrong).map(mistake).collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        let account = |(namespace, name)| {
            Requirement::thing("kubernetes.service_account", format!("{namespace}/{name}"))
        };
        self.accounts().map(account).collect()
    }
}

const NEW_ROLE: &str = "a binding keeps its role; use `--replace` to delete and create it again";
const SUBJECT_RISKS: &[FieldRisk] = &[
    added("subjects").live().low(BroaderGrant, "gives the role to more"),
    safe("service_accounts users groups", "the change is shown as that of `subjects`"),
];

fn binding(kind: &str, role: &str, subjects: &Subjects<'_>) -> Map<String, Value> {
    let role = json!({ "apiGroup": GROUP, "kind": kind, "name": role });
    Map::from_iter([("roleRef".to_owned(), role), ("subjects".to_owned(), subjects.json())])
}

/// That a live binding has another role.
fn other_role(field: &str, live: &Value, declared: &Map<String, Value>) -> Vec<Blocked> {
    let same = live.is_null() || declared.get("roleRef").is_some_and(|role| live["roleRef"] == *role);
    (!same).then(|| Blocked::new(field, NEW_ROLE)).into_iter().collect()
}

impl RoleBindingSpec {
    fn subjects(&self) -> Subjects<'_> {
        let Self { service_accounts, users, groups, .. } = self;
        Subjects { service_accounts, users, groups, namespace: Some(&self.namespace) }
    }
}

impl KubeObject for RoleBindingSpec {
    const KIND: &'static str = "kubernetes.role_binding";
    const ABOUT: &'static str = "A role binding: who has a role in a namespace.";
    const EXAMPLE: &'static str = "\
worker_reads:
  kind: kubernetes.role_binding
  namespace: payments
  name: worker-reads
  role: reader
  service_accounts: [worker]
";
    const GRANTS: Granting = UNJUDGED;
    const RISKS: Risks = &[META_RISKS, SUBJECT_RISKS, &[fixed("role cluster_role")]];
    const FIELDS: &'static [(&'static str, &'static str)] = &[("roleRef", "role")];

    fn api(&self) -> Api {
        Api::new(VERSION, "RoleBinding", "rolebindings", true)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        match (&self.role, &self.cluster_role) {
            (Some(role), _) => binding("Role", role, &self.subjects()),
            (None, role) => binding("ClusterRole", role.as_deref().unwrap_or_default(), &self.subjects()),
        }
    }

    fn further_permissions(&self, access: Access) -> Vec<Permission> {
        let role = match (&self.role, &self.cluster_role) {
            (Some(role), _) => role_address(Some(&self.namespace), role),
            (None, role) => role_address(None, role.as_deref().unwrap_or_default()),
        };
        giving(access, &role, &["bind"])
    }

    fn check(&self) -> Vec<FieldError> {
        let is_one = self.role.is_some() != self.cluster_role.is_some();
        let role = (!is_one).then(|| FieldError::new("role", "declare one of `role` and `cluster_role`"));
        role.into_iter().chain(self.subjects().check()).collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        let own = self
            .role
            .as_ref()
            .map(|role| Requirement::thing("kubernetes.role", format!("{}/{role}", self.namespace)));
        let of_cluster =
            self.cluster_role.as_ref().map(|role| Requirement::thing("kubernetes.cluster_role", role));
        own.into_iter().chain(of_cluster).chain(self.subjects().requires()).collect()
    }

    fn blocked(&self, live: &Value) -> Vec<Blocked> {
        other_role("role", live, &self.content())
    }
}

impl ClusterRoleBindingSpec {
    fn subjects(&self) -> Subjects<'_> {
        let Self { service_accounts, users, groups, .. } = self;
        Subjects { service_accounts, users, groups, namespace: None }
    }
}

impl KubeObject for ClusterRoleBindingSpec {
    const KIND: &'static str = "kubernetes.cluster_role_binding";
    const ABOUT: &'static str = "A cluster role binding: who has a cluster role everywhere.";
    const EXAMPLE: &'static str = "\
vault_reviews_tokens:
  kind: kubernetes.cluster_role_binding
  name: vault-auth-delegator
  cluster_role: system:auth-delegator
  service_accounts: [vault/vault]
";
    const GRANTS: Granting = UNJUDGED;
    const RISKS: Risks = &[META_RISKS, SUBJECT_RISKS, &[fixed("cluster_role")]];
    const FIELDS: &'static [(&'static str, &'static str)] = &[("roleRef.name", "cluster_role")];

    fn api(&self) -> Api {
        Api::new(VERSION, "ClusterRoleBinding", "clusterrolebindings", false)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        binding("ClusterRole", &self.cluster_role, &self.subjects())
    }

    fn further_permissions(&self, access: Access) -> Vec<Permission> {
        giving(access, &role_address(None, &self.cluster_role), &["bind"])
    }

    fn check(&self) -> Vec<FieldError> {
        self.subjects().check()
    }

    fn requires(&self) -> Vec<Requirement> {
        let role = Requirement::thing("kubernetes.cluster_role", &self.cluster_role);
        std::iter::once(role).chain(self.subjects().requires()).collect()
    }

    fn blocked(&self, live: &Value) -> Vec<Blocked> {
        other_role("cluster_role", live, &self.content())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_named_with_their_namespace() {
        let declared = json!({ "name": "b", "namespace": "team", "role": "r", "service_accounts": ["own", "other/x"],
            "groups": ["g"] });
        let spec: RoleBindingSpec = serde_json::from_value(declared).expect("valid");
        let subjects = &spec.content()["subjects"];
        assert_eq!(subjects[0], json!({ "kind": "ServiceAccount", "namespace": "other", "name": "x" }));
        assert_eq!(subjects[1]["namespace"], "team");
        assert_eq!(subjects[2], json!({ "apiGroup": GROUP, "kind": "Group", "name": "g" }));
        assert!(KubeObject::check(&spec).is_empty());
        let declared = json!({ "name": "b", "cluster_role": "r", "service_accounts": ["own"] });
        let spec: ClusterRoleBindingSpec = serde_json::from_value(declared).expect("valid");
        assert_eq!(KubeObject::check(&spec).len(), 1);
    }

    #[test]
    fn another_role_is_blocked() {
        let live = json!({ "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": "old" } });
        let role = |name: &str| {
            let subjects = Subjects {
                service_accounts: &BTreeSet::new(),
                users: &BTreeSet::new(),
                groups: &BTreeSet::new(),
                namespace: None,
            };
            other_role("cluster_role", &live, &binding("ClusterRole", name, &subjects)).len()
        };
        assert_eq!((role("old"), role("new")), (0, 1));
    }
}
