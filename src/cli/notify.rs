//! Reports to others that an emergency begins and how it ends, through a program of the caller's.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::console;

/// How long the program may take: the emergency does not wait for it any longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The line of JSON on the standard input of the program. It holds no secret.
#[derive(Debug, Serialize)]
pub struct Notice<'a> {
    /// `begin`, or `end`.
    pub event: &'static str,
    /// The plan's name.
    pub plan: &'a str,
    /// The address of Vault.
    pub address: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Who, as the journal names it.
    pub by: &'a str,
    /// The policies that are asked for.
    pub policies: &'a [String],
    /// When the server ends the access at the latest, in seconds after it begins.
    pub ttl_seconds: u64,
    /// The accessor of the token, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accessor: Option<&'a str>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'a str>,
}

/// A notice with the time at which it is sent.
#[derive(Serialize)]
struct Dated<'a> {
    at: Timestamp,
    #[serde(flatten)]
    notice: &'a Notice<'a>,
}

/// Gives the notice to the program. An emergency does not fail with it: what goes wrong is a warning.
pub async fn notify(program: &Path, notice: &Notice<'_>) {
    let failure = match tokio::time::timeout(PATIENCE, send(program, notice)).await {
        Ok(Ok(())) => return,
        Ok(Err(why)) => why,
        Err(_) => format!("it took longer than {} s", PATIENCE.as_secs()),
    };
    console::note(format_args!(
        "warning: {} did not get the notice of the {}: {failure}",
        program.display(),
        notice.event
    ));
}

async fn send(program: &Path, notice: &Notice<'_>) -> Result<(), String> {
    let mut text =
        serde_json::to_vec(&Dated { at: Timestamp::now(), notice }).map_err(|error| error.to_string())?;
    text.push(b'\n');
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    // It needs no way into Vault.
    command.env_remove("VAULT_TOKEN");
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read its input has been started all the same.
        let _ = input.write_all(&text).await;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}")) }
}
