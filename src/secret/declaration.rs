//! Digests of how a plan declares its secret fields; never of a value.
//!
//! A plan that a stranger has changed may declare a guess at a live value, and "changed" would reveal
//! whether it is right. So a field is compared only while its declaration is the one that a person
//! last approved; the journal keeps the digest of that declaration.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::template::{Insert, Piece};
use super::tracked::Provenance;
use super::{Input, SecretSource, Sources};
use crate::secret::SecretChange;
use crate::template::unknown::is_unknown;

/// Digests of the declarations of secret fields, by the fields' paths.
pub type Declarations = BTreeMap<String, String>;

/// Characters of a digest: 128 bits.
const LENGTH: usize = 32;

/// The digest of each field's declaration and of those that it rests on. It is empty, which matches no
/// digest, for a value that is not known yet and for a file of unknown provenance.
pub fn declarations(sources: &Sources) -> Declarations {
    let mut found = Found { sources, digests: BTreeMap::new(), open: BTreeSet::new() };
    sources.keys().map(|name| (name.clone(), found.digest(name).unwrap_or_default())).collect()
}

/// Says of each field whose declaration is not as it is recorded that it is not to be compared: a
/// field that the record has counts as changed, any other as new.
pub fn hide_unsettled<'a>(
    below: &str,
    fields: impl Iterator<Item = (&'a str, &'a mut SecretSource)>,
    record: Option<&Declarations>,
) {
    let mut fields: BTreeMap<&str, &mut SecretSource> = fields.collect();
    let sources = fields.iter().map(|(name, source)| ((*name).to_owned(), (**source).clone())).collect();
    let declared = declarations(&sources);
    for (name, source) in &mut fields {
        let recorded = record.map(|record| record.get(&path_of(below, name)));
        match recorded {
            Some(Some(digest)) if !digest.is_empty() && declared.get(*name) == Some(digest) => {}
            Some(None) => source.hide(SecretChange::New),
            _ => source.hide(SecretChange::Changed),
        }
    }
}

/// The digest of anything else that is declared.
pub fn declaration(declared: &Value) -> String {
    hex::encode(Sha256::digest(declared.to_string()))[..LENGTH].to_owned()
}

/// The path of a field below another, or of one that stands by itself.
pub fn path_of(below: &str, name: &str) -> String {
    if below.is_empty() { name.to_owned() } else { format!("{below}.{name}") }
}

fn filters(insert: &Insert) -> String {
    let names: Vec<&str> = insert.filters.iter().map(|filter| filter.recorded()).collect();
    format!("[{}]", names.join(", "))
}

struct Found<'a> {
    sources: &'a Sources,
    digests: BTreeMap<String, Option<String>>,
    open: BTreeSet<String>,
}

impl<'a> Found<'a> {
    fn digest(&mut self, name: &str) -> Option<String> {
        if let Some(known) = self.digests.get(name) {
            return known.clone();
        }
        // Circles are refused before, and so is what goes deeper than the stack.
        let source = self.sources.get(name).filter(|_| self.open.insert(name.to_owned()))?;
        let told = self.told(source);
        self.open.remove(name);
        let digest = told.map(|told| declaration(&told));
        self.digests.insert(name.to_owned(), digest.clone());
        digest
    }

    fn told(&mut self, source: &'a SecretSource) -> Option<Value> {
        match source.input() {
            Input::Literal(text) => (!is_unknown(text)).then(|| json!(["literal", text])),
            // Made once and kept, however it would be made today.
            Input::Generate(_) => Some(json!(["generate"])),
            Input::Env(name) => Some(json!(["env", name])),
            Input::File(path) => match (source.provenance()?, source.value()) {
                (Provenance::Caller, _) => Some(json!(["file", path])),
                // As public as the plan itself.
                (Provenance::Repository, Some(value)) => {
                    Some(json!(["tracked", path, hex::encode(Sha256::digest(value.expose_bytes()))]))
                }
                (Provenance::Repository, None) | (Provenance::Unknown, _) => None,
            },
            Input::Step(written) => (!is_unknown(written)).then(|| json!(["secret", written])),
            Input::Template(_) => {
                let pieces: Option<Vec<Value>> =
                    source.pieces()?.iter().map(|piece| self.told_piece(piece)).collect();
                Some(json!(["template", pieces?]))
            }
            Input::Json(fields) => {
                let fields: Option<Vec<Value>> =
                    fields.iter().map(|(name, source)| Some(json!([name, self.told(source)?]))).collect();
                Some(json!(["json", fields?]))
            }
        }
    }

