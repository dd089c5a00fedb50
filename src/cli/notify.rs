//! Reports to others that an emergency begins and how it ends: through a program of the caller's, and through the topic that
//! the plan names.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::apply::by_command;
use crate::console;
use crate::providers::aws::publish;
use crate::resolve::notify::Topic;
use crate::run::Run;

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

/// Who gets the notices.
pub struct Notified<'a> {
    /// A program of the caller's.
    pub program: Option<&'a Path>,
    /// The plan's topic.
    pub topic: Option<&'a Topic>,
}

impl Notified<'_> {
    /// Gives the notice to each. An emergency does not fail with it: what goes wrong is a warning.
    pub async fn tell(&self, run: &Run, notice: &Notice<'_>) {
        let (program, topic) = tokio::join!(self.through_program(notice), self.through_topic(run, notice));
        for (name, failure) in [program, topic].into_iter().flatten() {
            console::note(format_args!(
                "warning: {name} did not get the notice of the {}: {failure}",
                notice.event
            ));
        }
    }

    async fn through_program(&self, notice: &Notice<'_>) -> Option<(String, String)> {
        let program = self.program?;
        let failure = in_time(send(program, notice)).await?;
        Some((program.display().to_string(), failure))
    }

    async fn through_topic(&self, run: &Run, notice: &Notice<'_>) -> Option<(String, String)> {
        let arn = match self.topic? {
            Topic::Known(arn) => arn,
            Topic::NotYet => {
                let why = "its ARN is not known: declare `aws.account_id`, or write the ARN".to_owned();
                return Some(("the topic of `notify`".to_owned(), why));
            }
        };
        let published = async {
            let text = line(notice)?;
            let subject = format!("break-glass {}: {}", notice.event, notice.plan);
            let message = String::from_utf8_lossy(&text).trim_end().to_owned();
            publish(run, &by_command(), arn, (&subject, &message)).await.map_err(|error| error.to_string())
        };
        Some((arn.clone(), in_time(published).await?))
    }
}

/// The reason why it failed, or took too long.
async fn in_time(work: impl Future<Output = Result<(), String>>) -> Option<String> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.err(),
        Err(_) => Some(format!("it took longer than {} s", PATIENCE.as_secs())),
    }
}

fn line(notice: &Notice<'_>) -> Result<Vec<u8>, String> {
    let mut text =
        serde_json::to_vec(&Dated { at: Timestamp::now(), notice }).map_err(|error| error.to_string())?;
    text.push(b'\n');
    Ok(text)
}

async fn send(program: &Path, notice: &Notice<'_>) -> Result<(), String> {
    let text = line(notice)?;
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
