//! The values that a place of a plan may have, by the JSON Schema of its kind: which keys are names of
//! fields and which are the plan's own, where text is wanted, and which placeholders are the server's.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::provider;
use crate::resource::erased::Kind;
use crate::template::placeholder::Family;

/// The extension keyword that names the placeholders of a field.
const PLACEHOLDERS: &str = "x-placeholders";

static ANYTHING: Value = Value::Bool(true);
static NOTHING: Value = Value::Null;
static KINDS: LazyLock<Mutex<HashMap<&'static str, Arc<Schema>>>> = LazyLock::new(Mutex::default);

/// A JSON Schema and the definitions that it refers to.
pub struct Schema {
    root: Value,
    definitions: Value,
}

impl Schema {
    /// The schema of a kind's fields. It is made once.
    pub fn of_kind(kind: &dyn Kind) -> Arc<Self> {
        let mut known = KINDS.lock().unwrap_or_else(PoisonError::into_inner);
        let schema = known.entry(kind.name()).or_insert_with(|| {
            let mut generator = SchemaGenerator::default();
            let root = kind.fields_schema(&mut generator).to_value();
            Arc::new(Self { root, definitions: Value::Object(generator.take_definitions(true)) })
        });
        Arc::clone(schema)
    }

    /// The schema of a provider's section.
    pub fn of_section(provider: &dyn provider::Entry) -> Self {
        let mut generator = SchemaGenerator::default();
        let root = provider.section_schema(&mut generator);
        Self { root, definitions: Value::Object(generator.take_definitions(true)) }
    }

    /// The schema of a section.
    pub fn of<T: JsonSchema>() -> Self {
        let mut generator = SchemaGenerator::default();
        let root = generator.subschema_for::<T>().to_value();
        Self { root, definitions: Value::Object(generator.take_definitions(true)) }
    }

    /// The shape of the whole.
    pub fn shape(&self) -> Shape<'_> {
        let mut shape = Shape { forms: Vec::new(), definitions: &self.definitions, placeholders: None };
        shape.add(&self.root);
        shape
    }
}

/// The forms that a value may have; any of them will do.
#[derive(Clone)]
pub struct Shape<'a> {
    forms: Vec<&'a Value>,
    definitions: &'a Value,
    placeholders: Option<Family>,
}

/// The role of a map's key.
pub enum Entry<'a> {
    /// The name of a field.
    Field(Shape<'a>),
    /// The plan's own text, such as a path or the name of a tag.
    Own(Shape<'a>),
    /// There is no such field.
    Unknown,
}

impl<'a> Shape<'a> {
    /// An untyped place: variables, values for templates.
    pub fn any() -> Self {
        Self { forms: vec![&ANYTHING], definitions: &NOTHING, placeholders: None }
    }

    /// The placeholders that belong to the server here.
    pub fn placeholders(&self) -> Option<Family> {
        self.placeholders
    }

    /// Whether a value of any type may stand here.
    pub fn is_untyped(&self) -> bool {
        self.forms.iter().any(|form| is_anything(form))
    }

    /// Whether a value of this type of JSON Schema may stand here.
    pub fn takes(&self, name: &str) -> bool {
        self.forms.iter().any(|form| is_anything(form) || has_type(form, name))
    }

    /// Whether a number or a truth value that stands here is meant as text.
    pub fn wants_text(&self, native: &str) -> bool {
        self.takes("string") && !self.takes(native)
    }

    /// The items of a list.
    pub fn item(&self) -> Self {
        let mut items = self.empty();
        for form in &self.forms {
            match form.get("items") {
                Some(schema) => items.add(schema),
                None if is_anything(form) || has_type(form, "array") => items.add(&ANYTHING),
                None => {}
            }
        }
        items
    }

    /// The role of a key, with the shape of its value.
    pub fn entry(&self, name: &str) -> Entry<'a> {
        let (mut fields, mut own) = (self.empty(), self.empty());
        for form in &self.forms {
            if is_anything(form) {
                own.add(&ANYTHING);
            } else if let Some(schema) = form.get("properties").and_then(|fields| fields.get(name)) {
                fields.add(schema);
            } else if is_map(form) {
                own.add(form.get("additionalProperties").unwrap_or(&ANYTHING));
            }
        }
        match (fields.forms.is_empty(), own.forms.is_empty()) {
            (false, _) => Entry::Field(fields),
            (true, false) => Entry::Own(own),
            (true, true) => Entry::Unknown,
        }
    }

    fn empty(&self) -> Self {
        Self { forms: Vec::new(), definitions: self.definitions, placeholders: self.placeholders }
    }

    fn add(&mut self, schema: &'a Value) {
        if let Some(name) = schema.get(PLACEHOLDERS).and_then(Value::as_str) {
            self.placeholders = Family::named(name);
        }
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let target = name.rsplit('/').next().and_then(|name| self.definitions.get(name));
            return target.into_iter().for_each(|schema| self.add(schema));
        }
        for forms in ["anyOf", "oneOf", "allOf"].iter().filter_map(|key| schema.get(*key)?.as_array()) {
            for form in forms {
                self.add(form);
            }
        }
        if is_anything(schema) || TYPED.iter().any(|key| schema.get(*key).is_some()) {
            self.forms.push(schema);
        }
    }
}

