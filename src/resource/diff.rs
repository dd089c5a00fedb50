//! Field changes between what is declared and what is live.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::secret::{Fields, Sources, mask, render};

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// Where, as a dotted path below the step.
    pub path: String,
    /// The live value, with secrets in it masked; `null` when there is none or when it is sensitive.
    pub before: Value,
    /// The declared value, with secrets in it masked; `null` when it will be removed or when it is
    /// sensitive.
    pub after: Value,
    /// Whether the values are secret; then neither is ever in here.
    pub sensitive: bool,
    /// What happens to a secret value; only with `sensitive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretChange>,
    /// Where a secret value comes from, never the value: `env DB_URL`, `generated, 32 characters`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A remark for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether the plan does not declare it and the update resets it all the same; a risk.
    #[serde(skip)]
    pub resets: bool,
}

/// What happens to a secret value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretChange {
    /// There is none yet.
    New,
    /// Another value is there.
    Changed,
    /// The same value is there.
    Unchanged,
    /// The server does not tell the value, so it is sent once more with the other changes.
    Resent,
    /// It is taken away.
    Removed,
}

impl SecretChange {
    /// The word in JSON and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Resent => "resent",
            Self::Removed => "removed",
        }
    }
}

/// A field that differs but cannot be changed in place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Blocked {
    /// Where, as a dotted path below the step.
    pub path: String,
    /// Why it cannot be changed and what a person can do.
    pub why: String,
}

/// The outcome of comparing one step with its live counterpart.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Fields that differ, in the order of the kind's fields.
    pub changes: Vec<Change>,
    /// Those among them that forbid an update.
    pub blocked: Vec<Blocked>,
    /// Secret fields that stay as they are. No changes: they are named so that a reviewer sees
    /// that they were looked at.
    pub unchanged: Vec<Change>,
}

