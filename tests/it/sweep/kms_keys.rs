//! A key of KMS has no name of its own and no token: a second one would stay unnoticed. The list of
//! keys, which lags behind, is the only witness of a request whose answer was lost.

use super::fault::Fault;
use super::keys;
use super::scene::{Scene, Subject};
use super::snapshot;
use super::wire::Place;
use crate::support::{Ran, block_on};

const CREATE_KEY: &str = "kms:CreateKey";
const LIST_KEYS: &str = "kms:ListKeys";

/// A plan of one key, which needs no Vault.
fn lone_kms_key() -> Subject {
    let mut subject = keys();
    let (head, _) = subject.plan.split_once("  ci_user:").expect("the first user");
    subject.plan = head.to_owned();
    subject
}

fn first(label: &str) -> Place {
    Place { label: label.to_owned(), occurrence: 1 }
}

fn creations(scene: &Scene) -> usize {
    scene.wire.trace().iter().filter(|(call, _)| call.label.starts_with(CREATE_KEY)).count()
}

fn require_one_key(scene: &Scene, ran: &Ran) {
    let keys = block_on(snapshot::kms(scene));
    assert_eq!(keys.as_array().map(Vec::len), Some(1), "{keys}: {ran:?}");
}

#[test]
fn killed_creation_is_found_in_a_lagging_list() {
    for fault in [Fault::KilledAfter, Fault::KilledBefore] {
        let mut scene = Scene::new(&lone_kms_key());
        let killed = scene.apply(Some((first(CREATE_KEY), fault)));
        assert_eq!(killed.code, -1, "{fault}: {killed:?}");
        scene.wire.stale_answers(LIST_KEYS, 3);
        let ran = scene.apply(None);
        assert_eq!(ran.code, 0, "{fault}: {ran:?}");
        assert_eq!(creations(&scene), usize::from(fault == Fault::KilledBefore), "{fault}: {ran:?}");
        require_one_key(&scene, &ran);
        let ran = scene.apply(None);
        assert_eq!((ran.code, scene.wire.writes()), (0, Vec::new()), "{fault}: {ran:?}");
    }
}

#[test]
fn lagging_list_never_leads_to_second_kms_key() {
    let mut scene = Scene::new(&lone_kms_key());
    scene.wire.stale_answers(LIST_KEYS, usize::MAX);
    let lost = scene.apply(Some((first(CREATE_KEY), Fault::ResponseLost)));
    assert_eq!((lost.code, creations(&scene)), (4, 1), "{lost:?}");
    let said = format!("{}{}", lost.stdout, lost.stderr);
    assert!(said.contains("run again in a few minutes"), "{said}");
    scene.wire.stale_answers(LIST_KEYS, 0);
    let ran = scene.apply(None);
    assert_eq!((ran.code, creations(&scene)), (0, 0), "{ran:?}");
    require_one_key(&scene, &ran);
}

/// The attempts after a refused alias have no other way to their key than the list, nor has the next run.
#[test]
fn key_without_alias_is_found_in_lagging_list() {
    for (fault, code) in [(Fault::Throttled, 0), (Fault::RequestLost, 0), (Fault::Denied, 1)] {
        let mut scene = Scene::new(&lone_kms_key());
        scene.wire.stale_answers(LIST_KEYS, 3);
        let ran = scene.apply(Some((first("kms:CreateAlias"), fault)));
        assert_eq!((ran.code, creations(&scene)), (code, 1), "{fault}: {ran:?}");
        let ran = scene.apply(None);
        assert_eq!((ran.code, creations(&scene)), (0, 0), "{fault}: {ran:?}");
        require_one_key(&scene, &ran);
    }
}
