//! The names that expressions see.

use minijinja::Value as Dynamic;
use minijinja::value::{Serde, merge_maps};
use serde_json::{Map, Value};

/// Names with their values, in layers of which the later ones hide the earlier ones. A copy shares the layers,
/// so that each step of a large plan can have a context of its own.
#[derive(Clone, Debug)]
pub struct Context(Dynamic);

impl Context {
    /// These names only.
    pub fn of(values: &Map<String, Value>) -> Self {
        Self(Dynamic::from(Serde(values)))
    }

    /// With these names in front of the others.
    #[must_use]
    pub fn with(&self, more: &Map<String, Value>) -> Self {
        if more.is_empty() {
            return self.clone();
        }
        Self(merge_maps([self.0.clone(), Dynamic::from(Serde(more))]))
    }

    /// Whether there is a name.
    pub fn has(&self, name: &str) -> bool {
        self.0.get_attr(name).is_ok_and(|value| !value.is_undefined())
    }

    /// The same for the engine.
    pub(crate) fn value(&self) -> Dynamic {
        self.0.clone()
    }
}

/// No names.
impl Default for Context {
    fn default() -> Self {
        Self::of(&Map::new())
    }
}

impl From<Value> for Context {
    /// The entries of a map; no names for anything else.
    fn from(value: Value) -> Self {
        value.as_object().map(Self::of).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resolve::expression::evaluate;

    #[test]
    fn later_layer_hides_the_earlier_one_as_a_whole() {
        let outer = Context::from(json!({ "a": 1, "b": { "x": 1, "y": 2 } }));
        let inner =
            outer.with(&Map::from_iter([("b".to_owned(), json!({ "x": 3 })), ("c".to_owned(), json!(null))]));
        assert_eq!(evaluate("{{ [a, b.x, c] }}", &inner), Ok(json!([1, 3, null])));
        assert!(evaluate("{{ b.y }}", &inner).is_err(), "maps are not merged");
        assert_eq!(evaluate("{{ b.y }}", &outer), Ok(json!(2)));
        assert!(inner.has("a") && inner.has("c") && !inner.has("d") && !outer.has("c"));
    }
}
