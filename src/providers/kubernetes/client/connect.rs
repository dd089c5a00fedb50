//! Finds the cluster and logs in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, Identity, redirect};
use tokio::sync::OnceCell;

use super::super::connection::Kubernetes;
use super::super::credential::Credential;
use super::super::kubeconfig::{Kubeconfig, Target, User};
use super::super::ownership;
use super::super::settings::ClusterSettings;
use super::{Discovery, KubernetesClient, Lists};
use crate::confined_path::{self, KEY, read_caller_file};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::net::http;
use crate::net::timeout::at_most;
use crate::place::Place;
use crate::run::Run;
use crate::trace::Calls;
use crate::trust::{self, Grant, Subject, Trust};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Where a pod finds its credentials:
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The run's one client of a place, which connects when it is first asked for: a login may run a program of the
/// kubeconfig.
pub struct Dial {
    cell: Arc<OnceCell<Arc<KubernetesClient>>>,
    settings: ClusterSettings,
    folder: PathBuf,
    trust: Trust,
    calls: Arc<Calls>,
    plan: String,
    steps: BTreeMap<&'static str, usize>,
}

impl Dial {
    /// That of a place. Reads and sends nothing.
    ///
    /// # Errors
    /// `Rejected` when the plan does not declare the cluster.
    pub fn of(run: &Run, place: &Place) -> Result<Self> {
        let connection: &Kubernetes = run.connection()?;
        let alias = place.alias.as_deref();
        let settings = connection.settings.cluster(alias).ok_or_else(|| {
            let message = format!("the plan has no `kubernetes.aliases.{}`", alias.unwrap_or_default());
            Error::new(ErrorKind::Rejected, "connect to Kubernetes", message)
        })?;
        Ok(Self {
            cell: connection.cell(alias),
            settings,
            folder: run.folder.clone(),
            trust: run.trust.clone(),
            calls: Arc::clone(&run.calls),
            plan: run.plan.clone(),
            steps: count(&run.kinds),
        })
    }

    /// The client.
    ///
    /// # Errors
    /// When no cluster is named, or the login fails.
    pub async fn client(&self) -> Result<&Arc<KubernetesClient>> {
        self.cell.get_or_try_init(|| connect(self)).await
    }
}

async fn connect(dial: &Dial) -> Result<Arc<KubernetesClient>> {
    let Dial { settings, trust, .. } = dial;
    let environment = trust.environment();
    let target = named_target(settings, &dial.folder, trust)?;
    require_encrypted(&target.server)?;
    let authority = target.authority.as_ref().map(|pem| String::from_utf8_lossy(pem).into_owned());
    let (credential, certificate) = Credential::of(target.user, environment).await?;
    let unusable = |what: &str| {
        let message = format!("{what} of `{}` cannot be used", target.name);
        Error::new(ErrorKind::Local, "connect to Kubernetes", message)
            .advice("`kubectl` shows whether it works there")
    };
    let mut builder = http::client(environment)?
        .redirect(redirect::Policy::none())
        .connect_timeout(at_most(CONNECT_TIMEOUT))
        .timeout(at_most(REQUEST_TIMEOUT));
    if let Some(pem) = &target.authority {
        let found = Certificate::from_pem_bundle(pem).map_err(|_| unusable("the authority"))?;
        builder = builder.tls_certs_only(found);
    }
    if let Some(pem) = certificate {
        let identity =
            Identity::from_pem(pem.expose_bytes()).map_err(|_| unusable("the client certificate"))?;
        builder = builder.identity(identity);
    }
    let client = Arc::new(KubernetesClient {
        http: builder.build().map_err(|_| unusable("the connection"))?,
        server: target.server,
        authority,
        credential,
        calls: Arc::clone(&dial.calls),
        manager: ownership::manager(&dial.plan),
        plan: dial.plan.clone(),
        steps: dial.steps.clone(),
        lists: Lists::default(),
        discovery: Discovery::default(),
        uid: OnceCell::new(),
    });
    if let Some(expected) = &settings.cluster {
        let uid = client.uid().await?;
        if uid != expected {
            let message = format!("`{}` leads to the cluster {uid}, the plan names {expected}", target.name);
            return Err(Error::new(ErrorKind::Rejected, "connect to Kubernetes", message)
                .advice("choose the right context, or correct `kubernetes.cluster`; nothing was written"));
        }
    }
    Ok(client)
}

