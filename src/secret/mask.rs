//! Masks the secrets in text before the text is shown.

use std::ops::Range;

use serde_json::Value;

use super::connection::{is_address_field, merged, passwords_of};
use super::detect::{self, Sighting, is_secret_name};

/// The text that replaces a secret.
pub const MASK: &str = "(masked)";
/// Names that only a configuration has: ends of names without dashes and underscores, and last words.
const ENDS: [&str; 13] = [
    "pwd",
    "bindpw",
    "bindpass",
    "requirepass",
    "authpass",
    "secretid",
    "currentkey",
    "previouskey",
    "authkey",
    "accountkey",
    "sharedkey",
    "sharedaccesskey",
    "encryptionkey",
];
const WORDS: [&str; 3] = ["pass", "pin", "auth_info"];
/// The keys of entries that hold a name and a value.
const NAMES: [&str; 2] = ["name", "key"];
const VALUE: &str = "value";

/// A text without what is certainly a secret: known formats, private keys, passwords in addresses.
/// `name` is that of the field.
pub fn text(name: &str, text: &str) -> String {
    replace(text, certain(name, text))
}

/// A text that others wrote, without what may be a secret: by its form, by the name that it is given
/// there, or because it is random. Text that is also in `declared` is not masked: the plan shows it anyway.
pub fn live_text(name: &str, text: &str, declared: &str) -> String {
    let mut found = certain(name, text);
    let possible = detect::sightings(text).into_iter().map(|sighting| sighting.start..sighting.end);
    let possible = possible.chain(assigned(text));
    found.extend(possible.filter(|range| !declared.contains(&text[range.clone()])));
    replace(text, found)
}

/// As [`text`], for every text in a value.
pub fn value(name: &str, value: &mut Value) {
    each(value, name, &mut |name, leaf| {
        if let Value::String(content) = leaf {
            *content = text(name, content);
        }
    });
}

/// As [`live_text`], for every text in a value; the names in it are those of its maps.
pub fn live_value(name: &str, value: &mut Value, declared: &Value) {
    let declared = match declared {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    each(value, name, &mut |name, leaf| {
        let content = match &*leaf {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if may_name_secret(name) && is_worth_hiding(&content) && !declared.contains(&content) {
            *leaf = MASK.into();
        } else if let Value::String(text) = leaf {
            *text = live_text(name, &content, &declared);
        }
    });
}

/// Visits each text and number with the name of the closest map entry that it is under. Of an entry with
/// a name and a value, as in a list of environment variables, that is the name.
fn each(value: &mut Value, name: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
    match value {
        Value::String(_) | Value::Number(_) => visit(name, value),
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, name, visit)),
        Value::Object(fields) => {
            let named = fields.iter().find(|(key, _)| NAMES.contains(&key.to_ascii_lowercase().as_str()));
            let named = named.and_then(|(_, value)| value.as_str()).map(str::to_owned);
            for (key, item) in fields.iter_mut() {
                match &named {
                    Some(named) if key.eq_ignore_ascii_case(VALUE) => each(item, named, visit),
                    _ => each(item, key, visit),
                }
            }
        }
        _ => {}
    }
}

fn certain(name: &str, text: &str) -> Vec<Range<usize>> {
    let is_certain = |sighting: &Sighting| sighting.certain;
    let found = detect::sightings(text).into_iter().filter(is_certain);
    let mut found: Vec<_> = found.map(|sighting| sighting.start..sighting.end).collect();
    if is_address_field(name.rsplit('.').next().unwrap_or(name)) {
        found.extend(passwords_of(text));
    }
    found
}

fn replace(text: &str, ranges: Vec<Range<usize>>) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for range in merged(ranges) {
        shown.push_str(&text[from..range.start]);
        shown.push_str(MASK);
        from = range.end;
    }
    shown + &text[from..]
}

