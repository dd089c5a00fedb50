//! Declared secret values on their way to a service.

use crate::resource::{Error, ErrorKind, FieldError, Result};
use crate::secret::{Fields, RenderError, Secret, Sources, check_templates, render};

/// Mistakes that can be seen before any value is there; each name is a field below `path`.
pub fn check(path: &str, sources: &Sources) -> Vec<FieldError> {
    let wrong = check_templates(sources).into_iter();
    wrong.map(|(name, error)| FieldError::new(join(path, &name), error.to_string())).collect()
}

/// The final values, made where they are not live yet. `operation` is named in errors.
pub fn make(operation: &str, sources: &Sources, live: &Fields) -> Result<Fields> {
    let explain = |error: RenderError| {
        Error::new(ErrorKind::Local, operation, error.to_string()).advice(match error {
            RenderError::NotText(_) => "declare the file in base64 instead (`base64 FILE > FILE.b64`)",
            RenderError::Cycle(_) => "break the circle of templates",
            RenderError::Template { .. } => {
                "fields are named `{{ data.NAME }}`, variables of the plan `{{ NAME }}`"
            }
            RenderError::LineBreak { .. } => "or take the line break out of the value",
            RenderError::NotLoaded(_) => "this is a mistake in the program; report it",
        })
    };
    let rendered = render(sources, live, true).map_err(explain)?;
    let value = |(name, value): (String, Option<Secret>)| match value {
        Some(value) => Ok((name, value)),
        None => Err(explain(RenderError::NotLoaded(name))),
    };
    rendered.into_iter().map(value).collect()
}

/// A secret as text, which is what these services take. `operation` is named in errors.
pub fn text<'a>(operation: &str, value: &'a Secret) -> Result<&'a str> {
    value.expose_str().ok_or_else(|| {
        Error::new(ErrorKind::Local, operation, "the value is not UTF-8 text")
            .advice("declare the file in base64 instead (`base64 FILE > FILE.b64`)")
    })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
