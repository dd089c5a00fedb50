//! Reads the rules of a policy out of its text, as the server does.
//!
//! OpenBao: `internal/vault/policy/policy.go`; HashiCorp Vault: `vault/policy.go`. Both decode with
//! `hashicorp/hcl`, which adds up a list that is given twice and takes the last of two other values.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::hcl::{Item, Mistake, Node, named, parse, plain, value_of};
use super::super::notation::nanoseconds;
use crate::suggest::closest;

/// Rules by path, without the slash that a path may begin with; the server merges several rules for one path.
pub type Paths = BTreeMap<String, Vec<Map<String, Value>>>;

/// The capabilities of a policy on OpenBao or on HashiCorp Vault.
pub(in crate::providers::vault) const CAPABILITIES: [&str; 11] =
    ["create", "read", "update", "delete", "list", "sudo", "deny", "patch", "scan", "subscribe", "recover"];

/// The attributes of a path. The last two are HashiCorp Vault's or OpenBao's own.
const ATTRIBUTES: [&str; 14] = [
    "capabilities",
    "policy",
    "comment",
    "allowed_parameters",
    "denied_parameters",
    "required_parameters",
    "min_wrapping_ttl",
    "max_wrapping_ttl",
    "mfa_methods",
    "control_group",
    "pagination_limit",
    "expiration",
    "list_scan_response_keys_filter_path",
    "subscribe_event_types",
];
/// The capabilities of the old notation, `policy = "write"`.
const SHORTHANDS: [(&str, &[&str]); 4] = [
    ("deny", &["deny"]),
    ("read", &["read", "list"]),
    ("write", &["create", "read", "update", "delete", "list"]),
    ("sudo", &["create", "read", "update", "delete", "list", "sudo"]),
];
const IN_CONTROL_GROUPS: [&str; 4] = ["ttl", "max_ttl", "self_auth_allowed", "factor"];
const IN_FACTORS: [&str; 2] = ["identity", "controlled_capabilities"];
const IN_IDENTITIES: [&str; 3] = ["group_names", "group_ids", "approvals"];

type Result<T> = std::result::Result<T, Mistake>;

/// A policy's text as it was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub paths: Paths,
    /// Parts that a server refuses, or that cannot be meant. The text has a meaning all the same: another
    /// version of the server may know what this program does not know.
    pub mistakes: Vec<Mistake>,
}

/// Reads a policy's text.
///
/// # Errors
/// The part of the text that has no meaning.
pub(super) fn read(policy: &str) -> Result<Read> {
    let items = parse(policy)?;
    let mut read = Read::default();
    for item in &items {
        match item.names.split_first() {
            Some((first, labels)) if first == "path" => read.path(labels, item)?,
            // It appears in old policies, and the server ignores it.
            Some((first, [])) if first == "name" && text(&item.value).is_some() => {}
            Some((first, _)) if first == "name" => return Err(mistyped(item, "a text")),
            Some((other, _)) => read.unknown(item.line, other, "at the top level", &["path"]),
            None => {}
        }
    }
    Ok(read)
}

impl Read {
    fn wrong(&mut self, line: usize, what: impl Into<String>) {
        self.mistakes.push(Mistake::new(line, what));
    }

    fn unknown(&mut self, line: usize, name: &str, place: &str, known: &[&str]) {
        let help = match closest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        self.wrong(line, format!("`{name}` is not known {place}; {help}"));
    }

    fn unknown_among(&mut self, items: &[Item], place: &str, known: &[&str]) {
        let all = items.iter().filter_map(|item| Some((item.line, item.names.first()?)));
        for (line, name) in all.filter(|(_, name)| !known.contains(&name.as_str())) {
            self.unknown(line, name, place, known);
        }
    }

