//! Where the journal's copy and the lock are: the sections `journal:` and `lock:`, made definite.

use serde::Serialize;

use super::{OutputTable, Resolved};
use crate::confined_path::mistake;
use crate::error::FieldError;
use crate::plan::settings::{BackupSettings, BackupStoreSettings, JournalSettings, LockObject, LockSettings};
use crate::plan::{Diagnostic, LockPlace, S3Location, Section};
use crate::template::unknown::{is_unknown, references};

/// Both places, as far as the plan names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The object that is the journal's copy.
    pub journal: Option<S3Location>,
    /// The lock.
    pub lock: Option<LockPlace>,
}

impl Resolved {
    /// Where the journal's copy and the lock are. A place that depends on an unknown value is a mistake
    /// only with `definite`.
    ///
    /// # Errors
    /// Expressions that fail and values that are wrong, with their places.
    pub fn places(&self, outputs: &OutputTable, definite: bool) -> Result<Places, Vec<Diagnostic>> {
        let plan = &self.document.name;
        let journal: Option<JournalSettings> = self.section(Section::Journal, outputs)?;
        let lock: Option<LockSettings> = self.section(Section::Lock, outputs)?;
        let unknown = [(Section::Journal, text(&journal)), (Section::Lock, text(&lock))];
        match unknown.iter().find(|(_, text)| is_unknown(text)) {
            Some((section, text)) if definite => return Err(self.mistake(*section, not_known(text))),
            Some(_) => return Ok(Places::default()),
            None => {}
        }
        let copy = journal.map(|settings| copy(&settings, plan)).transpose();
        let copy = copy.map_err(|mistake| self.mistake(Section::Journal, mistake))?;
        let lock = lock.map(|settings| lock_place(settings, copy.as_ref(), plan)).transpose();
        let lock = lock.map_err(|mistake| self.mistake(Section::Lock, mistake))?;
        Ok(Places { journal: copy, lock })
    }

    /// Where backups are kept, and for how long; `None` when the plan does not say. A place that depends on an
    /// unknown value is a mistake only with `definite`.
    ///
    /// # Errors
    /// Expressions that fail and values that are wrong, with their places.
    pub fn backups(
        &self,
        outputs: &OutputTable,
        definite: bool,
    ) -> Result<Option<BackupSettings>, Vec<Diagnostic>> {
        let settings: Option<BackupSettings> = self.section(Section::Backup, outputs)?;
        let Some(settings) = settings else { return Ok(None) };
        let text = text(&settings);
        match is_unknown(&text) {
            true if definite => return Err(self.mistake(Section::Backup, not_known(&text))),
            true => return Ok(Some(settings)),
            false => {}
        }
        let mistakes = backup_mistakes(&settings);
        match mistakes.is_empty() {
            true => Ok(Some(settings)),
            false => Err(mistakes.into_iter().flat_map(|one| self.mistake(Section::Backup, one)).collect()),
        }
    }

    pub(super) fn mistake(&self, section: Section, mistake: FieldError) -> Vec<Diagnostic> {
        let Some(node) = self.document.section(section) else { return Vec::new() };
        super::diagnose(node, vec![mistake])
    }
}

fn text(settings: &impl Serialize) -> String {
    serde_json::to_string(settings).unwrap_or_default()
}

fn not_known(text: &str) -> FieldError {
    let names: Vec<&str> = references(text).collect();
    FieldError::new("", format!("depends on {}, which is not known before the run", names.join(", ")))
        .help("use names, which are known beforehand")
}

fn copy(settings: &JournalSettings, plan: &str) -> Result<S3Location, FieldError> {
    let place: S3Location = settings.s3.parse().map_err(|why: String| FieldError::new("s3", why))?;
    Ok(S3Location { key: format!("{}/{plan}.jsonl", place.key), ..place })
}

