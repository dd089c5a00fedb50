//! What holds for every kind.

use std::collections::BTreeSet;
use std::path::Path;

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::PROVIDERS;
use crate::access::{Grant, Granting};
use crate::place::Realm;
use crate::plan::Node;
use crate::proof::Proof;
use crate::resource::erased::Kind;
use crate::resource::risk::FieldRisk;
use crate::template::unknown;

/// A kind's schema, and the schemas that it refers to.
struct Fields {
    schema: Value,
    definitions: Map<String, Value>,
}

impl Fields {
    fn of(kind: &dyn Kind) -> Self {
        let mut generator = SchemaGenerator::default();
        let schema = kind.fields_schema(&mut generator).to_value();
        Self { schema, definitions: generator.take_definitions(true) }
    }

    /// The schemas of a field, through references, alternatives, lists and maps.
    fn inside<'a>(&'a self, schema: &'a Value, found: &mut Vec<&'a Value>) {
        let seen = found.iter().any(|other| std::ptr::eq(*other, schema));
        if !schema.is_object() || seen {
            return;
        }
        found.push(schema);
        let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        let referred = name.and_then(|name| self.definitions.get(name));
        let alternatives =
            ["anyOf", "oneOf", "allOf"].iter().filter_map(|name| schema[*name].as_array()).flatten();
        let entries = ["items", "additionalProperties"].iter().filter_map(|name| schema.get(*name));
        for part in referred.into_iter().chain(alternatives).chain(entries) {
            self.inside(part, found);
        }
    }

    fn names(&self) -> BTreeSet<&str> {
        let mut all = Vec::new();
        self.inside(&self.schema, &mut all);
        let names = all.iter().filter_map(|schema| schema["properties"].as_object()).flatten();
        names.map(|(name, _)| name.as_str()).collect()
    }

    fn at(&self, path: &str) -> Vec<&Value> {
        let mut found = vec![&self.schema];
        for name in path.split('.') {
            let mut all = Vec::new();
            for schema in found {
                self.inside(schema, &mut all);
            }
            let named = all.iter().filter_map(|schema| schema["properties"].get(name));
            let of_map = all.iter().filter_map(|schema| schema.get("additionalProperties"));
            found = named.chain(of_map.filter(|entry| entry.is_object())).collect();
        }
        found
    }

    fn is_policy(&self, field: &str) -> bool {
        let mut all = Vec::new();
        for schema in self.at(field) {
            self.inside(schema, &mut all);
        }
        let is_document = |name: &str| name.ends_with("/PolicyDocument") || name.ends_with("/Document");
        all.iter().any(|schema| schema["$ref"].as_str().is_some_and(is_document))
    }
}

/// What is wrong with what a kind says about its fields.
fn mistakes(kind: &dyn Kind) -> Vec<String> {
    let fields = Fields::of(kind);
    let risks: Vec<&FieldRisk> = kind.risks().iter().copied().flatten().collect();
    let mut said = BTreeSet::new();
    let (mut safe, mut dangerous) = (BTreeSet::new(), BTreeSet::new());
    let mut found = Vec::new();
    for risk in &risks {
        let (names, live) = risk.fields();
        for name in names {
            let top = name.split('.').next().unwrap_or_default();
            let is_declared = !fields.at(name).is_empty();
            if live && fields.names().contains(top) {
                found.push(format!("`{name}` is declared, so it is not only a part of the live thing"));
            }
            if !live && !is_declared {
                found.push(format!("`{name}` does not exist"));
            }
            if !live {
                said.insert(top);
            }
            let list = if matches!(risk, FieldRisk::Safe { .. }) { &mut safe } else { &mut dangerous };
            list.insert(name);
        }
        let words = match risk {
            FieldRisk::Safe { why, .. } => why,
            FieldRisk::Rule(rule) => rule.consequence,
            FieldRisk::Analysed { .. } => "analysed",
        };
        if words.is_empty() || words.ends_with('.') || words.contains('\n') {
            found.push(format!("`{words}` is no fragment"));
        }
    }
    found.extend(safe.intersection(&dangerous).map(|name| format!("`{name}` is safe and is not")));
    // The namespace is the engine's field: a part of the address.
    let missing = fields.names().into_iter().filter(|name| *name != "namespace" && !said.contains(name));
    for name in missing {
        found.push(format!("`{name}` is missing"));
    }
    let analysed = |name: &&str| {
        let is_it = |risk: &&FieldRisk| matches!(risk, FieldRisk::Analysed { .. });
        risks.iter().filter(|risk| is_it(risk)).any(|risk| risk.fields().0.any(|field| field == *name))
    };
    let policies = fields.names().into_iter().filter(|name| fields.is_policy(name));
    found.extend(policies.filter(|name| !analysed(name)).map(|name| format!("`{name}` is a policy")));
    found.iter().map(|mistake| format!("{}: {mistake}", kind.name())).collect()
}