fn count(kinds: &[&'static str]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for kind in kinds {
        *counts.entry(*kind).or_default() += 1;
    }
    counts
}

/// The server and credentials that the settings and the caller's environment name.
///
/// # Errors
/// When nothing names any, or the caller has not allowed the plan to choose them.
fn named_target(settings: &ClusterSettings, folder: &Path, trust: &Trust) -> Result<Target> {
    let environment = trust.environment();
    if settings.in_cluster {
        return in_pod(environment)?.ok_or_else(not_in_pod);
    }
    let mut config = Kubeconfig::default();
    match &settings.kubeconfig {
        Some(path) => config.add(&folder.join(path), &allowed(path, folder, trust)?)?,
        None => {
            let files = callers_files(environment);
            let found = files.iter().any(|file| file.exists());
            if !found
                && environment.text("KUBECONFIG").is_none()
                && let Some(target) = in_pod(environment)?
            {
                return Ok(target);
            }
            if !found {
                return Err(no_kubeconfig(&files));
            }
            for file in files.iter().filter(|file| file.exists()) {
                let read = read_caller_file(file, KEY);
                let bytes = read.map_err(|error| {
                    let message = format!("cannot read {}: {error}", file.display());
                    Error::new(ErrorKind::Local, "read the kubeconfig", message)
                })?;
                config.add(file, &bytes)?;
            }
        }
    }
    let context = config.context(settings.context.as_deref())?;
    if settings.kubeconfig.is_none() && settings.context.is_some() {
        let why = format!("the plan uses the context `{context}` of your kubeconfig");
        trust.require(&Grant::new(Subject::KubeContext, context.as_str()), "connect to Kubernetes", &why)?;
    }
    config.target(&context)
}

/// A kubeconfig of the plan may name programs to run, so the caller allows its very content.
fn allowed(path: &Path, folder: &Path, trust: &Trust) -> Result<Vec<u8>> {
    let bytes = confined_path::read_existing(folder, path, KEY).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Error::new(ErrorKind::Local, "read the kubeconfig", message)
    })?;
    let grant = Grant::new(Subject::Kubeconfig, trust::digest(&bytes));
    let why = format!(
        "the plan brings {}, which says where to log in and which programs to run for it",
        path.display()
    );
    trust.require(&grant, "read the kubeconfig", &why)?;
    Ok(bytes)
}

fn callers_files(environment: &Environment) -> Vec<PathBuf> {
    match environment.value("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(files) => std::env::split_paths(files).filter(|file| !file.as_os_str().is_empty()).collect(),
        None => environment.path("HOME").map(|home| home.join(".kube/config")).into_iter().collect(),
    }
}

fn no_kubeconfig(files: &[PathBuf]) -> Error {
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let message = format!("there is no kubeconfig: {} does not exist", names.join(", "));
    Error::new(ErrorKind::Local, "connect to Kubernetes", message).advice(
        "set KUBECONFIG, or declare `kubernetes.in_cluster`; in the sandbox, start it with `--with kubernetes`",
    )
}

fn not_in_pod() -> Error {
    let message = format!("`kubernetes.in_cluster` is declared, and there is no {POD}/token");
    Error::new(ErrorKind::Local, "connect to Kubernetes", message)
        .advice("run the program in a pod with a service account, or leave `in_cluster` out")
}

