//! How an object says which plan made it.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::plan::ownership::PLAN_TAG;
use crate::resource::Tags;

/// The label with the plan.
pub const PLAN: &str = "groundwork/plan";
/// The prefix of all labels and annotations that are not the plan's to declare.
pub const PREFIX: &str = "groundwork/";
/// The longest value of a label:
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>.
const LONGEST: usize = 63;
/// Characters of the digest that stands for what a label cannot say.
const DIGEST: usize = 8;

/// The plan's name as the value of a label: itself, or what a label can have of it and a digest.
pub fn label(plan: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends_well = |text: &str| {
        let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        is_end(text.chars().next()) && is_end(text.chars().last())
    };
    if plan.len() <= LONGEST && plan.chars().all(is_plain) && ends_well(plan) {
        return plan.to_owned();
    }
    let kept: String = plan.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let kept: String = kept.chars().take(LONGEST - DIGEST - 3).collect();
    format!("p{kept}-{}", &hex::encode(Sha256::digest(plan))[..DIGEST])
}

/// The name under which a plan manages fields; at most 128 bytes.
pub fn manager(plan: &str) -> String {
    format!("groundwork-{}", label(plan))
}

/// The plan that has made an object, as the engine's tags say it.
pub fn tags(object: &Value, plan: &str) -> Tags {
    let owner = object["metadata"]["labels"][PLAN].as_str();
    let owner = owner.map(|owner| if owner == label(plan) { plan } else { owner });
    owner.map(|owner| (PLAN_TAG.to_owned(), owner.to_owned())).into_iter().collect()
}

/// The tags of an object that this plan has made.
pub fn tags_of(plan: &str) -> Tags {
    Tags::from([(PLAN_TAG.to_owned(), plan.to_owned())])
}

/// Adds the label to the metadata of a declared object.
pub fn mark(metadata: &mut Map<String, Value>, plan: &str) {
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    labels[PLAN] = Value::from(label(plan));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_has_a_label_of_its_own() {
        assert_eq!(label("clinical-ai"), "clinical-ai");
        let long = "a".repeat(80);
        let odd = ["produktion übersee", "-a", "a.", long.as_str()];
        for name in odd {
            let label = label(name);
            assert!(
                label.len() <= LONGEST
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            );
            assert!(manager(name).len() <= 128);
        }
        assert_ne!(label("a b"), label("a_b"));
    }

    #[test]
    fn own_label_becomes_the_plans_tag() {
        let mut metadata = Map::new();
        mark(&mut metadata, "a b");
        let object = json!({ "metadata": metadata });
        assert_eq!(tags(&object, "a b").get(PLAN_TAG).map(String::as_str), Some("a b"));
        assert_ne!(tags(&object, "other").get(PLAN_TAG).map(String::as_str), Some("other"));
        assert!(tags(&json!({}), "other").is_empty());
    }
}
