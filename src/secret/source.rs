//! Where the value of a secret field comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value, json};

use super::template::{self as secret_template, Piece};
use super::tracked::{self, Provenance};
use super::{Fields, Generate, Secret};
use crate::confined_path;
use crate::secret::SecretChange;
use crate::template;
use crate::template::{Context, Placeholders, placeholder_roots, shield};
use crate::trust::{Grant, Standing, Subject, Trust, is_variable, standing};
use crate::workspace::Tracked;

/// The declared origin of a secret field, and its value once the engine has loaded it.
///
/// In a plan it is either a plain string, for the fields of a secret that are not secret, or a
/// map with one key: `generate`, `env`, `file`, `secret`, `template` or `json`.
/// It serialises to a description for people, never to the value.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretSource {
    input: Input,
    value: Option<Secret>,
    /// Those of a template, once loaded.
    pieces: Option<Vec<Piece>>,
    /// Who put a file there, once loaded.
    provenance: Option<Provenance>,
    /// The secrets of other steps that a template inserts, as far as they are known.
    others: Fields,
    /// The change to show without comparing with the live value; `None` when comparing is allowed.
    unseen: Option<SecretChange>,
    /// Whether a value that was made once is made again.
    renewed: bool,
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
    /// A secret of another step of the plan, `STEP.PATH`.
    Step(String),
    /// A template over the other fields, as `{{ data.NAME }}`, and the plan's variables.
    Template(String),
    /// A JSON document whose string leaves are origins themselves; one level of fields.
    Json(BTreeMap<String, SecretSource>),
}

/// The surroundings that a source is loaded from.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    /// The plan's folder; files outside of it are refused.
    pub folder: PathBuf,
    /// The plan's variables, for templates.
    pub vars: Context,
    /// Where the templates that are read are noted.
    pub templates: template::Templates,
    /// The caller's permissions, above all those for environment variables.
    pub trust: Trust,
    /// The secrets of other steps that are known, by the references of this step.
    pub secrets: Fields,
    /// How many bytes were taken from files and templates.
    pub counter: Arc<AtomicUsize>,
    /// The files that the repository around the folder tracks, once a file was read.
    pub(crate) tracked: Arc<OnceLock<Tracked>>,
}

/// Why a source could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No variable has such a name.
    #[error("`{0}` is not the name of an environment variable")]
    WrongEnv(String),
    /// The variable is a credential of the caller's tools, which no plan is given.
    #[error(
        "environment variable {0} is for the tools of AWS, Vault or the pipeline, and no plan can read it"
    )]
    ReservedEnv(String),
    /// The caller has not allowed the variable. Whether it is set is not looked at.
    #[error("environment variable {0} is not allowed")]
    ForeignEnv(String),
    /// The variable is not set.
    #[error("environment variable {0} is not set")]
    MissingEnv(String),
    /// The variable is set to nothing.
    #[error("environment variable {0} is empty")]
    EmptyEnv(String),
    /// There is nothing in the file.
    #[error("{} is empty", .0.display())]
    EmptyFile(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The path as declared.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The template is wrong or refers to a field that does not exist.
    #[error("template: {0}")]
    Template(String),
}

impl Loader {
    /// Renders a template file over `with` and the plan's variables; the former win. Placeholders of the
    /// server stay as they are.
    ///
    /// # Errors
    /// When there is no such template, it cannot be read, or it is wrong.
    pub fn render_file(
        &self,
        name: &Path,
        with: &Map<String, Value>,
        placeholders: Option<Placeholders>,
    ) -> Result<String, LoadError> {
        let missing = || {
            let places = "in `templates/` beside the plan or one level above, nor beside the plan itself";
            LoadError::Template(format!("there is no template `{}` {places}", name.display()))
        };
        let found = template::read(&self.folder, name);
        let found = found.map_err(|source| LoadError::File { path: name.to_owned(), source })?;
        let (_, text) = found.ok_or_else(missing)?;
        self.templates.note(name, &text);
        let values = self.vars.with(with);
        let wrong = |message: String| LoadError::Template(format!("{}: {message}", name.display()));
        if let Some(root) = placeholder_roots(&text, placeholders).iter().find(|root| values.has(root)) {
            return Err(wrong(format!(
                "`{root}` is a placeholder of the server and a name in the plan; rename that"
            )));
        }
        let rendered = template::render(&shield(&text, placeholders), &values).map_err(wrong)?;
        self.counter.fetch_add(rendered.len(), Ordering::Relaxed);
        Ok(rendered)
    }
}

