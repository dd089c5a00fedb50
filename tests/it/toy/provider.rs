//! A provider of the test's own, which no file of the program knows: a section with settings, a client, an
//! identity, further connections, spaces, tags, and two kinds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use groundwork::destination::Destinations;
use groundwork::error::{Error, ErrorKind, FieldError, Result};
use groundwork::place::{NAMESPACE, Place, Realm, Realms};
use groundwork::proof::{Proof, Prover};
use groundwork::provider::Provider;
use groundwork::resource::erased::{Kind, kind};
use groundwork::resource::{Diff, Look, Partial, Provided, Resource, Tags, Writer};
use groundwork::run::{Connection, Run, Want};
use groundwork::trust::{Grant, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::world::{World, world};

/// The `toy:` section.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToySettings {
    /// `memory:NAME`, or the address of a server.
    #[serde(default)]
    url: String,
    /// The tenant.
    #[serde(default)]
    tenant: String,
    /// The zone.
    #[serde(default)]
    zone: String,
    /// The space; the root space when absent.
    #[serde(default)]
    space: String,
    /// Tags that every lamp gets.
    #[serde(default)]
    tags: Tags,
    /// Further tenants and zones.
    #[serde(default)]
    aliases: BTreeMap<String, Elsewhere>,
}

/// A further tenant and zone.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Elsewhere {
    tenant: String,
    zone: String,
}

pub struct Toy(ToySettings);

impl Provider for Toy {
    const NAME: &'static str = "toy";
    const TITLE: &'static str = "Toys";
    const KINDS: &'static [&'static dyn Kind] = &[&kind::<Lamp>(), &kind::<Note>()];
    const IN_EXPRESSIONS: bool = true;

    type Settings = ToySettings;

    fn open(settings: ToySettings) -> Self {
        Self(settings)
    }
}

impl Toy {
    fn elsewhere(&self, place: &Place) -> Option<Elsewhere> {
        let own = || Elsewhere { tenant: self.0.tenant.clone(), zone: self.0.zone.clone() };
        place.alias.as_ref().map_or_else(|| Some(own()), |name| self.0.aliases.get(name).cloned())
    }

    /// The path of a place's space: that of the section, and the one below it.
    fn space(&self, place: &Place) -> String {
        let inner = place.namespace.as_deref().unwrap_or_default();
        format!("{}/{inner}", self.0.space).trim_matches('/').to_owned()
    }
}

#[async_trait]
impl Connection for Toy {
    fn provider(&self) -> &'static str {
        Self::NAME
    }

    fn check(&self) -> Vec<FieldError> {
        let is_zone = ["", "east", "west"].contains(&self.0.zone.as_str());
        let mistake = || FieldError::new("zone", "there are only the zones east and west");
        (!is_zone).then(mistake).into_iter().collect()
    }

    fn wants(&self, _: &std::path::Path) -> Vec<Want> {
        let grant = Grant::new(Subject::Vault, self.0.url.as_str());
        let why = format!("the plan sends toys to {}", self.0.url);
        let is_remote = self.0.url.starts_with("http");
        is_remote.then(|| Want { path: "url".to_owned(), grant, why }).into_iter().collect()
    }

    fn expressions(&self, realms: &Realms) -> Option<Value> {
        let realm = realms.of(Self::NAME, &Place::OWN);
        Some(json!({ "tenant": realm.get("tenant"), "zone": realm.get("zone") }))
    }

    fn tags(&self) -> BTreeMap<String, String> {
        self.0.tags.clone()
    }

    fn aliases(&self) -> Vec<String> {
        self.0.aliases.keys().cloned().collect()
    }

    fn asks_first(&self) -> bool {
        true
    }

    fn known_realm(&self, place: &Place) -> Realm {
        let zone = self.elsewhere(place).unwrap_or_default().zone;
        Realm::default().with("zone", zone).with(NAMESPACE, format!("/{}", self.space(place)))
    }

    async fn realm(&self, run: &Run, place: &Place) -> Result<Realm> {
        let client = Client::provide(run, place).await?;
        let (_, answer) = client.send("GET", &format!("whoami/{}", client.tenant), Value::Null).await?;
        Ok(self.known_realm(place).with("tenant", answer["uid"].as_str().unwrap_or_default()))
    }

    fn destinations(&self, places: &[Place]) -> Destinations {
        let used = (!places.is_empty()).then(|| ("toy.url".to_owned(), vec![self.0.url.clone()]));
        used.into_iter().collect()
    }
}

