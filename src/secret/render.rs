//! The values of a secret's fields, given the live values.
//!
//! A literal, a variable and a file are what they are. A generated value is the live one, if there
//! is one. A template is evaluated over the other fields' values; a JSON document is written with
//! its keys in order, unless the live document says the same in other words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use zeroize::Zeroizing;

use super::template::{self, Filter, Insert, Part, Piece};
use super::{Input, Secret, SecretSource};
use crate::template::unknown::is_unknown;

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
    /// Bytes that are not text where only text is possible.
    #[error("`{0}` is not UTF-8 text")]
    NotText(String),
    /// A value that should have been loaded.
    #[error("the value of `{0}` is not there")]
    NotLoaded(String),
    /// A value that no service would take.
    #[error("`{0}` comes to more than 1 MiB")]
    TooLarge(String),
}

/// The largest value that a template or document may come to, in bytes; no service takes more.
const LARGEST: usize = 1024 * 1024;
/// The same for all of a secret's values: templates that use each other twice double each time.
const ALL: usize = 16 * LARGEST;
/// How deep templates may use each other.
const DEEPEST: usize = 32;

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
    let mut work = Work { sources, live, make, done: Rendered::new(), open: Vec::new(), size: 0 };
    for name in sources.keys() {
        work.field(name)?;
    }
    Ok(work.done)
}

/// The mistakes in templates that can be seen before any value is there, by field.
pub fn check_templates(sources: &Sources) -> Vec<(String, RenderError)> {
    let mut found = Vec::new();
    let mut uses: Uses<'_> = BTreeMap::new();
    for (name, source) in sources {
        let named = references(name, source).and_then(|named| existing(name, named, sources));
        let named = named.map_err(|error| found.push((name.clone(), error))).unwrap_or_default();
        uses.insert(name, named);
    }
    let depths = depths(&uses);
    for name in uses.keys() {
        match depths.get(name) {
            Some(depth) if *depth > DEEPEST => found.push(((*name).to_owned(), too_deep(name))),
            None if reaches_itself(name, &uses) => {
                found.push(((*name).to_owned(), RenderError::Cycle((*name).to_owned())));
            }
            // A field that only rests on a circle is fine itself; the mistake is reported at the circle.
            _ => {}
        }
    }
    found
}

/// Which fields each field uses.
type Uses<'a> = BTreeMap<&'a str, BTreeSet<String>>;

fn existing(name: &str, named: Vec<Insert>, sources: &Sources) -> Result<BTreeSet<String>, RenderError> {
    match named.iter().find(|insert| !sources.contains_key(&insert.field)) {
        Some(insert) => Err(wrong(name, insert.line, format!("there is no field `data.{}`", insert.field))),
        None => Ok(named.into_iter().map(|insert| insert.field).collect()),
    }
}

fn too_deep(name: &str) -> RenderError {
    let why = format!("templates use each other more than {DEEPEST} deep; insert the first ones directly");
    wrong(name, 1, why)
}

/// How many templates deep each field goes; those of a circle, and what rests on one, have no depth.
fn depths<'a>(uses: &Uses<'a>) -> BTreeMap<&'a str, usize> {
    let mut users: BTreeMap<&str, Vec<&'a str>> = BTreeMap::new();
    let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, used) in uses {
        missing.insert(name, used.len());
        for field in used {
            users.entry(field).or_default().push(name);
        }
    }
    let free = uses.iter().filter(|(_, used)| used.is_empty());
    let mut depths: BTreeMap<&str, usize> = free.map(|(name, _)| (*name, 0)).collect();
    let mut open: Vec<&str> = depths.keys().copied().collect();
    while let Some(name) = open.pop() {
        for user in users.get(name).into_iter().flatten() {
            let rest = missing.entry(user).or_default();
            *rest -= 1;
            if *rest == 0 {
                let below = uses[user].iter().filter_map(|field| depths.get(field.as_str())).max();
                depths.insert(user, below.map_or(0, |below| below + 1));
                open.push(user);
            }
        }
    }
    depths
}

fn reaches_itself(name: &str, uses: &Uses<'_>) -> bool {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = vec![name];
    while let Some(next) = open.pop() {
        for field in uses.get(next).into_iter().flatten() {
            if field == name {
                return true;
            }
            if seen.insert(field) {
                open.push(field);
            }
        }
    }
    false
}

/// The fields that a source inserts.
fn references(name: &str, source: &SecretSource) -> Result<Vec<Insert>, RenderError> {
    match source.input() {
        Input::Template(text) => {
            let parts =
                template::parse(text).map_err(|mistake| wrong(name, mistake.line, mistake.message))?;
            let insert = |part| match part {
                Part::Field(insert) => Some(insert),
                Part::Text(_) | Part::Expression(_) | Part::Step(_) => None,
            };
            Ok(parts.into_iter().filter_map(insert).collect())
        }
        Input::Json(fields) => {
            let named: Result<Vec<_>, _> = fields.values().map(|field| references(name, field)).collect();
            Ok(named?.into_iter().flatten().collect())
        }
        _ => Ok(Vec::new()),
    }
}

