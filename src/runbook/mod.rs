//! The procedures of one environment for its bad days. They are made of the plan and the public keys beside it; no
//! system is asked.

mod facts;
mod notation;

pub use facts::{Facts, Made};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

/// The text of all procedures.
const TEMPLATE: &str = include_str!("../../templates/runbook.md.j2");
/// The name that its mistakes give it.
const NAME: &str = "runbook.md.j2";

/// The page, in Markdown.
///
/// # Errors
/// A mistake in the template, which a test of every plan would find.
pub fn markdown(facts: &Facts) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_filter("shell", notation::shell as fn(&str) -> String);
    environment.add_filter("code", notation::code as fn(&str) -> String);
    environment.add_filter("text", notation::text as fn(&str) -> String);
    let page = environment.render_named_str(NAME, TEMPLATE, Serde(facts))?;
    Ok(notation::tidy(&page))
}
