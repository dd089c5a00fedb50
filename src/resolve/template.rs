//! The template engine, configured once for expressions, files and secrets alike.

use std::path::{Path, PathBuf};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{bounds, guard};
use crate::beneath;

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
    // What lives longer than a loop's turn could double itself in each.
    environment.remove_global("namespace");
    environment.set_recursion_limit(RECURSION);
    environment
}

/// Whether the engine itself has something of this name, such as `range`.
pub fn is_global(name: &str) -> bool {
    environment().globals().any(|(known, _)| known == name)
}

/// Renders text with values.
///
/// # Errors
/// The engine's message, without any value; what takes too much, or would break out of its place.
pub fn render(text: &str, values: &Value) -> Result<String, String> {
    bounds::within(text, values, |text, values| {
        let mut environment = environment();
        guard::install(&mut environment);
        let rendered = environment.render_str(text, Serde(values)).map_err(|error| describe(&error))?;
        guard::release(&rendered)
    })
}

/// An error's message on one line, with the template's line where there is one.
pub fn describe(error: &minijinja::Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) if line > 1 => format!("{detail} (template line {line})"),
        _ => detail,
    }
}

/// Finds the template file `name`: in `templates/` beside the plan, or beside the plan's folder,
/// or relative to the plan itself. `None` when it is nowhere or would lie outside of those.
pub fn find(folder: &Path, name: &Path) -> Option<PathBuf> {
    if name.to_str().and_then(beneath::mistake).is_some() {
        return None;
    }
    [folder.join(TEMPLATES), folder.join("..").join(TEMPLATES), folder.to_owned()].into_iter().find_map(
        |root| {
            let root = root.canonicalize().ok()?;
            let file = root.join(name).canonicalize().ok()?;
            (file.starts_with(&root) && file.is_file()).then_some(file)
        },
    )
}