fn wrong(field: &str, line: usize, message: impl Into<String>) -> RenderError {
    RenderError::Template { field: field.to_owned(), line, message: message.into() }
}

/// The fields on their way to their values.
struct Work<'a> {
    sources: &'a Sources,
    live: &'a BTreeMap<String, Secret>,
    make: bool,
    done: Rendered,
    /// Those that are being rendered, each for the one before.
    open: Vec<String>,
    /// How much was written by now.
    size: usize,
}

impl<'a> Work<'a> {
    /// The value of a field; `None` when it is not made yet.
    fn field(&mut self, name: &str) -> Result<Option<Secret>, RenderError> {
        if let Some(done) = self.done.get(name) {
            return Ok(done.clone());
        }
        let Some(source) = self.sources.get(name) else {
            return Err(wrong(
                self.open.last().map_or(name, String::as_str),
                1,
                format!("there is no field `data.{name}`"),
            ));
        };
        if self.open.len() > DEEPEST || self.open.iter().any(|open| open == name) {
            return Err(RenderError::Cycle(name.to_owned()));
        }
        self.open.push(name.to_owned());
        let value = self.value(name, source, self.live.get(name));
        self.open.pop();
        let value = value?;
        self.done.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn value(
        &mut self,
        name: &str,
        source: &'a SecretSource,
        live: Option<&Secret>,
    ) -> Result<Option<Secret>, RenderError> {
        match source.input() {
            Input::Literal(text) => Ok((!is_unknown(text)).then(|| Secret::from(text.clone()))),
            // An empty value is not one that was made.
            Input::Generate(generate) => {
                let made = live.filter(|live| !source.is_renewed() && !live.expose_bytes().is_empty());
                Ok(made.cloned().or_else(|| self.make.then(|| generate.make())))
            }
            Input::Template(text) if is_unknown(text) => Ok(None),
            Input::Step(_) => match source.value() {
                None if self.make => Err(RenderError::NotLoaded(name.to_owned())),
                value => Ok(value.cloned()),
            },
            Input::Template(_) => match source.pieces() {
                Some(pieces) => self.template(name, source, pieces),
                None => Err(RenderError::NotLoaded(name.to_owned())),
            },
            Input::Json(fields) => self.document(name, fields, live),
            Input::Env(_) | Input::File(_) => match source.value() {
                Some(value) => Ok(Some(value.clone())),
                None => Err(RenderError::NotLoaded(name.to_owned())),
            },
        }
    }

    /// The only place where a template of secrets becomes a text.
    fn template(
        &mut self,
        name: &str,
        source: &SecretSource,
        pieces: &[Piece],
    ) -> Result<Option<Secret>, RenderError> {
        let mut texts = Vec::with_capacity(pieces.len());
        let (mut known, mut length) = (true, 0);
        for piece in pieces {
            let text = match piece {
                Piece::Text(text) | Piece::Value(text) => Some(Zeroizing::new(text.clone())),
                Piece::Field(insert) => match self.field(&insert.field)? {
                    Some(value) => Some(inserted(insert, &value)?),
                    None => None,
                },
                Piece::Step(insert) => match source.other(&insert.field) {
                    Some(value) => Some(inserted(insert, value)?),
                    None if self.make => return Err(RenderError::NotLoaded(insert.field.clone())),
                    None => None,
                },
            };
            known &= text.is_some() && !piece.is_unknown();
            let text = text.unwrap_or_default();
            length += text.len();
            self.bounded(name, length)?;
            texts.push((text, !matches!(piece, Piece::Text(_))));
        }
        if !known {
            return Ok(None);
        }
        self.size += length;
        let broken = |line| RenderError::LineBreak { field: name.to_owned(), line };
        let mut text = template::joined(&texts).map_err(broken)?;
        Ok(Some(Secret::from(std::mem::take(&mut *text))))
    }

    fn bounded(&self, name: &str, length: usize) -> Result<(), RenderError> {
        match length > LARGEST || self.size + length > ALL {
            true => Err(RenderError::TooLarge(name.to_owned())),
            false => Ok(()),
        }
    }

    fn document(
        &mut self,
        name: &str,
        fields: &'a Sources,
        live: Option<&Secret>,
    ) -> Result<Option<Secret>, RenderError> {
        let told: Value =
            live.and_then(|live| serde_json::from_slice(live.expose_bytes()).ok()).unwrap_or_default();
        let mut document = serde_json::Map::new();
        let mut length = 0;
        for (key, source) in fields {
            let live = told.get(key).and_then(Value::as_str).map(|text| Secret::from(text.to_owned()));
            let path = format!("{name}.{key}");
            let Some(value) = self.value(&path, source, live.as_ref())? else { return Ok(None) };
            length += value.len();
            self.bounded(name, length)?;
            let text = value.expose_str().ok_or(RenderError::NotText(path))?;
            document.insert(key.clone(), Value::from(text));
        }
        self.size += length;
        let document = Value::Object(document);
        let kept = live.filter(|_| told == document).cloned();
        Ok(Some(kept.unwrap_or_else(|| Secret::from(document.to_string()))))
    }
}

/// A field's value as it is inserted.
fn inserted(insert: &Insert, value: &Secret) -> Result<Zeroizing<String>, RenderError> {
    let not_text = || RenderError::NotText(insert.field.clone());
    let (mut text, filters) = match insert.filters.split_first() {
        // Any bytes have a notation in base64.
        Some((Filter::Base64, rest)) => (template::base64(value.expose_bytes()), rest),
        _ => (value.expose_str().ok_or_else(not_text)?.to_owned(), insert.filters.as_slice()),
    };
    for filter in filters {
        text = filter.apply(&Zeroizing::new(text));
    }
    Ok(Zeroizing::new(text))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::secret::Loader;

    fn sources(declared: Value) -> Sources {
        let mut sources: Sources = serde_json::from_value(declared).expect("valid");
        let loader = Loader {
            folder: PathBuf::from("."),
            vars: crate::template::Context::from(json!({ "region": "eu-1" })),
            ..Loader::default()
        };
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
    fn templates_read_live_values_variables_and_other_fields() {
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
    fn document_keeps_generated_values_and_its_notation() {
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
            json!({ "a": { "template": "{{ data.b }}@host" }, "b": "hunter2\n" }),
        ];
        for row in rows {
            let error = render(&sources(row.clone()), &BTreeMap::new(), true).expect_err("is wrong");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn template_mistakes_are_found_before_rendering() {
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
    fn line_break_within_a_line_is_refused() {
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
    fn bytes_are_kept_and_require_base64_in_templates() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("key"), [0xff, b'\n']).expect("written");
        let mut sources = BTreeMap::new();
        let mut file: SecretSource = serde_json::from_value(json!({ "file": "key" })).expect("valid");
        file.load(&Loader { folder: folder.path().to_owned(), ..Loader::default() }).expect("loads");
        sources.insert("key".to_owned(), file);
        let rendered = render(&sources, &BTreeMap::new(), false).expect("renders");
        assert_eq!(rendered["key"].as_ref().expect("there").expose_bytes(), [0xff, b'\n']);
        for (text, result) in [("{{ data.key | base64 }}", Some("/wo=")), ("{{ data.key | trim }}", None)] {
            let mut template: SecretSource =
                serde_json::from_value(json!({ "template": text })).expect("valid");
            template.load(&Loader::default()).expect("loads");
            sources.insert("t".to_owned(), template);
            let rendered = render(&sources, &BTreeMap::new(), false);
            match result {
                Some(encoded) => assert_eq!(self::text(&rendered.expect("renders"), "t"), encoded),
                None => assert_eq!(rendered, Err(RenderError::NotText("key".to_owned()))),
            }
        }
    }

    #[test]
    fn templates_that_double_each_other_are_bounded() {
        let mut declared = json!({ "f00": "x".repeat(1000) });
        for n in 1..30 {
            let before = format!("{{{{ data.f{:02} }}}}", n - 1);
            declared[format!("f{n:02}")] = json!({ "template": before.repeat(2) });
        }
        let sources = sources(declared);
        assert_eq!(check_templates(&sources), []);
        assert!(matches!(render(&sources, &BTreeMap::new(), true), Err(RenderError::TooLarge(_))));
    }

    #[test]
    fn many_insertions_of_a_large_value_are_bounded() {
        let sources =
            sources(json!({ "a": "x".repeat(100_000), "b": { "template": "{{ data.a }}".repeat(9000) } }));
        let refused = render(&sources, &BTreeMap::new(), true);
        assert_eq!(refused, Err(RenderError::TooLarge("b".to_owned())));
    }

    #[test]
    fn chains_of_templates_are_bounded() {
        let mut declared = json!({ "f0000": "x" });
        for n in 1..3000 {
            declared[format!("f{n:04}")] = json!({ "template": format!("{{{{ data.f{:04} }}}}", n - 1) });
        }
        let mistakes = check_templates(&sources(declared));
        assert_eq!((mistakes.len(), mistakes[0].0.as_str()), (3000 - 33, "f0033"));
        assert!(mistakes[0].1.to_string().contains("more than 32 deep"), "{:?}", mistakes[0]);
    }
}
