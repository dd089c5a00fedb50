//! The JSON Schema of plan files, for completion and checks in editors.

pub mod describe;
pub mod section;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::plan::settings::{
    BackupSettings, CustodySettings, JournalSettings, LockSettings, NotifySettings, RecoverySettings,
};
use crate::plan::{STEP_KEYS, USE_KEYS};
use crate::provider::Registry;
use crate::resource::erased::Kind;

/// The pattern of a string that holds an expression, which may stand for a value of any type.
const EXPRESSION: &str = r"\{\{.*\}\}";

/// The schema of a whole plan file, draft-07 because that is what YAML language servers know.
pub fn plan_schema(registry: &Registry) -> Value {
    schema(registry, true)
}

/// As [`plan_schema`], or without the expressions that may stand for values: for descriptions.
fn schema(registry: &Registry, expressions: bool) -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let sections = registry.providers().filter(|provider| provider.has_section());
    let sections: Vec<(&str, Value)> =
        sections.map(|provider| (provider.name(), provider.section_schema(&mut generator))).collect();
    let custody = json!(generator.subschema_for::<CustodySettings>());
    let journal = json!(generator.subschema_for::<JournalSettings>());
    let lock = json!(generator.subschema_for::<LockSettings>());
    let backup = json!(generator.subschema_for::<BackupSettings>());
    let recovery = json!(generator.subschema_for::<RecoverySettings>());
    let notify = json!(generator.subschema_for::<NotifySettings>());
    let kinds: Vec<Value> = registry.kinds().map(|kind| step_schema(kind, &mut generator)).collect();
    let mut definitions = Value::Object(generator.take_definitions(true));
    definitions["Step"] = if expressions {
        allow_expressions(&mut definitions);
        one_of(&kinds, registry)
    } else {
        json!({ "type": "object", "required": ["kind"], "properties": common_fields() })
    };
    let step = json!({ "$ref": "#/definitions/Step" });
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Groundwork plan",
        "type": "object",
        "required": ["version", "name"],
        "additionalProperties": false,
        "properties": {
            "version": { "const": crate::plan::VERSION, "description": "the version of the plan language" },
            "name": { "type": ["string", "number", "boolean"], "description": "the plan's name; marks what it owns" },
            "vars": { "type": "object", "additionalProperties": variable_schema(),
                      "description": "variables; one without a value must be given by --var or by the stage" },
            "stages": stages_schema(),
            "include": { "type": "array", "items": { "type": "string" },
                         "description": "further files inside the plan's folder" },
            "custody": custody,
            "journal": journal, "lock": lock, "backup": backup, "recovery": recovery,
            "notify": notify,
            "lint": silences(),
            "groups": groups_schema(&step),
            "steps": { "type": "object", "description": "the steps, by ids of your choice", "additionalProperties": {
                "if": { "required": ["group"] }, "then": use_schema(), "else": step,
            } },
            "moved": { "type": "object", "additionalProperties": { "type": "string" },
                       "description": "steps that have another id now, as `old_id: new_id`; one of a repeated step is `\"team[payments]\"`" },
            "removed": { "type": "object", "additionalProperties": removed_schema(),
                         "description": "what holds for the things of steps that are gone, by the step's id" },
        },
        "definitions": definitions,
    });
    for (name, section) in sections {
        schema["properties"][name] = section;
    }
    schema
}

/// The schema of a variable: any value, of which a map with `type` is a declaration.
fn variable_schema() -> Value {
    let rules = ["default", "description", "one_of", "pattern", "min", "max", "conditions"];
    let rules = rules.map(|key| json!({ "required": [key] }));
    json!({
        "description": "a value, or a declaration: `{ type: integer, default: 3, one_of: [ 1, 3, 5 ] }`",
        "if": {
            "type": "object",
            "required": ["type"],
            "properties": { "type": { "enum": ["string", "integer", "number", "boolean", "list", "map"] } },
            "anyOf": rules,
        },
        "then": {
            "additionalProperties": false,
            "properties": {
                "type": {},
                "default": { "description": "the value where none is given" },
                "description": { "type": "string", "description": "what the variable is for" },
                "one_of": { "type": "array", "minItems": 1, "description": "the only values" },
                "pattern": { "type": "string", "description": "a regular expression that texts match as a whole" },
                "min": { "type": "number", "description": "the least number, or the least length" },
                "max": { "type": "number", "description": "the greatest number, or the greatest length" },
                "conditions": { "type": "array", "description": "expressions that must be true", "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["check", "message"],
                    "properties": {
                        "check": { "type": "string", "pattern": EXPRESSION },
                        "message": { "type": "string", "minLength": 1, "description": "what to say when it is false" },
                    },
                } },
            },
        },
    })
}