impl Loader {
    /// The same for a step whose templates see these names, and which takes these secrets of other steps.
    #[must_use]
    pub fn seeing(&self, vars: Context, secrets: Fields) -> Self {
        Self { vars, secrets, ..self.clone() }
    }

    /// How many bytes of files and rendered templates this loader has given out.
    pub fn taken(&self) -> usize {
        self.counter.load(Ordering::Relaxed)
    }

    /// The bytes of a file in the plan's folder.
    ///
    /// # Errors
    /// When it cannot be read, or is not the plan's to read.
    pub fn read_file(&self, path: &Path) -> Result<Secret, LoadError> {
        let read = confined_path::read_existing(&self.folder, path, confined_path::FILE);
        let bytes = read.map_err(|source| LoadError::File { path: path.to_owned(), source })?;
        self.counter.fetch_add(bytes.len(), Ordering::Relaxed);
        Ok(Secret::new(bytes))
    }
}

impl Loader {
    fn tracked(&self) -> &Tracked {
        self.tracked.get_or_init(|| Tracked::around(&self.folder))
    }

    /// A template of secrets with its expressions evaluated; of its fields nothing is known here.
    fn pieces(&self, text: &str) -> Result<Vec<Piece>, LoadError> {
        let parts = secret_template::parse(text).map_err(|mistake| mistake.message);
        parts.and_then(|parts| secret_template::evaluated(parts, &self.vars)).map_err(LoadError::Template)
    }
}

impl SecretSource {
    /// A source with this origin, not loaded yet.
    pub fn new(input: Input) -> Self {
        let others = Fields::new();
        Self { input, value: None, pieces: None, provenance: None, others, unseen: None, renewed: false }
    }

    /// The declared origin.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// The value, once loaded. Generated values and templates have none: they come from the live system
    /// and the sibling fields; see [`super::render`].
    pub fn value(&self) -> Option<&Secret> {
        self.value.as_ref()
    }

    /// A template taken apart, once loaded.
    pub(super) fn pieces(&self) -> Option<&[Piece]> {
        self.pieces.as_deref()
    }

    /// A secret of another step that a template inserts, once it is known.
    pub(super) fn other(&self, written: &str) -> Option<&Secret> {
        self.others.get(written)
    }

    /// The secrets of other steps that it takes, as they are written.
    pub fn step_secrets(&self) -> Vec<String> {
        match &self.input {
            Input::Step(written) => vec![written.clone()],
            Input::Template(text) => secret_template::step_secrets(text),
            Input::Json(fields) => fields.values().flat_map(Self::step_secrets).collect(),
            Input::Literal(_) | Input::Generate(_) | Input::Env(_) | Input::File(_) => Vec::new(),
        }
    }

    /// Who put a file where it is, once loaded.
    pub(super) fn provenance(&self) -> Option<Provenance> {
        self.provenance
    }

    /// Sets the change to show, so that the value is not compared with the live one.
    pub fn hide(&mut self, change: SecretChange) {
        self.unseen = Some(change);
    }

    /// The change to show instead of comparing the value.
    pub fn unseen(&self) -> Option<SecretChange> {
        self.unseen
    }

    /// Whether a live value is kept as it is, because it was made once.
    pub fn is_generated(&self) -> bool {
        matches!(self.input, Input::Generate(_))
    }

    /// Asks for another value in place of one that was made once. Returns whether there is such a value.
    pub fn renew(&mut self) -> bool {
        match &mut self.input {
            Input::Generate(_) => {
                self.renewed = true;
                true
            }
            // All of them, not only the first.
            Input::Json(fields) => {
                fields.values_mut().filter_map(|one| one.renew().then_some(())).count() > 0
            }
            _ => false,
        }
    }

    /// Asks for it to be sent again although the live value cannot be compared. Returns whether it comes from
    /// another step.
    pub fn resend(&mut self) -> bool {
        let taken = !self.step_secrets().is_empty();
        self.renewed |= taken;
        taken
    }

    /// Whether another value is made in place of the live one.
    pub fn is_renewed(&self) -> bool {
        self.renewed
    }

    /// The environment variables that it comes from.
    pub fn env_names(&self) -> Vec<String> {
        match &self.input {
            Input::Env(name) => vec![name.clone()],
            Input::Json(fields) => fields.values().flat_map(Self::env_names).collect(),
            _ => Vec::new(),
        }
    }