    /// The block of a path.
    fn path(&mut self, labels: &[String], item: &Item) -> Result<()> {
        let Node::Object(items) = &item.value else {
            return Err(Mistake::new(
                item.line,
                "`path` is followed by a path in quotes, and its rules in braces",
            ));
        };
        let [path, more @ ..] = labels else {
            self.wrong(
                item.line,
                "`path` is not followed by a path in quotes, as in `path \"secret/data/app/*\" { … }`",
            );
            // The server takes it for the path `path`, and mistakes in what it holds would only distract.
            let rule = Self::default().rule("path", items)?;
            merge(self.paths.entry("path".to_owned()).or_default(), rule);
            return Ok(());
        };
        if !more.is_empty() {
            self.wrong(item.line, format!("only one path may follow `path`, found {}", labels.join(" and ")));
        }
        if path.contains("+*") {
            self.wrong(
                item.line,
                format!("`+*` in `{path}` is refused by the server; `+` stands for one whole part"),
            );
        }
        if !is_balanced(path) {
            self.wrong(item.line, format!("`{{{{` and `}}}}` in `{path}` do not belong together"));
        }
        let rule = self.rule(path, items)?;
        let path = path.strip_prefix('/').unwrap_or(path);
        merge(self.paths.entry(path.to_owned()).or_default(), rule);
        Ok(())
    }

    fn rule(&mut self, path: &str, items: &[Item]) -> Result<Map<String, Value>> {
        self.unknown_among(items, &format!("in the rules of `{path}`"), &ATTRIBUTES);
        let mut rule: Map<String, Value> = Map::new();
        let capabilities = self.capabilities(path, items)?;
        let may_list = capabilities.contains(&"list".to_owned());
        for name in ["required_parameters", "mfa_methods", "subscribe_event_types"] {
            let lower = name == "required_parameters";
            let values =
                texts(items, name)?.into_iter().map(|text| if lower { text.to_lowercase() } else { text });
            put(&mut rule, name, as_set(values.map(Value::from).collect()));
        }
        for name in ["allowed_parameters", "denied_parameters"] {
            put(&mut rule, name, parameters(items, name)?);
        }
        let ttls = [
            ("min_wrapping_ttl", ttl(items, "min_wrapping_ttl")?),
            ("max_wrapping_ttl", ttl(items, "max_wrapping_ttl")?),
        ];
        if let [(_, Some((_, min))), (_, Some((line, max)))] = &ttls
            && max < min
        {
            self.wrong(*line, format!("`max_wrapping_ttl` of `{path}` is less than `min_wrapping_ttl`"));
        }
        for (name, found) in ttls {
            put(&mut rule, name, found.map_or(Value::Null, |(_, ttl)| told_ttl(ttl)));
        }
        if let Some(limit) = each(items, "pagination_limit", "a whole number", whole)?.last() {
            put(&mut rule, "pagination_limit", if *limit > 0 { json!(limit) } else { Value::Null });
        }
        for name in ["expiration", "list_scan_response_keys_filter_path"] {
            if let Some(text) = each(items, name, "a text", text)?.pop() {
                put(&mut rule, name, json!(text));
            }
        }
        if let Some(time) = rule.get("expiration").and_then(Value::as_str).filter(|time| !is_time(time)) {
            let line = last(items, "expiration").map_or(0, |item| item.line);
            self.wrong(
                line,
                format!("`expiration` of `{path}` is not a time such as 2030-12-31T00:00:00Z: {time}"),
            );
        }
        if let Some(filter) = rule.get("list_scan_response_keys_filter_path").and_then(Value::as_str) {
            let line = last(items, "list_scan_response_keys_filter_path").map_or(0, |item| item.line);
            if !may_list {
                self.wrong(
                    line,
                    format!("`list_scan_response_keys_filter_path` of `{path}` needs the capability `list`"),
                );
            } else if !filter.contains("{{") || !filter.contains(".key") {
                let what = "`list_scan_response_keys_filter_path` must contain the key, as in `{{ .path }}{{ .key }}`";
                self.wrong(line, what);
            }
        }
        for (labels, item) in named(items, "control_group") {
            put(&mut rule, "control_group", self.control_group(labels, item)?);
        }
        for item in items {
            match item.names.as_slice() {
                [name] if !ATTRIBUTES.contains(&name.as_str()) => put(&mut rule, name, plain(&item.value)),
                _ => {}
            }
        }
        // Nothing else of a rule counts when it denies.
        if capabilities.contains(&"deny".to_owned()) {
            rule.retain(|name, _| name == "expiration");
        }
        let capabilities = capabilities.into_iter().map(Value::from).collect();
        rule.insert("capabilities".to_owned(), as_set(capabilities));
        Ok(rule.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
    }

    /// The capabilities of a rule, with those of the old notation. `deny` removes all others.
    fn capabilities(&mut self, path: &str, items: &[Item]) -> Result<Vec<String>> {
        let mut all = texts(items, "capabilities")?;
        let line = last(items, "capabilities").map_or(0, |item| item.line);
        for name in all.iter().filter(|name| !CAPABILITIES.contains(&name.as_str())) {
            self.unknown(line, name, &format!("as a capability of `{path}`"), &CAPABILITIES);
        }
        if let (Some(item), Some(word)) =
            (last(items, "policy"), each(items, "policy", "a text", text)?.pop())
        {
            match SHORTHANDS.iter().find(|(name, _)| *name == word) {
                Some((_, granted)) => all.extend(granted.iter().map(|name| (*name).to_owned())),
                None if word.is_empty() => {}
                None => {
                    self.unknown(item.line, &word, "as a `policy`", &SHORTHANDS.map(|(name, _)| name));
                    all.extend([format!("policy {word}")]);
                }
            }
        }
        match all.iter().any(|name| name == "deny") {
            true => Ok(vec!["deny".to_owned()]),
            false => Ok(all),
        }
    }

    fn control_group(&mut self, labels: &[String], item: &Item) -> Result<Value> {
        let Node::Object(items) = &item.value else { return Err(mistyped(item, "a block in braces")) };
        if let Some(label) = labels.first() {
            self.wrong(item.line, format!("`control_group` is not followed by a name, found `{label}`"));
        }
        self.unknown_among(items, "in a `control_group`", &IN_CONTROL_GROUPS);
        if named(items, "factor").next().is_none() {
            self.wrong(item.line, "`control_group` needs a `factor`, which says who has to agree");
        }
        for (labels, factor) in named(items, "factor") {
            let Node::Object(within) = &factor.value else {
                return Err(mistyped(factor, "a block in braces"));
            };
            if labels.is_empty() {
                self.wrong(factor.line, "`factor` is followed by its name in quotes");
            }
            self.unknown_among(within, "in a `factor`", &IN_FACTORS);
            for name in texts(within, "controlled_capabilities")? {
                if !CAPABILITIES.contains(&name.as_str()) {
                    self.unknown(factor.line, &name, "as a capability", &CAPABILITIES);
                }
            }
            for (_, identity) in named(within, "identity") {
                let Node::Object(inner) = &identity.value else {
                    return Err(mistyped(identity, "a block in braces"));
                };
                self.unknown_among(inner, "in an `identity`", &IN_IDENTITIES);
            }
        }
        let mut group = value_of(items);
        if let Some((_, ttl)) = ttl(items, "ttl")? {
            group["ttl"] = told_ttl(ttl);
        }
        Ok(sorted(group))
    }
}

/// The last item of a name, whose value counts.
fn last<'a>(items: &'a [Item], name: &str) -> Option<&'a Item> {
    named(items, name).last().map(|(_, item)| item)
}

