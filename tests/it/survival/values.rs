//! Other values for a field, the likeliest first.

use serde_json::{Value, json};

/// What a field may be set to instead of `live`, by what the server's description says of it and by what
/// it is now. The server refuses those that are not legal.
pub fn candidates(described: &Value, live: &Value) -> Vec<Value> {
    let mut all = match described["enum"].as_array() {
        Some(values) => values.clone(),
        None => of_the_type(described["type"].as_str().unwrap_or(type_of(live)), live),
    };
    all.retain(|value| value != live);
    all
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::String(_) | Value::Null => "string",
    }
}

fn of_the_type(name: &str, live: &Value) -> Vec<Value> {
    match name {
        "boolean" => vec![json!(live != true)],
        "integer" | "number" => {
            let more = live.as_i64().unwrap_or_default() + 1;
            vec![json!(more), json!(1), json!(2), json!(3600), json!(7200), json!(864_000)]
        }
        "array" => lists(live),
        "object" => {
            let mut entries = live.as_object().cloned().unwrap_or_default();
            entries.insert("survival".to_owned(), json!("kept"));
            vec![Value::Object(entries), json!({ "survival": "kept" })]
        }
        _ => TEXTS.iter().map(|text| json!(text)).collect(),
    }
}

const TEXTS: [&str; 6] = ["survival", "26h", "https://survival.example", "10.9.0.0/16", "2", ""];

fn lists(live: &Value) -> Vec<Value> {
    let items = live.as_array().cloned().unwrap_or_default();
    let with = |text: &&str| json!([items.clone(), vec![json!(text)]].concat());
    let alone = |text: &&str| json!([text]);
    TEXTS.iter().map(with).chain(TEXTS.iter().map(alone)).collect()
}
