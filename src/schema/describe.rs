//! Kinds in words, from the same schema that editors use.

use schemars::SchemaGenerator;
use serde_json::{Map, Value};

use super::{resolve_reference, type_name};
use crate::resource::erased::Kind;

/// How deep fields within fields are listed: further than any kind goes that does not contain itself.
const DEEPEST: usize = 5;

/// A field of a kind, or one within such a field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Where it stands: `statements[].effect`, `data.NAME.env`.
    pub path: String,
    /// How many fields it stands within.
    pub depth: usize,
    /// Its type, in words.
    pub kind: String,
    /// Whether it must be there.
    pub required: bool,
    /// The value when it is not declared.
    pub default: Option<Value>,
    /// Its description.
    pub about: String,
}

/// The fields that a step of this kind declares, each followed by those within it.
pub fn fields(kind: &dyn Kind) -> Vec<Field> {
    let mut generator = SchemaGenerator::default();
    let schema = kind.fields_schema(&mut generator);
    let definitions = Value::Object(generator.take_definitions(true));
    list(schema.as_value(), &definitions)
}

/// The outputs that other steps may refer to.
pub fn outputs(kind: &dyn Kind) -> Vec<Field> {
    let schema = kind.outputs_schema();
    let definitions = schema.get("$defs").cloned().unwrap_or_default();
    let found = list(schema.as_value(), &definitions);
    found.into_iter().map(|field| Field { required: false, default: None, ..field }).collect()
}

/// The fields that a value of this schema can have, each followed by those within it.
pub(super) fn list(schema: &Value, definitions: &Value) -> Vec<Field> {
    let mut listing = Listing { definitions, found: Vec::new(), open: Vec::new() };
    listing.within(schema, "", 0);
    listing.found
}

struct Listing<'a> {
    definitions: &'a Value,
    found: Vec<Field>,
    /// The named types that are being listed, so that one which contains itself ends.
    open: Vec<String>,
}

impl Listing<'_> {
    /// Lists what can stand within a value of this schema.
    fn within(&mut self, schema: &Value, path: &str, depth: usize) {
        let name = schema.get("$ref").and_then(Value::as_str).map(str::to_owned);
        if depth > DEEPEST || name.as_ref().is_some_and(|name| self.open.contains(name)) {
            return;
        }
        self.open.extend(name.clone());
        let schema = resolve_reference(schema, self.definitions);
        for form in ["anyOf", "oneOf"].iter().filter_map(|form| schema.get(*form)?.as_array()).flatten() {
            self.within(form, path, depth);
        }
        for form in ["else", "then"].iter().filter_map(|form| schema.get(*form)) {
            self.within(form, path, depth);
        }
        if let Some(items) = schema.get("items") {
            self.within(items, &format!("{path}[]"), depth);
        }
        if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
            self.within(values, format!("{path}.NAME").trim_start_matches('.'), depth);
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            self.properties(properties, &schema, path, depth);
        }
        if name.is_some() {
            self.open.pop();
        }
    }

    fn properties(&mut self, properties: &Map<String, Value>, schema: &Value, path: &str, depth: usize) {
        let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let about = |of: &Value| of.get("description").and_then(Value::as_str).map(str::to_owned);
        // A variant with a single key is described beside that key.
        let choice = about(schema).filter(|_| properties.len() == 1).unwrap_or_default();
        for (name, property) in properties {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let about = about(property).unwrap_or_else(|| choice.clone());
            self.found.push(Field {
                path: path.clone(),
                depth,
                kind: type_name(property, self.definitions),
                required: required.iter().any(|needed| needed == name),
                default: property.get("default").filter(|value| !value.is_null()).cloned(),
                about: about.split_whitespace().collect::<Vec<_>>().join(" "),
            });
            self.within(property, &path, depth + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::PROVIDERS;

    fn paths(kind: &str) -> Vec<String> {
        let kind = PROVIDERS.find(kind).expect("a kind");
        fields(kind).into_iter().map(|field| field.path).collect()
    }

    #[test]
    fn nested_fields_are_listed() {
        let table = paths("aws.dynamodb_table");
        for path in ["hash_key", "hash_key.type", "billing.provisioned.read", "deletion_protection.off"] {
            assert!(table.iter().any(|listed| listed == path), "{path} is not in {table:?}");
        }
        assert!(paths("aws.s3_bucket").iter().any(|path| path == "lifecycle_rules[].transitions[].days"));
    }

    #[test]
    fn recursive_type_description_terminates() {
        let secret = paths("vault.kv_secret");
        assert!(secret.iter().any(|path| path == "data.NAME.generate.length"), "{secret:?}");
        assert!(!secret.iter().any(|path| path.starts_with("data.NAME.json.NAME.json")));
    }

    #[test]
    fn every_field_and_output_is_described() {
        let unsaid: Vec<String> = PROVIDERS
            .kinds()
            .flat_map(|kind| {
                let described = fields(kind).into_iter().chain(outputs(kind));
                described
                    .filter(|field| field.about.len() <= 3 && !field.path.contains(".NAME."))
                    .map(|field| format!("{}: {}", kind.name(), field.path))
            })
            .collect();
        assert!(unsaid.is_empty(), "not described: {unsaid:#?}");
    }
}
