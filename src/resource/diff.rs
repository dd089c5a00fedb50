//! Field changes between the declared and the live state.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::secret::{Fields, Secret, SecretChange, Sources, mask, path_of, render};

/// One field that differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// The location, as a dotted path below the step.
    pub path: String,
    /// The live value, with secrets masked; `null` when it is absent or sensitive.
    pub before: Value,
    /// The declared value, with secrets masked; `null` when it will be removed or is sensitive.
    pub after: Value,
    /// Whether the values are secret; then neither is ever stored here.
    pub sensitive: bool,
    /// The change of a secret value; only with `sensitive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretChange>,
    /// The source of a secret value, never the value: `env DB_URL`, `generated, 32 characters`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A remark for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether the update resets it although the plan does not declare it; a risk.
    #[serde(skip)]
    pub resets: bool,
}

/// A field that differs but cannot be changed in place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Blocked {
    /// The location, as a dotted path below the step.
    pub path: String,
    /// Why it cannot be changed and what a person can do.
    pub why: String,
    /// Whether another party has to act before it is as declared; the program has done its part.
    #[serde(skip)]
    pub waits: bool,
}

impl Blocked {
    /// That the field at `path` cannot be changed, and why.
    pub fn new(path: &str, why: &str) -> Self {
        Self { path: path.to_owned(), why: why.to_owned(), waits: false }
    }
}

/// The result of comparing one step with its live thing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Fields that differ, in the order of the kind's fields.
    pub changes: Vec<Change>,
    /// The differing fields that cannot be updated.
    pub blocked: Vec<Blocked>,
    /// Unchanged secret fields. They are not changes, but listed so that a reviewer sees that they
    /// were checked.
    pub unchanged: Vec<Change>,
}

impl Diff {
    /// An empty diff.
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

    /// Compares one field; equal values are not recorded.
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

    /// Compares text that others may have written and that may contain a secret: the content of a
    /// file, an object or a parameter. Possible secrets of the live text are never shown.
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

    /// Compares a field that cannot be changed after creation.
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
            self.blocked.push(Blocked::new(path, why));
        }
        self
    }

    /// Compares a state that only another party can bring about, such as a confirmation.
    pub fn awaited<T: Serialize + ?Sized, U: Serialize + ?Sized>(
        &mut self,
        path: &str,
        before: &T,
        after: &U,
        why: &str,
    ) -> &mut Self {
        let count = self.blocked.len();
        self.immutable(path, before, after, why);
        self.blocked[count..].iter_mut().for_each(|blocked| blocked.waits = true);
        self
    }

    /// The state to wait for, if nothing else differs.
    pub fn only_awaits(&self) -> Option<&Blocked> {
        let waits = |path: &str| self.blocked.iter().any(|blocked| blocked.waits && blocked.path == path);
        self.blocked.first().filter(|_| self.changes.iter().all(|change| waits(&change.path)))
    }

    /// Compares the declared entries of a map one by one. Undeclared live entries belong to others
    /// and are not managed. Used for tags.
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

    /// Records the change of a secret field and the source of its value; never a value.
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
    /// empty). With `exact`, undeclared live values will be removed. Never shows a value. For fields that
    /// are not to be compared, the result does not depend on the live values.
    pub fn secrets(&mut self, path: &str, declared: &Sources, live: &Fields, exact: bool) -> &mut Self {
        let at = |name: &str| path_of(path, name);
        let seen = declared.iter().filter(|(_, source)| source.unseen().is_none());
        let seen: Sources = seen.map(|(name, source)| (name.clone(), source.clone())).collect();
        let rendered = render(&seen, live, false);
        for (name, source) in declared {
            let what = match (source.unseen(), &rendered) {
                (Some(unseen), _) => unseen,
                (None, Err(_)) => SecretChange::Changed,
                (None, Ok(rendered)) => compared(rendered[name].as_ref(), live.get(name)),
            };
            self.secret(&at(name), what, Some(source.describe()));
            match (source.unseen(), &rendered) {
                (Some(SecretChange::Changed), _) => self.note(NOT_COMPARED),
                (None, Err(error)) => self.note(format!("cannot be written: {error}")),
                _ => self,
            };
        }
        if exact && seen.is_empty() {
            // In a value that was never compared field by field, names may be a part of the secret.
            self.secret(path, SecretChange::Removed, None).note(OTHERS_REMOVED);
            return self;
        }
        for name in live.keys().filter(|name| exact && !declared.contains_key(*name)) {
            self.secret(&at(name), SecretChange::Removed, None);
        }
        self
    }

    /// Records a change that the caller has determined, with both values as shown. Every value that
    /// is shown, saved or reported passes through here, so secrets are masked here.
    pub fn push(&mut self, path: &str, mut before: Value, mut after: Value) -> &mut Self {
        mask::value(last_name(path), &mut before);
        mask::value(last_name(path), &mut after);
        let note = (before == after).then(|| "only masked parts differ".to_owned());
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

    /// Records that the update resets an undeclared, unreadable field to `becomes`.
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

fn compared(after: Option<&Secret>, before: Option<&Secret>) -> SecretChange {
    match before {
        None => SecretChange::New,
        before if after == before => SecretChange::Unchanged,
        Some(_) => SecretChange::Changed,
    }
}

/// Why a value that was not compared is shown as changed.
pub(crate) const NOT_COMPARED: &str = "not compared, since what is declared has changed since it was last applied; \
     `apply` keeps a value that is the same";
const OTHERS_REMOVED: &str = "fields that are not declared are removed; which there are was not looked at";
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
    fn masked_passwords_still_differ() {
        let mut diff = Diff::none();
        diff.field("connection_url", "app:hunter2@tcp(db)/app", "app:hunter3@tcp(db)/app");
        diff.field("nodes", &json!(["https://a:hunter2@b"]), &json!([]));
        diff.immutable("url", "ldap://a:hunter2@b", "ldap://b", "fixed");
        assert!(!shown(&diff).contains("hunter"), "{}", shown(&diff));
        assert_eq!(diff.changes[0].note.as_deref(), Some("only masked parts differ"));
        assert_eq!((diff.changes.len(), diff.changes[1].note.as_deref()), (3, None));
    }

    #[test]
    fn live_content_is_masked_but_not_declared() {
        let (live, declared) = ("token = \"abc\"\nregion = \"eu\"\n", "region = \"us\"\nmode = \"x\"\n");
        let mut diff = Diff::none();
        diff.content("content", live, declared).content("same", "token = \"a\"", "token = \"a\"");
        assert_eq!(diff.changes.len(), 1);
        assert_eq!(diff.changes[0].before, "token = \"(masked)\"\nregion = \"eu\"\n");
        assert_eq!(diff.changes[0].after, declared);
    }
}
