//! The identity of a token, which the server puts into paths such as `secret/{{identity.entity.name}}/*`.
//!
//! OpenBao: `sdk/helper/identitytpl/templating.go`.

use std::collections::BTreeMap;

/// Marks, in a path, a part of the identity that is not known.
pub(super) const OPEN: char = '\u{1}';

/// The identity of a token.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// What is known of the entity: `id`, `name`, `metadata.KEY`, `aliases.ACCESSOR.name` and so on; `None` for a
    /// token without an entity.
    pub entity: Option<BTreeMap<String, String>>,
    /// Its groups.
    pub groups: Vec<Group>,
    /// Whether everything is in these maps that the server knows.
    pub is_complete: bool,
}

/// A group of an entity.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
}

/// A path with the parts of the identity.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Completed {
    /// All of them are known.
    Path(String),
    /// Some are not known; each stands between two [`OPEN`].
    Open(String),
    /// The identity lacks a part, so that the server leaves the rule out.
    Nothing,
    /// A part has a slash or a wildcard, with which the server refuses every request of the token.
    Forbidden,
}

/// One part of the identity.
enum Part {
    Known(String),
    Unknown,
    Missing,
}

impl Identity {
    /// A token without an entity.
    pub const NOBODY: Self = Self { entity: None, groups: Vec::new(), is_complete: true };

    /// A path with the parts of this identity.
    pub(super) fn complete(&self, path: &str) -> Completed {
        let mut pieces = path.split("{{");
        let mut text = pieces.next().unwrap_or_default().to_owned();
        let mut is_open = false;
        for piece in pieces {
            let Some((name, rest)) = piece.split_once("}}") else { return Completed::Nothing };
            match self.part(name.trim()) {
                Part::Known(value) if !value.contains(['/', '*', '+']) => text.push_str(&value),
                Part::Unknown => {
                    is_open = true;
                    text.extend([OPEN.to_string(), name.trim().to_owned(), OPEN.to_string()]);
                }
                Part::Known(_) => return Completed::Forbidden,
                Part::Missing => return Completed::Nothing,
            }
            text.push_str(rest);
        }
        if is_open { Completed::Open(text) } else { Completed::Path(text) }
    }

    fn part(&self, name: &str) -> Part {
        let known = if let Some(of_entity) = name.strip_prefix("identity.entity.") {
            let Some(entity) = &self.entity else { return Part::Missing };
            entity.get(of_entity).cloned()
        } else if let Some(of_group) = name.strip_prefix("identity.groups.") {
            if self.groups.is_empty() && self.is_complete {
                return Part::Missing;
            }
            self.of_group(of_group)
        } else {
            return Part::Missing;
        };
        match known {
            Some(value) if value.is_empty() => Part::Missing,
            Some(value) => Part::Known(value),
            None if self.is_complete => Part::Missing,
            None => Part::Unknown,
        }
    }

    fn of_group(&self, selector: &str) -> Option<String> {
        let (by, rest) = selector.split_once('.')?;
        let (wanted, field) = rest.split_once('.')?;
        let is_it = |group: &&Group| if by == "ids" { group.id == wanted } else { group.name == wanted };
        let group = self.groups.iter().find(is_it)?;
        match field {
            "id" => Some(group.id.clone()),
            "name" => Some(group.name.clone()),
            _ => group.metadata.get(field.strip_prefix("metadata.")?).cloned(),
        }
    }
}

/// A path with unknown parts of the identity, for people.
pub(super) fn shown(pattern: &str) -> String {
    let mut inside = false;
    pattern.split(OPEN).fold(String::new(), |text, piece| {
        let piece = if inside { format!("{{{{{piece}}}}}") } else { piece.to_owned() };
        inside = !inside;
        text + &piece
    })
}