/// The schema of the instances of one plan.
fn stages_schema() -> Value {
    let stage = json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "description": "the name of the instance; default: the plan's name, a hyphen and the stage's" },
            "vars": { "type": ["object", "null"], "description": "values of variables in this stage" },
            "protect": { "type": "boolean", "description": "`protect` of the steps that do not say it themselves" },
            "retain": { "type": "boolean", "description": "`retain` of the steps that do not say it themselves" },
        },
    });
    json!({
        "description": "the instances of this plan, chosen by --stage; each has its own journal, lock and ownership tags",
        "anyOf": [
            { "type": "object", "minProperties": 1, "additionalProperties": stage },
            { "type": "array", "minItems": 1, "items": { "type": "string" } },
        ],
    })
}

/// The schema of groups of steps.
fn groups_schema(step: &Value) -> Value {
    let group = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["steps"],
        "properties": {
            "parameters": { "type": ["object", "null"], "additionalProperties": variable_schema(),
                            "description": "parameters; one without a value must be given where the group is used" },
            "steps": { "type": "object", "minProperties": 1, "additionalProperties": step },
        },
    });
    json!({ "type": "object", "additionalProperties": group,
            "description": "steps that the plan uses several times, with parameters" })
}

/// The schema of a step that uses a group.
fn use_schema() -> Value {
    let of_use = [
        ("group", json!({ "type": "string", "description": "the group whose steps are made" })),
        ("with", json!({ "type": ["object", "null"], "description": "values of the group's parameters" })),
    ];
    let common = common_fields().into_iter().filter(|(key, _)| USE_KEYS.contains(&key.as_str()));
    let of_use = of_use.into_iter().map(|(key, schema)| (key.to_owned(), schema));
    let properties: Map<String, Value> = of_use.chain(common).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// The schema of the rules for a step that is gone.
fn removed_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": {
            "protect": { "type": "boolean", "description": "false: `--prune` and `destroy` may remove the thing, even of a kind that is protected" },
            "retain": { "type": "boolean", "description": "true: the thing stays, and is forgotten" },
        },
    })
}

/// A step of any kind: its `kind` selects which fields it may have.
fn one_of(kinds: &[Value], registry: &Registry) -> Value {
    let names: Vec<&str> = registry.names().collect();
    let choices: Vec<Value> = kinds
        .iter()
        .zip(&names)
        .map(|(schema, name)| {
            json!({ "if": { "properties": { "kind": { "const": name } }, "required": ["kind"] }, "then": schema })
        })
        .collect();
    json!({
        "type": "object",
        "required": ["kind"],
        "properties": { "kind": { "enum": names } },
        "allOf": choices,
    })
}

/// The fields of a kind and those of every step.
fn step_schema(kind: &dyn Kind, generator: &mut schemars::SchemaGenerator) -> Value {
    let reference = json!(kind.fields_schema(generator));
    let definitions = json!(generator.definitions());
    let mut schema = resolve_reference(&reference, &definitions);
    allow_expressions(&mut schema);
    if let Some(object) = schema.as_object_mut() {
        let properties = object.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.extend(common_fields());
        }
        object.insert("additionalProperties".to_owned(), json!(false));
        object.insert("description".to_owned(), json!(kind.about()));
    }
    schema
}

fn common_fields() -> Map<String, Value> {
    let text = |about: &str| json!({ "description": about });
    let flag = |about: &str| {
        let expression = json!({ "type": "string", "pattern": EXPRESSION });
        json!({ "anyOf": [{ "type": "boolean" }, expression], "description": about })
    };
    let fields = [
        text("the kind of step"),
        text("a map or list: the step is repeated for each entry, as each.key and each.value"),
        text("whether the step takes part"),
        json!({ "type": "array", "items": { "type": "string" }, "description": "steps that come first" }),
        json!({ "type": "boolean", "description": "take over a thing that exists and is not ours" }),
        flag("refuse to delete it"),
        flag("leave it when the step is taken out of the plan"),
        json!({ "type": "string", "description": "the account and region it is in: aws.NAME, declared under aws.aliases" }),
        silences(),
    ];
    STEP_KEYS.iter().map(|key| (*key).to_owned()).zip(fields).collect()
}

