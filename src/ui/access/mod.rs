//! Who can reach what, in every format.

mod html;
mod human;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

pub use html::render as html;
pub use human::render as human;

use crate::access::{Access, NoSuch};
use crate::suggest::closest;
use crate::visible::sanitize;

/// An answer, and what it is about.
pub struct View<'a> {
    /// The plan's name.
    pub plan: &'a str,
    /// The answer.
    pub access: &'a Access,
    /// Whether the live systems were asked.
    pub is_live: bool,
    /// The principal or target that was asked for.
    pub about: Option<&'a str>,
}

/// The form that programs read.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Access")]
pub struct Json<'a> {
    /// The version of this form; another one is incompatible.
    #[schemars(extend("const" = "1"))]
    format_version: &'static str,
    /// The plan's name.
    plan: &'a str,
    /// `plan`, or `live` for what is there now.
    source: &'static str,
    #[serde(flatten)]
    access: &'a Access,
}

impl View<'_> {
    /// The form that programs read.
    pub fn json(&self) -> Json<'_> {
        let source = if self.is_live { "live" } else { "plan" };
        Json { format_version: "1", plan: self.plan, source, access: self.access }
    }

    /// The basis of the answer, as a sentence.
    fn basis(&self) -> &'static str {
        match self.is_live {
            true => "as the live systems are now",
            false => "as the plan declares it; nothing was asked",
        }
    }
}

/// The JSON Schema of [`Json`].
pub fn schema() -> Schema {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Json>();
    let about = "What `groundwork access --format json` prints. Later versions may add fields.";
    schema.insert("description".to_owned(), about.into());
    schema
}

/// The error for a name that is not in the answer.
pub fn unknown(unknown: &NoSuch) -> String {
    let help = match closest(&unknown.name, unknown.known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{}`?", sanitize(meant)),
        None => "give the id of a step, a name, a path of Vault or an ARN; without it everything is shown"
            .to_owned(),
    };
    format!("error: {}\n  help: {help}", sanitize(&unknown.to_string()))
}
