//! The way to a recorded thing: the place of this run from which its realm can be reached.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::journal::Thing;
use crate::place::{NAMESPACE, Place, Realm};
use crate::resource::erased::Kind;
use crate::run::Run;

/// The realms of a run's connections, asked for when a thing needs them.
pub struct Reach<'a> {
    run: &'a Run,
    asked: HashMap<(String, Place), Result<Realm>>,
}

impl<'a> Reach<'a> {
    /// Nothing asked yet.
    pub fn of(run: &'a Run) -> Self {
        Self { run, asked: HashMap::new() }
    }

    /// The place in which a recorded thing can be looked for. `None` when its realm is not one of this
    /// run's: it is not touched.
    ///
    /// # Errors
    /// When the system could not be asked, or the record does not say enough.
    pub async fn place(&mut self, thing: &Thing, kind: &dyn Kind) -> Result<Option<Place>> {
        let (there, parts, declared) = (thing.realm().only(kind.realm()), kind.realm(), thing.place());
        if parts.is_empty() {
            return Ok(Some(declared));
        }
        let Some(connection) = self.run.connections.named(kind.provider()) else { return Ok(None) };
        let aliases = connection.aliases();
        if !there.knows(parts) {
            return self.declared(thing, &declared, &aliases).await;
        }
        // The place of the record comes first, then the plan's own.
        let recorded = declared.alias.clone().filter(|name| aliases.contains(name));
        let others = std::iter::once(None).chain(aliases.into_iter().map(Some));
        let mut unclear = Ok(None);
        for alias in recorded.map(Some).into_iter().chain(others) {
            let place = Place { alias, namespace: None };
            match self.realm(kind.provider(), &place).await {
                Ok(here) => {
                    let here = here.only(parts);
                    if let Some(found) = within(&place, &here, &there) {
                        return Ok(Some(found));
                    }
                    if !here.knows(parts) && !here.conflicts(&there) {
                        unclear = Ok(Some(declared.clone()));
                    }
                }
                Err(error) if matches!(unclear, Ok(None)) => unclear = Err(error),
                Err(_) => {}
            }
        }
        unclear
    }

    /// The place that the record names, if nothing says that it is another realm now. Older versions did
    /// not record every part.
    async fn declared(&mut self, thing: &Thing, place: &Place, aliases: &[String]) -> Result<Option<Place>> {
        if place.alias.as_ref().is_some_and(|name| !aliases.contains(name)) {
            let message = "the journal does not record completely where it is, and the plan no longer declares its place";
            return Err(Error::new(ErrorKind::Rejected, &thing.step, message)
                .advice("declare the place again, or remove the thing by hand"));
        }
        let here = self.realm(thing.provider(), place).await?;
        Ok((!here.conflicts(&thing.realm())).then(|| place.clone()))
    }

    async fn realm(&mut self, provider: &str, place: &Place) -> Result<Realm> {
        let key = (provider.to_owned(), place.clone());
        if let Some(known) = self.asked.get(&key) {
            return copied(known);
        }
        let asked = self.run.realm(provider, place).await;
        self.asked.insert(key, copied(&asked));
        asked
    }
}

fn copied(asked: &Result<Realm>) -> Result<Realm> {
    match asked {
        Ok(realm) => Ok(realm.clone()),
        Err(error) => Err(error.again()),
    }
}

/// The place in the realm `there`, seen from a connection at `place` in the realm `here`; `None` when it
/// is another realm. A namespace can be reached from those that contain it.
fn within(place: &Place, here: &Realm, there: &Realm) -> Option<Place> {
    let outside = |realm: &Realm| realm.without(NAMESPACE);
    if outside(here) != outside(there) {
        return None;
    }
    match (here.get(NAMESPACE), there.get(NAMESPACE)) {
        (Some(outer), Some(inner)) if outer != inner => {
            let outer = format!("{}/", outer.trim_end_matches('/'));
            Some(place.below(inner.strip_prefix(&outer)?))
        }
        (here, there) => (here == there).then(|| place.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(cluster: &str, namespace: &str) -> Realm {
        Realm::default().with("cluster", cluster).with(NAMESPACE, namespace)
    }

    #[test]
    fn namespace_is_reached_from_those_that_contain_it() {
        let from = |here: &Realm, there: &Realm| within(&Place::OWN, here, there);
        assert_eq!(from(&realm("c", "/"), &realm("c", "/")), Some(Place::OWN));
        assert_eq!(from(&realm("c", "/"), &realm("c", "/team/x")), Some(Place::OWN.below("team/x")));
        assert_eq!(from(&realm("c", "/team"), &realm("c", "/team/x")), Some(Place::OWN.below("x")));
        assert_eq!(from(&realm("c", "/team"), &realm("c", "/teamb")), None);
        assert_eq!(from(&realm("c", "/team"), &realm("c", "/")), None);
        assert_eq!(from(&realm("c", "/"), &realm("d", "/")), None);
    }
}
