//! Waits for a condition of an object, and for the end of its deletion.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::address::Address;
use super::client::KubernetesClient;
use super::live::{condition, kept_by};
use super::meta::Wait;
use crate::error::{Error, ErrorKind, Result};
use crate::net::timeout::scaled_delay;
use crate::resource::Writer;

const POLL: Duration = Duration::from_millis(250);
/// How often a wait in which nothing happens is reported.
const AGAIN: Duration = Duration::from_secs(10);
/// How long an object may take to go after its deletion.
const GOING: Duration = Duration::from_mins(2);

/// Waits until the condition is true.
///
/// # Errors
/// When it does not become true in time, with what the object says of it.
pub async fn until_true(w: &Writer<'_, KubernetesClient>, address: &Address, wait: &Wait) -> Result<()> {
    let deadline = Instant::now() + scaled_delay(Duration::from_secs(wait.seconds));
    let mut told = Told::default();
    loop {
        let object = w.get_now(address).await?.unwrap_or_default();
        let state = condition(&object, &wait.condition);
        if state.is_some_and(|(status, _)| status == "True") {
            return Ok(());
        }
        told.say(w, deadline, &format!("waits for {} of {address}: {}", wait.condition, in_words(state)));
        if Instant::now() >= deadline {
            let operation = format!("wait for {} of {address}", wait.condition);
            let message = format!("{} after {} s", in_words(state), wait.seconds);
            return Err(Error::new(ErrorKind::Rejected, operation, message).advice(
                "the object itself is written; look at its events and at the controller that reports the condition, \
                 then apply again",
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A condition in words.
pub fn in_words(state: Option<(&str, &str)>) -> String {
    match state {
        None => "not reported".to_owned(),
        Some((status, "")) => format!("it is {status}"),
        Some((status, message)) => format!("it is {status}: {message}"),
    }
}

/// Waits until a deleted object is gone.
///
/// # Errors
/// `Conflict` when finalizers keep it.
pub async fn until_gone(w: &Writer<'_, KubernetesClient>, address: &Address, uid: &str) -> Result<()> {
    let deadline = Instant::now() + GOING;
    let mut told = Told::default();
    loop {
        let is_it = |object: &Value| object["metadata"]["uid"] == uid;
        let Some(object) = w.get_now(address).await?.filter(is_it) else { return Ok(()) };
        let is_held = has_strange_finalizer(&object);
        if Instant::now() >= deadline || is_held {
            let operation = format!("DELETE {}", address.path());
            let message = format!("it is marked for deletion{}", kept_by(&object));
            return Err(Error::new(ErrorKind::Conflict, operation, message).advice(
                "it goes once the controller behind each finalizer has done its part; if that controller no longer \
                 exists, remove the finalizer by hand and apply again",
            ));
        }
        told.say(w, deadline, &format!("waits for the end of {address}{}", kept_by(&object)));
        tokio::time::sleep(POLL).await;
    }
}

/// The last report of a wait.
#[derive(Default)]
struct Told {
    state: String,
    at: Option<Instant>,
}

impl Told {
    /// Reports each state once, and again when nothing has happened for a while.
    fn say(&mut self, w: &Writer<'_, KubernetesClient>, deadline: Instant, state: &str) {
        let is_old = self.at.is_some_and(|at| at.elapsed() >= AGAIN);
        if self.state == state && !is_old {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        w.progress(&format!("{state} (at most {left} s more)"));
        *self = Self { state: state.to_owned(), at: Some(Instant::now()) };
    }
}

/// Finalizers of controllers outside of Kubernetes: they may never act, and it is theirs to say when.
fn has_strange_finalizer(object: &Value) -> bool {
    let all = object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let own = ["foregroundDeletion", "orphan"];
    all.into_iter()
        .any(|name| !own.contains(&name) && !name.starts_with("kubernetes.io/") && !name.contains(".k8s.io"))
}
