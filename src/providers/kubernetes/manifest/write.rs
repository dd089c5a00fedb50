//! Writes the objects of a set in an order in which each finds what it needs.

use serde_json::Value;

use super::super::address::Address;
use super::super::client::{KubernetesClient, Mode};
use super::super::live;
use super::super::meta::Wait;
use super::super::object;
use super::super::wait;
use super::ManifestSpec;
use super::document;
use super::members::{self, Members, at_once};
use crate::error::{Error, ErrorKind, Result};
use crate::resource::Writer;

/// How long a definition may take until its objects are served, in seconds.
const ESTABLISHED: u64 = 30;

/// Applies what differs, then deletes what is no longer declared, then waits.
pub(super) async fn bring_about(
    w: &Writer<'_, KubernetesClient>,
    desired: &ManifestSpec,
    members: &Members,
) -> Result<()> {
    let bodies = members.bodies(&desired.objects());
    for early in [true, false] {
        let of_turn = bodies.iter().filter(|body| is_early(body) == early && members.differs(body));
        at_once(of_turn.map(|body| apply(w, body, members, desired.force)).collect()).await?;
    }
    delete(w, members.leftovers.iter().map(|(address, live)| (address, &live.object)).collect()).await?;
    let Some(condition) = &desired.wait else { return Ok(()) };
    let limit = Wait { condition: condition.condition.clone(), seconds: condition.seconds };
    for body in bodies.iter().filter(|body| body["kind"] == condition.kind.as_str()) {
        wait::until_true(w, &require(w, body).await?, &limit).await?;
    }
    Ok(())
}

/// Definitions and namespaces come before the objects that are in them.
fn is_early(object: &Value) -> bool {
    object["kind"].as_str().is_some_and(|kind| ["CustomResourceDefinition", "Namespace"].contains(&kind))
}

async fn apply(w: &Writer<'_, KubernetesClient>, body: &Value, members: &Members, force: bool) -> Result<()> {
    let address = require(w, body).await?;
    match members.live(body) {
        None => object::create(w, &address, body, force).await?,
        Some(_) => {
            live::into_result(w.apply(Mode::Real(w.permit()), &address, body, force).await?)?;
        }
    }
    if body["kind"] == "CustomResourceDefinition" {
        let established = Wait { condition: "Established".to_owned(), seconds: ESTABLISHED };
        wait::until_true(w, &address, &established).await?;
    }
    Ok(())
}

/// The address of an object whose kind the server must have by now.
async fn require(client: &KubernetesClient, body: &Value) -> Result<Address> {
    document::address(client, body).await?.ok_or_else(|| {
        let operation = format!("apply {}", document::shown(body));
        let message = format!("the server does not have the kind {}", document::kind_of(body));
        // A step beside it may be creating the definition.
        Error::new(ErrorKind::Eventual, operation, message).advice(
            "install its custom resource definition; if a step of this plan does that, name the step in `needs:`",
        )
    })
}

/// Deletes all objects of a set.
pub(super) async fn remove(w: &Writer<'_, KubernetesClient>, set: &str) -> Result<()> {
    let all = members::everywhere(w, set).await?;
    delete(w, all.iter().map(|(address, object)| (address, object)).collect()).await
}

/// Deletes objects, definitions and namespaces last.
async fn delete(w: &Writer<'_, KubernetesClient>, all: Vec<(&Address, &Value)>) -> Result<()> {
    for early in [false, true] {
        let of_turn = all.iter().filter(|(_, object)| is_early(object) == early);
        at_once(of_turn.map(|(address, _)| object::delete(w, address)).collect()).await?;
    }
    Ok(())
}
