//! What the fields of a secret come to, given what is live.
//!
//! A literal, a variable and a file are what they are. A generated value is the live one, if there
//! is one. A template is evaluated over the other fields' values; a JSON document is written with
//! its keys in order, unless the live document says the same in other words.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, Serde};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value as JinjaValue, context};
use serde_json::Value;

use super::{Input, Secret, SecretSource};
use crate::resolve::unknown::is_unknown;
use crate::resolve::{deep, guard};

/// Declared secret values by name.
pub type Sources = BTreeMap<String, SecretSource>;

/// Values by field; `None` for one that is not made yet, or rests on one that is not.
pub type Rendered = BTreeMap<String, Option<Secret>>;

/// Why a field has no value. Never quotes a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Templates that need each other.
    #[error("`{0}` needs its own value")]
    Cycle(String),
    /// A template that is wrong, or names something that does not exist.
    #[error("the template of `{field}` is wrong in line {line}: {message}")]
    Template {
        /// The field.
        field: String,
        /// The line in the template, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A value with a line break where it ends a line that goes on, such as that of an address.
    #[error("the template of `{field}` gets a line break within line {line}; write `{{{{ … | trim }}}}`")]
    LineBreak {
        /// The field.
        field: String,
        /// The line in the result, from 1.
        line: usize,
    },
    /// Bytes that are no text where only text can stand.
    #[error("`{0}` is not UTF-8 text")]
    NotText(String),
    /// A value that should have been loaded.
    #[error("the value of `{0}` is not there")]
    NotLoaded(String),
}

/// How much work a template may do; far more than any sensible one needs.
const FUEL: u64 = 100_000;

/// The values of `sources`, with `live` for what is kept. With `make`, generated values that are not
/// live yet are made; without, they stay `None`. Pure, but for the making.
///
/// # Errors
/// When a template is wrong or needs itself, or a value is not text.
pub fn render(
    sources: &Sources,
    live: &BTreeMap<String, Secret>,
    make: bool,
) -> Result<Rendered, RenderError> {
    let fields = Fields(Arc::new(Work {
        sources: sources.clone(),
        live: live.clone(),
        make,
        state: Mutex::default(),
    }));
    sources.keys().map(|name| Ok((name.clone(), fields.field(name)?))).collect()
}

/// The mistakes in templates that can be seen before any value is there, by field.
pub fn check_templates(sources: &Sources) -> Vec<(String, RenderError)> {
    sources.iter().filter_map(|(name, source)| check(name, source, sources)).collect()
}

fn check(name: &str, source: &SecretSource, sources: &Sources) -> Option<(String, RenderError)> {
    let error = match references(name, source) {
        Err(error) => error,
        Ok(named) => match named.iter().find(|field| !sources.contains_key(*field)) {
            Some(missing) => wrong(name, 1, format!("there is no field `data.{missing}`")),
            None if reaches(name, name, sources, &mut BTreeSet::new()) => RenderError::Cycle(name.to_owned()),
            None => return None,
        },
    };
    Some((name.to_owned(), error))
}

/// Whether following the references from `from` leads to `target`.
fn reaches(from: &str, target: &str, sources: &Sources, seen: &mut BTreeSet<String>) -> bool {
    let named = sources.get(from).and_then(|source| references(from, source).ok()).unwrap_or_default();
    named
        .iter()
        .any(|field| field == target || seen.insert(field.clone()) && reaches(field, target, sources, seen))
}

/// The fields that a source names as `data.NAME`.
fn references(name: &str, source: &SecretSource) -> Result<BTreeSet<String>, RenderError> {
    match source.input() {
        Input::Template(text) => {
            let fields = deep(text.len(), || {
                let environment = environment();
                let template =
                    environment.template_from_str(text).map_err(|error| template_error(name, &error))?;
                Ok(data_fields(&template.undeclared_variables(true)))
            });
            fields.unwrap_or_else(|why| Err(wrong(name, 1, why)))
        }
        Input::Json(fields) => {
            let named: Result<Vec<_>, _> = fields.values().map(|field| references(name, field)).collect();
            Ok(named?.into_iter().flatten().collect())
        }
        _ => Ok(BTreeSet::new()),
    }
}

