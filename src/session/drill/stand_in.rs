//! Stands in for AWS KMS before a server that is kept from the network: so much of its protocol as a server's seal uses.
//!
//! It encrypts for itself, and remembers for what; only what it has not encrypted, which is the key of the backup, goes
//! to the real service, to be decrypted. So a drill needs one right, and changes nothing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::RngCore;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::custody::{Context, KeyService};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// The operation of a request is the last part of this header.
const TARGET: &str = "x-amz-target";
/// A request of a seal has a few bytes.
const LONGEST: usize = 64 << 10;
const HEADERS: usize = 100;

/// A service that answers on a socket until it is dropped.
pub(super) struct StandIn {
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct State {
    /// The key of the backup.
    key: String,
    service: Arc<dyn KeyService>,
    /// By ciphertext.
    encrypted: Mutex<HashMap<Vec<u8>, Secret>>,
}

#[async_trait]
impl KeyService for State {
    async fn encrypt(&self, _: &str, plaintext: &Secret, _: &Context) -> Result<Vec<u8>> {
        let mut ciphertext = vec![0; 64];
        rand::rng().fill_bytes(&mut ciphertext);
        self.known().insert(ciphertext.clone(), plaintext.clone());
        Ok(ciphertext)
    }

    async fn decrypt(&self, ciphertext: &[u8], context: &Context) -> Result<Secret> {
        let known = self.known().get(ciphertext).cloned();
        match known {
            Some(plaintext) => Ok(plaintext),
            None => self.service.decrypt(ciphertext, context).await,
        }
    }
}

impl StandIn {
    /// Answers on this socket for `key`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(super) fn serve(socket: &Path, key: &str, service: Arc<dyn KeyService>) -> Result<Self> {
        let listener = UnixListener::bind(socket)
            .map_err(|error| Error::new(ErrorKind::Local, "stand in for AWS KMS", error.to_string()))?;
        let state = Arc::new(State { key: key.to_owned(), service, encrypted: Mutex::default() });
        let serving = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A client that goes away has its answer, or does not want it.
                let state = Arc::clone(&serving);
                tokio::spawn(async move { state.converse(client).await.unwrap_or_default() });
            }
        });
        Ok(Self { state, task })
    }

    /// The same service, for a snapshot of the server that it serves.
    pub(super) fn service(&self) -> Arc<dyn KeyService> {
        Arc::clone(&self.state) as Arc<dyn KeyService>
    }
}

