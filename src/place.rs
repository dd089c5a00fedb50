//! Where things are: the [`Place`] that a plan declares, and the [`Realm`] that the live system reports.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::FieldError;
use crate::template::unknown;

/// The key of a step that gives the namespace of its thing.
pub const NAMESPACE: &str = "namespace";

/// Where a step declares its thing, within the system of its provider. The default is the plan's own
/// place.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The name of a further connection: NAME of `provider: aws.NAME`, as under `aws.aliases`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The path of a namespace below the connection's own, without leading or trailing slashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl Place {
    /// The plan's own place.
    pub const OWN: Self = Self { alias: None, namespace: None };

    /// The place of the connection with this name, or the plan's own.
    pub fn of_alias(alias: Option<&str>) -> Self {
        Self { alias: alias.map(ToOwned::to_owned), namespace: None }
    }

    /// The namespace of this path, below the plan's own.
    ///
    /// # Errors
    /// When it is not the path of a namespace.
    pub fn of_namespace(path: &str) -> Result<Self, FieldError> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let is_wrong = path.split('/').any(|segment| matches!(segment, "" | "." | ".."));
        match is_wrong && !unknown::is_unknown(path) {
            true => Err(FieldError::new(NAMESPACE, "is not the path of a namespace")
                .help("write it as `team` or `team/project`; omit it for the plan's own namespace")),
            false => Ok(Self { alias: None, namespace: Some(path.to_owned()) }),
        }
    }

    /// Removes the namespace from a step's fields, and returns the place that it names.
    ///
    /// # Errors
    /// When it is not the path of a namespace.
    pub fn take_namespace(fields: &mut Value) -> Result<Self, FieldError> {
        match fields.as_object_mut().and_then(|fields| fields.shift_remove(NAMESPACE)) {
            None => Ok(Self::OWN),
            Some(Value::String(path)) => Self::of_namespace(&path),
            Some(other) => {
                let message = format!("expected the path of a namespace, found {other}");
                Err(FieldError::new(NAMESPACE, message))
            }
        }
    }

    /// The name of its connection: `aws`, or `aws.NAME`.
    pub fn connection(&self, provider: &str) -> String {
        self.alias.as_ref().map_or_else(|| provider.to_owned(), |name| format!("{provider}.{name}"))
    }

    /// An id that distinguishes the same name in several places of a provider.
    pub fn qualify(&self, provider: &str, id: &str) -> String {
        let alias = self.alias.iter().map(|_| format!(" ({})", self.connection(provider)));
        let namespace = self.namespace.iter().map(|path| format!(" (namespace {path})"));
        alias.chain(namespace).fold(id.to_owned(), |id, qualifier| id + &qualifier)
    }

    /// The place of a namespace relative to this place.
    #[must_use]
    pub fn below(&self, inner: &str) -> Self {
        let namespace = match &self.namespace {
            Some(outer) => format!("{outer}/{inner}"),
            None => inner.to_owned(),
        };
        Self { namespace: Some(namespace), ..self.clone() }
    }

    /// The place that contains this namespace, and the namespace's name there; `None` when the place is
    /// not a namespace.
    pub fn container(&self) -> Option<(Self, &str)> {
        let path = self.namespace.as_deref()?;
        let (outer, name) = path.rsplit_once('/').map_or((None, path), |(outer, name)| (Some(outer), name));
        Some((Self { namespace: outer.map(ToOwned::to_owned), ..self.clone() }, name))
    }
}

/// Where a thing is according to the live system: the parts by name, such as `account` and `region`, or
/// `cluster` and `namespace`. A part that is absent is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Realm(BTreeMap<String, String>);

impl Realm {
    /// Nothing known.
    pub const UNKNOWN: Self = Self(BTreeMap::new());

