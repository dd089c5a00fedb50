//! Kubeconfig files: which server, by which authority, and as whom.
//! <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::confined_path::{KEY, read_caller_file};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// Where a server is and how to log in.
#[derive(Debug)]
pub struct Target {
    /// The name of the context, or of another place that named the server.
    pub name: String,
    /// The server's address.
    pub server: String,
    /// The certificates of its authority, in PEM; the system's when absent.
    pub authority: Option<Vec<u8>>,
    /// The caller's credentials.
    pub user: User,
}

/// The caller's credentials.
#[derive(Debug)]
pub enum User {
    /// A client certificate and its key, in PEM.
    Certificate(Secret),
    /// A token.
    Token(Secret),
    /// A token that another program renews in this file.
    TokenFile(PathBuf),
    /// A program that issues credentials.
    Exec(Exec),
    /// None: the server is asked anonymously.
    Anonymous,
}

/// A program that issues credentials:
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exec {
    /// The version of the exchange.
    #[serde(default)]
    pub api_version: String,
    /// The program: a name for the search path, or a path.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Option<Vec<String>>,
    /// Variables that it gets beside those of this process.
    #[serde(default)]
    pub env: Option<Vec<Variable>>,
    /// How to install it.
    #[serde(default)]
    pub install_hint: Option<String>,
}

/// A variable for the environment of a program.
#[derive(Clone, Debug, Deserialize)]
pub struct Variable {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Several files, of which the first to name something decides.
#[derive(Debug, Default)]
pub struct Kubeconfig {
    current: Option<String>,
    contexts: BTreeMap<String, ContextEntry>,
    clusters: BTreeMap<String, (PathBuf, ClusterEntry)>,
    users: BTreeMap<String, (PathBuf, UserEntry)>,
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default, rename = "current-context")]
    current: Option<String>,
    #[serde(default)]
    contexts: Option<Vec<NamedContext>>,
    #[serde(default)]
    clusters: Option<Vec<NamedCluster>>,
    #[serde(default)]
    users: Option<Vec<NamedUser>>,
}

#[derive(Debug, Deserialize)]
struct NamedContext {
    name: String,
    context: ContextEntry,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: ClusterEntry,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: UserEntry,
}

#[derive(Debug, Deserialize)]
struct ContextEntry {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterEntry {
    server: String,
    #[serde(default)]
    certificate_authority: Option<PathBuf>,
    #[serde(default)]
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    #[serde(default)]
    tls_server_name: Option<String>,
    #[serde(default)]
    proxy_url: Option<String>,
}

/// Its `Debug` is never printed: it may hold credentials.
#[derive(Default, Deserialize)]
struct UserEntry {
    #[serde(default, rename = "client-certificate")]
    certificate: Option<PathBuf>,
    #[serde(default, rename = "client-certificate-data")]
    certificate_data: Option<String>,
    #[serde(default, rename = "client-key")]
    key: Option<PathBuf>,
    #[serde(default, rename = "client-key-data")]
    key_data: Option<String>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default, rename = "tokenFile")]
    token_file: Option<PathBuf>,
    #[serde(default)]
    exec: Option<Exec>,
    #[serde(default, rename = "auth-provider")]
    auth_provider: Option<serde_json::Value>,
    #[serde(default)]
    username: Option<String>,
}

impl std::fmt::Debug for UserEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UserEntry(…)")
    }
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Local, "read the kubeconfig", message)
}

