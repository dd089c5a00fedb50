//! Tags in the types of each service.

use crate::error::FieldError;
use crate::resource::Tags;

pub use crate::plan::ownership::{PLAN_TAG, STEP_TAG};

/// The declared tags that are missing or different in `live`.
pub fn to_add(declared: &Tags, live: &Tags) -> Tags {
    declared
        .iter()
        .filter(|(key, value)| live.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Whether both have the same ownership tags.
pub fn same_owner(declared: &Tags, live: &Tags) -> bool {
    [PLAN_TAG, STEP_TAG].iter().all(|key| declared.contains_key(*key) && declared.get(*key) == live.get(*key))
}

/// Finds mistakes in declared tags: reserved prefix, lengths.
pub fn check(tags: &Tags) -> Vec<FieldError> {
    tags.iter().filter_map(|(key, value)| check_one(key, value)).collect()
}

fn check_one(key: &str, value: &str) -> Option<FieldError> {
    let wrong = |message: &str| Some(FieldError::new(format!("tags.{key}"), message));
    match () {
        () if key.to_ascii_lowercase().starts_with("aws:") => {
            wrong("tags that start with `aws:` are reserved").map(|error| error.help("choose another prefix"))
        }
        () if key.is_empty() || key.chars().count() > 128 => wrong("a tag's key has 1 to 128 characters"),
        () if value.chars().count() > 256 => wrong("a tag's value has at most 256 characters"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_changed_tags_are_added() {
        let added = to_add(&tags(&[("a", "1"), ("b", "2")]), &tags(&[("a", "1"), ("c", "3")]));
        assert_eq!(added, tags(&[("b", "2")]));
    }

    #[test]
    fn tag_owner_is_plan_and_step() {
        let ours = tags(&[(PLAN_TAG, "p"), (STEP_TAG, "s")]);
        assert!(same_owner(&ours, &ours));
        assert!(!same_owner(&ours, &tags(&[(PLAN_TAG, "p"), (STEP_TAG, "other")])));
        assert!(!same_owner(&Tags::new(), &Tags::new()));
    }

    #[test]
    fn reserved_prefixes_are_refused() {
        assert_eq!(check(&tags(&[("aws:x", "1"), ("ok", "1")])).len(), 1);
    }
}
