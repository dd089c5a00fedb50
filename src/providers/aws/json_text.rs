//! Edits JSON as text. Undeclared parts are kept byte for byte: a parsed number may lose
//! digits, and a parsed object loses a duplicate key.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::de::IgnoredAny;

/// One entry of an object, by its position in the text.
struct Entry {
    name: String,
    key: Range<usize>,
    value: Range<usize>,
}

/// The names and values of an object in the order of the text, each value as JSON text. `None` if the
/// text is not a JSON object.
pub fn fields(text: &str) -> Option<Vec<(String, &str)>> {
    let fields = entries(text)?.into_iter();
    Some(fields.map(|entry| (entry.name, &text[entry.value])).collect())
}

/// The object with only the entries that `keep` accepts, then with the entries of `set`, whose values
/// are JSON text. The rest is unchanged. `None` if the text is not a JSON object.
pub fn spliced(text: &str, keep: impl Fn(&str) -> bool, set: &BTreeMap<&str, String>) -> Option<String> {
    let entries = entries(text)?;
    let open = text.find('{')? + 1;
    let last_of = |name: &str| entries.iter().rposition(|entry| entry.name == name);
    let mut pieces = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let start = if index == 0 { open } else { comma_before(text, entry) + 1 };
        let changed = set.get(entry.name.as_str());
        if !keep(&entry.name) || changed.is_some() && last_of(&entry.name) != Some(index) {
            continue;
        }
        let value = changed.map_or(&text[entry.value.clone()], String::as_str);
        let end = entries.get(index + 1).map_or(entry.value.end, |next| comma_before(text, next));
        pieces.push(format!("{}{value}{}", &text[start..entry.value.start], &text[entry.value.end..end]));
    }
    let space = entries.first().map_or("", |first| &text[open..first.key.start]);
    let colon = entries.first().map_or(":", |first| &text[first.key.end..first.value.start]);
    let new = set.iter().filter(|(name, _)| last_of(name).is_none());
    pieces.extend(new.map(|(name, value)| format!("{space}{}{colon}{value}", quoted(name))));
    let tail = entries.last().map_or(open, |last| last.value.end);
    Some(format!("{}{}{}", &text[..open], pieces.join(","), &text[tail..]))
}

/// The position of the comma before an entry.
fn comma_before(text: &str, entry: &Entry) -> usize {
    text[..entry.key.start].rfind(',').unwrap_or_default()
}

/// JSON text without white space and with one notation for strings. Numbers keep their digits.
pub fn compact(text: &str) -> String {
    restyled(text, &Style { sorted: false, number: str::to_owned })
}

/// JSON text that ignores white space, the order of keys and the notation of numbers: equal values have
/// equal forms, and different values, however many digits they have, different forms.
pub fn canonical(text: &str) -> String {
    restyled(text, &Style { sorted: true, number: decimal })
}

struct Style {
    sorted: bool,
    number: fn(&str) -> String,
}

/// Text that is not JSON is returned unchanged.
fn restyled(text: &str, style: &Style) -> String {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => rewritten(text, style),
        Err(_) => text.to_owned(),
    }
}