    fn told_piece(&mut self, piece: &Piece) -> Option<Value> {
        match piece {
            piece if piece.is_unknown() => None,
            Piece::Text(text) | Piece::Value(text) => Some(json!(["text", text])),
            Piece::Field(insert) => {
                Some(json!(["field", insert.field, filters(insert), self.digest(&insert.field)?]))
            }
            Piece::Step(insert) => Some(json!(["secret", insert.field, filters(insert)])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::secret::Loader;
    use crate::trust::Trust;

    fn of(declared: &Value, vars: &Value) -> Declarations {
        let mut sources: Sources = serde_json::from_value(declared.clone()).expect("valid");
        let trust = Trust::new(["env=PATH".parse().expect("a grant")]);
        let trust = trust.in_environment(Environment::new([("PATH", "/usr/bin")]));
        let loader = Loader { folder: ".".into(), vars: vars.clone().into(), trust, ..Loader::default() };
        for source in sources.values_mut() {
            source.load(&loader).expect("loads");
        }
        declarations(&sources)
    }

    #[test]
    fn every_change_of_a_declaration_changes_its_digest() {
        let declared = json!({ "a": "one", "g": { "generate": {} }, "u": { "template": "{{ data.a }}-{{ region }}" },
            "v": { "template": "<{{ data.u | trim }}>" }, "j": { "json": { "x": "1", "y": { "template": "{{ data.v }}" } } } });
        let vars = json!({ "region": "eu-1" });
        let before = of(&declared, &vars);
        assert_eq!((before.len(), before == of(&declared, &vars)), (5, true));
        let changed = |change: Value, vars: &Value| -> Vec<String> {
            let mut declared = declared.clone();
            for (name, source) in change.as_object().expect("fields") {
                declared[name] = source.clone();
            }
            let after = of(&declared, vars);
            after
                .into_iter()
                .filter(|(name, digest)| before.get(name) != Some(digest))
                .map(|(name, _)| name)
                .collect()
        };
        assert_eq!(changed(json!({ "a": "two" }), &vars), ["a", "j", "u", "v"]);
        assert_eq!(changed(json!({ "g": { "generate": { "length": 12 } } }), &vars), [""; 0]);
        assert_eq!(changed(json!({ "g": "one" }), &vars), ["g"]);
        assert_eq!(changed(json!({}), &json!({ "region": "eu-2" })), ["j", "u", "v"]);
        assert_eq!(changed(json!({ "v": { "template": "<{{ data.u }}>" } }), &vars), ["j", "v"]);
        assert_eq!(changed(json!({ "j": { "json": { "x": "1" } } }), &vars), ["j"]);
        assert_eq!(changed(json!({ "a": { "env": "PATH" } }), &vars), ["a", "j", "u", "v"]);
    }

    /// Journals keep these digests, so a later version must come to the same.
    #[test]
    fn digest_of_a_declaration_never_changes() {
        let template = "<{{ data.a | urlencode | tojson | base64 | trim }}>{{ data.a }}";
        let found = of(&json!({ "a": "one", "t": { "template": template } }), &json!({}));
        assert_eq!(found["a"], "eae707dd7c3856730dddf753a16b7b1f");
        assert_eq!(found["t"], "32cb756f920dce6b347d80a6febb760e");
    }

    #[test]
    fn unknown_value_has_no_digest() {
        let unknown = crate::template::unknown::marker("key.arn");
        let found = of(&json!({ "a": unknown, "b": { "template": "{{ data.a }}" }, "c": "x" }), &json!({}));
        let known = found.iter().filter(|(_, digest)| !digest.is_empty());
        assert_eq!(known.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["c"]);
        let mut sources: Sources = serde_json::from_value(json!({ "a": unknown })).expect("valid");
        hide_unsettled("", sources.iter_mut().map(|(name, source)| (name.as_str(), source)), Some(&found));
        assert_eq!(sources["a"].unseen(), Some(SecretChange::Changed), "nothing is as unknown as itself");
    }

    #[test]
    fn file_digest_reveals_nothing_of_its_value() {
        let folder = tempfile::tempdir().expect("a folder");
        let digest = |value: &str| {
            std::fs::write(folder.path().join("key"), value).expect("written");
            let mut source: SecretSource = serde_json::from_value(json!({ "file": "key" })).expect("valid");
            let loader = Loader { folder: folder.path().to_owned(), ..Loader::default() };
            source.load(&loader).expect("loads");
            declarations(&Sources::from([("key".to_owned(), source)]))
        };
        assert_eq!(digest("hunter2"), digest("another"));
    }
}
