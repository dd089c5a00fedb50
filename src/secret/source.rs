//! Where the value of a secret field comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value, json};

use super::{Generate, Secret};
use crate::resolve::template;

/// The declared origin of a secret field, and its value once the engine has loaded it.
///
/// In a plan it is either a plain string, for the fields of a secret that are not secret, or a
/// map with one key: `generate`, `env`, `file`, `template` or `json`.
/// It serialises to a description for people, never to the value.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretSource {
    input: Input,
    value: Option<Secret>,
    vars: Value,
}

/// The declared origin.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Not secret: the value stands in the plan.
    Literal(String),
    /// Made once and kept ever after.
    Generate(Generate),
    /// The environment variable of this name.
    Env(String),
    /// The bytes of this file, relative to the plan, unchanged.
    File(PathBuf),
    /// A template over the other fields, as `{{ data.NAME }}`, and the plan's variables.
    Template(String),
    /// A JSON document whose string leaves are origins themselves; one level of fields.
    Json(BTreeMap<String, SecretSource>),
}

/// What a source needs from its surroundings to be loaded.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    /// The plan's folder; files outside of it are refused.
    pub folder: PathBuf,
    /// The plan's variables, for templates.
    pub vars: Value,
    /// Where the templates that are read are noted.
    pub templates: template::Templates,
}

/// Why a source could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The variable is not set.
    #[error("environment variable {0} is not set")]
    MissingEnv(String),
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The path as declared.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The path leads out of the plan's folder.
    #[error("{} lies outside the plan's folder", .0.display())]
    Outside(PathBuf),
    /// The template is wrong or refers to a field that does not exist.
    #[error("template: {0}")]
    Template(String),
}

impl Loader {
    /// Renders a template file over `with` and the plan's variables; the former win.
    ///
    /// # Errors
    /// When there is no such template, it cannot be read, or it is wrong.
    pub fn render_file(&self, name: &Path, with: &Map<String, Value>) -> Result<String, LoadError> {
        let missing = || LoadError::Template(format!("there is no template `{}`", name.display()));
        let file = template::find(&self.folder, name).ok_or_else(missing)?;
        let text = std::fs::read_to_string(&file)
            .map_err(|source| LoadError::File { path: name.to_owned(), source })?;
        self.templates.note(name, &text);
        let mut values = self.vars.as_object().cloned().unwrap_or_default();
        values.extend(with.clone());
        template::render(&text, &json!(values))
            .map_err(|error| LoadError::Template(format!("{}: {error}", name.display())))
    }
}

impl SecretSource {
    /// A source with this origin, not loaded yet.
    pub fn new(input: Input) -> Self {
        Self { input, value: None, vars: Value::Null }
    }

    /// The declared origin.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// The value, once loaded. Generated values and templates have none: only the live system
    /// and the sibling fields tell what they are; see [`super::render`].
    pub fn value(&self) -> Option<&Secret> {
        self.value.as_ref()
    }

    /// The plan's variables, once loaded, for templates.
    pub(super) fn vars(&self) -> &Value {
        &self.vars
    }

    /// Whether a live value is kept as it is, because it was made once.
    pub fn is_generated(&self) -> bool {
        matches!(self.input, Input::Generate(_))
    }

