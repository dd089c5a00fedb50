//! Repeated steps that change in the same way are shown once.

use std::collections::HashMap;

use crate::changeset::StepChange;

/// How many must be the same before they are shown as one.
const ENOUGH: usize = 3;
/// Stands for a step's own key; no plan may contain it.
const PLACE: &str = "\u{f8f2}";

/// The key of a repeated step, `payments` of `policies[payments]`.
pub fn key(id: &str) -> Option<&str> {
    id.split_once('[')?.1.strip_suffix(']')
}

/// What a repeated step's id begins with, `policies` of `policies[payments]`.
pub fn base(id: &str) -> Option<&str> {
    key(id).and(id.split('[').next())
}

/// The steps in their order, those that are the same but for their key behind the first of them.
pub fn fold<'a>(steps: &[&'a StepChange]) -> Vec<(&'a StepChange, Vec<&'a StepChange>)> {
    let mut sizes: HashMap<String, usize> = HashMap::new();
    let shapes: Vec<Option<String>> = steps.iter().map(|step| shape(step)).collect();
    for shape in shapes.iter().flatten() {
        *sizes.entry(shape.clone()).or_default() += 1;
    }
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut folded: Vec<(&StepChange, Vec<&StepChange>)> = Vec::new();
    for (step, shape) in steps.iter().zip(shapes) {
        let shape = shape.filter(|shape| sizes[shape] >= ENOUGH);
        match shape.as_ref().and_then(|shape| places.get(shape)) {
            Some(place) => folded[*place].1.push(step),
            None => {
                if let Some(shape) = shape {
                    places.insert(shape, folded.len());
                }
                folded.push((step, Vec::new()));
            }
        }
    }
    folded
}

/// Everything that is shown of a repeated step, with a place holder for its key.
fn shape(step: &StepChange) -> Option<String> {
    let (key, base) = (key(&step.id)?, base(&step.id)?);
    let shown = serde_json::json!({
        "kind": step.kind, "action": step.action, "name": step.name, "reason": step.reason,
        "changes": step.changes, "unchanged": step.unchanged, "unprotected": step.unprotected,
    });
    Some(format!("{base} {}", shown.to_string().replace(key, PLACE)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::review::testing::step;

    #[test]
    fn what_differs_by_its_key_alone_is_one() {
        let mut steps: Vec<StepChange> = ["pay", "search", "mail"]
            .iter()
            .map(|key| {
                let name = json!(format!("{key}-app"));
                step(&format!("p[{key}]"), "vault.policy", "create", &[("name", json!(null), name)])
            })
            .collect();
        steps.push(step("p[odd]", "vault.policy", "create", &[("name", json!(null), json!("other"))]));
        steps.push(step("q", "vault.policy", "create", &[]));
        let folded = fold(&steps.iter().collect::<Vec<_>>());
        let told: Vec<(&str, usize)> =
            folded.iter().map(|(first, others)| (first.id.as_str(), others.len())).collect();
        assert_eq!(told, [("p[pay]", 2), ("p[odd]", 0), ("q", 0)]);
    }

    #[test]
    fn two_are_shown_apart() {
        let steps =
            [step("p[a]", "vault.policy", "create", &[]), step("p[b]", "vault.policy", "create", &[])];
        assert_eq!(fold(&steps.iter().collect::<Vec<_>>()).len(), 2);
    }

    #[test]
    fn ids_have_keys() {
        assert_eq!((base("p[a.b]"), key("p[a.b]")), (Some("p"), Some("a.b")));
        assert_eq!((base("p"), key("p")), (None, None));
    }
}