impl State {
    /// Answers the requests of one connection.
    async fn converse(&self, client: UnixStream) -> std::io::Result<()> {
        let mut client = BufReader::new(client);
        while let Some((operation, body)) = request(&mut client).await? {
            let (status, answer) = match self.answer(&operation, &body).await {
                Some(answer) => ("200 OK", answer),
                None => (
                    "400 Bad Request",
                    json!({ "__type": "InvalidCiphertextException", "message": operation }),
                ),
            };
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
                answer.len()
            );
            client.write_all(head.as_bytes()).await?;
            client.write_all(answer.as_bytes()).await?;
            client.flush().await?;
        }
        Ok(())
    }

    /// The answer to a request; `None` when it is refused.
    async fn answer(&self, operation: &str, body: &[u8]) -> Option<Value> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let field = |name: &str| body[name].as_str().map(str::to_owned);
        match operation {
            "DescribeKey" => Some(json!({ "KeyMetadata": {
                "KeyId": self.key, "Arn": self.key, "Enabled": true, "KeyState": "Enabled",
                "KeyUsage": "ENCRYPT_DECRYPT",
            } })),
            "Encrypt" => {
                let plain = Secret::new(BASE64_STANDARD.decode(field("Plaintext")?).ok()?);
                let ciphertext = self.encrypt(&self.key, &plain, &Context::new()).await.ok()?;
                Some(json!({ "CiphertextBlob": BASE64_STANDARD.encode(ciphertext), "KeyId": self.key }))
            }
            "Decrypt" => {
                let ciphertext = BASE64_STANDARD.decode(field("CiphertextBlob")?).ok()?;
                let plain = self.decrypt(&ciphertext, &Context::new()).await.ok()?;
                let plain = BASE64_STANDARD.encode(plain.expose_bytes());
                Some(json!({ "Plaintext": plain, "KeyId": self.key }))
            }
            _ => None,
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Secret>> {
        self.encrypted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operation and the body of the next request; `None` at the end of the connection.
async fn request(client: &mut BufReader<UnixStream>) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let (mut operation, mut length) = (String::new(), 0);
    for _ in 0..HEADERS {
        let mut line = String::new();
        let read = client.take(LONGEST as u64).read_line(&mut line).await?;
        let line = line.trim_end();
        if read == 0 {
            return Ok(None);
        }
        if line.is_empty() {
            let mut body = vec![0; length];
            client.read_exact(&mut body).await?;
            return Ok(Some((operation, body)));
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case(TARGET) {
            value.rsplit('.').next().unwrap_or_default().clone_into(&mut operation);
        } else if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap_or(0).min(LONGEST);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decrypts one text only.
    struct Real;

    #[async_trait]
    impl KeyService for Real {
        async fn encrypt(&self, _: &str, _: &Secret, _: &Context) -> Result<Vec<u8>> {
            panic!("a drill encrypts nothing with the real service")
        }

        async fn decrypt(&self, ciphertext: &[u8], _: &Context) -> Result<Secret> {
            match ciphertext {
                b"of the backup" => Ok(Secret::new(b"the key".to_vec())),
                _ => Err(Error::new(ErrorKind::Rejected, "kms:Decrypt", "another")),
            }
        }
    }

    async fn ask(stream: &mut BufReader<UnixStream>, operation: &str, body: &Value) -> (String, Value) {
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nX-Amz-Target: TrentService.{operation}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("asked");
        let (mut status, mut length, mut line) = (String::new(), 0, String::new());
        while stream.read_line(&mut line).await.expect("a line") > 2 {
            if status.is_empty() {
                status.clone_from(&line);
            }
            if let Some(found) = line.strip_prefix("Content-Length: ") {
                length = found.trim().parse().expect("a number");
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).await.expect("an answer");
        (status, serde_json::from_slice(&answer).expect("JSON"))
    }

    #[tokio::test]
    async fn only_the_key_of_the_backup_is_asked_of_the_real_service() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("kms.sock");
        let _served =
            StandIn::serve(&socket, "arn:aws:kms:eu-west-1:1:key/k", Arc::new(Real)).expect("served");
        let mut stream = BufReader::new(UnixStream::connect(&socket).await.expect("connected"));
        let (_, described) = ask(&mut stream, "DescribeKey", &json!({ "KeyId": "k" })).await;
        assert_eq!(described["KeyMetadata"]["Arn"], "arn:aws:kms:eu-west-1:1:key/k");
        let plain = BASE64_STANDARD.encode("mine");
        let (_, sealed) = ask(&mut stream, "Encrypt", &json!({ "Plaintext": plain })).await;
        let blob = &sealed["CiphertextBlob"];
        let (_, opened) = ask(&mut stream, "Decrypt", &json!({ "CiphertextBlob": blob })).await;
        assert_eq!(opened["Plaintext"], plain);
        let foreign = BASE64_STANDARD.encode("of the backup");
        let (_, opened) = ask(&mut stream, "Decrypt", &json!({ "CiphertextBlob": foreign })).await;
        assert_eq!(opened["Plaintext"], BASE64_STANDARD.encode("the key"));
        let (status, refused) = ask(&mut stream, "Decrypt", &json!({ "CiphertextBlob": plain })).await;
        assert!(
            status.contains(" 400 ") && refused["__type"] == "InvalidCiphertextException",
            "{status} {refused}"
        );
        let (status, _) = ask(&mut stream, "DisableKey", &json!({})).await;
        assert!(status.contains(" 400 "), "{status}");
    }
}
