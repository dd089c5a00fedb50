//! Key shares of people in different places: a request that may be read by anyone, and answers that only the process
//! that asked can open. Its key is never written down, so an answer is of no use after it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// The format of a request, with its version.
const FORMAT: &str = "groundwork-share-request/1";
/// The beginning of an answer, which is one line.
const ANSWER: &str = "groundwork-share:";

/// A request for key shares. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Which format this is.
    pub format: String,
    /// The plan's name.
    pub plan: String,
    /// The address of Vault that gets the shares.
    pub address: String,
    /// Why they are needed.
    pub reason: String,
    /// Who asks, as the journal names it.
    pub asked_by: String,
    /// When it was asked (RFC 3339).
    pub asked_at: Timestamp,
    /// The attempt that the shares are for, as the server names it.
    pub nonce: String,
    /// The age public key that answers are encrypted for.
    pub recipient: String,
}

/// A share, as it is encrypted.
#[derive(Serialize, Deserialize)]
struct Part {
    nonce: String,
    share: String,
    by: String,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.share.zeroize();
    }
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// `Rejected` when it is none, or of another version.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let request: Self = serde_json::from_slice(text).map_err(|error| {
            rejected("read the request", format!("this is not a request for a share: {error}"))
        })?;
        if request.format == FORMAT {
            return Ok(request);
        }
        let message = format!("its format is `{}`, and this program knows `{FORMAT}`", request.format);
        Err(rejected("read the request", message)
            .advice("use the same version of Groundwork on both machines"))
    }

    /// Encrypts a share for the one who asked, as one line. `by` is who gives it.
    ///
    /// # Errors
    /// `Rejected` when the share is not text, or the request's key is none.
    pub fn answer(&self, share: &Secret, by: &str) -> Result<String> {
        let refused = |message: String| rejected("answer the request", message);
        let text = share.expose_str().ok_or_else(|| refused("the share is not text".to_owned()))?;
        let part = Part { nonce: self.nonce.clone(), share: text.to_owned(), by: by.to_owned() };
        let plain = Zeroizing::new(serde_json::to_vec(&part).map_err(|error| refused(error.to_string()))?);
        let recipient: age::x25519::Recipient = self
            .recipient
            .parse()
            .map_err(|why: &str| refused(format!("its key is not an age key: {why}")))?;
        let sealed = age::encrypt(&recipient, &plain).map_err(|error| refused(error.to_string()))?;
        Ok(format!("{ANSWER}{}", STANDARD.encode(sealed)))
    }
}

/// The side that asks: the key that opens the answers, in memory only.
pub struct Relay {
    identity: age::x25519::Identity,
    nonce: String,
}

/// A share, and who gave it.
pub struct Given {
    /// The share.
    pub share: Secret,
    /// The giver's own name for himself; empty when typed on this machine.
    pub by: String,
}

impl Relay {
    /// A relay for one attempt.
    pub fn new(nonce: &str) -> Self {
        Self { identity: age::x25519::Identity::generate(), nonce: nonce.to_owned() }
    }

    /// The request to send to the holders.
    pub fn request(&self, plan: &str, address: &str, reason: &str, asked_by: &str) -> Request {
        Request {
            format: FORMAT.to_owned(),
            plan: plan.to_owned(),
            address: address.to_owned(),
            reason: reason.to_owned(),
            asked_by: asked_by.to_owned(),
            asked_at: Timestamp::now(),
            nonce: self.nonce.clone(),
            recipient: self.identity.to_public().to_string(),
        }
    }

    /// The share in a line: an answer to this relay's request, or a share as it is.
    ///
    /// # Errors
    /// `Rejected` when it answers another request, or was changed.
    pub fn open(&self, line: &Secret) -> Result<Given> {
        let Some(sealed) = line.expose_str().and_then(|line| line.strip_prefix(ANSWER)) else {
            return Ok(Given { share: line.clone(), by: String::new() });
        };
        let refused = || {
            rejected("open an answer", "it does not answer this request, or was changed".to_owned()).advice(
                "answers are of no use to another run: send the new request, and have it answered again",
            )
        };
        let sealed = STANDARD.decode(sealed).map_err(|_| refused())?;
        let plain = Zeroizing::new(age::decrypt(&self.identity, &sealed).map_err(|_| refused())?);
        let part: Part = serde_json::from_slice(&plain).map_err(|_| refused())?;
        if part.nonce != self.nonce {
            return Err(refused());
        }
        Ok(Given { share: Secret::from(part.share.clone()), by: part.by.clone() })
    }
}

fn rejected(operation: &str, message: String) -> Error {
    Error::new(ErrorKind::Rejected, operation, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_opens_for_its_request_alone() {
        let share = Secret::from("0a1b2c".to_owned());
        let (relay, other) = (Relay::new("n1"), Relay::new("n1"));
        let request = relay.request("p", "https://vault:8200", "drill", "ann@ops");
        let text = serde_json::to_vec(&request).expect("JSON");
        let request = Request::parse(&text).expect("a request");
        let answer = request.answer(&share, "bob").expect("sealed");
        assert!(!answer.contains("0a1b2c") && answer.lines().count() == 1);
        let answer = Secret::from(answer);
        let given = relay.open(&answer).expect("opened");
        assert_eq!((given.share.expose_str(), given.by.as_str()), (Some("0a1b2c"), "bob"));
        assert!(other.open(&answer).is_err(), "another process");
        let later = Relay { identity: relay.identity.clone(), nonce: "n2".to_owned() };
        assert!(later.open(&answer).is_err(), "another attempt");
    }

    #[test]
    fn plain_share_passes_as_it_is() {
        let given = Relay::new("n").open(&Secret::from("0a1b2c".to_owned())).expect("taken");
        assert_eq!((given.share.expose_str(), given.by.as_str()), (Some("0a1b2c"), ""));
    }

    #[test]
    fn request_of_another_version_is_refused() {
        let mut request = Relay::new("n").request("p", "a", "r", "w");
        request.format = "groundwork-share-request/2".to_owned();
        let error = Request::parse(&serde_json::to_vec(&request).expect("JSON")).expect_err("newer");
        assert!(error.message.contains("request/2"), "{error}");
        assert!(Request::parse(b"{}").is_err());
    }
}
