//! The custom resource definitions that the sandbox's API server has from the beginning.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::{Certificate, Client, Identity, StatusCode};
use serde_json::Value;

use super::super::Error;
use super::super::error::Doing;
use super::super::home::Home;
use super::DEFINITIONS;
use crate::net::http;

const PATIENCE: Duration = Duration::from_secs(30);
const COLLECTION: &str = "apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Creates the definitions of an installation that the server lacks, and waits until it serves them.
pub async fn install(home: &Home, url: &str, installation: &Path) -> Result<(), Error> {
    let client = administrator(home)?;
    let folder = installation.join(DEFINITIONS);
    let files = std::fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let files: Vec<PathBuf> =
        files.doing(|| format!("read {}", folder.display()))?.iter().map(std::fs::DirEntry::path).collect();
    let created = files.iter().map(|file| create(&client, url, file));
    futures::future::try_join_all(created).await?;
    established(&client, url, files.len()).await
}

async fn create(client: &Client, url: &str, file: &Path) -> Result<(), Error> {
    let text = std::fs::read(file).doing(|| format!("read {}", file.display()))?;
    let request = client.post(format!("{url}/{COLLECTION}")).header("Content-Type", "application/yaml");
    let answer = request.body(text).send().await?;
    match answer.status() {
        StatusCode::CREATED | StatusCode::CONFLICT => Ok(()),
        status => {
            let told: Value = answer.json().await.unwrap_or_default();
            let why = told["message"].as_str().unwrap_or_default();
            Err(Error::Definition { detail: format!("{}: {status} {why}", file.display()) })
        }
    }
}

async fn established(client: &Client, url: &str, wanted: usize) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told: Value = client.get(format!("{url}/{COLLECTION}")).send().await?.json().await?;
        let mut established = 0;
        for definition in told["items"].as_array().into_iter().flatten() {
            established += usize::from(is_served(client, url, definition).await?);
        }
        if established >= wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            let detail = format!("only {established} of {wanted} are served after {} s", PATIENCE.as_secs());
            return Err(Error::Definition { detail });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether the server answers for every version of a definition. It takes some time longer than the condition
/// `Established` says.
async fn is_served(client: &Client, url: &str, definition: &Value) -> Result<bool, Error> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    let versions = spec["versions"].as_array().into_iter().flatten().filter(|one| one["served"] == true);
    for version in versions.map(|version| text(&version["name"])) {
        let answer = client.get(format!("{url}/apis/{group}/{version}/{plural}?limit=1")).send().await?;
        if !answer.status().is_success() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A client with the administrator's certificate, from the sandbox's kubeconfig.
fn administrator(home: &Home) -> Result<Client, Error> {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    let path = home.kubeconfig();
    let text = std::fs::read(&path).doing(|| format!("read {}", path.display()))?;
    let config: Value = serde_json::from_slice(&text)
        .map_err(std::io::Error::from)
        .doing(|| format!("read {}", path.display()))?;
    let user = &config["users"][0]["user"];
    let part = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    let mut pem = part(&user["client-certificate-data"]);
    pem.extend(part(&user["client-key-data"]));
    let authority = part(&config["clusters"][0]["cluster"]["certificate-authority-data"]);
    let builder = http::direct().tls_certs_only([Certificate::from_pem(&authority)?]);
    Ok(builder.identity(Identity::from_pem(&pem)?).timeout(PATIENCE).build()?)
}
