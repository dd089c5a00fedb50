//! Erases the types of the kinds, in this one place, so that the engine can hold all kinds in one
//! list. A step's declared and observed state stay together behind it, typed, and never need a
//! downcast.

mod instance;
mod proven;

use std::marker::PhantomData;

use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

pub use instance::{Instance, View};

use super::placed::with_namespace;
use super::recorded::{Known, Recorded};
use super::risk::{Deletion, Risks};
use super::{Replacement, Resource, Rotation};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use instance::Typed;

/// A kind, without its types.
pub trait Kind: Send + Sync {
    /// The name, `provider.noun`.
    fn name(&self) -> &'static str;
    /// The purpose of the kind, in one sentence.
    fn about(&self) -> &'static str;
    /// An example, as YAML entries under `steps:`.
    fn example(&self) -> &'static str;
    /// Whether the engine merges tags into the field `tags`.
    fn tagged(&self) -> bool;
    /// Whether its steps are protected by default.
    fn protected(&self) -> bool;
    /// Whether creation involves a once-only response.
    fn once_only(&self) -> bool;
    /// Whether it starts a server.
    fn bootstraps(&self) -> bool;
    /// Whether it holds values, or content in which others may keep some.
    fn holds_values(&self) -> bool;
    /// Whether its things are on the machine that runs.
    fn on_this_machine(&self) -> bool;
    /// The parts of the realm in which the names of its things are unique.
    fn realm(&self) -> &'static [&'static str];
    /// The consequences of a removal, for its reviewer.
    fn removal(&self) -> Option<&'static str>;
    /// How it comes back when it was lost and is made again, where that is less than it was before.
    fn rebuilt(&self) -> Option<&'static str>;
    /// What its removal means for the review's risks.
    fn deletion(&self) -> Deletion;
    /// How a thing of the kind is replaced.
    fn replacement(&self) -> Replacement;
    /// How a thing of the kind is rotated.
    fn rotation(&self) -> Rotation;
    /// Whether its things have to do with access.
    fn granting(&self) -> Granting;
    /// For each declared field which change is dangerous, or why none is.
    fn risks(&self) -> Risks;
    /// Whether the system can say what a write would do.
    fn rehearsed(&self) -> bool;
    /// Whether its files are loaded before its live thing is read.
    fn files_first(&self) -> bool;
    /// How its things are proven to work.
    fn proof(&self) -> Proof;
    /// The thing at an address that an instance of this kind has returned; `None` when it is not an
    /// address of this kind.
    fn recall(&self, address: &Value) -> Option<Box<dyn Recorded>>;
    /// The JSON Schema of the declared fields.
    fn fields_schema(&self, generator: &mut SchemaGenerator) -> Schema;
    /// The JSON Schema of the outputs.
    fn outputs_schema(&self) -> Schema;
    /// Parses the declared fields.
    ///
    /// # Errors
    /// Every mistake in them.
    fn declare(&self, fields: Value) -> Result<Box<dyn Instance>, Vec<FieldError>>;

    /// The provider, the part of the name before the dot.
    fn provider(&self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }

    /// The names of the outputs.
    fn output_names(&self) -> Vec<String> {
        let schema = self.outputs_schema();
        schema
            .get("properties")
            .and_then(Value::as_object)
            .map(|map| map.keys().cloned().collect())
            .unwrap_or_default()
    }
}

/// The erased form of `R`.
pub const fn kind<R: Resource>() -> Erased<R> {
    Erased(PhantomData)
}

/// A kind with its types behind the seam; created by [`kind`].
pub struct Erased<R>(PhantomData<fn() -> R>);

impl<R: Resource> Kind for Erased<R> {
    fn name(&self) -> &'static str {
        R::KIND
    }

    fn about(&self) -> &'static str {
        R::ABOUT
    }

    fn example(&self) -> &'static str {
        R::EXAMPLE
    }

    fn tagged(&self) -> bool {
        R::TAGGED
    }

    fn protected(&self) -> bool {
        R::PROTECTED
    }

    fn once_only(&self) -> bool {
        R::ONCE_ONLY
    }

    fn bootstraps(&self) -> bool {
        R::BOOTSTRAPS
    }

    fn holds_values(&self) -> bool {
        R::HOLDS_VALUES
    }

    fn on_this_machine(&self) -> bool {
        R::ON_THIS_MACHINE
    }

    fn realm(&self) -> &'static [&'static str] {
        R::REALM
    }

    fn removal(&self) -> Option<&'static str> {
        R::REMOVAL
    }

    fn rebuilt(&self) -> Option<&'static str> {
        R::REBUILT
    }

    fn deletion(&self) -> Deletion {
        R::DELETION
    }

    fn replacement(&self) -> Replacement {
        R::REPLACEMENT
    }

    fn rotation(&self) -> Rotation {
        R::ROTATION
    }

    fn granting(&self) -> Granting {
        R::GRANTS
    }

    fn risks(&self) -> Risks {
        R::RISKS
    }

    fn rehearsed(&self) -> bool {
        R::REHEARSED
    }

    fn files_first(&self) -> bool {
        R::FILES_FIRST
    }

    fn proof(&self) -> Proof {
        R::PROOF
    }

    fn recall(&self, address: &Value) -> Option<Box<dyn Recorded>> {
        Known::<R>::at(address).map(|known| Box::new(known) as Box<dyn Recorded>)
    }

    fn fields_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        if !R::NAMESPACED {
            return generator.subschema_for::<R::Desired>();
        }
        let mut schema = <R::Desired as schemars::JsonSchema>::json_schema(generator);
        with_namespace(&mut schema);
        schema
    }

    fn outputs_schema(&self) -> Schema {
        schemars::schema_for!(R::Outputs)
    }

    fn declare(&self, fields: Value) -> Result<Box<dyn Instance>, Vec<FieldError>> {
        Typed::<R>::new(fields).map(|typed| Box::new(typed) as Box<dyn Instance>)
    }
}
