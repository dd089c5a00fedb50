//! The place of a thing that is not in the plan's own account, region or namespace.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Requirement;
use crate::error::FieldError;
use crate::template::unknown;

/// The key of a step that gives the Vault namespace of its thing.
pub const NAMESPACE: &str = "namespace";

/// Another account and region of AWS, or another namespace of Vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Elsewhere {
    /// The account and region of this name under `aws.aliases`.
    Alias(String),
    /// The namespace of this path below the plan's own, without leading or trailing slashes.
    Namespace(String),
}

impl Elsewhere {
    /// Removes the namespace from a step's fields; `None` when they do not name one.
    ///
    /// # Errors
    /// When it is not the path of a namespace.
    pub(super) fn take_namespace(fields: &mut Value) -> Result<Option<Self>, FieldError> {
        let named = fields.as_object_mut().and_then(|fields| fields.shift_remove(NAMESPACE));
        match named {
            None => Ok(None),
            Some(Value::String(path)) => Self::namespace(&path).map(Some),
            Some(other) => {
                let message = format!("expected the path of a namespace, found {other}");
                Err(FieldError::new(NAMESPACE, message))
            }
        }
    }

    /// The namespace of this path.
    ///
    /// # Errors
    /// When it is not the path of a namespace.
    pub fn namespace(path: &str) -> Result<Self, FieldError> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let is_wrong = path.split('/').any(|segment| matches!(segment, "" | "." | ".."));
        match is_wrong && !unknown::is_unknown(path) {
            true => Err(FieldError::new(NAMESPACE, "is not the path of a namespace")
                .help("write it as `team` or `team/project`; omit it for the plan's own namespace")),
            false => Ok(Self::Namespace(path.to_owned())),
        }
    }

    /// The name under `aws.aliases`.
    pub fn alias(&self) -> Option<&str> {
        match self {
            Self::Alias(name) => Some(name),
            Self::Namespace(_) => None,
        }
    }

    /// An id that distinguishes the same name in several places.
    pub(super) fn qualify(place: Option<&Self>, id: &str) -> String {
        match place {
            None => id.to_owned(),
            Some(Self::Alias(name)) => format!("{id} (aws.{name})"),
            Some(Self::Namespace(path)) => format!("{id} (namespace {path})"),
        }
    }

    /// The requirements of a thing in this place, given its requirements in the plan's own place:
    /// required things of the same system are in the same place, and the place itself must exist.
    pub fn requires(place: Option<&Self>, mut requires: Vec<Requirement>) -> Vec<Requirement> {
        let Some(elsewhere) = place else { return requires };
        for requirement in &mut requires {
            if let Requirement::Thing { kind, id } = requirement
                && kind.starts_with(elsewhere.system())
            {
                *id = Self::qualify(place, id);
            }
        }
        requires.extend(elsewhere.itself());
        requires
    }

    /// The prefix of the kinds that can be in such a place.
    fn system(&self) -> &'static str {
        match self {
            Self::Alias(_) => "aws.",
            Self::Namespace(_) => "vault.",
        }
    }

    /// The step that creates the place. A namespace within another one is a thing there.
    fn itself(&self) -> Option<Requirement> {
        let Self::Namespace(path) = self else { return None };
        let (parent, name) = match path.rsplit_once('/') {
            Some((parent, name)) => (Some(Self::Namespace(parent.to_owned())), name),
            None => (None, path.as_str()),
        };
        let id = format!("sys/namespaces/{name}");
        Some(Requirement::thing("vault.namespace", Self::qualify(parent.as_ref(), &id)))
    }
}

/// The schema of a namespaced kind's fields, with the field for the place.
pub(super) fn with_namespace(schema: &mut schemars::Schema) {
    let about = "Its namespace, relative to the plan's own, e.g. `team`, `team/project` or\n`{{ team.name }}`. OpenBao, or HashiCorp \
                 Vault Enterprise.";
    let field = serde_json::json!({ "type": "string", "description": about });
    let properties = schema.ensure_object().entry("properties").or_insert_with(|| Value::Object(Map::new()));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(NAMESPACE.to_owned(), field);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn namespace_is_removed_from_the_fields() {
        let mut fields = json!({ "name": "app", "namespace": "team/project/" });
        let place = Elsewhere::take_namespace(&mut fields);
        assert_eq!(place, Ok(Some(Elsewhere::Namespace("team/project".to_owned()))));
        assert_eq!(fields, json!({ "name": "app" }));
        assert_eq!(Elsewhere::take_namespace(&mut fields), Ok(None));
        for wrong in
            [json!(""), json!("/"), json!("/a"), json!("a//b"), json!("../a"), json!(["a"]), json!(null)]
        {
            assert!(Elsewhere::take_namespace(&mut json!({ "namespace": wrong })).is_err(), "{wrong}");
        }
    }

    #[test]
    fn thing_requires_its_namespace_and_neighbours() {
        let nested = Elsewhere::Namespace("team/project".to_owned());
        let mount = Requirement::thing("vault.mount", "secret");
        assert_eq!(
            Elsewhere::requires(Some(&nested), vec![Requirement::Kind("vault.init"), mount.clone()]),
            [
                Requirement::Kind("vault.init"),
                Requirement::thing("vault.mount", "secret (namespace team/project)"),
                Requirement::thing("vault.namespace", "sys/namespaces/project (namespace team)"),
            ]
        );
        assert_eq!(Elsewhere::requires(None, vec![mount.clone()]), [mount]);
        let outer = Elsewhere::Namespace("team".to_owned());
        let namespace = Requirement::thing("vault.namespace", "sys/namespaces/team");
        assert_eq!(Elsewhere::requires(Some(&outer), Vec::new()), [namespace]);
    }

    #[test]
    fn other_accounts_get_distinct_ids() {
        let audit = Elsewhere::Alias("audit".to_owned());
        assert_eq!(Elsewhere::qualify(Some(&audit), "reader"), "reader (aws.audit)");
        let role = Requirement::thing("aws.iam_role", "reader");
        let expected = [Requirement::thing("aws.iam_role", "reader (aws.audit)")];
        assert_eq!(Elsewhere::requires(Some(&audit), vec![role]), expected);
    }
}
