//! Custody, store by store: what opens here and now.

use std::collections::BTreeSet;

use super::report::{Custody, StoreOfCustody};
use crate::custody::examine::{Copy, CopyState, Object};
use crate::custody::people::who_can_open;
use crate::run::StoreAnswer;

/// The report of all copies, with the stores that were left out because they do not answer.
pub(super) fn custody(answers: Vec<StoreAnswer>, objects: &[Object]) -> Custody {
    let stores = answers.into_iter().map(|answer| {
        let copies = objects.iter().flat_map(|object| {
            object.copies.iter().filter(|copy| copy.store == answer.store).map(move |copy| (object, copy))
        });
        let mut store = StoreOfCustody { silent: answer.silent, ..StoreOfCustody::default() };
        copies.for_each(|(object, copy)| count(&mut store, object, copy));
        store.store = answer.store;
        store
    });
    Custody {
        objects: objects.len(),
        stores: stores.collect(),
        obtainable: obtainable(objects).len(),
        recipients: who_can_open(objects),
    }
}

/// The names of the objects that open from some store.
pub(super) fn obtainable(objects: &[Object]) -> BTreeSet<&str> {
    objects.iter().filter(|object| object.is_obtainable()).map(|object| object.name.as_str()).collect()
}

fn count(store: &mut StoreOfCustody, object: &Object, copy: &Copy) {
    let fault = match &copy.state {
        CopyState::Whole => {
            store.whole += 1;
            return;
        }
        CopyState::Closed => {
            store.closed += 1;
            return;
        }
        CopyState::Unreachable(why) => {
            store.silent.get_or_insert_with(|| why.clone());
            return;
        }
        CopyState::Differs => "has another value than another store's copy".to_owned(),
        CopyState::Missing => "is missing".to_owned(),
        CopyState::Damaged(why) => format!("is damaged: {why}"),
        CopyState::Refused(why) => format!("is refused: {why}"),
    };
    store.faults.push(format!("{} {fault}", object.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, states: &[CopyState]) -> Object {
        let copy = |(index, state): (usize, &CopyState)| Copy {
            store: format!("store {index}"),
            state: state.clone(),
            created: None,
            recipients: Vec::new(),
        };
        Object {
            name: name.to_owned(),
            version: 1,
            versions: vec![1],
            signer: None,
            copies: states.iter().enumerate().map(copy).collect(),
            aside: Vec::new(),
            lacks: Vec::new(),
            former: Vec::new(),
        }
    }

    #[test]
    fn stores_are_counted_one_by_one_and_silent_ones_keep_their_reason() {
        let objects = [
            object("a", &[CopyState::Whole, CopyState::Damaged("cut".to_owned())]),
            object("b", &[CopyState::Closed, CopyState::Missing]),
        ];
        let answer = |store: &str, silent: Option<&str>| StoreAnswer {
            store: store.to_owned(),
            silent: silent.map(str::to_owned),
        };
        let answers =
            vec![answer("store 0", None), answer("store 1", None), answer("s3://gone", Some("refused"))];
        let found = custody(answers, &objects);
        assert_eq!((found.objects, found.obtainable), (2, 1));
        assert_eq!((found.stores[0].whole, found.stores[0].closed, found.stores[0].faults.len()), (1, 1, 0));
        assert_eq!(found.stores[1].faults, ["a is damaged: cut", "b is missing"]);
        assert_eq!(found.stores[2].silent.as_deref(), Some("refused"));
    }
}
