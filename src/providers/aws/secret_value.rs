//! Declared secret values on their way to a service.

use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::secret::{Fields, RenderError, Secret, Sources, check_templates, render};

/// Finds mistakes before any value is available; each name is a field below `path`.
pub fn check(path: &str, sources: &Sources) -> Vec<FieldError> {
    let wrong = check_templates(sources).into_iter();
    wrong.map(|(name, error)| FieldError::new(join(path, &name), error.to_string())).collect()
}

/// The final values, generating those that are not live yet. Errors name `operation`.
pub fn make(operation: &str, sources: &Sources, live: &Fields) -> Result<Fields> {
    let explain = |error: RenderError| {
        Error::new(ErrorKind::Local, operation, error.to_string()).advice(match error {
            RenderError::NotText(_) => "declare the file in base64 instead (`base64 FILE > FILE.b64`)",
            RenderError::Cycle(_) => "remove the circular reference between the templates",
            RenderError::Template { .. } => {
                "write fields as `{{ data.NAME }}` and variables of the plan as `{{ NAME }}`"
            }
            RenderError::LineBreak { .. } => "or remove the line break from the value",
            RenderError::TooLarge(_) => "divide it into several secrets",
            RenderError::NotLoaded(_) => "this is a bug in Groundwork; report it",
        })
    };
    let rendered = render(sources, live, true).map_err(explain)?;
    let value = |(name, value): (String, Option<Secret>)| match value {
        Some(value) => Ok((name, value)),
        None => Err(explain(RenderError::NotLoaded(name))),
    };
    rendered.into_iter().map(value).collect()
}

/// A secret as text, which these services require. Errors name `operation`.
pub fn text<'a>(operation: &str, value: &'a Secret) -> Result<&'a str> {
    value.expose_str().ok_or_else(|| {
        Error::new(ErrorKind::Local, operation, "the value is not UTF-8 text")
            .advice("declare the file in base64 instead (`base64 FILE > FILE.b64`)")
    })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
