//! The deserialiser's messages in the words of a plan.

use crate::suggest::closest;

/// A message about a value of a wrong type or form, and what to do about it.
pub struct Wording {
    /// The mistake.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// The message of serde in our words; one that is not known stays as it is.
pub fn reworded(message: &str) -> Wording {
    let plain = |message: String| Wording { message, help: None };
    if let Some(rest) = message.strip_prefix("invalid type: ") {
        let message = mismatch(rest).unwrap_or_else(|| message.to_owned());
        let help = how_to_write(&message).map(str::to_owned);
        return Wording { message, help };
    }
    if let Some(rest) = message.strip_prefix("invalid value: ") {
        return plain(out_of_range(rest).unwrap_or_else(|| message.to_owned()));
    }
    if let Some(rest) = message.strip_prefix("missing field `") {
        return plain(format!("`{}` is missing", rest.trim_end_matches('`')));
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        return unknown_variant(rest);
    }
    plain(message.to_owned())
}

/// `string "x", expected u32`, without the value of a text, which may be private.
fn mismatch(rest: &str) -> Option<String> {
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let number = |text: &str| text.split('`').nth(1).map(|number| format!("the number {number}"));
    let found = match found.split([' ', '`']).next()? {
        "integer" | "floating" => number(found)?,
        "boolean" => found.split('`').nth(1)?.to_owned(),
        "string" => "text".to_owned(),
        "sequence" => "a list".to_owned(),
        "map" => "a map".to_owned(),
        "unit" | "null" | "Option" => "nothing".to_owned(),
        _ => return None,
    };
    Some(format!("expected {}, found {found}", type_in_words(expected)?))
}

/// What to write where a value has the form of another type.
fn how_to_write(message: &str) -> Option<&'static str> {
    match message.strip_prefix("expected ")?.split_once(", found ")? {
        ("a list", "a map") => Some("write `-` in front of each entry, also of a single one"),
        ("a list", _) => Some("write `[ … ]` around the entries, also around a single one"),
        ("a map", "a list") => Some("write `KEY: VALUE` in place of each `-`"),
        ("text", "a map") => Some("put text that begins with `{` in quotes"),
        _ => None,
    }
}

/// ``integer `300`, expected u8``.
fn out_of_range(rest: &str) -> Option<String> {
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let number = found.split('`').nth(1)?;
    let expected = type_in_words(expected)?;
    Some(format!("{number} is out of range: expected {expected}"))
}

fn type_in_words(expected: &str) -> Option<String> {
    let words = match expected.split(' ').next()? {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "struct" | "map" => "a map",
        "sequence" => "a list",
        "string" | "str" => "text",
        "a" if expected == "a string" => "text",
        "a" if expected == "a sequence" => "a list",
        "a" if expected == "a boolean" => "true or false",
        "a" => expected,
        _ => return None,
    };
    Some(words.to_owned())
}

/// ``x`, expected one of `a`, `b```, or ``x`, expected `a` or `b```.
fn unknown_variant(rest: &str) -> Wording {
    let mut names = rest.split('`').step_by(2);
    let name = names.next().unwrap_or_default();
    let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
    let message = format!("`{name}` is not one of the values that it takes");
    let help = match closest(name, known.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("write one of {}", known.join(", ")),
    };
    Wording { message, help: Some(help).filter(|_| !known.is_empty()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        Red,
        Green,
    }

    fn worded<T: serde::de::DeserializeOwned + std::fmt::Debug>(value: Value) -> String {
        let error = serde_json::from_value::<T>(value).expect_err("a mistake").to_string();
        reworded(&error).message
    }

    #[test]
    fn types_are_named_in_words_of_a_plan() {
        assert_eq!(worded::<u32>(json!("x")), "expected a whole number that is not negative, found text");
        assert_eq!(
            worded::<u32>(json!(640.0)),
            "expected a whole number that is not negative, found the number 640.0"
        );
        assert_eq!(worded::<i64>(json!(true)), "expected a whole number, found true");
        assert_eq!(
            worded::<u8>(json!(300)),
            "300 is out of range: expected a whole number that is not negative"
        );
        assert_eq!(worded::<String>(json!(["a"])), "expected text, found a list");
        assert_eq!(worded::<bool>(json!("yes")), "expected true or false, found text");
        assert_eq!(worded::<Vec<u8>>(json!({})), "expected a list, found a map");
        assert_eq!(worded::<BTreeMap<String, u8>>(json!(null)), "expected a map, found nothing");
    }

    #[test]
    fn text_of_a_mistaken_value_is_not_quoted() {
        assert!(!worded::<u32>(json!("a-private-text")).contains("private"));
    }

    #[test]
    fn choices_are_listed_or_the_nearest_is_named() {
        let of = |name: &str| {
            let error = serde_json::from_value::<Colour>(json!(name)).expect_err("a mistake").to_string();
            reworded(&error).help
        };
        assert_eq!(of("gren").as_deref(), Some("did you mean `green`?"));
        assert_eq!(of("x").as_deref(), Some("write one of red, green"));
    }
}