/// The values of all items of a name: the server takes the last, and refuses others that are mistyped.
fn each<T>(items: &[Item], name: &str, expected: &str, read: impl Fn(&Node) -> Option<T>) -> Result<Vec<T>> {
    let value = |(labels, item): (&[String], &Item)| match labels {
        [] => read(&item.value).ok_or_else(|| mistyped(item, expected)),
        _ => Err(mistyped(item, expected)),
    };
    named(items, name).map(value).collect()
}

fn mistyped(item: &Item, expected: &str) -> Mistake {
    Mistake::new(item.line, format!("`{}` must be {expected}", item.names.join(" ")))
}

/// A text; a number is one as well.
fn text(node: &Node) -> Option<String> {
    match node {
        Node::Scalar(Value::String(text)) => Some(text.clone()),
        Node::Scalar(Value::Number(number)) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

fn whole(node: &Node) -> Option<i64> {
    match node {
        Node::Scalar(Value::String(text)) => text.parse().ok(),
        Node::Scalar(value) => value.as_i64(),
        _ => None,
    }
}

/// A point in time, or seconds since 1970.
fn is_time(text: &str) -> bool {
    text.parse::<u64>().is_ok() || text.parse::<jiff::Timestamp>().is_ok()
}

/// The texts of all lists of this name.
fn texts(items: &[Item], name: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for (labels, item) in named(items, name) {
        let wrong = || mistyped(item, "a list of texts, such as [\"read\", \"list\"]");
        let (Node::List(list), []) = (&item.value, labels) else { return Err(wrong()) };
        for node in list {
            all.push(text(node).ok_or_else(wrong)?);
        }
    }
    Ok(all)
}

/// Parameters by name, in lower case, with all values that any of the maps has for them.
fn parameters(items: &[Item], name: &str) -> Result<Value> {
    let mut all: BTreeMap<String, (String, Vec<Value>)> = BTreeMap::new();
    for (labels, item) in named(items, name) {
        let (Node::Object(entries), []) = (&item.value, labels) else {
            return Err(mistyped(item, "a map of lists, such as { \"ttl\" = [\"1h\"] }"));
        };
        for entry in entries {
            let ([parameter], Node::List(values)) = (entry.names.as_slice(), &entry.value) else {
                return Err(mistyped(entry, "a list of values; an empty list stands for every value"));
            };
            let (written, known) =
                all.entry(parameter.to_lowercase()).or_insert_with(|| (parameter.clone(), Vec::new()));
            if written != parameter {
                let what = format!(
                    "`{written}` and `{parameter}` are the same parameter for the server, which takes one of them"
                );
                return Err(Mistake::new(entry.line, what));
            }
            known.extend(values.iter().map(plain).map(sorted));
        }
    }
    if all.is_empty() {
        return Ok(Value::Null);
    }
    Ok(all.into_iter().map(|(name, (_, values))| (name, as_set(values))).collect())
}

/// A duration in nanoseconds, and its line.
fn ttl(items: &[Item], name: &str) -> Result<Option<(usize, u128)>> {
    let duration = |node: &Node| match node {
        Node::Scalar(Value::String(text)) if text.is_empty() => Some(0),
        Node::Scalar(Value::String(text)) => nanoseconds(text),
        Node::Scalar(Value::Number(number)) => nanoseconds(&format!("{number}s")),
        _ => None,
    };
    let found = each(items, name, "a duration, such as \"90s\" or \"1h30m\"", duration)?.pop();
    let line = last(items, name).map_or(0, |item| item.line);
    Ok(found.filter(|duration| *duration > 0).map(|duration| (line, duration)))
}

/// Whole seconds as a number, as they are written by hand.
fn told_ttl(nanoseconds: u128) -> Value {
    match nanoseconds % 1_000_000_000 {
        0 => json!(u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(u64::MAX)),
        _ => json!(format!("{nanoseconds}ns")),
    }
}

fn put(rule: &mut Map<String, Value>, name: &str, value: Value) {
    let nothing = value.is_null() || value.as_array().is_some_and(Vec::is_empty) || value == "";
    if !nothing {
        rule.insert(name.to_owned(), value);
    }
}

/// Adds a rule to those of its path. Rules that only have capabilities are one rule.
fn merge(rules: &mut Vec<Map<String, Value>>, rule: Map<String, Value>) {
    let plain = |rule: &Map<String, Value>| rule.len() == 1;
    let listed = |rule: &Map<String, Value>| rule["capabilities"].as_array().cloned().unwrap_or_default();
    match rules.last_mut() {
        Some(before) if plain(before) && plain(&rule) => {
            let mut all = [listed(before), listed(&rule)].concat();
            if all.contains(&json!("deny")) {
                all = vec![json!("deny")];
            }
            before.insert("capabilities".to_owned(), as_set(all));
        }
        _ => rules.push(rule),
    }
}

/// A list whose order and repetitions do not matter; the order within its items may matter.
fn as_set(mut items: Vec<Value>) -> Value {
    items.sort_by_key(Value::to_string);
    items.dedup();
    Value::Array(items)
}

/// Maps sorted by name.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Object(fields) => {
            let sorted: BTreeMap<String, Value> = fields.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        other => other,
    }
}

/// Whether each `{{` of a path has its `}}`, with something between them.
fn is_balanced(path: &str) -> bool {
    let mut parts = path.split("{{");
    let outside = parts.next().unwrap_or_default();
    !outside.contains("}}")
        && parts.all(|part| match part.split("}}").collect::<Vec<_>>().as_slice() {
            [inside, _] => !inside.trim().is_empty(),
            _ => false,
        })
}