/// Keywords that say what a value may be.
const TYPED: [&str; 6] = ["type", "enum", "const", "properties", "additionalProperties", "items"];
/// Keywords that leave it to other schemas.
const COMPOSED: [&str; 4] = ["$ref", "anyOf", "oneOf", "allOf"];

fn is_anything(schema: &Value) -> bool {
    match schema {
        Value::Bool(flag) => *flag,
        Value::Object(keywords) => {
            !TYPED.iter().chain(&COMPOSED).any(|keyword| keywords.contains_key(*keyword))
        }
        _ => false,
    }
}

fn is_map(form: &Value) -> bool {
    has_type(form, "object") || form.get("properties").or(form.get("additionalProperties")).is_some()
}

fn has_type(form: &Value, name: &str) -> bool {
    let is = |of: &Value| of == name || (of == "integer" && name == "number");
    let values = form.get("enum").and_then(Value::as_array).into_iter().flatten().chain(form.get("const"));
    match form.get("type") {
        Some(Value::Array(names)) => names.iter().any(is),
        Some(of) => is(of),
        None => values.into_iter().any(|value| type_of(value) == name),
    }
}

/// The name that JSON Schema has for a value's type.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::PROVIDERS;

    fn schema(kind: &str) -> Arc<Schema> {
        Schema::of_kind(PROVIDERS.find(kind).expect("a kind"))
    }

    fn field<'a>(schema: &'a Schema, path: &[&str]) -> Shape<'a> {
        path.iter().fold(schema.shape(), |shape, name| match shape.entry(name) {
            Entry::Field(shape) | Entry::Own(shape) => shape,
            Entry::Unknown => panic!("there is no {name} in {path:?}"),
        })
    }

    #[test]
    fn schema_distinguishes_fields_from_own_keys() {
        let policy = schema("vault.policy");
        assert!(matches!(policy.shape().entry("rules"), Entry::Field(_)));
        assert!(matches!(policy.shape().entry("rulez"), Entry::Unknown));
        let rules = field(&policy, &["rules"]);
        assert!(matches!(rules.entry("secret/*"), Entry::Own(_)));
        assert!(matches!(rules.entry("template"), Entry::Field(_)));
        let secret = schema("vault.kv_secret");
        assert!(matches!(field(&secret, &["data"]).entry("template"), Entry::Own(_)));
        assert!(matches!(field(&secret, &["data", "x"]).entry("template"), Entry::Field(_)));
    }

    #[test]
    fn scalars_become_text_in_text_fields() {
        let bucket = schema("aws.s3_bucket");
        assert!(field(&bucket, &["tags", "x"]).wants_text("number"));
        assert!(field(&bucket, &["name"]).wants_text("boolean"));
        assert!(!field(&bucket, &["versioning"]).wants_text("boolean"));
        let policy = schema("aws.iam_policy");
        assert!(field(&policy, &["document", "Statement"]).is_untyped());
        assert!(Shape::any().is_untyped() && !Shape::any().wants_text("number"));
    }
}
