//! The `kubernetes:` section of a plan.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::confined_path;
use crate::error::FieldError;
use crate::template::unknown::is_unknown;

/// The `kubernetes:` section: which cluster, and how to reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesSettings {
    /// A kubeconfig beside the plan. Default: `KUBECONFIG`, then `~/.kube/config`, then the service account
    /// of the pod in which the program runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig. Default: its current context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Use the service account of the pod in which the program runs, and no kubeconfig.
    #[serde(default)]
    pub in_cluster: bool,
    /// The uid of the cluster's namespace `kube-system`; a run refuses to touch any other cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Further clusters, for steps with `provider: kubernetes.NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, ClusterSettings>,
}

/// A further cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// A kubeconfig beside the plan. Default: `KUBECONFIG`, then `~/.kube/config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig. Default: its current context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Use the service account of the pod in which the program runs, and no kubeconfig.
    #[serde(default)]
    pub in_cluster: bool,
    /// The uid of the cluster's namespace `kube-system`; a run refuses to touch any other cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

impl KubernetesSettings {
    /// The plan's own cluster, or the one of this name.
    pub fn cluster(&self, alias: Option<&str>) -> Option<ClusterSettings> {
        match alias {
            Some(name) => self.aliases.get(name).cloned(),
            None => Some(ClusterSettings {
                kubeconfig: self.kubeconfig.clone(),
                context: self.context.clone(),
                in_cluster: self.in_cluster,
                cluster: self.cluster.clone(),
            }),
        }
    }

    /// All clusters, each with the path of its settings below the section.
    pub fn clusters(&self) -> Vec<(String, ClusterSettings)> {
        let own = self.cluster(None).map(|cluster| (String::new(), cluster));
        let others = self.aliases.iter();
        let others = others.map(|(name, cluster)| (format!("aliases.{name}."), cluster.clone()));
        own.into_iter().chain(others).collect()
    }

    /// Mistakes beyond the types, with paths below the section.
    pub fn check(&self) -> Vec<FieldError> {
        self.clusters().iter().flat_map(|(path, cluster)| cluster.check(path)).collect()
    }
}

impl ClusterSettings {
    fn check(&self, at: &str) -> Vec<FieldError> {
        let mut found = Vec::new();
        if self.in_cluster && (self.kubeconfig.is_some() || self.context.is_some()) {
            let message = "excludes `kubeconfig` and `context`";
            found.push(FieldError::new(format!("{at}in_cluster"), message).help("declare one of the two"));
        }
        let path = self.kubeconfig.as_ref().map(|path| path.to_string_lossy().into_owned());
        if let Some(path) = path.filter(|path| !is_unknown(path))
            && let Some(mistake) = confined_path::mistake(&path)
        {
            let help = "name a file beside the plan, or set KUBECONFIG to one of your own";
            found.push(FieldError::new(format!("{at}kubeconfig"), mistake).help(help));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_and_foreign_files_are_mistakes() {
        let mistakes = |text: &str| {
            let settings: KubernetesSettings = serde_json::from_str(text).expect("settings");
            settings.check().into_iter().map(|mistake| mistake.path).collect::<Vec<_>>()
        };
        assert_eq!(mistakes(r#"{ "context": "staging" }"#), [""; 0]);
        assert_eq!(mistakes(r#"{ "in_cluster": true, "context": "x" }"#), ["in_cluster"]);
        assert_eq!(
            mistakes(r#"{ "aliases": { "b": { "kubeconfig": "/etc/x" } } }"#),
            ["aliases.b.kubeconfig"]
        );
    }
}