/// Rules of `validate` that are silenced, each with the reason.
fn silences() -> Value {
    json!({
        "type": "object",
        "description": "rules of `groundwork validate` that are silenced here",
        "additionalProperties": false,
        "properties": { "allow": {
            "type": "object",
            "description": "rule to reason; `groundwork explain --rules` lists the rules",
            "additionalProperties": { "type": "string", "minLength": 1 },
        } },
    })
}

/// Lets every field that is not a string also be a string with an expression, and text also be what YAML
/// reads as a number or a truth value: it arrives as it is written.
fn allow_expressions(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(allow_expressions);
            if is_free_text(fields) {
                let more = [json!("number"), json!("boolean")];
                let names =
                    fields.remove("type").map(|names| names.as_array().cloned().unwrap_or(vec![names]));
                fields.insert("type".to_owned(), names.unwrap_or_default().into_iter().chain(more).collect());
            }
            if let Some(Value::Object(properties)) = fields.get_mut("properties") {
                properties.values_mut().for_each(or_expression);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(allow_expressions),
        _ => {}
    }
}

fn is_free_text(schema: &Map<String, Value>) -> bool {
    let is_text = match schema.get("type") {
        Some(Value::Array(names)) => *names == ["string", "null"],
        name => name.is_some_and(|name| name == "string"),
    };
    is_text && !["enum", "const", "pattern"].iter().any(|keyword| schema.contains_key(*keyword))
}

fn or_expression(property: &mut Value) {
    let is_other = match property.get("type") {
        Some(Value::String(name)) => name != "string",
        Some(Value::Array(names)) => !names.iter().any(|name| name == "string"),
        _ => false,
    };
    if is_other {
        let (description, default) = (property.get("description").cloned(), property.get("default").cloned());
        *property = json!({ "anyOf": [property.clone(), { "type": "string", "pattern": EXPRESSION }] });
        for (key, value) in [("description", description), ("default", default)] {
            if let Some(value) = value {
                property[key] = value;
            }
        }
    }
}

/// The schema that a `$ref` into `definitions` leads to, or the schema itself.
pub fn resolve_reference(schema: &Value, definitions: &Value) -> Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    name.and_then(|name| definitions.get(name)).unwrap_or(schema).clone()
}

/// A type in words: `text`, `list of text`, `one of …`.
pub fn type_name(schema: &Value, definitions: &Value) -> String {
    let schema = resolve_reference(schema, definitions);
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        let names: Vec<String> = choices.iter().map(|choice| choice.to_string().replace('"', "")).collect();
        return format!("one of {}", names.join(", "));
    }
    for form in ["anyOf", "oneOf"] {
        if let Some(forms) = schema.get(form).and_then(Value::as_array) {
            let mut names: Vec<String> = forms
                .iter()
                .filter(|form| form.get("type").is_none_or(|name| name != "null"))
                .map(|form| form.get("const").map_or_else(|| type_name(form, definitions), Value::to_string))
                .collect();
            names.dedup();
            return names.join(" or ");
        }
    }
    match schema.get("type") {
        Some(Value::String(name)) => simple_type(name, &schema, definitions),
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.map(|name| simple_type(name, &schema, definitions)).collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".to_owned(),
    }
}

fn simple_type(name: &str, schema: &Value, definitions: &Value) -> String {
    match name {
        "string" => "text".to_owned(),
        "integer" | "number" => "number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => match schema.get("items") {
            Some(items) => format!("list of {}", type_name(items, definitions)),
            None => "list".to_owned(),
        },
        _ => {
            match (schema.get("properties").and_then(Value::as_object), schema.get("additionalProperties")) {
                (Some(properties), _) => {
                    format!("map with {}", properties.keys().cloned().collect::<Vec<_>>().join(", "))
                }
                (None, Some(values)) if values.is_object() => {
                    format!("map to {}", type_name(values, definitions))
                }
                _ => "map".to_owned(),
            }
        }
    }
}