/// The service account of the pod, if the program runs in one.
fn in_pod(environment: &Environment) -> Result<Option<Target>> {
    let (Some(host), Some(port)) =
        (environment.text("KUBERNETES_SERVICE_HOST"), environment.text("KUBERNETES_SERVICE_PORT"))
    else {
        return Ok(None);
    };
    let pod = Path::new(POD);
    if !pod.join("token").exists() {
        return Ok(None);
    }
    let authority = read_caller_file(&pod.join("ca.crt"), KEY).map_err(|error| {
        Error::new(ErrorKind::Local, "connect to Kubernetes", format!("cannot read {POD}/ca.crt: {error}"))
    })?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Ok(Some(Target {
        name: "the pod's service account".to_owned(),
        server: format!("https://{host}:{port}"),
        authority: Some(authority),
        user: User::TokenFile(pod.join("token")),
    }))
}

/// Tokens and secrets are only sent encrypted, or within this machine.
fn require_encrypted(server: &str) -> Result<()> {
    let url = reqwest::Url::parse(server).ok().filter(|url| url.has_host());
    let is_local = |url: &reqwest::Url| {
        url.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"))
    };
    match url {
        Some(url) if url.scheme() == "https" || url.scheme() == "http" && is_local(&url) => Ok(()),
        _ => {
            let message = format!("the server `{}` is not an https address", crate::trace::public(server));
            Err(Error::new(ErrorKind::Local, "connect to Kubernetes", message)
                .advice("write it as https://HOST:PORT in the kubeconfig"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
current-context: mine
contexts:
- { name: mine, context: { cluster: c } }
- { name: other, context: { cluster: c } }
clusters: [{ name: c, cluster: { server: 'https://c.example' } }]
";

    fn target(settings: &ClusterSettings, grants: &[&str]) -> Result<Target> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("config");
        std::fs::write(&file, CONFIG).expect("written");
        let environment = Environment::new([("KUBECONFIG", file.as_os_str())]);
        let grants = grants.iter().map(|grant| grant.parse().expect("a grant"));
        named_target(settings, dir.path(), &Trust::new(grants).in_environment(environment))
    }

    #[test]
    fn plan_chooses_a_context_only_with_a_grant() {
        assert_eq!(target(&ClusterSettings::default(), &[]).expect("allowed").name, "mine");
        let other = ClusterSettings { context: Some("other".into()), ..ClusterSettings::default() };
        let refused = target(&other, &[]).expect_err("not allowed").advice.expect("advice");
        assert!(refused.contains("--trust kube-context=other"), "{refused}");
        assert_eq!(target(&other, &["kube-context=other"]).expect("allowed").name, "other");
    }

    #[test]
    fn kubeconfig_of_the_plan_is_allowed_by_its_content() {
        let settings = ClusterSettings { kubeconfig: Some("config".into()), ..ClusterSettings::default() };
        let refused = target(&settings, &[]).expect_err("not allowed").advice.expect("advice");
        let grant = format!("kubeconfig={}", trust::digest(CONFIG.as_bytes()));
        assert!(refused.contains(&grant), "{refused}");
        assert!(target(&settings, &[&grant]).is_ok());
    }

    #[test]
    fn missing_kubeconfig_error_names_the_sandbox() {
        let trust = Trust::default().in_environment(Environment::new([("KUBECONFIG", "/nowhere/config")]));
        let error = named_target(&ClusterSettings::default(), Path::new("."), &trust).expect_err("missing");
        assert!(error.message.contains("/nowhere/config"), "{error}");
        assert!(error.advice.is_some_and(|advice| advice.contains("--with kubernetes")));
    }

    #[test]
    fn tokens_leave_this_machine_encrypted() {
        assert!(require_encrypted("https://c.example:6443").is_ok());
        assert!(require_encrypted("http://127.0.0.1:8001").is_ok());
        for server in ["http://c.example", "c.example", "ftp://c"] {
            assert!(require_encrypted(server).is_err(), "{server}");
        }
    }
}
