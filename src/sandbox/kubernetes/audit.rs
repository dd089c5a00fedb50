//! The API server's audit log, as clusters keep it: who asked for what, and how it ended. It has no bodies, in which
//! the values of Secrets would be: <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>.

use std::path::PathBuf;

use serde_json::json;

use super::super::Error;
use super::super::home::{Home, write_private};

/// Writes the policy and returns its path.
pub fn policy(home: &Home) -> Result<PathBuf, Error> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived"], "rules": [{ "level": "Metadata" }],
    });
    let path = home.kubeconfig().with_file_name("kubernetes-audit.json");
    write_private(&path, policy.to_string().as_bytes())?;
    Ok(path)
}

/// The log.
pub fn log(home: &Home) -> PathBuf {
    home.log("kubernetes-audit")
}