fn data_fields(variables: &HashSet<String>) -> BTreeSet<String> {
    let names = variables.iter().filter_map(|variable| variable.strip_prefix("data."));
    names.filter_map(|name| name.split('.').next()).map(str::to_owned).collect()
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_syntax(syntax());
    environment.set_fuel(Some(FUEL));
    guard::install_for_lines(&mut environment);
    environment.remove_global("namespace");
    environment
}

/// The usual delimiters; a newline at the end is kept, since a secret is kept byte by byte.
fn syntax() -> SyntaxConfig {
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    syntax.unwrap_or_default()
}

fn wrong(field: &str, line: usize, message: impl Into<String>) -> RenderError {
    RenderError::Template { field: field.to_owned(), line, message: message.into() }
}

/// The engine's detail may quote a value, so that only the kind of error is told.
fn template_error(field: &str, error: &minijinja::Error) -> RenderError {
    wrong(field, error.line().unwrap_or(1), error.kind().to_string())
}

/// The fields as a template sees them: each is evaluated when it is first asked for.
#[derive(Clone)]
struct Fields(Arc<Work>);

struct Work {
    sources: Sources,
    live: BTreeMap<String, Secret>,
    make: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    done: Rendered,
    open: Vec<String>,
    /// Set while a template is evaluated that asked for a value that is not made yet.
    missed: bool,
    error: Option<RenderError>,
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fields(…)")
    }
}

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &JinjaValue) -> Option<JinjaValue> {
        let name = key.as_str()?;
        match self.field(name) {
            Ok(Some(value)) => self.text(name, &value),
            Ok(None) if self.0.sources.contains_key(name) => {
                self.state(|state| state.missed = true);
                Some(JinjaValue::from(""))
            }
            Ok(None) => None,
            Err(error) => {
                self.state(|state| state.error.get_or_insert(error).clone());
                None
            }
        }
    }
}

impl Fields {
    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn text(&self, name: &str, value: &Secret) -> Option<JinjaValue> {
        let text = value.expose_str();
        if text.is_none() {
            self.state(|state| state.error = Some(RenderError::NotText(name.to_owned())));
        }
        text.map(JinjaValue::from)
    }

    /// The value of a field; `None` when it is not made yet or does not exist.
    fn field(&self, name: &str) -> Result<Option<Secret>, RenderError> {
        let Some(source) = self.0.sources.get(name) else { return Ok(None) };
        if let Some(done) = self.state(|state| state.done.get(name).cloned()) {
            return Ok(done);
        }
        if self.state(|state| state.open.iter().any(|open| open == name)) {
            return Err(RenderError::Cycle(name.to_owned()));
        }
        self.state(|state| state.open.push(name.to_owned()));
        let value = self.value(name, source, self.0.live.get(name));
        self.state(|state| state.open.pop());
        let value = value?;
        self.state(|state| state.done.insert(name.to_owned(), value.clone()));
        Ok(value)
    }

    fn value(
        &self,
        name: &str,
        source: &SecretSource,
        live: Option<&Secret>,
    ) -> Result<Option<Secret>, RenderError> {
        match source.input() {
            Input::Literal(text) => Ok((!is_unknown(text)).then(|| Secret::from(text.clone()))),
            // An empty value is not one that was made.
            Input::Generate(generate) => {
                let made = live.filter(|live| !live.expose_bytes().is_empty());
                Ok(made.cloned().or_else(|| self.0.make.then(|| generate.make())))
            }
            Input::Template(text) if is_unknown(text) => Ok(None),
            Input::Template(text) => self.template(name, text, source.vars()),
            Input::Json(fields) => self.document(name, fields, live),
            Input::Env(_) | Input::File(_) => match source.value() {
                Some(value) => Ok(Some(value.clone())),
                None => Err(RenderError::NotLoaded(name.to_owned())),
            },
        }
    }