impl Diff {
    /// No differences.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether live and declared agree.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether a change at or below `path` is among the differences.
    pub fn touches(&self, path: &str) -> bool {
        self.changes.iter().any(|change| {
            change.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Compares one field; equal values leave no trace.
    pub fn field<T: Serialize + ?Sized, U: Serialize + ?Sized>(
        &mut self,
        path: &str,
        before: &T,
        after: &U,
    ) -> &mut Self {
        let (before, after) = (to_value(before), to_value(after));
        if before != after {
            self.push(path, before, after);
        }
        self
    }

    /// Compares what others may have written and a secret may stand in: the content of a file, an object
    /// or a parameter. Of the live side nothing is shown that may be a secret.
    pub fn content<T: Serialize + ?Sized, U: Serialize + ?Sized>(
        &mut self,
        path: &str,
        before: &T,
        after: &U,
    ) -> &mut Self {
        let (mut before, after) = (to_value(before), to_value(after));
        if before != after {
            mask::live_value(last_name(path), &mut before, &after);
            self.push(path, before, after);
        }
        self
    }

    /// Compares a field that cannot be changed once the thing exists.
    pub fn immutable<T: Serialize + ?Sized, U: Serialize + ?Sized>(
        &mut self,
        path: &str,
        before: &T,
        after: &U,
        why: &str,
    ) -> &mut Self {
        let count = self.changes.len();
        self.field(path, before, after);
        if self.changes.len() > count {
            self.blocked.push(Blocked { path: path.to_owned(), why: why.to_owned() });
        }
        self
    }

    /// Compares the declared entries of a map, entry by entry; live entries that are not
    /// declared belong to somebody else and are left alone. Used for tags.
    pub fn entries<'a, V: Serialize + PartialEq + 'a>(
        &mut self,
        path: &str,
        before: &std::collections::BTreeMap<String, V>,
        after: &std::collections::BTreeMap<String, V>,
    ) -> &mut Self {
        for (key, value) in after {
            let live = before.get(key);
            if live != Some(value) {
                self.push(&format!("{path}.{key}"), live.map_or(Value::Null, to_value), to_value(value));
            }
        }
        self
    }

    /// Records what happens to a secret field, and where its value comes from; never a value.
    pub fn secret(&mut self, path: &str, what: SecretChange, source: Option<String>) -> &mut Self {
        let list = if what == SecretChange::Unchanged { &mut self.unchanged } else { &mut self.changes };
        list.push(Change {
            path: path.to_owned(),
            before: Value::Null,
            after: Value::Null,
            sensitive: true,
            secret: Some(what),
            source,
            note: None,
            resets: false,
        });
        self
    }

    /// Compares declared secret values with live ones, name by name below `path` (which may be
    /// empty). With `exact`, live values that are not declared are to be removed. Never shows one.
    pub fn secrets(&mut self, path: &str, declared: &Sources, live: &Fields, exact: bool) -> &mut Self {
        let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let rendered = match render(declared, live, false) {
            Ok(rendered) => rendered,
            Err(error) => {
                let path =
                    if path.is_empty() { declared.keys().next().map_or("", String::as_str) } else { path };
                return self
                    .secret(path, SecretChange::Changed, None)
                    .note(format!("cannot be written: {error}"));
            }
        };
        for (name, source) in declared {
            let what = match live.get(name) {
                None => SecretChange::New,
                before if rendered[name].as_ref() == before => SecretChange::Unchanged,
                Some(_) => SecretChange::Changed,
            };
            self.secret(&at(name), what, Some(source.describe()));
        }
        for name in live.keys().filter(|name| exact && !declared.contains_key(*name)) {
            self.secret(&at(name), SecretChange::Removed, None);
        }
        self
    }

    /// Records a change whose comparison was made by the caller, with both values as shown. Every value
    /// that is ever shown, saved or reported passes here, so this is where secrets in it are masked.
    pub fn push(&mut self, path: &str, mut before: Value, mut after: Value) -> &mut Self {
        mask::value(last_name(path), &mut before);
        mask::value(last_name(path), &mut after);
        let note = (before == after).then(|| "only what is masked differs".to_owned());
        self.changes.push(Change {
            path: path.to_owned(),
            before,
            after,
            sensitive: false,
            secret: None,
            source: None,
            note,
            resets: false,
        });
        self
    }

    /// Records that the update resets a field that nobody reads or declares to `becomes`.
    pub fn reset(&mut self, path: &str, becomes: Value) -> &mut Self {
        self.push(path, Value::Null, becomes).note(RESET);
        if let Some(change) = self.changes.last_mut() {
            change.resets = true;
        }
        self
    }

    /// Attaches a remark to the latest change.
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        if let Some(change) = self.changes.last_mut() {
            change.note = Some(note.into());
        }
        self
    }
}

const RESET: &str = "the server does not report it, and every update sets it to this default";

fn to_value<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// The name of the field at a path.
fn last_name(path: &str) -> &str {
    let path = path.split('[').next().unwrap_or(path);
    path.rsplit('.').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(diff: &Diff) -> String {
        serde_json::to_string(diff).expect("plain data")
    }

    #[test]
    fn passwords_in_fields_are_masked_and_still_differ() {
        let mut diff = Diff::none();
        diff.field("connection_url", "app:hunter2@tcp(db)/app", "app:hunter3@tcp(db)/app");
        diff.field("nodes", &json!(["https://a:hunter2@b"]), &json!([]));
        diff.immutable("url", "ldap://a:hunter2@b", "ldap://b", "fixed");
        assert!(!shown(&diff).contains("hunter"), "{}", shown(&diff));
        assert_eq!(diff.changes[0].note.as_deref(), Some("only what is masked differs"));
        assert_eq!((diff.changes.len(), diff.changes[1].note.as_deref()), (3, None));
    }

    #[test]
    fn live_content_is_masked_and_declared_content_is_shown() {
        let (live, declared) = ("token = \"abc\"\nregion = \"eu\"\n", "region = \"us\"\nmode = \"x\"\n");
        let mut diff = Diff::none();
        diff.content("content", live, declared).content("same", "token = \"a\"", "token = \"a\"");
        assert_eq!(diff.changes.len(), 1);
        assert_eq!(diff.changes[0].before, "token = \"(masked)\"\nregion = \"eu\"\n");
        assert_eq!(diff.changes[0].after, declared);
    }
}
