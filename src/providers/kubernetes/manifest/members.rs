//! The live objects of a set.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use super::super::address::{Address, Api};
use super::super::client::KubernetesClient;
use super::super::compare;
use super::super::live::{Live, Outcome};
use super::super::ownership;
use super::super::wait;
use super::ManifestWait;
use super::document::{self, KINDS, SET};
use crate::error::Result;
use crate::resource::{Blocked, Diff, Tags};

/// How many requests are sent at once.
const AT_ONCE: usize = 16;

/// The live objects of a set.
#[derive(Clone, Debug)]
pub struct Members {
    /// The set.
    pub(super) set: String,
    plan: String,
    manager: String,
    /// Declared objects that exist, or that the server refuses, by their keys.
    declared: BTreeMap<String, Live>,
    /// Objects of the set that are no longer declared.
    pub(super) leftovers: Vec<(Address, Live)>,
    /// Whose the objects are.
    pub(super) tags: Tags,
}

impl Members {
    /// A set of which nothing exists.
    pub(super) fn none(client: &KubernetesClient, set: &str) -> Self {
        Self {
            set: set.to_owned(),
            plan: client.plan().to_owned(),
            manager: client.manager().to_owned(),
            declared: BTreeMap::new(),
            leftovers: Vec::new(),
            tags: Tags::new(),
        }
    }

    /// Whether nothing of the set exists.
    pub(super) fn is_nothing(&self) -> bool {
        self.leftovers.is_empty() && self.declared.values().all(Live::is_refused)
    }

    /// The objects as they are applied.
    pub(super) fn bodies(&self, objects: &[Value]) -> Vec<Value> {
        document::marked(objects, &self.set, &self.plan)
    }

    /// The live object behind one that is applied.
    pub(super) fn live(&self, body: &Value) -> Option<&Live> {
        self.declared.get(&document::key(body)).filter(|live| !live.is_refused())
    }

    /// Keeps the server's answer about an object.
    pub(super) fn put(&mut self, body: &Value, live: Live) {
        self.declared.insert(document::key(body), live);
    }

    /// Whether an object is missing or not as it is applied.
    pub(super) fn differs(&self, body: &Value) -> bool {
        let Some(live) = self.live(body) else { return true };
        match live.outcome(body) {
            Some(Outcome::Becomes(object)) => !compare::between(&live.object, object).is_empty(),
            Some(Outcome::Refused(_)) => true,
            None => !compare::declared(body, &live.object, &self.manager).is_empty(),
        }
    }

    /// The differences, below the name of each object.
    pub(super) fn diff(&self, objects: &[Value]) -> Diff {
        let mut diff = Diff::none();
        for body in self.bodies(objects) {
            self.diff_of(&body, &mut diff);
        }
        for (_, live) in &self.leftovers {
            let path = document::shown(&live.object);
            diff.push(&path, Value::from("is live"), Value::Null)
                .note("it is no longer declared, and is deleted");
            if let Some(blocked) = live.deletion() {
                diff.blocked.push(Blocked { path, ..blocked });
            }
        }
        diff
    }

    fn diff_of(&self, body: &Value, diff: &mut Diff) {
        let name = document::shown(body);
        let refused = |outcome: Option<&Outcome>| match outcome {
            Some(Outcome::Refused(blocked)) => Some(Blocked {
                path: compare::below(&name, &blocked.path).trim_end_matches('.').to_owned(),
                ..blocked.clone()
            }),
            _ => None,
        };
        let Some(live) = self.declared.get(&document::key(body)) else {
            diff.push(&name, Value::Null, body.clone());
            return;
        };
        let found = match live.outcome(body) {
            Some(Outcome::Becomes(object)) => compare::between(&live.object, object),
            _ if live.is_refused() => {
                diff.push(&name, Value::Null, body.clone());
                Vec::new()
            }
            _ => compare::declared(body, &live.object, &self.manager),
        };
        for one in found {
            diff.push(&compare::below(&name, &one.path), one.before, one.after);
        }
        if let Some(blocked) = live.deletion() {
            diff.blocked.push(Blocked { path: name, ..blocked });
        } else if let Some(blocked) = refused(live.outcome(body)) {
            diff.blocked.push(blocked);
        }
    }

    /// Conditions that are not true yet, where nothing else differs.
    pub(super) fn awaited(&self, diff: &mut Diff, wait: &ManifestWait) {
        if !diff.is_empty() || !diff.blocked.is_empty() {
            return;
        }
        let waiting = self.declared.values().filter(|live| live.object["kind"] == wait.kind.as_str());
        for live in waiting {
            let state = live.condition(&wait.condition);
            let status = state.map_or("not reported", |(status, _)| status);
            let path = format!("{}.status.{}", document::shown(&live.object), wait.condition);
            let why = format!("{}; the controller behind it has to act", wait::in_words(state));
            diff.awaited(&path, status, "True", &why);
        }
    }
}