/// The client of one tenant, zone and space.
pub struct Client {
    memory: Option<Arc<Mutex<World>>>,
    url: String,
    http: reqwest::Client,
    tenant: String,
    zone: String,
    space: String,
}

impl Provided for Client {
    const PROVIDER: &'static str = Toy::NAME;
    const REALM: &'static [&'static str] = &["tenant", "zone"];
    const NAMESPACED: bool = true;

    async fn provide(run: &Run, place: &Place) -> Result<Arc<Self>> {
        let toy: &Toy = run.connection()?;
        let elsewhere = toy.elsewhere(place);
        let Elsewhere { tenant, zone } = elsewhere.ok_or_else(|| {
            Error::new(ErrorKind::Rejected, "connect to the toys", "there is no such alias")
        })?;
        let memory = toy.0.url.strip_prefix("memory:").map(world);
        let (url, space) = (toy.0.url.clone(), toy.space(place));
        Ok(Arc::new(Self { memory, url, http: reqwest::Client::new(), tenant, zone, space }))
    }
}

impl Client {
    fn another(&self) -> Self {
        Self {
            memory: self.memory.clone(),
            url: self.url.clone(),
            http: self.http.clone(),
            tenant: self.tenant.clone(),
            zone: self.zone.clone(),
            space: self.space.clone(),
        }
    }

    fn lamp(&self, name: &str) -> String {
        format!("lamp/{}/{}/-/{name}", self.tenant, self.zone)
    }

    fn note(&self, name: &str) -> String {
        format!("note/{}/-/{}/{name}", self.tenant, self.space.replace('/', "."))
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> Result<(u16, Value)> {
        if let Some(memory) = &self.memory {
            return Ok(memory.lock().unwrap().answer(method, path, body));
        }
        let failed = |error: reqwest::Error| {
            Error::new(ErrorKind::Unavailable, format!("{method} {path}"), error.without_url().to_string())
        };
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("{}/{path}", self.url)).body(body.to_string());
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(failed)?;
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    async fn get(&self, path: &str) -> Result<Option<Value>> {
        let (status, found) = self.send("GET", path, Value::Null).await?;
        Ok((status == 200).then_some(found))
    }

    async fn write(&self, method: &str, path: &str, body: Value) -> Result<()> {
        match self.send(method, path, body).await?.0 {
            204 => Ok(()),
            404 if method == "DELETE" => Ok(()),
            409 => Err(Error::new(ErrorKind::Conflict, format!("{method} {path}"), "it exists")),
            status => {
                Err(Error::new(ErrorKind::Rejected, format!("{method} {path}"), format!("status {status}")))
            }
        }
    }
}

/// A lamp, which is in a zone and carries tags.
pub struct Lamp;

/// The declared fields of a lamp.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LampSpec {
    /// The name, unique in its zone.
    name: String,
    /// How bright it is, in percent.
    #[serde(default)]
    brightness: u8,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// The outputs of a lamp.
#[derive(Serialize, JsonSchema)]
pub struct LampOutputs {
    /// The name.
    name: String,
    /// How bright it is, in percent.
    brightness: u8,
}

impl Resource for Lamp {
    const KIND: &'static str = "toy.lamp";
    const ABOUT: &'static str = "A lamp.";
    const EXAMPLE: &'static str = "desk:\n  kind: toy.lamp\n  name: desk\n  brightness: 40\n";
    const TAGGED: bool = true;
    const PROOF: Proof = Proof::Tried("a probe is lit beside it");

    type Client = Client;
    type Id = String;
    type Desired = LampSpec;
    type Observed = LampSpec;
    type Outputs = LampOutputs;

    fn id(desired: &LampSpec) -> String {
        desired.name.clone()
    }

    fn check(desired: &LampSpec) -> Vec<FieldError> {
        let mistake = || FieldError::new("brightness", "is a percentage");
        (desired.brightness > 100).then(mistake).into_iter().collect()
    }

    async fn observe(client: &Client, id: &String, _: Look<'_, Self>) -> Result<Option<LampSpec>> {
        Ok(client.get(&client.lamp(id)).await?.and_then(|found| serde_json::from_value(found).ok()))
    }

