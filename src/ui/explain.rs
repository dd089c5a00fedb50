//! Kinds, described from the same schema that editors use.

use std::fmt::Write;

use schemars::SchemaGenerator;
use serde_json::Value;

use super::style::{FAINT, STRONG, paint};
use crate::plan::schema::{resolve_reference, type_name};
use crate::resource::erased::Kind;
use crate::resource::registry;

/// All kinds, a line each.
pub fn list() -> String {
    let width = registry::names().map(str::len).max().unwrap_or_default();
    let lines: Vec<String> = registry::KINDS
        .iter()
        .map(|kind| format!("{}  {}", paint(STRONG, format_args!("{:width$}", kind.name())), kind.about()))
        .collect();
    lines.join("\n")
}

/// One kind: what it is, its fields, its outputs, an example.
pub fn kind(kind: &dyn Kind) -> String {
    let mut text = format!("{}: {}\n", paint(STRONG, kind.name()), kind.about());
    let mut generator = SchemaGenerator::default();
    let schema = kind.fields_schema(&mut generator);
    let definitions = Value::Object(generator.take_definitions(true));
    let schema = resolve_reference(schema.as_value(), &definitions);
    if kind.protected() {
        text.push_str("Protected: it is not deleted unless the step says `protect: false`.\n");
    }
    let _ = write!(text, "\n{}\n", paint(STRONG, "Fields"));
    text.push_str(&fields(&schema, &definitions, true));
    let _ = write!(text, "\n{}\n", paint(STRONG, "Outputs"));
    text.push_str(&fields(kind.outputs_schema().as_value(), &definitions, false));
    let _ = write!(text, "\n{}\nsteps:\n", paint(STRONG, "Example"));
    for line in kind.example().trim_matches('\n').lines() {
        let _ = writeln!(text, "  {line}");
    }
    text.trim_end().to_owned()
}

/// The properties of an object schema: name, type, whether needed, default, description.
fn fields(schema: &Value, definitions: &Value, inputs: bool) -> String {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return String::new() };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut text = String::new();
    for (name, property) in properties {
        let mut facts = vec![type_name(property, definitions)];
        if inputs && required.contains(&name.as_str()) {
            facts.push("required".to_owned());
        }
        if let Some(default) = property.get("default").filter(|value| !value.is_null()) {
            facts.push(format!("default {default}"));
        }
        let _ = writeln!(text, "  {}  {}", paint(STRONG, name), paint(FAINT, facts.join(", ")));
        let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
        for line in about.split('\n').filter(|line| !line.is_empty()) {
            let _ = writeln!(text, "      {line}");
        }
    }
    text
}
