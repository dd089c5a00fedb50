//! The names of a key: its alias, which may move to another key, and those that services know it by.

use super::super::tags;
use super::{Desired, KmsKey, Observed};
use crate::error::FieldError;
use crate::resource::{Diff, Requirement, Resource};

const ONE_STEP: &str = "two steps would change it in turns; declare the key in one step, with one alias";

const MOVE_BY_HAND: &str = "to take it over, remove the alias by hand and add `adopt: true` to the step";

/// Compares the key that has the alias with the declared one.
pub(super) fn compare(diff: &mut Diff, desired: &Desired, observed: &Observed) {
    let Some(declared) = desired.key_id.as_deref() else { return };
    if observed.is_named && is_same_key(Some(&observed.arn), Some(declared)) {
        return;
    }
    let before = observed.is_named.then_some(observed.key_id.as_str());
    match why_not_taken(desired, observed) {
        Some(why) => diff.immutable("key_id", &before, &Some(declared), &why),
        None => diff.field("key_id", &before, &Some(declared)),
    };
}

/// Why the declared key does not get the alias: another step has it. Whether this plan may take over
/// a key without the alias is decided by its tags, as for every other thing.
fn why_not_taken(desired: &Desired, observed: &Observed) -> Option<String> {
    let tags = if observed.is_named { &observed.declared_tags } else { &observed.tags };
    let owner = tags.get(tags::PLAN_TAG)?;
    if desired.tags.get(tags::PLAN_TAG) == Some(owner) {
        let step = tags.get(tags::STEP_TAG).filter(|step| desired.tags.get(tags::STEP_TAG) != Some(*step))?;
        return Some(format!("the key belongs to the step `{step}` of this plan, and {ONE_STEP}"));
    }
    observed.is_named.then(|| format!("the key belongs to the plan `{owner}`; {MOVE_BY_HAND}"))
}

/// Whether a live key, which services return as an ARN, is the declared one, which may be an ARN, an id
/// or an alias. An alias matches only if the service kept it.
pub fn is_same_key(live: Option<&str>, declared: Option<&str>) -> bool {
    match (live, declared) {
        (Some(live), Some(declared)) => {
            live == declared || ends_with_part(live, declared) || ends_with_part(declared, live)
        }
        (live, declared) => live == declared,
    }
}

/// The step that declares this alias, if a plan names a key by alias.
pub fn requirement(name: &str) -> Option<Requirement> {
    let alias = name.find("alias/").map(|start| &name[start..])?;
    Some(Requirement::thing(KmsKey::KIND, alias))
}

/// Whether an ARN ends with `part`, behind `key/` or the account.
fn ends_with_part(arn: &str, part: &str) -> bool {
    arn.starts_with("arn:") && arn.strip_suffix(part).is_some_and(|rest| rest.ends_with([':', '/']))
}

/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html>
pub(super) fn check(alias: &str) -> Option<FieldError> {
    let wrong = |message: &str, help: &str| Some(FieldError::new("alias", message).help(help));
    let Some(name) = alias.strip_prefix("alias/") else {
        return wrong("an alias starts with `alias/`", &format!("write `alias/{alias}`"));
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
    match () {
        () if name.starts_with("aws/") => {
            wrong("`alias/aws/` is reserved for keys that AWS manages", "choose another name")
        }
        () if name.is_empty() || alias.len() > 256 || !name.chars().all(allowed) => {
            wrong("not a valid alias", "letters, digits, `/`, `_` and `-`; 256 characters at most")
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{desired, observed, paths};
    use super::*;
    use crate::resource::Tags;

    #[test]
    fn declared_key_of_others_is_not_taken() {
        let marks = |plan: &str, step: &str| {
            Tags::from([(tags::PLAN_TAG.into(), plan.into()), (tags::STEP_TAG.into(), step.into())])
        };
        let declared = desired(json!({ "key_id": "k", "tags": marks("ours", "key") }));
        let blocked = |observed: Observed| {
            let diff = KmsKey::diff(&declared, &observed);
            assert!(paths(&diff).contains(&"key_id"), "{diff:?}");
            diff.blocked.first().map(|blocked| blocked.why.clone()).unwrap_or_default()
        };
        // Without the alias the tags decide, in the engine.
        let unnamed = |tags: Tags| Observed { is_named: false, tags, ..observed() };
        assert_eq!(blocked(unnamed(marks("theirs", "key"))), "");
        assert_eq!(blocked(unnamed(marks("ours", "key"))), "");
        assert!(blocked(unnamed(marks("ours", "other"))).contains("step `other`"));
        let moved = |tags: Tags| Observed {
            key_id: "z".into(),
            arn: "arn:aws:kms:us-east-1:1:key/z".into(),
            declared_tags: tags,
            ..observed()
        };
        assert_eq!(blocked(moved(Tags::new())), "");
        assert!(blocked(moved(marks("theirs", "key"))).contains("plan `theirs`"));
        assert!(blocked(moved(marks("ours", "other"))).contains("step `other`"));
    }

    #[test]
    fn key_arn_matches_its_id_or_alias() {
        let arn = "arn:aws:kms:us-east-1:123456789012:key/abc";
        assert!(is_same_key(Some(arn), Some("abc")) && is_same_key(Some("abc"), Some(arn)));
        assert!(is_same_key(Some("arn:aws:kms:us-east-1:123456789012:alias/x"), Some("alias/x")));
        assert!(
            !is_same_key(Some(arn), Some("bc")) && !is_same_key(Some(arn), None) && is_same_key(None, None)
        );
    }

    #[test]
    fn aliases_are_checked() {
        let message = |alias: &str| check(alias).map(|error| error.message);
        assert_eq!(message("alias/a/b_c-1"), None);
        for wrong in ["x", "alias/", "alias/a b", "alias/aws/s3"] {
            assert!(message(wrong).is_some(), "{wrong}");
        }
        assert_eq!(check("x").and_then(|error| error.help).as_deref(), Some("write `alias/x`"));
    }
}
