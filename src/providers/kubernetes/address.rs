//! Where an object is below the server's address:
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris>.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A resource of the API: all objects of one kind in one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Api {
    /// Group and version: `v1`, `apps/v1`.
    pub version: String,
    /// The kind in an object: `ConfigMap`.
    pub kind: String,
    /// The name in a path: `configmaps`.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

impl Api {
    /// A resource that every version of the server has.
    pub fn new(version: &str, kind: &str, plural: &str, namespaced: bool) -> Self {
        Self { version: version.into(), kind: kind.into(), plural: plural.into(), namespaced }
    }

    /// The path of an API version.
    pub fn root(version: &str) -> String {
        if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") }
    }

    /// The group; empty for the core.
    pub fn group(&self) -> &str {
        self.version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// An object's place in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The resource.
    pub api: Api,
    /// Its namespace, where the resource has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Address {
    /// The path of all objects beside it.
    pub fn collection(&self) -> String {
        let Api { version, plural, .. } = &self.api;
        match self.namespace.as_ref().filter(|_| self.api.namespaced) {
            Some(namespace) => format!("{}/namespaces/{namespace}/{plural}", Api::root(version)),
            None => format!("{}/{plural}", Api::root(version)),
        }
    }

    /// Its own path.
    pub fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }
}

/// `NAMESPACE/NAME`, or only the name.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Why a text cannot be a name; `None` when it can. Which characters are allowed depends on the resource; what
/// would change the path never is.
pub fn name_mistake(name: &str) -> Option<&'static str> {
    let is_path = matches!(name, "." | "..") || name.contains(['/', '%', '?', '#', '\\']);
    if name.is_empty() {
        Some("is empty")
    } else if is_path || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Some("has characters that no name has")
    } else if name.len() > 253 {
        Some("is longer than 253 characters")
    } else {
        None
    }
}

/// Why a text cannot be the name of a namespace (RFC 1123 label); `None` when it can.
pub fn namespace_mistake(name: &str) -> Option<&'static str> {
    let is_label = !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    (!is_label).then_some("is not the name of a namespace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_group_and_scope() {
        let address = |api: Api, namespace: Option<&str>| Address {
            api,
            namespace: namespace.map(Into::into),
            name: "x".into(),
        };
        let map = address(Api::new("v1", "ConfigMap", "configmaps", true), Some("team"));
        assert_eq!(map.path(), "api/v1/namespaces/team/configmaps/x");
        let role =
            address(Api::new("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false), None);
        assert_eq!(role.path(), "apis/rbac.authorization.k8s.io/v1/clusterroles/x");
        assert_eq!((map.to_string(), role.to_string()), ("team/x".into(), "x".into()));
        assert_eq!((map.api.group(), role.api.group()), ("", "rbac.authorization.k8s.io"));
    }

    #[test]
    fn names_cannot_leave_their_collection() {
        for wrong in ["", "..", "a/b", "a%2fb", "a?x", "a b"] {
            assert!(name_mistake(wrong).is_some(), "{wrong}");
        }
        assert!(name_mistake("system:auth-delegator").is_none());
        assert!(namespace_mistake("clinical-ai").is_none());
        for wrong in ["", "Team", "a.b", "-a", "a-"] {
            assert!(namespace_mistake(wrong).is_some(), "{wrong}");
        }
    }
}