/// Whether a path may be one for which a pattern with unknown parts stands.
pub(super) fn fits_open(pattern: &str, path: &str) -> bool {
    // Any text without a slash may stand in place of an unknown part, as for `+`.
    let pieces: Vec<&str> = pattern.split(OPEN).step_by(2).collect();
    let (last, is_prefix) = match pieces.last() {
        Some(last) => last.strip_suffix('*').map_or((*last, false), |start| (start, true)),
        None => return false,
    };
    let mut rest = path;
    for (at, piece) in pieces.iter().enumerate() {
        let is_last = at + 1 == pieces.len();
        let piece = if is_last { last } else { piece };
        let found = if at == 0 {
            rest.starts_with(piece).then_some(0)
        } else {
            within_part(rest, piece, is_last, is_prefix)
        };
        let Some(start) = found else { return false };
        rest = &rest[start + piece.len()..];
    }
    rest.is_empty() || is_prefix
}

/// Where `piece` follows a text of at least one character without a slash.
fn within_part(text: &str, piece: &str, is_last: bool, is_prefix: bool) -> Option<usize> {
    let end = text.find('/').unwrap_or(text.len());
    if is_last && !is_prefix {
        let start = text.len().checked_sub(piece.len())?;
        return (text.ends_with(piece) && start > 0 && start <= end).then_some(start);
    }
    (1..=end).find(|start| text.is_char_boundary(*start) && text[*start..].starts_with(piece))
}

#[cfg(test)]
mod tests {
    use super::super::{Acl, Source, parse};
    use super::*;

    #[test]
    fn known_parts_are_put_into_paths() {
        let entity = BTreeMap::from([
            ("name".to_owned(), "alice".to_owned()),
            ("metadata.team".to_owned(), "blue".to_owned()),
            ("metadata.bad".to_owned(), "a/b".to_owned()),
        ]);
        let group = Group { id: "g1".to_owned(), name: "ops".to_owned(), ..Group::default() };
        let identity = Identity { entity: Some(entity), groups: vec![group], is_complete: true };
        let path = |text: &str| identity.complete(text);
        let made = |text: &str| Completed::Path(text.to_owned());
        assert_eq!(path("a/{{identity.entity.name}}/*"), made("a/alice/*"));
        assert_eq!(path("{{ identity.entity.metadata.team }}/b"), made("blue/b"));
        assert_eq!(path("a/{{identity.groups.names.ops.id}}"), made("a/g1"));
        assert_eq!(path("a/{{identity.groups.ids.g1.name}}"), made("a/ops"));
        assert_eq!(path("a/{{identity.entity.metadata.bad}}"), Completed::Forbidden);
        assert_eq!(path("a/{{identity.entity.metadata.none}}"), Completed::Nothing);
        assert_eq!(path("a/{{identity.groups.names.none.id}}"), Completed::Nothing);
        assert_eq!(Identity::NOBODY.complete("a/{{identity.entity.name}}"), Completed::Nothing);
        assert_eq!(path("a/b"), made("a/b"));
    }

    #[test]
    fn unknown_parts_leave_the_rule_open() {
        let identity = Identity { entity: Some(BTreeMap::new()), ..Identity::default() };
        let text = "path \"kv/data/{{identity.entity.name}}/*\" { capabilities = [\"read\"] }";
        let rules = parse(text).expect("a policy");
        let source = Source { name: "own", rules: &rules, namespace: "" };
        let acl = Acl::with([source], &identity, jiff::Timestamp::now());
        assert_eq!(acl.beginnings().into_iter().collect::<Vec<_>>(), ["kv/data/"]);
        assert!(!acl.allows("kv/data/alice/key", &["read"]));
        let (pattern, rule) = acl.open_reason("kv/data/alice/key", "read").expect("for alice");
        assert_eq!(pattern, "kv/data/{{identity.entity.name}}/*");
        assert_eq!(rule.origins[0].policy, "own");
        assert!(acl.open_reason("kv/data/alice", "read").is_none());
        assert!(acl.open_reason("kv/other/alice/key", "read").is_none());
        assert!(acl.open_reason("kv/data/alice/key", "delete").is_none());
    }
}