    /// Adds a part. An empty value is not known.
    #[must_use]
    pub fn with(mut self, part: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.0.insert(part.to_owned(), value);
        }
        self
    }

    /// Adds a part if it is known.
    #[must_use]
    pub fn with_some(self, part: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(part, value),
            None => self,
        }
    }

    /// The value of a part.
    pub fn get(&self, part: &str) -> Option<&str> {
        self.0.get(part).map(String::as_str)
    }

    /// Whether no part is known.
    pub fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    /// Only these parts.
    #[must_use]
    pub fn only(&self, parts: &[&str]) -> Self {
        let kept = self.0.iter().filter(|(part, _)| parts.contains(&part.as_str()));
        Self(kept.map(|(part, value)| (part.clone(), value.clone())).collect())
    }

    /// The realm of a namespace of this path below this realm's.
    fn below(&self, path: Option<&str>) -> Self {
        match (self.get(NAMESPACE), path) {
            (Some(outer), Some(path)) => {
                let inner = format!("{}/{path}", outer.trim_end_matches('/'));
                self.clone().with(NAMESPACE, inner)
            }
            _ => self.clone(),
        }
    }

    /// All parts but this one.
    #[must_use]
    pub fn without(&self, part: &str) -> Self {
        let mut rest = self.clone();
        rest.0.remove(part);
        rest
    }

    /// Whether all of these parts are known.
    pub fn knows(&self, parts: &[&str]) -> bool {
        parts.iter().all(|part| self.0.contains_key(*part))
    }

    /// Whether a part that both know differs: then the realms are certainly two.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.0.iter().any(|(part, value)| other.0.get(part).is_some_and(|there| there != value))
    }

    /// Whether this realm has a part that the other one lacks, or that differs there.
    pub fn exceeds(&self, other: &Self) -> bool {
        self.0.iter().any(|(part, value)| other.get(part) != Some(value))
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (part, value)) in self.0.iter().enumerate() {
            write!(f, "{}{part} {value}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// The realms of places, by provider, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Realms(BTreeMap<String, BTreeMap<Place, Realm>>);

impl Realms {
    /// Sets the realm of a place.
    pub fn set(&mut self, provider: &str, place: Place, realm: Realm) {
        self.0.entry(provider.to_owned()).or_default().insert(place, realm);
    }

    /// The realm of a place. That of a namespace follows from its connection's, unless it was asked for.
    pub fn of(&self, provider: &str, place: &Place) -> Realm {
        let Some(places) = self.0.get(provider) else { return Realm::UNKNOWN };
        let connection = Place::of_alias(place.alias.as_deref());
        match (places.get(place), places.get(&connection)) {
            (Some(realm), _) => realm.clone(),
            (None, Some(realm)) => realm.below(place.namespace.as_deref()),
            (None, None) => Realm::UNKNOWN,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn namespace_is_removed_from_the_fields() {
        let mut fields = json!({ "name": "app", "namespace": "team/project/" });
        let place = Place::take_namespace(&mut fields).expect("a namespace");
        assert_eq!(place.namespace.as_deref(), Some("team/project"));
        assert_eq!(fields, json!({ "name": "app" }));
        assert_eq!(Place::take_namespace(&mut fields), Ok(Place::OWN));
        for wrong in
            [json!(""), json!("/"), json!("/a"), json!("a//b"), json!("../a"), json!(["a"]), json!(null)]
        {
            assert!(Place::take_namespace(&mut json!({ "namespace": wrong })).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_in_several_places_are_distinct() {
        let audit = Place::of_alias(Some("audit"));
        assert_eq!(audit.qualify("aws", "reader"), "reader (aws.audit)");
        assert_eq!(audit.below("team").qualify("kube", "x"), "x (kube.audit) (namespace team)");
        assert_eq!(Place::OWN.qualify("aws", "reader"), "reader");
    }

    #[test]
    fn namespace_is_contained_in_its_parent() {
        let nested = Place::OWN.below("team").below("project");
        assert_eq!(nested.container(), Some((Place::OWN.below("team"), "project")));
        assert_eq!(Place::OWN.below("team").container(), Some((Place::OWN, "team")));
        assert_eq!(Place::of_alias(Some("audit")).container(), None);
    }

    #[test]
    fn realms_conflict_only_in_parts_that_both_know() {
        let here = Realm::default().with("account", "1").with("region", "eu");
        assert!(!here.conflicts(&Realm::default().with("account", "1")));
        assert!(!here.conflicts(&Realm::UNKNOWN));
        assert!(here.conflicts(&Realm::default().with("region", "us")));
        assert!(!here.only(&["account"]).conflicts(&Realm::default().with("region", "us")));
        assert_eq!(here.to_string(), "account 1, region eu");
        assert_eq!(Realm::default().with("region", ""), Realm::UNKNOWN);
    }

    #[test]
    fn realm_of_namespace_follows_from_its_connection() {
        let mut realms = Realms::default();
        realms.set("vault", Place::OWN, Realm::default().with("cluster", "c").with(NAMESPACE, "/team"));
        let inner = realms.of("vault", &Place::OWN.below("x"));
        assert_eq!((inner.get("cluster"), inner.get(NAMESPACE)), (Some("c"), Some("/team/x")));
        assert_eq!(realms.of("vault", &Place::of_alias(Some("other"))), Realm::UNKNOWN);
    }
}
