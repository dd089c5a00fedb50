//! Objects of any kind, as they stand in a file.
//!
//! The objects of a step are a set: each has a label with the set's name, and an annotation with the kinds in it.
//! So an object that leaves the file is found, and goes, without a record of it anywhere else.

mod agent;
mod document;
mod members;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::agent::AgentSpec;
pub use self::document::{key, shown};
use self::members::Members;
use super::address::name_mistake;
use super::client::KubernetesClient;
use super::live::{self, Live};
use super::object;
use crate::access::Granting;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::resource::risk::Category::ProtectionOff;
use crate::resource::risk::{Risks, identity, safe, turned_on};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Tags, Writer};
use crate::secret::{LoadError, Loader};
use crate::template::unknown::is_unknown;

/// Objects of any kind.
#[derive(Debug)]
pub struct Manifest;

/// The declared fields of a manifest.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestSpec {
    /// The name of the set, which no other manifest of the plan has.
    pub name: String,
    /// The namespace of objects that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// A YAML file beside the plan with one or more objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A template of such a file, in `templates/` beside the plan or beside the plan's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// Values for the template.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub with: Map<String, Value>,
    /// The objects themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Map<String, Value>>,
    /// Pods that get secrets from Vault's agent injector, by the object that makes them, such as `Deployment/worker`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agents: BTreeMap<String, AgentSpec>,
    /// Take over declared fields that other managers have; otherwise they are a conflict.
    #[serde(default)]
    pub force: bool,
    /// After each write, wait until a condition of the objects of one kind is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<ManifestWait>,
    /// The objects of the file, once it has been read.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    #[schemars(skip)]
    documents: Vec<Value>,
}

/// A condition to wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestWait {
    /// The kind of the objects, such as `Deployment`.
    pub kind: String,
    /// The type of the condition in their status, such as `Available`.
    pub condition: String,
    /// The longest time to wait, in seconds.
    #[serde(default = "a_minute")]
    pub seconds: u64,
}

const fn a_minute() -> u64 {
    60
}

/// The outputs that other steps may refer to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ManifestOutputs {
    /// The name of the set.
    pub name: String,
}

impl ManifestSpec {
    /// The objects, with the namespace and the annotations that they get.
    pub fn objects(&self) -> Vec<Value> {
        let mut all = self.plain();
        for object in &mut all {
            if let Some(agent) = self.agents.get(&shown(object)) {
                agent.annotate(object);
            }
        }
        all
    }

    fn plain(&self) -> Vec<Value> {
        let inline = self.objects.iter().cloned().map(Value::Object);
        let all = self.documents.iter().cloned().chain(inline).flat_map(document::expanded);
        all.map(|object| document::in_namespace(object, self.namespace.as_deref())).collect()
    }

    /// Mistakes of `agents`, once the objects are known.
    fn agent_mistakes(&self) -> Vec<FieldError> {
        let all = self.plain();
        self.agents.iter().flat_map(|(name, agent)| agent.check(name, &all)).collect()
    }

    fn read(&self, loader: &Loader) -> Result<Option<(String, String)>, LoadError> {
        if let Some(path) = &self.template {
            let text = loader.render_file(path, &self.with, None)?;
            return Ok(Some((path.display().to_string(), text)));
        }
        let Some(path) = &self.file else { return Ok(None) };
        let bytes = loader.read_file(path)?;
        let text = bytes
            .expose_str()
            .ok_or_else(|| LoadError::Template(format!("{} is not text", path.display())))?;
        Ok(Some((path.display().to_string(), text.to_owned())))
    }
}

/// The server's answer to a dry run of one object.
async fn rehearsed(
    client: &KubernetesClient,
    body: &Value,
    force: bool,
    known: Option<&Live>,
) -> Result<Option<(Value, Live)>> {
    let Some(address) = document::address(client, body).await? else { return Ok(None) };
    let live = live::rehearse(client, &address, body.clone(), force, known).await?;
    Ok(live.map(|live| (body.clone(), live)))
}

