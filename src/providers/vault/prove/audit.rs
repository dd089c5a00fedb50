//! An audit device is proven by a unique request: its entry must be in the log.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::Vault;
use crate::confined_path::ends_with_text;

/// How much of the end of a log is searched: what other clients do in the meantime comes after the entry.
const TAIL: u64 = 8 << 20;

/// How often a log is looked into for an entry, and how long after each other.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Tries the device at `path`, of this type, that writes to this file.
pub(in crate::providers::vault) async fn prove(
    prover: &Vault<'_>,
    path: &str,
    device: &str,
    file: Option<&str>,
) {
    let tried = "an entry is written";
    let marker = format!("groundwork-verify-{}", uuid::Uuid::new_v4());
    // The device writes texts of a request as their HMAC, so that this request is itself the entry.
    let body = json!({ "input": marker });
    let hash = prover.client().ask(&format!("sys/audit-hash/{path}"), &body).await;
    let Some(hash) = prover.ask(tried, "the server hashes as the device does", hash) else { return };
    let hash = hash.unwrap_or_default()["hash"].take();
    let Some(hash) = hash.as_str().filter(|hash| hash.starts_with("hmac-")) else {
        let advice = "see whether the device is on (`groundwork plan`)";
        return prover.failed(tried, "a hash of the device", "the answer has none", advice);
    };
    let Some(file) = file.filter(|file| device == "file" && Path::new(file).is_absolute()) else {
        return prover.untried(
            tried,
            format!("a device of type file with its file on this machine; it is of type {device}"),
        );
    };
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        // A device that writes in the clear has the text itself.
        let found =
            [hash, marker.as_str()].into_iter().map(|text| ends_with_text(Path::new(file), text, TAIL));
        match found.collect::<std::io::Result<Vec<bool>>>().map(|found| found.contains(&true)) {
            Ok(true) => return prover.proven("an entry is written, found by its HMAC"),
            Ok(false) => {}
            Err(error) => {
                let needs = format!("to read {file}, on the machine of the active server: {error}");
                return prover.untried(tried, needs);
            }
        }
    }
    let expected = format!("{file} has the entry of a request that was just made");
    let advice =
        "see whether this is the file of the active server, and whether something moves or truncates it";
    prover.failed(tried, expected, "it does not", advice);
}
