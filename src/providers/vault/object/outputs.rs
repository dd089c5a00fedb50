//! The outputs of plain objects for other steps.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::super::fields;
use super::PlainObject;
use crate::resource::Partial;

/// The name, the mount if it has one, and the outputs in [`PlainObject::OUTPUTS`].
#[derive(Debug)]
pub struct ObjectOutputs<S>(Map<String, Value>, PhantomData<fn() -> S>);

impl<S: PlainObject> ObjectOutputs<S> {
    /// The outputs of an object with the fields `spec`, from the server's response.
    pub(super) fn told(spec: &S, told: &Value) -> Self {
        let mut all = own(spec);
        for (name, _) in S::OUTPUTS {
            all.insert((*name).to_owned(), told.get(*name).cloned().unwrap_or_default());
        }
        Self(all, PhantomData)
    }
}

/// The outputs that are part of the identity.
fn own<S: PlainObject>(spec: &S) -> Map<String, Value> {
    let mut own = fields::fields(spec);
    own.retain(|name, _| name == "mount" && S::IDENTITY.contains(&name.as_str()));
    own.insert("name".to_owned(), json!(spec.name()));
    own
}

/// The outputs that follow from the declaration.
pub(super) fn predicted<S: PlainObject>(desired: &S) -> Partial {
    let declared = fields::fields(desired);
    let told = S::OUTPUTS.iter().filter_map(|(name, _)| Some((*name, declared.get(*name)?)));
    let known = told.fold(Partial::default(), |known, (name, value)| known.with(name, value));
    own(desired).into_iter().fold(known, |known, (name, value)| known.with(&name, value))
}

impl<S> Serialize for ObjectOutputs<S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        self.0.serialize(serializer)
    }
}

impl<S: PlainObject> JsonSchema for ObjectOutputs<S> {
    fn schema_name() -> Cow<'static, str> {
        format!("Outputs of {}", S::KIND).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mount =
            S::IDENTITY.contains(&"mount").then_some(("mount", "The path of its engine or auth method."));
        let all = std::iter::once(("name", "Its name.")).chain(mount).chain(S::OUTPUTS.iter().copied());
        let property = |(name, about): (&str, &str)| (name.to_owned(), json!({ "description": about }));
        let properties: Map<String, Value> = all.map(property).collect();
        json_schema!({ "type": "object", "properties": properties })
    }
}