    fn diff(desired: &LampSpec, observed: &LampSpec) -> Diff {
        let mut diff = Diff::none();
        diff.field("brightness", &observed.brightness, &desired.brightness);
        diff.field("tags", &observed.tags, &desired.tags);
        diff
    }

    async fn create(w: &Writer<'_, Client>, desired: &LampSpec) -> Result<()> {
        w.write("POST", &w.lamp(&desired.name), json!(desired)).await
    }

    async fn update(w: &Writer<'_, Client>, desired: &LampSpec, _: &LampSpec) -> Result<()> {
        w.write("PUT", &w.lamp(&desired.name), json!(desired)).await
    }

    async fn delete(w: &Writer<'_, Client>, id: &String) -> Result<()> {
        w.write("DELETE", &w.lamp(id), Value::Null).await
    }

    /// A lamp of which the name says so never answers.
    async fn prove(prover: &Prover<'_, Client>, desired: &LampSpec, observed: &LampSpec) {
        let key = prover.lamp(&format!("probe-{}", desired.name));
        if let Err(error) = prover.write("POST", &key, json!({ "brightness": 1 })).await {
            return prover.refused("lights a probe", "a probe", &error);
        }
        let client = prover.another();
        let undo = prover.undo("a probe", move || {
            let (client, key) = (client.another(), key.clone());
            async move { client.write("DELETE", &key, Value::Null).await }
        });
        if desired.name == "hangs" {
            std::future::pending::<()>().await;
        }
        prover.compare("its brightness", &desired.brightness, &observed.brightness, "turn it");
        if let Err(error) = undo.now().await {
            prover.refused("removes the probe", "the probe goes", &error);
        }
    }

    fn outputs(observed: &LampSpec) -> LampOutputs {
        LampOutputs { name: observed.name.clone(), brightness: observed.brightness }
    }

    fn predicted_outputs(desired: &LampSpec, _: &Realm) -> Partial {
        Partial::default().with("name", &desired.name).with("brightness", desired.brightness)
    }

    fn tags(observed: &LampSpec) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

/// A note, which is in a space of a tenant, carries no tags, and whose name is the same in any case.
pub struct Note;

/// The declared fields of a note.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteSpec {
    /// The name.
    name: String,
    /// What it says.
    text: String,
}

/// The outputs of a note.
#[derive(Serialize, JsonSchema)]
pub struct NoteOutputs {
    /// What it says.
    text: String,
}

impl Resource for Note {
    const KIND: &'static str = "toy.note";
    const ABOUT: &'static str = "A note.";
    const EXAMPLE: &'static str =
        "reminder:\n  kind: toy.note\n  name: reminder\n  text: lamp {{ toy.zone }}\n";
    const REALM: &'static [&'static str] = &["tenant", NAMESPACE];

    type Client = Client;
    type Id = String;
    type Desired = NoteSpec;
    type Observed = NoteSpec;
    type Outputs = NoteOutputs;

    fn id(desired: &NoteSpec) -> String {
        desired.name.clone()
    }

    fn same_name(id: &String) -> String {
        id.to_lowercase()
    }

    async fn observe(client: &Client, id: &String, _: Look<'_, Self>) -> Result<Option<NoteSpec>> {
        Ok(client.get(&client.note(id)).await?.and_then(|found| serde_json::from_value(found).ok()))
    }

    fn diff(desired: &NoteSpec, observed: &NoteSpec) -> Diff {
        let mut diff = Diff::none();
        diff.field("text", &observed.text, &desired.text);
        diff
    }

    async fn create(w: &Writer<'_, Client>, desired: &NoteSpec) -> Result<()> {
        w.write("POST", &w.note(&desired.name), json!(desired)).await
    }

    async fn update(w: &Writer<'_, Client>, desired: &NoteSpec, _: &NoteSpec) -> Result<()> {
        w.write("PUT", &w.note(&desired.name), json!(desired)).await
    }

    async fn delete(w: &Writer<'_, Client>, id: &String) -> Result<()> {
        w.write("DELETE", &w.note(id), Value::Null).await
    }

    fn outputs(observed: &NoteSpec) -> NoteOutputs {
        NoteOutputs { text: observed.text.clone() }
    }
}
