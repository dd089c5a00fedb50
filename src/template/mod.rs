//! The template engine, configured once for expressions, files and secrets alike.

pub mod bounds;
pub mod budget;
mod context;
pub(crate) mod guard;
pub(crate) mod placeholder;
pub mod unknown;

use std::io::{Error, Result};
use std::path::{Path, PathBuf};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) use bounds::deep;
pub use context::Context;
pub use placeholder::Family as Placeholders;
pub(crate) use placeholder::{opening, roots as placeholder_roots, shield};

use crate::confined_path::{self, Folder, Keeping, Missing, TEMPLATE};

/// Instructions that one template may execute; the largest shipped one needs a few thousand.
const FUEL: u64 = 100_000;
/// Macros within macros, and loops within themselves.
const RECURSION: usize = 32;
/// The folder of template files, beside the plan or one level above it.
const TEMPLATES: &str = "templates";

/// The template files that a run has read, by name, with the SHA-256 of their text.
#[derive(Clone, Debug, Default)]
pub struct Templates(Arc<Mutex<BTreeMap<String, String>>>);

impl Templates {
    /// Notes that a template was read.
    pub fn note(&self, name: &Path, text: &str) {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(text)));
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert(name.display().to_string(), digest);
    }

    /// Names and digests, `sha256:…`.
    pub fn digests(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Strict: undefined names are errors, nothing is escaped, loops are bounded, no file is read.
pub fn environment<'source>() -> Environment<'source> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let syntax =
        SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build();
    // The default delimiters are always accepted.
    environment.set_syntax(syntax.unwrap_or_default());
    environment.set_fuel(Some(FUEL));
    // A namespace outlives the turn of a loop, so its content could double in each turn.
    environment.remove_global("namespace");
    environment.set_recursion_limit(RECURSION);
    environment
}

/// Whether the engine itself has something of this name, such as `range`.
pub fn is_global(name: &str) -> bool {
    environment().globals().any(|(known, _)| known == name)
}

/// Whether the engine has a filter of this name, such as `upper`.
pub fn is_filter(name: &str) -> bool {
    let environment = environment();
    let text = format!("{{{{ \"\" | {name} }}}}");
    environment.template_from_str(&text).is_ok_and(|template| {
        let rendered = template.render(());
        rendered.err().is_none_or(|error| error.kind() != minijinja::ErrorKind::UnknownFilter)
    })
}

/// Renders text with values.
///
/// # Errors
/// The engine's message, without any value; also when the text takes or yields too much, or a value
/// would break out of its place.
pub fn render(text: &str, values: &Context) -> std::result::Result<String, String> {
    if guard::has_mark(text) {
        return Err(guard::RESERVED.to_owned());
    }
    let rendered = bounds::within(text, bounds::is_small_template(text), values, |text, values| {
        let mut environment = environment();
        guard::install(&mut environment);
        let rendered = environment.render_str(text, values.value()).map_err(|error| describe(&error))?;
        guard::release(&rendered).map(Value::from).and_then(bounds::sized)
    })?;
    Ok(rendered.as_str().unwrap_or_default().to_owned())
}

/// An error's message on one line, with the template's line where there is one.
pub fn describe(error: &minijinja::Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) if line > 1 => format!("{detail} (template line {line})"),
        _ => detail,
    }
}

/// Reads the template file `name`: in `templates/` beside the plan, or beside the plan's folder, or
/// relative to the plan itself. Returns its path, for messages, and its text; `None` when it is missing.
///
/// # Errors
/// When it is not a file that a plan may read, or is not UTF-8.
pub fn read(folder: &Path, name: &Path) -> Result<Option<(PathBuf, String)>> {
    let text = name.to_str().unwrap_or("\\");
    if let Some(why) = confined_path::mistake(text) {
        return Err(Error::other(why));
    }
    let Some(here) = Folder::open(folder, "", Keeping::Open, Missing::Leave)? else { return Ok(None) };
    // A folder above that cannot be opened has no templates for this plan.
    let beside = here.above().map_or(Ok(None), |above| above.enter(TEMPLATES))?;
    let places = [
        (here.enter(TEMPLATES)?, folder.join(TEMPLATES)),
        (beside, folder.join("..").join(TEMPLATES)),
        (Some(here), folder.to_owned()),
    ];
    for (place, path) in places {
        let read = place.map_or(Ok(None), |place| place.read_below(text, TEMPLATE))?;
        if let Some(bytes) = read {
            let text = String::from_utf8(bytes).map_err(|_| Error::other("it is not UTF-8"))?;
            let path = path.canonicalize().unwrap_or(path).join(name);
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}