    fn template(&self, name: &str, text: &str, vars: &Value) -> Result<Option<Secret>, RenderError> {
        let outer = self.state(|state| std::mem::take(&mut state.missed));
        let data = context! { data => JinjaValue::from_object(self.clone()) };
        let scope = context! { ..data, ..JinjaValue::from(Serde(vars)) };
        let written = environment().template_from_str(text).and_then(|template| template.render(scope));
        let (missed, error) =
            self.state(|state| (std::mem::replace(&mut state.missed, outer), state.error.take()));
        match (error, written) {
            (Some(error), _) => Err(error),
            (None, Ok(written)) => match guard::release_lines(&written) {
                Ok(written) => Ok((!missed).then(|| Secret::from(written))),
                Err(line) => Err(RenderError::LineBreak { field: name.to_owned(), line }),
            },
            // With an empty stand-in for a value that is not made yet, anything can fail.
            (None, Err(_)) if missed => Ok(None),
            (None, Err(error)) => Err(template_error(name, &error)),
        }
    }

    fn document(
        &self,
        name: &str,
        fields: &Sources,
        live: Option<&Secret>,
    ) -> Result<Option<Secret>, RenderError> {
        let told: Value =
            live.and_then(|live| serde_json::from_slice(live.expose_bytes()).ok()).unwrap_or_default();
        let mut document = serde_json::Map::new();
        for (key, source) in fields {
            let live = told.get(key).and_then(Value::as_str).map(|text| Secret::from(text.to_owned()));
            let path = format!("{name}.{key}");
            let Some(value) = self.value(&path, source, live.as_ref())? else { return Ok(None) };
            let text = value.expose_str().ok_or(RenderError::NotText(path))?;
            document.insert(key.clone(), Value::from(text));
        }
        let document = Value::Object(document);
        let kept = live.filter(|_| told == document).cloned();
        Ok(Some(kept.unwrap_or_else(|| Secret::from(document.to_string()))))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::secret::Loader;

    fn sources(declared: Value) -> Sources {
        let mut sources: Sources = serde_json::from_value(declared).expect("valid");
        let loader =
            Loader { folder: PathBuf::from("."), vars: json!({ "region": "eu-1" }), ..Loader::default() };
        for source in sources.values_mut() {
            source.load(&loader).expect("loads");
        }
        sources
    }

    fn live(values: Value) -> BTreeMap<String, Secret> {
        let values: BTreeMap<String, String> = serde_json::from_value(values).expect("texts");
        values.into_iter().map(|(name, value)| (name, Secret::from(value))).collect()
    }

    fn text(rendered: &Rendered, name: &str) -> String {
        rendered[name].as_ref().and_then(Secret::expose_str).unwrap_or("(not made)").to_owned()
    }

    #[test]
    fn templates_see_live_values_variables_and_each_other() {
        let sources = sources(json!({
            "a": { "template": "<{{ data.b }}>\n" },
            "b": { "template": "{{ data['pass-word'] }}@{{ region }}" },
            "pass-word": { "generate": {} },
        }));
        let kept = render(&sources, &live(json!({ "pass-word": "p&<\"" })), false).expect("renders");
        assert_eq!(text(&kept, "a"), "<p&<\"@eu-1>\n");
        let planned = render(&sources, &BTreeMap::new(), false).expect("renders");
        assert!(planned.values().all(Option::is_none));
        let made = render(&sources, &BTreeMap::new(), true).expect("renders");
        assert_eq!(text(&made, "b"), format!("{}@eu-1", text(&made, "pass-word")));
    }

    #[test]
    fn a_document_keeps_what_was_generated_and_how_it_was_written() {
        let sources = sources(json!({
            "doc": { "json": { "user": "app", "password": { "generate": {} }, "url": { "template": "//{{ data.host }}" } } },
            "host": "db",
        }));
        let written = "{ \"url\": \"//db\", \"user\": \"app\", \"password\": \"old\" }";
        let same = render(&sources, &live(json!({ "doc": written })), true).expect("renders");
        assert_eq!(text(&same, "doc"), written);
        let other = written.replace("\"app\"", "\"other\"");
        let changed = render(&sources, &live(json!({ "doc": other })), true).expect("renders");
        assert_eq!(text(&changed, "doc"), r#"{"password":"old","url":"//db","user":"app"}"#);
    }

    #[test]
    fn mistakes_never_quote_a_value() {
        let rows = [
            json!({ "a": { "template": "{{ data.b }}" }, "b": { "template": "{{ data.a }}" } }),
            json!({ "a": { "template": "{{ data.nothing }}" } }),
            json!({ "a": { "template": "{{ data.b | int }}" }, "b": "hunter2" }),
            json!({ "a": { "template": "{{ data.b" }, "b": "hunter2" }),
        ];
        for row in rows {
            let error = render(&sources(row.clone()), &BTreeMap::new(), true).expect_err("is wrong");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn mistakes_are_found_beforehand() {
        let found = |declared: Value| {
            check_templates(&sources(declared)).into_iter().map(|(_, e)| e).collect::<Vec<_>>()
        };
        assert_eq!(
            found(json!({ "a": { "template": "{{ data.a }}" } })),
            [RenderError::Cycle("a".to_owned())]
        );
        assert!(found(json!({ "a": { "template": "{{ data.x }}" } }))[0].to_string().contains("data.x"));
        assert_eq!(found(json!({ "a": { "template": "{{ data.b }}{{ region }}" }, "b": "1" })), []);
    }

    #[test]
    fn line_breaks_stay_out_of_lines_that_go_on() {
        let url = |template: &str, password: &str| {
            let sources = sources(json!({ "url": { "template": template }, "p": password }));
            render(&sources, &BTreeMap::new(), false).map(|rendered| text(&rendered, "url"))
        };
        let broken = |line| Err(RenderError::LineBreak { field: "url".to_owned(), line });
        assert_eq!(url("db://u:{{ data.p }}@host", "hunter2\n"), broken(1));
        assert_eq!(url("a=1\n{{ data.p }}@host", "hunter2\r\n"), broken(2));
        assert_eq!(url("https://{{ data.p }}", "host\n"), broken(1));
        assert_eq!(url("db://u:{{ data.p | trim }}@host", "hunter2\n").as_deref(), Ok("db://u:hunter2@host"));
        assert_eq!(url("{{ data.p }}", "hunter2\n").as_deref(), Ok("hunter2\n"));
        let key = "-----BEGIN KEY-----\nAA==\n-----END KEY-----\n";
        let bundle = url("# key\n{{ data.p }}# end\n", key);
        assert_eq!(bundle, Ok(format!("# key\n{key}# end\n")));
    }

    #[test]
    fn bytes_are_kept_but_cannot_stand_in_a_template() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("key"), [0xff, b'\n']).expect("written");
        let mut sources = BTreeMap::new();
        let mut file: SecretSource = serde_json::from_value(json!({ "file": "key" })).expect("valid");
        file.load(&Loader { folder: folder.path().to_owned(), ..Loader::default() }).expect("loads");
        sources.insert("key".to_owned(), file);
        let rendered = render(&sources, &BTreeMap::new(), false).expect("renders");
        assert_eq!(rendered["key"].as_ref().expect("there").expose_bytes(), [0xff, b'\n']);
        let template = serde_json::from_value(json!({ "template": "{{ data.key }}" })).expect("valid");
        sources.insert("t".to_owned(), template);
        assert_eq!(render(&sources, &BTreeMap::new(), false), Err(RenderError::NotText("key".to_owned())));
    }
}
