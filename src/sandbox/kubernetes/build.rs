//! Builds the API server from its Go modules, once for all sandboxes. No registry has it as a binary.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::super::Error;
use super::super::error::Doing;
use super::super::install;
use super::super::options::Host;
use super::{DEFINITIONS, PROGRAM};
use crate::event::Events;

/// The sources, with the checksums of every module in `go.sum`.
const SOURCES: [(&str, &str); 3] = [
    ("main.go", include_str!("apiserver/main.go")),
    ("go.mod", include_str!("apiserver/go.mod")),
    ("go.sum", include_str!("apiserver/go.sum")),
];
/// The version of Kubernetes in `go.mod`.
const VERSION: &str = "1.34.4";
/// The oldest Go that builds it, as `go.mod` says.
const OLDEST: (u32, u32) = (1, 24);
/// The module with the custom resource definitions of External Secrets, and its checksum.
const EXTERNAL_SECRETS: &str = "github.com/external-secrets/external-secrets@v0.16.2";
const EXTERNAL_SECRETS_SUM: &str = "h1:iNY+gIgSyL5higXTfnz+hdPCaiB/43UiHLqE7HBpj68=";
/// Of these, the ones that the sandbox has.
const KINDS: [&str; 5] =
    ["clusterexternalsecrets", "clustersecretstores", "externalsecrets", "pushsecrets", "secretstores"];
/// The definition of the Secrets Store CSI driver, whose module is not published:
/// <https://secrets-store-csi-driver.sigs.k8s.io/concepts#secretproviderclass>.
const SECRETS_STORE: (&str, &str) =
    ("secretproviderclasses.yaml", include_str!("secretproviderclasses.yaml"));
/// How much of Go's output an error quotes.
const QUOTED_LINES: usize = 6;
/// How often a build says that it goes on.
const REMINDER: Duration = Duration::from_secs(30);

/// The folder of the installed server; builds it if it is missing.
pub async fn installed(host: &Host, events: &Events) -> Result<PathBuf, Error> {
    install::once(&key(), host, events, async |staging| build(host, events, &staging).await).await
}

/// Names the installation: other sources are another name.
fn key() -> String {
    let mut digest = Sha256::new();
    for (name, text) in SOURCES.iter().chain([&SECRETS_STORE]) {
        digest.update(name);
        digest.update(text);
    }
    digest.update(EXTERNAL_SECRETS_SUM);
    format!("kubernetes-{VERSION}-{}", &hex::encode(digest.finalize())[..12])
}

async fn build(host: &Host, events: &Events, staging: &Path) -> Result<(), Error> {
    let go = find_go(host).await?;
    for (name, text) in SOURCES {
        let file = staging.join(name);
        std::fs::write(&file, text).doing(|| format!("write {}", file.display()))?;
    }
    events.progress(format!(
        "building the Kubernetes API server {VERSION} with Go, once: about 5 minutes on two processors, 1 GB of \
         downloads and build cache"
    ));
    let begun = Instant::now();
    let mut compile = command(&go, host, staging);
    compile.args(["build", "-mod=readonly", "-trimpath", "-ldflags", &link_flags(), "-o", PROGRAM, "."]);
    let compile = output(&go, compile);
    tokio::pin!(compile);
    let built = loop {
        tokio::select! {
            built = &mut compile => break built,
            () = tokio::time::sleep(REMINDER) => {
                events.progress(format!("still building: {} s", begun.elapsed().as_secs()));
            }
        }
    };
    built?;
    definitions(&go, host, staging).await
}

/// Without debugging information, and with the version that the server reports.
fn link_flags() -> String {
    let mut numbers = VERSION.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let set = |name: &str, value: &str| format!(" -X k8s.io/component-base/version.{name}={value}");
    let version = format!("v{VERSION}");
    ["-s -w".to_owned(), set("gitVersion", &version), set("gitMajor", major), set("gitMinor", minor)].concat()
}

/// Copies the custom resource definitions out of their module. It is downloaded by itself, because as a
/// dependency it would choose the versions of modules that the server shares with it.
async fn definitions(go: &Path, host: &Host, staging: &Path) -> Result<(), Error> {
    let mut download = command(go, host, staging);
    // The checksum is compared here.
    download.args(["mod", "download", "-json", EXTERNAL_SECRETS]).env("GONOSUMDB", "*");
    let told: Value = serde_json::from_slice(&output(go, download).await?).unwrap_or_default();
    if told["Sum"] != EXTERNAL_SECRETS_SUM {
        let detail = format!("{EXTERNAL_SECRETS} has the checksum {}", told["Sum"]);
        return Err(Error::Build { detail });
    }
    let bases = Path::new(told["Dir"].as_str().unwrap_or_default()).join("config/crds/bases");
    let to = staging.join(DEFINITIONS);
    std::fs::create_dir_all(&to).doing(|| format!("make the folder {}", to.display()))?;
    for kind in KINDS {
        let from = bases.join(format!("external-secrets.io_{kind}.yaml"));
        let text = std::fs::read(&from).doing(|| format!("read {}", from.display()))?;
        let file = to.join(format!("{kind}.yaml"));
        std::fs::write(&file, text).doing(|| format!("write {}", file.display()))?;
    }
    let (name, text) = SECRETS_STORE;
    std::fs::write(to.join(name), text).doing(|| format!("write {}", to.join(name).display()))
}

/// The user's own settings for proxies and mirrors stay in force; those that choose other sources do not.
fn command(go: &Path, host: &Host, folder: &Path) -> Command {
    let mut command = Command::new(go);
    command
        .current_dir(folder)
        .env("PATH", &host.path)
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-buildvcs=false")
        .env_remove("GO111MODULE")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn output(go: &Path, mut command: Command) -> Result<Vec<u8>, Error> {
    let output = command.output().await.doing(|| format!("run {}", go.display()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = [output.stderr, output.stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Err(Error::Build { detail: last_lines(&said.concat()) })
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
}

/// The Go on the search path, if it is new enough.
async fn find_go(host: &Host) -> Result<PathBuf, Error> {
    let none = |found: String| Error::NoGo { found };
    let go = host.find("go").ok_or_else(|| none(String::new()))?;
    let said = output(&go, {
        let mut command = command(&go, host, Path::new("/"));
        command.args(["env", "GOVERSION"]);
        command
    });
    let said = String::from_utf8_lossy(&said.await?).trim().to_owned();
    match version(&said).is_some_and(|version| version >= OLDEST) {
        true => Ok(go),
        false => Err(none(format!(" (only {}, {said})", go.display()))),
    }
}

/// `go1.26.8` as major and minor version.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("go")?.split(['.', 'r', 'b', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_version_is_read() {
        assert_eq!(version("go1.26.8"), Some((1, 26)));
        assert_eq!(version("go1.24rc1"), Some((1, 24)));
        assert_eq!(version("devel"), None);
    }

    #[tokio::test]
    async fn missing_go_error_names_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { cache: Some(dir.path().join("cache")), path: "/nowhere".into() };
        let error = installed(&host, &Events::default()).await.unwrap_err().to_string();
        assert!(error.contains("https://go.dev/dl/") && error.contains("1.24"), "{error}");
    }

    #[test]
    fn sources_name_the_version_that_is_announced() {
        let [_, (_, modules), _] = SOURCES;
        assert!(modules.contains(&format!("k8s.io/kubernetes v{VERSION}")));
        let (major, minor) = OLDEST;
        assert!(modules.contains(&format!("\ngo {major}.{minor}")));
    }
}
