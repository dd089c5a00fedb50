//! Files with YAML documents that a declaration renders, compared by their meaning: another order, notation or
//! comment is not a change.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Files, yaml};
use crate::access::Granting;
use crate::confined_path;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::plan_shape::is_plan;
use crate::proof::Proof;
use crate::providers::leaves::{self, below};
use crate::resource::risk::Risks;
use crate::resource::{Diff, Look, Partial, Resource, Writer};
use crate::secret::{LoadError, Loader};

/// A declaration that becomes documents. It cannot hold a secret.
pub trait Documents:
    Serialize + DeserializeOwned + JsonSchema + Clone + fmt::Debug + Send + Sync + 'static
{
    /// As [`Resource::KIND`].
    const KIND: &'static str;
    /// As [`Resource::ABOUT`].
    const ABOUT: &'static str;
    /// As [`Resource::EXAMPLE`].
    const EXAMPLE: &'static str;
    /// As [`Resource::RISKS`].
    const RISKS: Risks;

    /// The file's path, relative to the plan's folder and inside it.
    fn path(&self) -> &str;

    /// Mistakes beyond those of the path.
    fn check(&self) -> Vec<FieldError>;

    /// As [`Resource::load`].
    ///
    /// # Errors
    /// When a file or a template cannot be read.
    fn load(&mut self, _: &Loader) -> Result<(), LoadError> {
        Ok(())
    }

    /// The documents, in the order of the file.
    fn documents(&self) -> Vec<Value>;

    /// The name of a document in a plan's differences; empty where a file has only one.
    fn name(document: &Value) -> String;
}

/// The kind of a file with such documents.
pub struct YamlFile<D>(PhantomData<fn() -> D>);

/// The live file.
#[derive(Clone, Debug)]
pub struct Observed {
    path: String,
    /// `None` when it is not YAML.
    documents: Option<Vec<Value>>,
    mode: u32,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "YamlFileOutputs")]
pub struct Outputs {
    /// The path, relative to the plan's folder.
    pub path: String,
}

const MODE: u32 = 0o644;

fn named<D: Documents>(documents: Vec<Value>) -> BTreeMap<String, Value> {
    documents.into_iter().map(|document| (D::name(&document), document)).collect()
}

/// Records what differs between two forms of one document. One that comes or goes is one difference.
fn compare(diff: &mut Diff, name: &str, before: &Value, after: &Value) {
    if !name.is_empty() && (before.is_null() || after.is_null()) {
        diff.content(name, before, after);
        return;
    }
    for one in leaves::between(before, after) {
        diff.content(&below(name, &one.path), &one.before, &one.after);
    }
}

fn write<D: Documents>(w: &Writer<'_, Files>, desired: &D) -> Result<()> {
    let text = yaml::to_text(&desired.documents());
    confined_path::replace(&w.folder, desired.path(), text.as_bytes(), MODE)
        .map_err(|error| Error::new(ErrorKind::Local, format!("write {}", desired.path()), error.to_string()))
}

impl<D: Documents> Resource for YamlFile<D> {
    const KIND: &'static str = D::KIND;
    const GRANTS: Granting = Granting::Never("a file is on this machine");
    const ABOUT: &'static str = D::ABOUT;
    const EXAMPLE: &'static str = D::EXAMPLE;
    const RISKS: Risks = D::RISKS;
    const PROOF: Proof = Proof::InSync("the file has these documents; who reads it is not tried");
    const HOLDS_VALUES: bool = true;
    const ON_THIS_MACHINE: bool = true;

    type Client = Files;
    type Id = String;
    type Desired = D;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &D) -> String {
        desired.path().to_owned()
    }

    fn check(desired: &D) -> Vec<FieldError> {
        let why = confined_path::mistake_in_writing(desired.path());
        let path = why.map(|why| FieldError::new("path", "a plan cannot write this file").help(why));
        path.into_iter().chain(desired.check()).collect()
    }

    fn load(desired: &mut D, loader: &Loader) -> Result<(), LoadError> {
        desired.load(loader)?;
        if is_plan(yaml::to_text(&desired.documents()).as_bytes()) {
            return Err(LoadError::Template("a plan does not write plans".to_owned()));
        }
        Ok(())
    }

    async fn observe(client: &Files, path: &String, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let live = confined_path::read_output(&client.folder, path)
            .map_err(|error| Error::new(ErrorKind::Local, format!("read {path}"), error.to_string()))?;
        Ok(live.map(|(bytes, mode)| Observed {
            path: path.clone(),
            documents: serde_saphyr::from_multiple(&String::from_utf8_lossy(&bytes)).ok(),
            mode,
        }))
    }

    fn diff(desired: &D, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        let live = named::<D>(observed.documents.clone().unwrap_or_default());
        let declared = named::<D>(desired.documents());
        for (name, after) in &declared {
            compare(&mut diff, name, live.get(name).unwrap_or(&Value::Null), after);
        }
        for (name, before) in live.iter().filter(|(name, _)| !declared.contains_key(*name)) {
            compare(&mut diff, name, before, &Value::Null);
        }
        let mode = |mode: u32| json!(format!("{mode:04o}"));
        diff.field("mode", &mode(observed.mode), &mode(MODE));
        diff
    }

    async fn create(w: &Writer<'_, Files>, desired: &D) -> Result<()> {
        w.refuse_existing(desired.path())?;
        write(w, desired)
    }

    async fn update(w: &Writer<'_, Files>, desired: &D, _: &Observed) -> Result<()> {
        write(w, desired)
    }

    async fn delete(w: &Writer<'_, Files>, path: &String) -> Result<()> {
        w.remove(w.permit(), path)
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { path: observed.path.clone() }
    }

    fn predicted_outputs(desired: &D, _: &Realm) -> Partial {
        Partial::default().with("path", desired.path())
    }
}
