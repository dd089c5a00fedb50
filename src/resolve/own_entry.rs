//! References of a repeated step to the entries of its own key: `{{ policy[each.key].name }}`.
//!
//! Of two steps that are repeated for the same map, each instance of one refers to one instance of the other. To show
//! it all of them, and to draw an edge to each, would take time and memory by the square of the entries.

use std::collections::BTreeSet;

use super::shape::Shape;
use super::walk::texts;
use crate::plan::Node;
use crate::template::placeholder::blocks;

/// Selects the entry of the same key.
const OWN: &str = "[each.key]";

/// Of the steps in `references`, those that the expressions below `node` use in no other way.
pub fn only_used(node: &Node, shape: &Shape<'_>, references: &[String]) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = references.iter().cloned().collect();
    if !found.is_empty() {
        texts(node, shape, &mut |text| {
            for block in blocks(text.written) {
                found.retain(|name| uses_own_entry(block, name));
            }
        });
    }
    found
}

/// Whether each occurrence of a name in an expression selects the own entry.
fn uses_own_entry(block: &str, name: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    block.match_indices(name).all(|(at, _)| {
        let (before, behind) = (&block[..at], &block[at + name.len()..]);
        before.ends_with(part_of_name) || behind.starts_with(part_of_name) || behind.starts_with(OWN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_use_needs_all_entries() {
        let rows = [
            ("name: \"{{ policy[each.key].name }}\"", true),
            ("name: \"a-{{ policy[each.key].name }}-{{ policy_2.name ~ my_policy.x }}\"", true),
            ("policy: \"policy {{ each.key }}\"", true),
            ("name: \"{{ policy[each.value].name }}\"", false),
            ("name: \"{{ policy['a'].name }}\"", false),
            ("list: [ \"{{ policy[each.key].name }}\", \"{{ policy|length }}\" ]", false),
            ("map: { \"{{ policy.a.name }}\": x }", false),
            ("name: \"{% for key in policy %}{{ key }}{% endfor %}\"", false),
            ("name: \"{{ policy[each.key].name if 'policy' else '' }}\"", false),
        ];
        for (yaml, expected) in rows {
            let node = Node::parse(yaml, 0).expect("YAML");
            let found = only_used(&node, &Shape::any(), &["policy".to_owned()]);
            assert_eq!(!found.is_empty(), expected, "{yaml}");
        }
    }
}