    /// The origin in words: `generated, 32 characters`, `env DB_URL`.
    pub fn describe(&self) -> String {
        match &self.input {
            Input::Literal(_) => "declared in the plan".to_owned(),
            Input::Generate(generate) => format!("generated, {}", generate.describe()),
            Input::Env(name) => format!("env {name}"),
            Input::File(path) => format!("file {}", path.display()),
            Input::Template(_) => "template".to_owned(),
            Input::Json(fields) => {
                format!("json of {}", fields.keys().cloned().collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Reads the value from where it comes from.
    ///
    /// # Errors
    /// When the variable is unset, the file unreadable or outside the plan's folder.
    pub fn load(&mut self, loader: &Loader) -> Result<(), LoadError> {
        self.value = match &mut self.input {
            Input::Literal(text) => Some(Secret::from(text.clone())),
            Input::Env(name) => Some(read_env(name)?),
            Input::File(path) => Some(read_file(&loader.folder, path)?),
            Input::Json(fields) => {
                for field in fields.values_mut() {
                    field.load(loader)?;
                }
                None
            }
            Input::Template(_) => {
                self.vars.clone_from(&loader.vars);
                None
            }
            Input::Generate(_) => None,
        };
        Ok(())
    }
}

fn read_env(name: &str) -> Result<Secret, LoadError> {
    std::env::var(name).map(Secret::from).map_err(|_| LoadError::MissingEnv(name.to_owned()))
}

/// Reads a file below `folder`. Symbolic links are resolved first, so that a link cannot lead out.
fn read_file(folder: &Path, path: &Path) -> Result<Secret, LoadError> {
    let unreadable = |source| LoadError::File { path: path.to_owned(), source };
    let folder = folder.canonicalize().map_err(unreadable)?;
    let target = folder.join(path).canonicalize().map_err(unreadable)?;
    if !target.starts_with(&folder) {
        return Err(LoadError::Outside(path.to_owned()));
    }
    std::fs::read(target).map(Secret::new).map_err(unreadable)
}

impl Serialize for SecretSource {
    /// A literal as itself, everything else as `{"$secret": "…description…"}`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.input {
            Input::Literal(text) => serializer.serialize_str(text),
            _ => json!({ SECRET_KEY: self.describe() }).serialize(serializer),
        }
    }
}

/// The key by which a serialised source is told from ordinary data.
pub const SECRET_KEY: &str = "$secret";

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse(Value::deserialize(deserializer)?).map(Self::new).map_err(D::Error::custom)
    }
}

const FORMS: &str = "a string, or a map with one of `generate`, `env`, `file`, `template`, `json`";

fn parse(value: Value) -> Result<Input, String> {
    let fields = match value {
        Value::String(text) => return Ok(Input::Literal(text)),
        Value::Number(number) => return Ok(Input::Literal(number.to_string())),
        Value::Bool(flag) => return Ok(Input::Literal(flag.to_string())),
        Value::Object(fields) if fields.len() == 1 => fields,
        other => return Err(format!("expected {FORMS}, found {}", kind_of(&other))),
    };
    let Some((form, value)) = fields.into_iter().next() else { return Err(format!("expected {FORMS}")) };
    let text = |value: Value| match value {
        Value::String(text) => Ok(text),
        other => Err(format!("`{form}` takes a string, found {}", kind_of(&other))),
    };
    match form.as_str() {
        "generate" => {
            serde_json::from_value(value).map(Input::Generate).map_err(|error| format!("`generate`: {error}"))
        }
        "env" => text(value).map(Input::Env),
        "file" => text(value).map(|path| Input::File(path.into())),
        "template" => text(value).map(Input::Template),
        "json" => serde_json::from_value(value).map(Input::Json).map_err(|error| format!("`json`: {error}")),
        other => Err(format!("unknown secret source `{other}`, expected {FORMS}")),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map with other keys",
    }
}

impl JsonSchema for SecretSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretSource".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let generate = generator.subschema_for::<Generate>();
        let nested = generator.subschema_for::<BTreeMap<String, SecretSource>>();
        let form = |name: &str, schema: Value, about: &str| {
            json!({
                "type": "object", "required": [name], "additionalProperties": false,
                "properties": { name: schema }, "description": about,
            })
        };
        json_schema!({
            "description": "where a secret field's value comes from",
            "anyOf": [
                { "type": ["string", "number", "boolean"], "description": "not secret: the value itself" },
                form("generate", json!(generate), "made once and kept ever after"),
                form("env", json!({ "type": "string" }), "an environment variable"),
                form("file", json!({ "type": "string" }), "a file's bytes, relative to the plan"),
                form("template", json!({ "type": "string" }), "a template over the other fields, as {{ data.NAME }}"),
                form("json", json!(nested), "a JSON document of further sources"),
            ],
        })
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}
