//! A Kubernetes API server with its etcd. There is no controller manager and no node: objects are stored,
//! admitted and authorised as in any cluster, and nothing runs them.

mod audit;
mod build;
mod certificates;
mod definitions;

pub use build::installed;
pub use certificates::{authority, ensure};
pub use definitions::install;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Error;
use super::home::Home;

/// The name of the server in the sandbox.
pub const NAME: &str = "kubernetes";
/// The issuer in tokens of service accounts, as clusters usually call themselves.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// The server's program in its installation.
const PROGRAM: &str = "kube-apiserver";
/// The folder of custom resource definitions in its installation.
const DEFINITIONS: &str = "definitions";

/// The program in an installation.
pub fn program(installation: &Path) -> PathBuf {
    installation.join(PROGRAM)
}

/// The arguments of a server: etcd's folder and address, the kubeconfig of its controller, then
/// [kube-apiserver's flags](https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/).
pub fn arguments(home: &Home, port: u16, etcd_port: u16) -> Result<Vec<OsString>, Error> {
    let flag = |name: &str, value: &str| OsString::from(format!("--{name}={value}"));
    let file = |name: &str, path: PathBuf| {
        let mut flag = OsString::from(format!("--{name}="));
        flag.push(path);
        flag
    };
    let files = certificates::Files::of(home);
    Ok(vec![
        home.data(NAME)?.join("etcd").into(),
        format!("http://127.0.0.1:{etcd_port}").into(),
        home.kubeconfig().into(),
        flag("bind-address", "127.0.0.1"),
        flag("advertise-address", "127.0.0.1"),
        flag("secure-port", &port.to_string()),
        file("tls-cert-file", files.server),
        file("tls-private-key-file", files.server_key),
        file("client-ca-file", files.authority),
        file("service-account-signing-key-file", files.token_key),
        file("service-account-key-file", files.token_public),
        flag("service-account-issuer", ISSUER),
        flag("service-cluster-ip-range", "10.0.0.0/24"),
        flag("authorization-mode", "RBAC"),
        // Without a controller manager no namespace gets the service account that this one waits for.
        flag("disable-admission-plugins", "ServiceAccount"),
        flag("endpoint-reconciler-type", "none"),
        file("audit-policy-file", audit::policy(home)?),
        file("audit-log-path", audit::log(home)),
    ])
}
