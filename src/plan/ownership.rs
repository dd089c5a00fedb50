//! The tags that say which plan and which step a cloud resource belongs to.

use crate::error::FieldError;

/// The tag that names the plan which a cloud resource belongs to.
pub const PLAN_TAG: &str = "groundwork:plan";
/// The tag that names the step.
pub const STEP_TAG: &str = "groundwork:step";

/// Mistakes in tags that a plan declares, below `tags`: it does not choose its own mark. IAM keeps no
/// two keys that differ only by case, so any case counts.
pub fn check<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<FieldError> {
    let is_mark =
        |key: &&String| [PLAN_TAG, STEP_TAG].iter().any(|mark| mark.eq_ignore_ascii_case(key.trim()));
    let mistake = |key: &String| {
        FieldError::new(format!("tags.{key}"), "this tag says which plan and step a thing belongs to")
            .help("leave it out, or choose another name")
    };
    keys.filter(is_mark).map(mistake).collect()
}