/// Whether a value of this name may be a secret.
fn may_name_secret(name: &str) -> bool {
    let word = name.rsplit(['.', '_', '-']).next().unwrap_or(name).to_ascii_lowercase();
    let compact: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let compact = compact.to_ascii_lowercase();
    is_secret_name(name) || ENDS.iter().any(|end| compact.ends_with(end)) || WORDS.contains(&word.as_str())
}

/// The values that stand behind the name of a secret: `NAME = VALUE`, `NAME: VALUE`, in quotes or to
/// the end of the line, and the blocks of HCL and YAML.
fn assigned(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let (mut hidden_until, mut named, mut start) = (0, false, 0);
    for line in text.split_inclusive('\n') {
        for (at, mark) in line.match_indices(['=', ':']) {
            let name = name_before(&line[..at]);
            if start + at < hidden_until || name.is_empty() {
                continue;
            }
            let range = value_after(text, start, at + mark.len());
            if may_name_secret(name) || named && name.eq_ignore_ascii_case(VALUE) {
                hidden_until = range.end;
                found.push(range);
            } else if NAMES.contains(&name.to_ascii_lowercase().as_str()) {
                named = may_name_secret(&text[range]);
            }
        }
        start += line.len();
    }
    found.retain(|range| is_worth_hiding(&text[range.clone()]));
    found
}

/// The name at the end of `text`, without quotes and spaces.
fn name_before(text: &str) -> &str {
    let name = text.trim_end().trim_end_matches(['"', '\'']);
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let start =
        name.rfind(|c| !is_part(c)).map_or(0, |at| at + name[at..].chars().next().map_or(1, char::len_utf8));
    &name[start..]
}

/// The value that begins at `at` in the line that begins at `start`.
fn value_after(text: &str, start: usize, at: usize) -> Range<usize> {
    let rest = &text[start + at..];
    // `=>` and `:=`.
    let value = rest.strip_prefix(['=', '>']).unwrap_or(rest).trim_start_matches([' ', '\t']);
    let begin = text.len() - value.len();
    let line = value.lines().next().unwrap_or_default();
    if let Some(quote) = line.chars().next().filter(|c| "\"'`".contains(*c)) {
        let triple: String = std::iter::repeat_n(quote, 3).collect();
        if let Some(inside) = value.strip_prefix(&triple) {
            return begin + 3..begin + 3 + inside.find(&triple).unwrap_or(inside.len());
        }
        return begin + 1..begin + 1 + end_of_quoted(&value[1..], quote);
    }
    // A block: everything below the line.
    let below = (begin + line.len() + 1).min(text.len());
    if let Some(word) = line.strip_prefix("<<") {
        let word = word.trim_start_matches('-').trim();
        return below..below + length_until(&text[below..], |body| body.trim() == word);
    }
    if line.trim().is_empty() || ["|", ">"].iter().any(|mark| line.starts_with(mark)) {
        let own = indent(&text[start..]);
        let ends = |body: &str| !body.trim().is_empty() && indent(body) <= own;
        return below..below + length_until(&text[below..], ends);
    }
    begin..begin + line.trim_end().trim_end_matches([',', ';', '}', ']']).trim_end().len()
}

fn end_of_quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    let end = text.char_indices().find(|(_, c)| {
        let ends = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at)
}

