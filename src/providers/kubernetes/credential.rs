//! The caller's credentials in requests, renewed where a program or a file issues them.

use std::path::PathBuf;
use std::process::Stdio;

use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::kubeconfig::{Exec, User};
use crate::confined_path::{KEY, read_caller_file};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// How long a program may take to issue credentials: it may ask a person in a browser.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(2);

/// How requests are authenticated.
pub struct Credential {
    source: Source,
    token: Mutex<Option<Secret>>,
}

enum Source {
    Fixed,
    File(PathBuf),
    Exec(Exec, Environment),
}

/// The result of a login: a token for the header, a certificate for the connection.
#[derive(Default)]
struct Issued {
    token: Option<Secret>,
    certificate: Option<Secret>,
}

impl Credential {
    /// The credentials of a user, and the certificate for the connection, in PEM.
    ///
    /// # Errors
    /// When a file cannot be read, or a program does not issue any.
    pub async fn of(user: User, environment: &Environment) -> Result<(Self, Option<Secret>)> {
        let (source, issued) = match user {
            User::Anonymous => (Source::Fixed, Issued::default()),
            User::Token(token) => (Source::Fixed, Issued { token: Some(token), certificate: None }),
            User::Certificate(pem) => (Source::Fixed, Issued { token: None, certificate: Some(pem) }),
            User::TokenFile(path) => {
                let token = Some(token_in(&path)?);
                (Source::File(path), Issued { token, certificate: None })
            }
            User::Exec(exec) => {
                let issued = issue(&exec, environment).await?;
                (Source::Exec(exec, environment.clone()), issued)
            }
        };
        Ok((Self { source, token: Mutex::new(issued.token) }, issued.certificate))
    }

    /// The header of a request.
    pub async fn header(&self) -> Result<Option<HeaderValue>> {
        let token = self.token.lock().await;
        let Some(token) = token.as_ref() else { return Ok(None) };
        let text = zeroize::Zeroizing::new([b"Bearer ", token.expose_bytes()].concat());
        let mut value = HeaderValue::from_bytes(&text).map_err(|_| {
            Error::new(ErrorKind::Local, "log in to Kubernetes", "the token has characters that no token has")
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Gets another token after the server has refused this one. Returns whether there is another one.
    pub async fn renew(&self, refused: Option<&HeaderValue>) -> Result<bool> {
        let mut token = self.token.lock().await;
        let is_newer = |token: &Secret| {
            refused.is_none_or(|refused| !refused.as_bytes().ends_with(token.expose_bytes()))
        };
        if token.as_ref().is_some_and(is_newer) {
            return Ok(true);
        }
        let next = match &self.source {
            Source::Fixed => return Ok(false),
            Source::File(path) => Some(token_in(path)?),
            Source::Exec(exec, environment) => issue(exec, environment).await?.token,
        };
        let is_other = next.is_some() && next != *token;
        *token = next;
        Ok(is_other)
    }
}

fn token_in(path: &std::path::Path) -> Result<Secret> {
    let bytes = read_caller_file(path, KEY).map_err(|error| {
        Error::new(
            ErrorKind::Local,
            "log in to Kubernetes",
            format!("cannot read {}: {error}", path.display()),
        )
    })?;
    Ok(Secret::new(bytes.trim_ascii().to_vec()))
}

/// Asks a credential plugin. Its standard error is the person's: it may say where to log in.
async fn issue(exec: &Exec, environment: &Environment) -> Result<Issued> {
    let failed = |message: String| {
        let error = Error::new(ErrorKind::Local, "log in to Kubernetes", message);
        match &exec.install_hint {
            Some(hint) => error.advice(hint.trim().to_owned()),
            None => error.advice(format!("run `{}` by hand, as your kubeconfig says", exec.command)),
        }
    };
    let request =
        json!({ "apiVersion": exec.api_version, "kind": "ExecCredential", "spec": { "interactive": false } });
    let mut command = Command::new(&exec.command);
    command
        .args(exec.args.iter().flatten())
        .env("KUBERNETES_EXEC_INFO", request.to_string())
        .envs(exec.env.iter().flatten().map(|one| (&one.name, &one.value)))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    if let Some(path) = environment.value("PATH") {
        command.env("PATH", path);
    }
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output
        .map_err(|_| failed(format!("`{}` did not end within {} s", exec.command, PATIENCE.as_secs())))?;
    let output = output.map_err(|error| failed(format!("cannot run `{}`: {error}", exec.command)))?;
    if !output.status.success() {
        return Err(failed(format!("`{}` failed: {}", exec.command, output.status)));
    }
    let said = Secret::new(output.stdout);
    let told: Value = serde_json::from_slice(said.expose_bytes())
        .map_err(|_| failed(format!("`{}` did not print an ExecCredential", exec.command)))?;
    let status = &told["status"];
    let text = |name: &str| status[name].as_str().filter(|text| !text.is_empty());
    let certificate = text("clientCertificateData").zip(text("clientKeyData"));
    let certificate = certificate.map(|(certificate, key)| Secret::from(format!("{certificate}\n{key}")));
    let token = text("token").map(|token| Secret::from(token.to_owned()));
    match token.is_some() || certificate.is_some() {
        true => Ok(Issued { token, certificate }),
        false => Err(failed(format!("`{}` issued neither a token nor a certificate", exec.command))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Environment {
        Environment::new([("PATH", "/bin:/usr/bin")])
    }

    fn shell(script: &str) -> Exec {
        let args = Some(vec!["-c".to_owned(), script.to_owned()]);
        let api_version = "client.authentication.k8s.io/v1".to_owned();
        Exec { api_version, command: "/bin/sh".to_owned(), args, env: None, install_hint: None }
    }

    #[tokio::test]
    async fn plugin_token_is_renewed_once_refused() {
        let dir = tempfile::tempdir().unwrap();
        let counter = dir.path().join("count");
        let script = format!(
            "echo x >> {path}; printf '{{\"status\":{{\"token\":\"t%s\"}}}}' $(wc -l < {path})",
            path = counter.display()
        );
        let environment = surroundings();
        let (credential, certificate) =
            Credential::of(User::Exec(shell(&script)), &environment).await.unwrap();
        assert!(certificate.is_none());
        let first = credential.header().await.unwrap().unwrap();
        assert_eq!(first.as_bytes(), b"Bearer t1");
        assert!(credential.renew(Some(&first)).await.unwrap());
        assert_eq!(credential.header().await.unwrap().unwrap().as_bytes(), b"Bearer t2");
        // Another request was refused with the first token, which is no longer the current one.
        assert!(credential.renew(Some(&first)).await.unwrap());
        assert_eq!(credential.header().await.unwrap().unwrap().as_bytes(), b"Bearer t2");
    }

    #[tokio::test]
    async fn failing_plugin_is_named_without_its_output() {
        for script in ["echo hunter2; exit 3", "echo hunter2", "echo '{\"status\":{\"hunter2\":1}}'"] {
            let issued = issue(&shell(script), &surroundings()).await;
            let Err(error) = issued else { panic!("{script}") };
            let text = format!("{error} {:?}", error.advice);
            assert!(text.contains("/bin/sh") && !text.contains("hunter2"), "{text}");
        }
    }
}