#[test]
fn each_field_has_its_risk_or_why_it_has_none() {
    let found: Vec<String> = PROVIDERS.kinds().flat_map(mistakes).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The steps of a kind in its contract's fixture: the first one, and after each change.
fn steps(kind: &dyn Kind) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let text = std::fs::read_to_string(folder.join(format!("{}.yaml", kind.name()))).expect("a fixture");
    let fixture: Value = serde_saphyr::from_str(&text).expect("YAML");
    let mut step = fixture["step"].clone();
    let mut steps = vec![step.clone()];
    for change in fixture["changes"].as_array().into_iter().flatten() {
        merge(&mut step, &change["set"]);
        steps.push(step.clone());
    }
    steps.iter_mut().for_each(of_kind);
    steps
}

/// Leaves the fields of the kind. What an expression refers to is not known.
fn of_kind(step: &mut Value) {
    let fields = step.as_object_mut().expect("fields");
    let of_engine = ["kind", "needs", "adopt", "protect", "retain", "lint", "provider", "when", "for_each"];
    fields.retain(|name, _| !of_engine.contains(&name.as_str()));
    replace_expressions(step);
}

fn merge(value: &mut Value, change: &Value) {
    match (value, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                match change {
                    Value::Null => drop(fields.remove(name)),
                    change => merge(fields.entry(name).or_insert(Value::Null), change),
                }
            }
        }
        (value, change) => *value = change.clone(),
    }
}

fn replace_expressions(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("{{") => *text = unknown::marker("other.output"),
        Value::Array(items) => items.iter_mut().for_each(replace_expressions),
        Value::Object(fields) => fields.values_mut().for_each(replace_expressions),
        _ => {}
    }
}

/// The JSON pointers of all texts that are not empty.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() => found.push(at.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| texts(item, &format!("{at}/{index}"), found));
        }
        Value::Object(fields) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            fields.iter().for_each(|(name, item)| texts(item, &format!("{at}/{}", escaped(name)), found));
        }
        _ => {}
    }
}

/// The mistakes in a step, unless its types are wrong.
fn mistakes_in(kind: &dyn Kind, step: &Value) -> Option<BTreeSet<String>> {
    let instance = kind.declare(step.clone()).ok()?;
    Some(
        instance
            .check(None)
            .into_iter()
            .map(|mistake| format!("{}: {}", mistake.path, mistake.message))
            .collect(),
    )
}

/// Markers of values that are not known yet, one text at a time, with the mistakes that they make.
fn mistakes_with_markers(kind: &dyn Kind) -> (usize, Vec<String>) {
    let (mut tried, mut found) = (0, Vec::new());
    for step in steps(kind) {
        let Some(known) = mistakes_in(kind, &step) else { continue };
        let mut pointers = Vec::new();
        texts(&step, "", &mut pointers);
        for pointer in pointers {
            let mut step = step.clone();
            *step.pointer_mut(&pointer).expect("a text") = json!(unknown::marker("Other.output"));
            let Some(now) = mistakes_in(kind, &step) else { continue };
            tried += 1;
            found.extend(now.difference(&known).map(|new| format!("{} {pointer}: {new}", kind.name())));
        }
    }
    (tried, found)
}

#[test]
fn unknown_value_is_no_mistake() {
    let (mut tried, mut found) = (0, Vec::new());
    for kind in PROVIDERS.kinds() {
        let (more, mistakes) = mistakes_with_markers(kind);
        tried += more;
        found.extend(mistakes);
    }
    found.dedup();
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(tried > 1000, "only {tried} markers were tried");
}

/// Calls whose first text is the name of a field; in a source that several kinds share, only the first few are
/// sure to be.
const SURE: usize = 5;
const NAMING: [&str; 14] = [
    "FieldError::new(",
    "check_name(",
    "check_one_of(",
    "policy::compare(",
    ".touches(",
    ".field(",
    ".push(",
    ".immutable(",
    ".content(",
    ".entries(",
    ".awaited(",
    ".secret(",
    ".secrets(",
    ".reset(",
];

/// The names of fields in a source, without those in its tests.
fn names_in<'a>(source: &'a str, calls: &[&str]) -> BTreeSet<&'a str> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for call in calls {
        for (start, _) in source.match_indices(call) {
            let mut rest = source[start + call.len()..].trim_start();
            for before in ["&mut diff,", "diff,", "&format!(", "format!("] {
                rest = rest.strip_prefix(before).unwrap_or(rest).trim_start();
            }
            let text = rest.strip_prefix('"').and_then(|rest| rest.split('"').next());
            found.extend(
                text.and_then(|text| text.split(['.', '[', '{']).next()).filter(|name| !name.is_empty()),
            );
        }
    }
    found
}