impl Kubeconfig {
    /// Adds a file. Entries of earlier files stay.
    ///
    /// # Errors
    /// When it is not a kubeconfig. The error quotes nothing of it.
    pub fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(bytes);
        let file: File = serde_saphyr::from_str(&text).map_err(|_| {
            failed(format!("{} is not a kubeconfig", path.display()))
                .advice("`kubectl config view` shows how kubectl reads it")
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        if self.current.is_none() {
            self.current = file.current.filter(|name| !name.is_empty());
        }
        for one in file.contexts.into_iter().flatten() {
            self.contexts.entry(one.name).or_insert(one.context);
        }
        for one in file.clusters.into_iter().flatten() {
            self.clusters.entry(one.name).or_insert((folder.clone(), one.cluster));
        }
        for one in file.users.into_iter().flatten() {
            self.users.entry(one.name).or_insert((folder.clone(), one.user));
        }
        Ok(())
    }

    /// The name of the context to use.
    ///
    /// # Errors
    /// When none is asked for, and none is current.
    pub fn context(&self, asked: Option<&str>) -> Result<String> {
        asked.map(str::to_owned).or_else(|| self.current.clone()).ok_or_else(|| {
            failed("it has no current context").advice(format!(
                "declare `kubernetes.context` in the plan, one of: {}; or run `kubectl config use-context`",
                self.names()
            ))
        })
    }

    fn names(&self) -> String {
        self.contexts.keys().cloned().collect::<Vec<_>>().join(", ")
    }

    /// The server and credentials of a context.
    ///
    /// # Errors
    /// When the context, its cluster or its user is missing, unreadable or uses what is not supported.
    pub fn target(&self, context: &str) -> Result<Target> {
        let entry = self.contexts.get(context).ok_or_else(|| {
            failed(format!("there is no context `{context}`")).advice(format!("it has: {}", self.names()))
        })?;
        let (folder, cluster) = self.clusters.get(&entry.cluster).ok_or_else(|| {
            failed(format!("context `{context}` names the missing cluster `{}`", entry.cluster))
        })?;
        cluster.require_supported(&entry.cluster)?;
        let authority = part(
            folder,
            cluster.certificate_authority_data.as_deref(),
            cluster.certificate_authority.as_deref(),
        )?;
        let user = match self.users.get(&entry.user) {
            Some((folder, user)) => user.credentials(folder, &entry.user)?,
            None if entry.user.is_empty() => User::Anonymous,
            None => {
                return Err(failed(format!("context `{context}` names the missing user `{}`", entry.user)));
            }
        };
        let server = cluster.server.trim_end_matches('/').to_owned();
        Ok(Target { name: context.to_owned(), server, authority, user })
    }
}

impl ClusterEntry {
    fn require_supported(&self, name: &str) -> Result<()> {
        let refused = |setting: &str, advice: &str| {
            Err(failed(format!("cluster `{name}` has `{setting}`, which is not supported")).advice(advice))
        };
        if self.insecure_skip_tls_verify {
            return refused(
                "insecure-skip-tls-verify",
                "set `certificate-authority` to the cluster's authority",
            );
        }
        if self.tls_server_name.as_ref().is_some_and(|name| !name.is_empty()) {
            return refused("tls-server-name", "write the name that the certificate has into `server`");
        }
        if self.proxy_url.as_ref().is_some_and(|url| !url.is_empty()) {
            return refused("proxy-url", "set HTTPS_PROXY instead");
        }
        Ok(())
    }
}

impl UserEntry {
    fn credentials(&self, folder: &Path, name: &str) -> Result<User> {
        if let Some(exec) = &self.exec {
            let mut exec = exec.clone();
            // As kubectl does: a path is relative to the file, a bare name is looked for on the search path.
            if exec.command.contains('/') {
                exec.command = folder.join(&exec.command).to_string_lossy().into_owned();
            }
            return Ok(User::Exec(exec));
        }
        let certificate = part(folder, self.certificate_data.as_deref(), self.certificate.as_deref())?;
        let key = part(folder, self.key_data.as_deref(), self.key.as_deref())?;
        if let (Some(mut pem), Some(key)) = (certificate, key) {
            pem.push(b'\n');
            pem.extend(key);
            return Ok(User::Certificate(Secret::new(pem)));
        }
        if let Some(path) = &self.token_file {
            return Ok(User::TokenFile(folder.join(path)));
        }
        match &self.token {
            Some(token) => Ok(User::Token(Secret::from(token.clone()))),
            None if self.auth_provider.is_some() || self.username.is_some() => {
                let message = format!("user `{name}` logs in by a method that current servers do not have");
                Err(failed(message).advice("use `exec`, `token` or a client certificate"))
            }
            None => Ok(User::Anonymous),
        }
    }
}

/// A part of the file in base64, or of another file.
fn part(folder: &Path, data: Option<&str>, path: Option<&Path>) -> Result<Option<Vec<u8>>> {
    match (data.filter(|data| !data.is_empty()), path.filter(|path| !path.as_os_str().is_empty())) {
        (Some(data), _) => {
            let decoded = BASE64_STANDARD.decode(data.split_whitespace().collect::<String>());
            decoded.map(Some).map_err(|_| failed("a certificate or key in it is not base64"))
        }
        (None, Some(path)) => {
            let path = folder.join(path);
            let read = read_caller_file(&path, KEY);
            read.map(Some).map_err(|error| failed(format!("cannot read {}: {error}", path.display())))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "
current-context: b
contexts:
- { name: b, context: { cluster: two, user: robot } }
- { name: odd, context: { cluster: open, user: nobody } }
clusters:
- { name: open, cluster: { server: 'https://x', insecure-skip-tls-verify: true } }
users:
- name: robot
  user: { exec: { apiVersion: client.authentication.k8s.io/v1, command: bin/login, args: [get-token] } }
";
    const SECOND: &str = "
current-context: a
contexts: [{ name: a, context: { cluster: two, user: human } }]
clusters: [{ name: two, cluster: { server: 'https://two.example:6443/', certificate-authority-data: aGk= } }]
users: [{ name: human, user: { token: hunter2 } }]
";

    fn both() -> Kubeconfig {
        let mut config = Kubeconfig::default();
        config.add(Path::new("/home/me/first"), FIRST.as_bytes()).expect("a kubeconfig");
        config.add(Path::new("/home/me/second"), SECOND.as_bytes()).expect("a kubeconfig");
        config
    }

    #[test]
    fn files_are_merged_and_the_first_decides() {
        let config = both();
        assert_eq!(config.context(None).expect("a context"), "b");
        let target = config.target("b").expect("a target");
        assert_eq!(target.server, "https://two.example:6443");
        assert_eq!(target.authority.as_deref(), Some(&b"hi"[..]));
        assert!(matches!(target.user, User::Exec(exec) if exec.command == "/home/me/bin/login"));
        assert!(matches!(config.target("a").expect("a target").user, User::Token(_)));
    }

    #[test]
    fn unsupported_settings_name_a_way_out() {
        let error = both().target("odd").expect_err("it is insecure");
        assert!(error.message.contains("insecure-skip-tls-verify") && error.advice.is_some(), "{error}");
        let error = both().target("c").expect_err("it is missing");
        assert!(error.advice.is_some_and(|advice| advice.contains("a, b, odd")));
    }

    #[test]
    fn nothing_of_a_broken_file_is_quoted() {
        let broken = "users: [{ name: x, user: { token: hunter2, tokenFile: [] } }]";
        let error = Kubeconfig::default().add(Path::new("config"), broken.as_bytes()).expect_err("broken");
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
}