    /// The origin in words: `generated, 32 characters`, `env DB_URL`.
    pub fn describe(&self) -> String {
        match &self.input {
            Input::Literal(_) => "declared in the plan".to_owned(),
            Input::Generate(generate) => format!("generated, {}", generate.describe()),
            Input::Env(name) => format!("env {name}"),
            Input::File(path) => format!("file {}", path.display()),
            Input::Step(written) => format!("from {written}"),
            Input::Template(text) => match secret_template::step_secrets(text) {
                others if others.is_empty() => "template".to_owned(),
                others => format!("template with {}", others.join(", ")),
            },
            Input::Json(fields) => {
                format!("json of {}", fields.keys().cloned().collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Reads the value from where it comes from.
    ///
    /// # Errors
    /// When the variable is unset or empty, the file empty, unreadable or outside the plan's folder.
    pub fn load(&mut self, loader: &Loader) -> Result<(), LoadError> {
        self.value = match &mut self.input {
            Input::Literal(text) => Some(Secret::from(text.clone())),
            Input::Env(name) => Some(read_env(name, &loader.trust)?),
            Input::File(path) => match loader.read_file(path)? {
                empty if empty.expose_bytes().is_empty() => return Err(LoadError::EmptyFile(path.clone())),
                value => {
                    self.provenance = Some(tracked::provenance(loader.tracked(), path));
                    Some(value)
                }
            },
            Input::Json(fields) => {
                for field in fields.values_mut() {
                    field.load(loader)?;
                }
                None
            }
            Input::Step(written) => loader.secrets.get(written).cloned(),
            Input::Template(text) => {
                let others = secret_template::step_secrets(text).into_iter();
                self.others =
                    others.filter_map(|one| Some((one.clone(), loader.secrets.get(&one)?.clone()))).collect();
                self.pieces = Some(loader.pieces(text)?);
                None
            }
            Input::Generate(_) => None,
        };
        Ok(())
    }

    /// A warning about a value that is probably not meant. It reveals something about the value, so it is
    /// shown only after the plan is approved.
    pub fn remark(&self) -> Option<String> {
        match &self.input {
            Input::Env(_) | Input::File(_) if self.value.as_ref().is_some_and(is_broken_line) => {
                Some(format!("{} ends with a line break, which becomes part of the value", self.describe()))
            }
            Input::Json(fields) => fields.values().find_map(Self::remark),
            _ => None,
        }
    }
}

/// Whether it is a single line with its line break. A text of several lines, such as a key in PEM, has
/// its line breaks for a reason.
fn is_broken_line(value: &Secret) -> bool {
    let Some((b'\n', line)) = value.expose_bytes().split_last() else { return false };
    !line.contains(&b'\n')
}

/// Until the caller allows the variable, the error is the same whether it is set or not. Any bytes are
/// a value: `plan` does not reveal whether they are text.
fn read_env(name: &str, trust: &Trust) -> Result<Secret, LoadError> {
    if !is_variable(name) {
        return Err(LoadError::WrongEnv(name.to_owned()));
    }
    if standing(name) == Standing::Credential {
        return Err(LoadError::ReservedEnv(name.to_owned()));
    }
    if !trust.allows(&Grant::new(Subject::Env, name)) {
        return Err(LoadError::ForeignEnv(name.to_owned()));
    }
    match trust.environment().value(name) {
        Some(value) if value.is_empty() => Err(LoadError::EmptyEnv(name.to_owned())),
        Some(value) => Ok(Secret::new(value.as_encoded_bytes().to_vec())),
        None => Err(LoadError::MissingEnv(name.to_owned())),
    }
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

/// The key that distinguishes a serialised source from ordinary data.
pub const SECRET_KEY: &str = "$secret";

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse(Value::deserialize(deserializer)?).map(Self::new).map_err(D::Error::custom)
    }
}

const FORMS: &str = "a string, or a map with one of `generate`, `env`, `file`, `secret`, `template`, `json`";

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
        "secret" => text(value).map(Input::Step),
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
                form("secret", json!({ "type": "string" }), "a secret of another step, as STEP.PATH: database.data.password"),
                form("template", json!({ "type": "string" }), "text with other fields inserted, as {{ data.NAME }} or {{ data.NAME | urlencode }}, or secrets of other steps, as {{ secrets.STEP.PATH }}"),
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