/// The sources below a folder, with the kinds that each is a part of: those of the nearest module that has any.
fn sources(folder: &Path, outer: &[&'static dyn Kind], found: &mut Vec<(String, Vec<&'static dyn Kind>)>) {
    let kinds_in = |source: &str| -> Vec<&'static dyn Kind> {
        let named =
            |kind: &&dyn Kind| source.contains(&format!("const KIND: &'static str = \"{}\";", kind.name()));
        PROVIDERS.kinds().filter(named).collect()
    };
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let own = kinds_in(&read(&folder.join("mod.rs"))).into_iter();
    let own: Vec<_> = own.chain(kinds_in(&read(&folder.with_extension("rs")))).collect();
    let kinds = if own.is_empty() { outer } else { &own };
    for entry in folder.read_dir().expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, kinds, found);
        } else if !path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests")) {
            let source = read(&path);
            let own = kinds_in(&source);
            found.push((source, if own.is_empty() { kinds.to_vec() } else { own }));
        }
    }
}

/// The names of the kinds' fields, and of the parts of their live things that no plan declares.
fn known_names(kinds: &[&'static dyn Kind]) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for kind in kinds {
        known.extend(Fields::of(*kind).names().into_iter().map(str::to_owned));
        let risks = kind.risks().iter().copied().flatten().map(FieldRisk::fields);
        let live = risks.filter(|(_, live)| *live).flat_map(|(names, _)| names);
        known.extend(live.filter_map(|name| name.split('.').next()).map(str::to_owned));
    }
    known
}

#[test]
fn name_of_a_field_in_a_source_exists() {
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/providers"), &[], &mut all);
    let every: Vec<&dyn Kind> = PROVIDERS.kinds().collect();
    let of_all = known_names(&every);
    let (mut checked, mut wrong) = (0, Vec::new());
    for (source, kinds) in &all {
        let (known, calls) = match kinds.is_empty() {
            true => (of_all.clone(), &NAMING[..SURE]),
            false => (known_names(kinds), &NAMING[..]),
        };
        let names = names_in(source, calls);
        checked += names.len();
        let of = kinds.first().map_or("several kinds", |kind| kind.name());
        wrong.extend(names.iter().filter(|name| !known.contains(**name)).map(|name| format!("{of}: {name}")));
    }
    assert!(wrong.is_empty(), "neither a field nor a live part:\n{}", wrong.join("\n"));
    assert!(checked > 250, "only {checked} names were found");
}

/// The tests have every kind, so what the features switch is read from the sources.
#[test]
fn kinds_that_features_switch_are_those_that_are_called_optional() {
    for (provider, source) in [("aws", include_str!("aws/mod.rs")), ("vault", include_str!("vault/mod.rs"))] {
        let provider = PROVIDERS.provider(provider).expect("a provider");
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let kinds = lines.iter().enumerate().filter(|(_, line)| line.starts_with("&kind::<"));
        let features: Vec<Option<&str>> = kinds
            .map(|(at, _)| lines[at - 1].strip_prefix("#[cfg(feature = \"")?.strip_suffix("\")]"))
            .collect();
        assert_eq!(features.len(), provider.kinds().len());
        let names = provider.kinds().iter().map(|kind| kind.name());
        let switched: BTreeSet<_> =
            names.zip(features).filter_map(|(name, feature)| Some((name, feature?))).collect();
        assert_eq!(switched, provider.optional_kinds().iter().copied().collect());
    }
}

#[test]
fn each_kind_says_how_it_is_proven() {
    let silent = PROVIDERS.kinds().filter(|kind| match kind.proof() {
        Proof::Unstated => true,
        Proof::InSync(words) | Proof::Tried(words) => words.is_empty() || words.ends_with('.'),
    });
    let silent: Vec<&str> = silent.map(|kind| kind.name()).collect();
    assert!(silent.is_empty(), "these do not say how they are proven: {}", silent.join(", "));
}

#[test]
fn every_kind_says_what_it_has_to_do_with_access() {
    let kinds: Vec<&dyn Kind> = PROVIDERS.kinds().collect();
    let unsaid: Vec<&str> =
        kinds.iter().filter(|kind| kind.granting() == Granting::Unsaid).map(|kind| kind.name()).collect();
    assert!(unsaid.is_empty(), "these have no `GRANTS`: {unsaid:?}");
    for kind in kinds {
        let stated = example_grants(kind);
        let is_right = match kind.granting() {
            Granting::States => !stated.is_empty(),
            Granting::Never(why) => stated.is_empty() && !why.is_empty(),
            Granting::Unsaid => false,
        };
        assert!(is_right, "{} says {:?}, and its example states {stated:?}", kind.name(), kind.granting());
    }
}

/// What the things of a kind's example state.
fn example_grants(kind: &dyn Kind) -> Vec<Grant> {
    let realm = Realm::default().with("account", "123456789012").with("region", "us-east-1");
    let example = Node::parse(kind.example(), 0).expect("YAML").to_value();
    let steps = example.as_object().expect("steps").values();
    let own = steps.filter(|step| step["kind"] == kind.name());
    let grants = |step: &Value| {
        let mut fields = step.clone();
        let all = fields.as_object_mut().expect("fields");
        all.retain(|name, _| !["kind", "needs", "lint", "for_each", "protect"].contains(&name.as_str()));
        let instance =
            kind.declare(fields).unwrap_or_else(|mistakes| panic!("{}: {mistakes:?}", kind.name()));
        instance.grants(&realm)
    };
    own.flat_map(grants).collect()
}
