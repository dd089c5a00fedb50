//! Requirements of a thing that is not in the plan's own place.

use schemars::Schema;
use serde_json::{Map, Value, json};

use super::{Provided, Requirement};
use crate::place::{NAMESPACE, Place};

/// The requirements of a thing behind the client `C` in this place, given those that it has in the plan's
/// own place: required things of the same system are in the same place, and a namespace must exist.
pub fn requires_in<C: Provided>(place: &Place, mut requires: Vec<Requirement>) -> Vec<Requirement> {
    let is_ours = |kind: &str| kind.strip_prefix(C::PROVIDER).is_some_and(|noun| noun.starts_with('.'));
    for requirement in &mut requires {
        if let Requirement::Thing { kind, id } = requirement
            && is_ours(kind)
        {
            *id = place.qualify(C::PROVIDER, id);
        }
    }
    // A namespace within another one is a thing there.
    if let Some((outer, name)) = place.container()
        && let Some(Requirement::Thing { kind, id }) = C::namespace_maker(name)
    {
        requires.push(Requirement::thing(kind, outer.qualify(C::PROVIDER, &id)));
    }
    requires
}

/// Adds the field for the namespace to the schema of a kind's fields.
pub(super) fn with_namespace(schema: &mut Schema) {
    let about = "Its namespace, relative to the plan's own, e.g. `team`, `team/project` or\n`{{ team.name }}`. OpenBao, or HashiCorp \
                 Vault Enterprise.";
    let field = json!({ "type": "string", "description": about });
    let properties = schema.ensure_object().entry("properties").or_insert_with(|| Value::Object(Map::new()));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(NAMESPACE.to_owned(), field);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::Result;
    use crate::run::Run;

    struct Client;

    impl Provided for Client {
        const PROVIDER: &'static str = "vault";

        async fn provide(_: &Run, _: &Place) -> Result<Arc<Self>> {
            Ok(Arc::new(Self))
        }

        fn namespace_maker(name: &str) -> Option<Requirement> {
            Some(Requirement::thing("vault.namespace", format!("sys/namespaces/{name}")))
        }
    }

    #[test]
    fn thing_requires_its_namespace_and_neighbours() {
        let nested = Place::OWN.below("team").below("project");
        let mount = Requirement::thing("vault.mount", "secret");
        let role = Requirement::thing("aws.iam_role", "reader");
        assert_eq!(
            requires_in::<Client>(
                &nested,
                vec![Requirement::Kind("vault.init"), mount.clone(), role.clone()]
            ),
            [
                Requirement::Kind("vault.init"),
                Requirement::thing("vault.mount", "secret (namespace team/project)"),
                role,
                Requirement::thing("vault.namespace", "sys/namespaces/project (namespace team)"),
            ]
        );
        assert_eq!(requires_in::<Client>(&Place::OWN, vec![mount.clone()]), [mount]);
        let outer = Place::OWN.below("team");
        let namespace = Requirement::thing("vault.namespace", "sys/namespaces/team");
        assert_eq!(requires_in::<Client>(&outer, Vec::new()), [namespace]);
    }
}