fn rewritten(text: &str, style: &Style) -> String {
    let text = text.trim();
    match text.as_bytes().first() {
        Some(b'{') => {
            let mut entries = entries(text).unwrap_or_default();
            if style.sorted {
                entries.sort_by(|a, b| a.name.cmp(&b.name));
            }
            let one =
                |entry: Entry| format!("{}:{}", quoted(&entry.name), rewritten(&text[entry.value], style));
            format!("{{{}}}", entries.into_iter().map(one).collect::<Vec<_>>().join(","))
        }
        Some(b'[') => {
            let items = items(text).into_iter().map(|item| rewritten(&text[item], style));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        Some(b'"') => {
            serde_json::from_str::<String>(text).map_or_else(|_| text.to_owned(), |text| quoted(&text))
        }
        Some(b'-' | b'0'..=b'9') => (style.number)(text),
        _ => text.to_owned(),
    }
}

/// A number by its value: its digits without zeros at either end, and its exponent.
fn decimal(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.trim_start_matches('+').parse::<i64>() else { return text.to_owned() };
    let digits = format!("{whole}{fraction}");
    let short = digits.trim_end_matches('0');
    let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let zeros = i64::try_from(digits.len() - short.len()).unwrap_or_default();
    match short.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => format!("{sign}{digits}e{}", exponent.saturating_sub(places).saturating_add(zeros)),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The entries of an object. serde_json has validated the text, so only the ends of keys and values
/// remain to be found.
fn entries(text: &str) -> Option<Vec<Entry>> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let bytes = text.as_bytes();
    let mut at = after_space(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    let mut found = Vec::new();
    at = after_space(bytes, at + 1);
    while bytes.get(at) == Some(&b'"') {
        let key = at..end_of_value(bytes, at);
        let colon = after_space(bytes, key.end);
        let start = after_space(bytes, colon + 1);
        let value = start..end_of_value(bytes, start);
        at = after_separator(bytes, value.end);
        found.push(Entry { name: serde_json::from_str(&text[key.clone()]).ok()?, key, value });
    }
    Some(found)
}

/// The positions of the items of an array.
fn items(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = after_space(bytes, 1);
    while bytes.get(at).is_some_and(|byte| *byte != b']') {
        let item = at..end_of_value(bytes, at);
        at = after_separator(bytes, item.end);
        found.push(item);
    }
    found
}

fn after_space(bytes: &[u8], at: usize) -> usize {
    let space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    at + bytes.iter().skip(at).take_while(space).count()
}

/// The position behind the comma after a value, and behind the white space around it.
fn after_separator(bytes: &[u8], at: usize) -> usize {
    let at = after_space(bytes, at);
    if bytes.get(at) == Some(&b',') { after_space(bytes, at + 1) } else { at }
}

fn end_of_value(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                at += 1;
            }
            b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set<'a>(pairs: &[(&'a str, &str)]) -> BTreeMap<&'a str, String> {
        pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    }

    #[test]
    fn untouched_entries_keep_every_byte() {
        let text = "{\n  \"big\" : 12345678901234567890123 ,\n  \"rate\": 1.50, \"a,b\": \"x\\\"},\\u00e9\",\n  \
                    \"list\": [1.0, {\"k\": 1e3}],\n  \"pin\": \"old\"\n}\n";
        let with = spliced(text, |_| true, &set(&[("pin", "\"new\"")])).expect("an object");
        assert_eq!(with, text.replace("\"old\"", "\"new\""));
        assert_eq!(spliced(text, |_| true, &set(&[])).as_deref(), Some(text));
    }

    #[test]
    fn edits_follow_the_style_of_the_text() {
        let text = "{\n  \"a\": 1,\n  \"b\": 2\n}";
        let with = spliced(text, |name| name != "b", &set(&[("c", "\"3\"")]));
        assert_eq!(with.as_deref(), Some("{\n  \"a\": 1,\n  \"c\": \"3\"\n}"));
        assert_eq!(spliced(text, |_| false, &set(&[])).as_deref(), Some("{\n}"));
        assert_eq!(
            spliced("{}", |_| true, &set(&[("a", "1"), ("b", "2")])).as_deref(),
            Some("{\"a\":1,\"b\":2}")
        );
    }

    #[test]
    fn duplicate_key_stays_unless_it_is_set() {
        let text = "{\"a\":1,\"b\":2,\"a\":3}";
        assert_eq!(
            spliced(text, |_| true, &set(&[("b", "9")])).as_deref(),
            Some("{\"a\":1,\"b\":9,\"a\":3}")
        );
        assert_eq!(spliced(text, |_| true, &set(&[("a", "9")])).as_deref(), Some("{\"b\":2,\"a\":9}"));
    }

    #[test]
    fn numbers_are_compared_by_their_digits() {
        for (a, b) in [
            ("1", "1.0"),
            ("100", "1E+2"),
            ("0.50", "5e-1"),
            ("-0", "0"),
            ("{\"b\":1,\"a\":2}", "{ \"a\" : 2.0, \"b\":1}"),
        ] {
            assert_eq!(canonical(a), canonical(b), "{a} {b}");
        }
        for (a, b) in [("9007199254740993", "9007199254740992"), ("[1,2]", "[2,1]"), ("1e400", "1e401")] {
            assert_ne!(canonical(a), canonical(b), "{a} {b}");
        }
    }

    #[test]
    fn only_objects_have_fields() {
        for text in ["", "x", "[1]", "\"{}\"", "null", "{\"a\":}", "{\"a\":1} x"] {
            assert!(fields(text).is_none(), "{text}");
        }
        assert_eq!(fields(" { \"a\\u0062\" : [1 , 2] } "), Some(vec![("ab".to_owned(), "[1 , 2]")]));
        assert_eq!(canonical("{x"), "{x");
        assert_eq!(
            compact("{ \"b\" : [ 1.50, \"\\u0041\" ] , \"a\" : null }"),
            "{\"b\":[1.50,\"A\"],\"a\":null}"
        );
    }
}