/// Reads the declared objects of a set, and what else has its label.
pub(super) async fn observe(client: &KubernetesClient, set: &str, objects: &[Value]) -> Result<Members> {
    let mut members = Members::none(client, set);
    let bodies = members.bodies(objects);
    let mut kinds: BTreeSet<String> = bodies.iter().map(document::kind_of).collect();
    let mut labelled = of_kinds(client, set, &kinds).await?;
    if labelled.is_empty() {
        labelled = everywhere(client, set).await?;
    } else {
        let said =
            labelled.iter().filter_map(|(_, object)| object["metadata"]["annotations"][KINDS].as_str());
        let further: BTreeSet<String> = said.flat_map(str::split_whitespace).map(str::to_owned).collect();
        let further = further.difference(&kinds).cloned().collect();
        labelled.extend(of_kinds(client, set, &further).await?);
        kinds.extend(further);
    }
    let mut by_key: BTreeMap<String, (Address, Value)> =
        labelled.into_iter().map(|(address, object)| (document::key(&object), (address, object))).collect();
    let missing: Vec<&Value> =
        bodies.iter().filter(|body| !by_key.contains_key(&document::key(body))).collect();
    let read = at_once(missing.into_iter().map(|body| read(client, body)).collect()).await?;
    for body in &bodies {
        let key = document::key(body);
        if let Some((_, object)) = by_key.remove(&key) {
            members.declared.insert(key, Live::new(client, object));
        }
    }
    members.declared.extend(read.into_iter().flatten().map(|(key, object)| (key, Live::new(client, object))));
    members.leftovers =
        by_key.into_values().map(|(address, object)| (address, Live::new(client, object))).collect();
    members.tags = whose(&members);
    Ok(members)
}

/// This plan's tags, unless one of the objects is another's.
fn whose(members: &Members) -> Tags {
    let all = || members.declared.values().chain(members.leftovers.iter().map(|(_, live)| live));
    let is_ours =
        |live: &&Live| ownership::tags(&live.object, &members.plan) == ownership::tags_of(&members.plan);
    let foreign = all().find(|live| !is_ours(live));
    foreign
        .or_else(|| all().next())
        .map(|live| ownership::tags(&live.object, &members.plan))
        .unwrap_or_default()
}

/// The objects of a set among these kinds, wherever they are.
async fn of_kinds(
    client: &KubernetesClient,
    set: &str,
    kinds: &BTreeSet<String>,
) -> Result<Vec<(Address, Value)>> {
    let apis = kinds
        .iter()
        .filter_map(|kind| document::parts(kind))
        .map(|(version, kind)| client.api(version, kind));
    let apis: Vec<Api> = futures::future::try_join_all(apis).await?.into_iter().flatten().collect();
    of_apis(client, set, apis).await
}

/// All objects of a set.
pub(super) async fn everywhere(client: &KubernetesClient, set: &str) -> Result<Vec<(Address, Value)>> {
    let apis = client.served().await?;
    of_apis(client, set, apis).await
}

async fn of_apis(client: &KubernetesClient, set: &str, apis: Vec<Api>) -> Result<Vec<(Address, Value)>> {
    let selector =
        format!("{SET}={},{}={}", ownership::label(set), ownership::PLAN, ownership::label(client.plan()));
    let selector = selector.as_str();
    let lists = at_once(apis.into_iter().map(|api| of_api(client, selector, api)).collect()).await?;
    Ok(lists.into_iter().flatten().collect())
}

async fn of_api(client: &KubernetesClient, selector: &str, api: Api) -> Result<Vec<(Address, Value)>> {
    let items = client.labelled(&api, selector).await?;
    Ok(items.into_iter().map(|object| (document::address_of(api.clone(), &object), object)).collect())
}

/// A declared object that is not in the list of the set: another's, or none.
async fn read(client: &KubernetesClient, body: &Value) -> Result<Option<(String, Value)>> {
    let Some(address) = document::address(client, body).await? else { return Ok(None) };
    Ok(client.get_now(&address).await?.map(|object| (document::key(body), object)))
}

/// The results of these requests, some of which are sent at the same time.
pub(super) async fn at_once<T>(requests: Vec<impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    stream::iter(requests).buffered(AT_ONCE).try_collect().await
}