/// Bytes of `body` up to the line that ends it.
fn length_until(body: &str, ends: impl Fn(&str) -> bool) -> usize {
    let length = body.split_inclusive('\n').take_while(|line| !ends(line)).map(str::len).sum();
    body[..length].trim_end().len()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// Whether a value can be a secret, and is not the place where one is found.
fn is_worth_hiding(value: &str) -> bool {
    let value = value.trim();
    let is_place = ["{{", "${", "env://", "file://", "env(", "file(", "var.", MASK];
    !value.is_empty()
        && !["true", "false", "null", "~", "{", "["].contains(&value)
        && !is_place.iter().any(|place| value.starts_with(place))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "hunter2, too";

    #[test]
    fn secret_named_values_are_masked_in_every_notation() {
        for file in [
            "seal \"awskms\" {\n  secret_key = \"hunter2, too\"\n  region = \"us-east-1\"\n}\n",
            "storage:\n  password: hunter2, too\n  host: db\n",
            "{\"db\": {\"clientSecret\": \"hunter2, too\", \"host\": \"db\"}}",
            "DB_PASSWORD=hunter2, too\nHOST=db\n",
            "password = <<EOT\nhunter2, too\nEOT\nhost = \"db\"\n",
            "password: |\n  x\n  hunter2, too\nhost: db\n",
            "password: >-\n  hunter2, too\n\n  hunter2, too\nhost: db\n",
            "password:\r\n  hunter2, too\r\nhost: db\r\n",
            "password = \"\"\"\nhunter2, too\n\"\"\"\n",
            "retry_join { auto_join = \"provider=aws secret_access_key=hunter2, too\" }\n",
            "env:\n  - name: DB_PASSWORD\n    value: hunter2, too\n",
            "url = \"host=db password='hunter2, too'\"\n",
            "<password>x</password>\ntoken => 'hunter2, too'\n",
        ] {
            let masked = live_text("content", file, "");
            assert!(!masked.contains("hunter2") && !masked.contains("too"), "{masked}");
            assert!(masked.contains(MASK), "{masked}");
            assert_eq!(masked.contains("db"), file.contains("db"), "{masked}");
        }
    }

    #[test]
    fn declared_values_are_shown_except_certain_secrets() {
        let file = "token: hunter2\npassword: other\n";
        assert_eq!(live_text("content", file, "token: hunter2\n"), "token: hunter2\npassword: (masked)\n");
        let certain = "url: postgres://a:hunter2@db\n";
        assert_eq!(live_text("content", certain, certain), "url: postgres://a:(masked)@db\n");
    }

    #[test]
    fn references_and_harmless_values_stay_visible() {
        for file in [
            "current_key = \"env://SEAL_KEY\"\ntls_key_file = \"/etc/key.pem\"\n",
            "password: {{ password }}\ntoken_ttl: 1h\nbypass: yes\n",
            "password = var.password\nkms_key_id = \"alias/unseal\"\nsecret = true\n",
            "path \"secret/data/app\" {\n  capabilities = [\"read\"]\n}\n",
        ] {
            assert_eq!(live_text("content", file, ""), file);
        }
    }

    #[test]
    fn structures_are_masked_by_their_keys() {
        let mut live = json!({ "seal": { "awskms": { "secret_key": SECRET, "region": "us-east-1" } }, "pin": 1234,
            "environment": [{ "name": "DB_PASSWORD", "value": SECRET }, { "name": "HOST", "value": "db" }] });
        live_value("content", &mut live, &Value::Null);
        let wanted = json!({ "seal": { "awskms": { "secret_key": MASK, "region": "us-east-1" } }, "pin": MASK,
            "environment": [{ "name": "DB_PASSWORD", "value": MASK }, { "name": "HOST", "value": "db" }] });
        assert_eq!(live, wanted);
    }

    #[test]
    fn only_certain_secrets_are_masked_in_other_fields() {
        let random = "q7Xc2Vb9Nm4Kp1Zt8Ls5";
        let mut fields = json!({ "connection_url": "app:hunter2@db/app", "id": random, "token": "t" });
        value("f", &mut fields);
        assert_eq!(
            fields,
            json!({ "connection_url": format!("app:{MASK}@db/app"), "id": random, "token": "t" })
        );
    }

    #[test]
    fn any_text_can_be_masked() {
        for text in ["", "password", "password=", "é=\"", "password: |", "token=\"é", "a\n=b", "secret = <<"]
        {
            let _ = live_text("é", text, "");
        }
    }
}