fn backup_mistakes(settings: &BackupSettings) -> Vec<FieldError> {
    let mut mistakes = Vec::new();
    if settings.stores.is_empty() {
        mistakes.push(FieldError::new("stores", "there is no store").help("add `{ file: backups }`"));
    }
    if settings.keep.last == 0 {
        mistakes.push(FieldError::new("keep.last", "at least one backup stays").help("use 1 or more"));
    }
    for (index, store) in settings.stores.iter().enumerate() {
        let is_repeated = settings.stores[..index].contains(store);
        let why = match store {
            _ if is_repeated => Some("this store is already in the list".to_owned()),
            BackupStoreSettings::S3(place) => place.parse::<S3Location>().err(),
            BackupStoreSettings::File(path) if path.is_absolute() => None,
            BackupStoreSettings::File(path) => mistake(&path.to_string_lossy()).map(str::to_owned),
        };
        let field = if matches!(store, BackupStoreSettings::S3(_)) { "s3" } else { "file" };
        mistakes.extend(why.map(|why| FieldError::new(format!("stores[{index}].{field}"), why)));
    }
    mistakes
}

fn lock_place(
    settings: LockSettings,
    copy: Option<&S3Location>,
    plan: &str,
) -> Result<LockPlace, FieldError> {
    match (settings.dynamodb, settings.s3, settings.key) {
        (Some(table), None, key) => {
            let beside = || {
                copy.map_or(format!("groundwork/{plan}"), |place| format!("{}/{}", place.bucket, place.key))
            };
            Ok(LockPlace::Item { table, id: key.unwrap_or_else(beside) })
        }
        (None, Some(LockObject::At(place)), None) => {
            Ok(LockPlace::Object(place.parse().map_err(|why: String| FieldError::new("s3", why))?))
        }
        (None, Some(LockObject::Beside(true)), None) => match copy {
            Some(copy) => {
                Ok(LockPlace::Object(S3Location { key: format!("{}.tflock", copy.key), ..copy.clone() }))
            }
            None => Err(FieldError::new("s3", "there is no journal in S3 for the lock to be beside")
                .help("add `journal: { s3: … }`, or say where: `lock: { s3: \"s3://BUCKET/KEY.tflock\" }`")),
        },
        (None, _, Some(_)) => Err(FieldError::new("key", "belongs only to `dynamodb`")
            .help("with `s3` the place of the object says what is locked")),
        _ => Err(FieldError::new("", "exactly one of `dynamodb` and `s3` is needed")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn place(settings: Value, copy: Option<&S3Location>) -> Result<LockPlace, String> {
        let settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        lock_place(settings, copy, "demo").map_err(|mistake| mistake.message)
    }

    #[test]
    fn lock_settings_give_exactly_one_place() {
        let settings = JournalSettings { s3: "s3://state/gw".to_owned() };
        let copy = copy(&settings, "demo").expect("a place");
        let item = |id: &str| LockPlace::Item { table: "locks".to_owned(), id: id.to_owned() };
        let object = |key: &str| LockPlace::Object(format!("s3://state/{key}").parse().expect("a place"));
        assert_eq!(place(json!({ "dynamodb": "locks" }), None), Ok(item("groundwork/demo")));
        assert_eq!(place(json!({ "dynamodb": "locks" }), Some(&copy)), Ok(item("state/gw/demo.jsonl")));
        assert_eq!(place(json!({ "dynamodb": "locks", "key": "b/k" }), Some(&copy)), Ok(item("b/k")));
        assert_eq!(place(json!({ "s3": true }), Some(&copy)), Ok(object("gw/demo.jsonl.tflock")));
        assert_eq!(place(json!({ "s3": "s3://state/x.tflock" }), None), Ok(object("x.tflock")));
        let wrong = [
            json!({}),
            json!({ "s3": true }),
            json!({ "s3": false }),
            json!({ "s3": "x" }),
            json!({ "dynamodb": "a", "s3": true }),
            json!({ "s3": "s3://a/b", "key": "c" }),
            json!({ "dynamo": "a" }),
        ];
        for settings in wrong {
            assert!(place(settings.clone(), None).is_err(), "{settings}");
        }
    }
}