impl Resource for Manifest {
    const KIND: &'static str = "kubernetes.manifest";
    const ABOUT: &'static str =
        "Objects of any kind, from a YAML file, a template or the plan; one that leaves it is deleted.";
    const EXAMPLE: &'static str = "\
quota:
  kind: kubernetes.manifest
  name: quota
  namespace: payments
  objects:
    - apiVersion: v1
      kind: ResourceQuota
      metadata: { name: pods }
      spec: { hard: { pods: \"20\" } }
";
    const REMOVAL: Option<&'static str> = Some("with every object of the set");
    const GRANTS: Granting =
        Granting::Never("roles and bindings in it are Kubernetes' own; `kubectl auth can-i` answers");
    const RISKS: Risks = &[&[
        identity("name"),
        safe("namespace file template with objects agents", "each change of an object is shown"),
        turned_on("force").low(ProtectionOff, "takes over fields that other managers have"),
        safe("wait", "it says only how long an apply takes"),
    ]];
    const PROOF: Proof = Proof::InSync("the API server stores the objects as declared");
    const REHEARSED: bool = true;
    const FILES_FIRST: bool = true;

    type Client = KubernetesClient;
    type Id = String;
    type Desired = ManifestSpec;
    type Observed = Members;
    type Outputs = ManifestOutputs;

    fn id(desired: &ManifestSpec) -> String {
        desired.name.clone()
    }

    fn check(desired: &ManifestSpec) -> Vec<FieldError> {
        let mut found = Vec::new();
        if let Some(mistake) = name_mistake(&desired.name).filter(|_| !is_unknown(&desired.name)) {
            found.push(FieldError::new("name", mistake));
        }
        let given = [desired.file.is_some(), desired.template.is_some(), !desired.objects.is_empty()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            found.push(FieldError::new("objects", "declare exactly one of `file`, `template` and `objects`"));
        }
        for (index, object) in desired.objects.iter().enumerate() {
            let object = Value::Object(object.clone());
            found.extend(
                document::mistake(&object)
                    .map(|mistake| FieldError::new(format!("objects[{index}]"), mistake)),
            );
        }
        if !desired.objects.is_empty() {
            found.extend(desired.agent_mistakes());
        }
        found
    }

    fn requires(desired: &ManifestSpec) -> Vec<Requirement> {
        let inline = desired.objects();
        let named = inline.iter().filter_map(|object| object["metadata"]["namespace"].as_str());
        let mut names: Vec<&str> = named.chain(desired.namespace.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| object::namespace(Some(name))).collect()
    }

    fn load(desired: &mut ManifestSpec, loader: &Loader) -> Result<(), LoadError> {
        let Some((name, text)) = desired.read(loader)? else { return Ok(()) };
        desired.documents =
            document::parse(&text).map_err(|error| LoadError::Template(format!("{name}: {error}")))?;
        match desired.agent_mistakes().first() {
            Some(mistake) => {
                Err(LoadError::Template(format!("{name}: `{}` {}", mistake.path, mistake.message)))
            }
            None => Ok(()),
        }
    }

    async fn observe(
        client: &KubernetesClient,
        id: &String,
        look: Look<'_, Self>,
    ) -> Result<Option<Members>> {
        let declared = look.declared.map(ManifestSpec::objects).unwrap_or_default();
        let found = members::observe(client, id, &declared).await?;
        Ok((!found.is_nothing()).then_some(found))
    }

    /// Each object that differs, or is missing, is tried by itself.
    async fn rehearse(
        client: &KubernetesClient,
        desired: &ManifestSpec,
        observed: Option<&Members>,
    ) -> Result<Option<Members>> {
        let mut members = match observed {
            Some(members) => members.clone(),
            None => Members::none(client, &desired.name),
        };
        let bodies = members.bodies(&desired.objects());
        let differing: Vec<&Value> = bodies.iter().filter(|body| members.differs(body)).collect();
        let asked =
            differing.into_iter().map(|body| rehearsed(client, body, desired.force, members.live(body)));
        let answers = members::at_once(asked.collect()).await?;
        let answers: Vec<(Value, Live)> = answers.into_iter().flatten().collect();
        if observed.is_none() && !answers.iter().any(|(_, live)| live.is_refused()) {
            return Ok(None);
        }
        for (body, live) in answers {
            members.put(&body, live);
        }
        Ok(Some(members))
    }

    fn diff(desired: &ManifestSpec, observed: &Members) -> Diff {
        let mut diff = observed.diff(&desired.objects());
        if let Some(wait) = &desired.wait {
            observed.awaited(&mut diff, wait);
        }
        diff
    }

    async fn create(w: &Writer<'_, KubernetesClient>, desired: &ManifestSpec) -> Result<()> {
        write::bring_about(w, desired, &Members::none(w, &desired.name)).await
    }

    async fn update(
        w: &Writer<'_, KubernetesClient>,
        desired: &ManifestSpec,
        observed: &Members,
    ) -> Result<()> {
        if let Some(blocked) = Self::diff(desired, observed).blocked.iter().find(|blocked| !blocked.waits) {
            let message = format!("{}: {}", blocked.path, blocked.why);
            return Err(Error::new(ErrorKind::Rejected, format!("apply the set {}", desired.name), message));
        }
        write::bring_about(w, desired, observed).await
    }

    async fn delete(w: &Writer<'_, KubernetesClient>, id: &String) -> Result<()> {
        write::remove(w, id).await
    }

    /// Nothing of it exists, and the server refuses one of its objects.
    fn obstructs(observed: &Members) -> bool {
        observed.is_nothing()
    }

    fn outputs(observed: &Members) -> ManifestOutputs {
        ManifestOutputs { name: observed.set.clone() }
    }

    fn predicted_outputs(desired: &ManifestSpec, _: &Realm) -> Partial {
        Partial::default().with("name", &desired.name)
    }

    fn tags(observed: &Members) -> Option<&Tags> {
        Some(&observed.tags)
    }
}
