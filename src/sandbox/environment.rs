//! The environment with which a command talks only to the sandbox.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::aws_key::AwsKey;
use super::home::Home;
use super::postgres;
use super::state::State;
use crate::environment::Environment;
use crate::net::http;
use crate::trust::{self, Grant, Subject};

/// The region of the sandbox's AWS.
pub const REGION: &str = "us-east-1";
/// Variables that begin so choose a server or credentials, some of them with more weight than
/// those set here (`AWS_ENDPOINT_URL_S3`, `BAO_ADDR`, a session token, a profile).
const FOREIGN: [&str; 11] = [
    "AWS_",
    "VAULT_",
    "BAO_",
    "KUBERNETES_",
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGPASS",
    "PGDATABASE",
    "PGSERVICE",
    "PGSSL",
];

/// The variables, by name. They include the secret of the sandbox's AWS: use them only for the
/// environment of a command, or show them to a person who asks.
pub fn variables(home: &Home, state: &State, key: Option<&AwsKey>) -> Vec<(String, String)> {
    let urls: Vec<String> = state.nodes().map(|node| state.url(node)).collect();
    let mut variables = Vec::new();
    if let Some(key) = key {
        let secret = key.secret.expose_str().unwrap_or_default().to_owned();
        variables.extend([("AWS_ACCESS_KEY_ID", key.id.clone()), ("AWS_SECRET_ACCESS_KEY", secret)]);
    }
    variables.extend([("AWS_REGION", REGION.to_owned()), ("AWS_DEFAULT_REGION", REGION.to_owned())]);
    variables.extend(state.aws().map(|aws| ("AWS_ENDPOINT_URL", state.url(aws))));
    variables.extend(urls.first().map(|url| ("VAULT_ADDR", url.clone())));
    if state.settings.tls {
        variables.push(("VAULT_CACERT", home.ca_cert().to_string_lossy().into_owned()));
    }
    if let Some((server, password)) = state.postgres().zip(postgres::password(home)) {
        variables.extend([
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", server.port.to_string()),
            ("PGUSER", postgres::USER.to_owned()),
            ("PGPASSWORD", password),
            ("PGDATABASE", postgres::DATABASE.to_owned()),
            ("PGSSLMODE", "disable".to_owned()),
        ]);
    }
    // Without Kubernetes there is no such file, and so no way to a real cluster.
    variables.push(("KUBECONFIG", home.kubeconfig().to_string_lossy().into_owned()));
    variables.push(("GROUNDWORK_VAULT_NODES", urls.join(",")));
    variables.push((trust::VARIABLE, grants(home, state, &urls)));
    // A plan's key of a rehearsal must not count for the real environment, nor be left behind.
    variables.push((trust::CONFIG_DIR, home.caller().to_string_lossy().into_owned()));
    // Requests to the sandbox carry tokens, so they must not go through a proxy.
    variables.extend(http::no_proxy_variables(&Environment::of_process()));
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The grants for any plan in the sandbox: the sandbox's own servers, and the variables that the
/// caller allows. The caller's grants for other servers do not apply here.
fn grants(home: &Home, state: &State, urls: &[String]) -> String {
    let servers =
        urls.iter().flat_map(|url| [Subject::Vault, Subject::Node].map(|subject| Grant::new(subject, url)));
    let authority = state.settings.tls.then(|| std::fs::read(home.ca_cert()).ok()).flatten();
    let authority = authority.map(|pem| Grant::new(Subject::Ca, trust::digest(&pem)));
    let own = servers.chain(authority).map(|grant| grant.to_string());
    let given = std::env::var(trust::VARIABLE).unwrap_or_default();
    let of_variables = |word: &&str| word.starts_with("env=");
    let words = given.split(|one: char| one == ',' || one.is_whitespace());
    own.chain(words.filter(of_variables).map(str::to_owned)).collect::<Vec<_>>().join(",")
}

/// Sets these variables for a command, and removes all others that could lead it, or real
/// credentials, to another server.
pub fn apply(variables: &[(String, String)], command: &mut Command) {
    for name in std::env::vars_os().map(|(name, _)| name).filter(is_foreign) {
        command.env_remove(name);
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
}

/// Puts a folder at the end of a command's `PATH`, where it hides no program of the machine.
pub fn add_to_path(folder: &Path, command: &mut Command) {
    let given =
        command.get_envs().find(|(name, _)| *name == "PATH").map(|(_, value)| value.map(OsString::from));
    let path = given.unwrap_or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    // An empty entry is the working directory, and so is an empty `PATH`.
    let named = std::env::split_paths(&path).filter(|entry| !entry.as_os_str().is_empty());
    let folders = named.chain([folder.to_owned()]);
    // A folder with a colon in its name cannot stand in a `PATH`; the command then does without it.
    if let Ok(path) = std::env::join_paths(folders) {
        command.env("PATH", path);
    }
}

fn is_foreign(name: &OsString) -> bool {
    let name = name.as_encoded_bytes();
    FOREIGN.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::options::Settings;
    use super::*;

    #[test]
    fn command_environment_points_to_the_sandbox() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        let settings = Settings { nodes: 2, tls: true, ..Settings::default() };
        let state = State::new(settings, true, &[1, 2, 3, 4, 5]);
        let key = AwsKey::make(&home).unwrap();
        let variables = variables(&home, &state, Some(&key));
        let of = |name: &str| variables.iter().find(|(key, _)| key == name).unwrap().1.clone();
        assert_eq!(of("AWS_ENDPOINT_URL"), "http://127.0.0.1:1");
        assert_eq!(of("VAULT_ADDR"), "https://127.0.0.1:2");
        assert_eq!(of("GROUNDWORK_VAULT_NODES"), "https://127.0.0.1:2,https://127.0.0.1:4");
        assert!(of("KUBECONFIG").ends_with("config/kubeconfig"));
        assert!(of("VAULT_CACERT").ends_with("tls/ca.pem"));
        assert_eq!(of("AWS_ACCESS_KEY_ID"), key.id);
        assert_eq!(of("AWS_SECRET_ACCESS_KEY").as_bytes(), key.secret.expose_bytes());
        assert!(of("GROUNDWORK_CONFIG_DIR").ends_with("/caller") && home.caller().is_dir());
        let allowed = "vault=https://127.0.0.1:2,node=https://127.0.0.1:2,vault=https://127.0.0.1:4,";
        assert!(of("GROUNDWORK_TRUST").starts_with(allowed));
    }

    #[test]
    fn tools_are_last_on_the_path() {
        let mut command = Command::new("true");
        command.env("PATH", "/usr/bin:/bin");
        add_to_path(Path::new("/cache/bin"), &mut command);
        let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap();
        assert_eq!(path, "/usr/bin:/bin:/cache/bin");
    }

    #[test]
    fn real_credentials_do_not_leak_in() {
        for name in [
            "AWS_PROFILE",
            "AWS_SESSION_TOKEN",
            "AWS_ENDPOINT_URL_S3",
            "VAULT_TOKEN",
            "BAO_ADDR",
            "PGPASSFILE",
            "KUBERNETES_SERVICE_HOST",
        ] {
            assert!(is_foreign(&name.into()), "{name}");
        }
        assert!(!is_foreign(&"PATH".into()) && !is_foreign(&"MY_AWS_NOTE".into()));
    }
}
