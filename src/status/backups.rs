//! The backups of a plan by their manifests, and which key shares open which of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use super::gather::within;
use super::report::{Backups, Generation, KeptBackup, StoreOfBackups};
use crate::backup::{BackupPlace, Keys, Manifest, Read, State, Vouching, check, fetch, manifests_in};
use crate::signing::Authority;

/// The manifests of each place, or why it does not answer.
pub(super) type Listed = Vec<(String, Result<Vec<Read>, String>)>;

/// The keys that open a backup: the seal, its key, and the generation of shares.
type Opener = (String, Option<String>, Option<String>);

/// How the newest backup of each opener opens now, or why that is not known.
pub(super) type Proofs = BTreeMap<Opener, Result<State, String>>;

fn opener(manifest: &Manifest) -> Opener {
    (manifest.seal.clone(), manifest.key_id.clone(), manifest.generation.clone())
}

/// Opens the newest backup of each generation of keys with what is at hand.
pub(super) async fn prove(
    listed: &Listed,
    places: &[Box<dyn BackupPlace>],
    keys: &Keys,
    limit: Duration,
) -> Proofs {
    let mut newest: BTreeMap<Opener, (Timestamp, usize, &Manifest)> = BTreeMap::new();
    for (index, (_, read)) in listed.iter().enumerate() {
        for Read { manifest, .. } in read.iter().flatten() {
            let known = newest.entry(opener(manifest)).or_insert((manifest.taken, index, manifest));
            if manifest.taken > known.0 {
                *known = (manifest.taken, index, manifest);
            }
        }
    }
    let opened = newest.into_iter().map(|(opener, (_, index, manifest))| async move {
        let proof = async {
            let file = fetch(places[index].as_ref(), &manifest.snapshot.name).await?;
            Ok(check(&file, keys).await?.state)
        };
        (opener, within(limit, proof).await)
    });
    join_all(opened).await.into_iter().collect()
}

/// Asks every place.
pub(super) async fn listed(
    places: &[Box<dyn BackupPlace>],
    authority: &Authority,
    limit: Duration,
) -> Listed {
    let asked = places.iter().map(|place| async {
        (place.describe(), within(limit, manifests_in(place.as_ref(), authority)).await)
    });
    join_all(asked).await
}

/// The report of these manifests and `proofs`. `obtainable` are the names of the objects that open from custody now, if it can be
/// read.
pub(super) fn backups(listed: Listed, proofs: &Proofs, obtainable: Option<&BTreeSet<&str>>) -> Backups {
    let is_signed = |read: &Read| read.vouching == Vouching::Signed;
    // Where the plan signs, only what it has signed counts: others may have put the rest there.
    let has_signed = listed.iter().flat_map(|(_, read)| read.iter().flatten()).any(is_signed);
    let mut all: BTreeMap<String, Read> = BTreeMap::new();
    let stores = listed.into_iter().map(|(store, read)| match read {
        Ok(mut read) => {
            read.retain(|one| !has_signed || is_signed(one));
            let newest = |of: &dyn Fn(&Read) -> bool| {
                read.iter().filter(|one| of(one)).max_by_key(|one| one.manifest.taken).map(kept)
            };
            let newest_proven = newest(&|one| one.manifest.proof == State::Proven);
            let store = StoreOfBackups {
                store,
                count: read.len(),
                newest: newest(&|_| true),
                newest_proven,
                silent: None,
            };
            all.extend(read.into_iter().map(|one| (one.manifest.snapshot.name.clone(), one)));
            store
        }
        Err(why) => StoreOfBackups { store, silent: Some(why), ..StoreOfBackups::default() },
    });
    let stores = stores.collect();
    let manifests: Vec<&Manifest> = all.values().map(|read| &read.manifest).collect();
    Backups { stores, generations: generations(&manifests, proofs, obtainable) }
}

fn kept(read: &Read) -> KeptBackup {
    let manifest = &read.manifest;
    KeptBackup {
        name: manifest.snapshot.name.clone(),
        taken: manifest.taken,
        proof: manifest.proof,
        signed: read.vouching == Vouching::Signed,
        bytes: manifest.bytes,
    }
}

fn generations(
    manifests: &[&Manifest],
    proofs: &Proofs,
    obtainable: Option<&BTreeSet<&str>>,
) -> Vec<Generation> {
    let mut by_opener: BTreeMap<Opener, Vec<&Manifest>> = BTreeMap::new();
    for manifest in manifests {
        by_opener.entry(opener(manifest)).or_default().push(manifest);
    }
    let one = |(opener, of): (Opener, Vec<&Manifest>)| generation(&of, proofs.get(&opener), obtainable);
    let mut found: Vec<Generation> = by_opener.into_iter().filter_map(one).collect();
    found.sort_by_key(|generation| std::cmp::Reverse(generation.last));
    found
}

fn generation(
    manifests: &[&Manifest],
    proof: Option<&Result<State, String>>,
    obtainable: Option<&BTreeSet<&str>>,
) -> Option<Generation> {
    let last = manifests.iter().max_by_key(|manifest| manifest.taken)?;
    let first = manifests.iter().min_by_key(|manifest| manifest.taken)?;
    let proven = manifests.iter().filter(|manifest| manifest.proof == State::Proven);
    let proven = proven.max_by_key(|manifest| manifest.taken);
    let is_there = |object: &String| {
        let name = object.rsplit_once('.').map_or(object.as_str(), |(name, _)| name);
        obtainable.is_some_and(|names| names.contains(name))
    };
    Some(Generation {
        id: last.generation.clone(),
        seal: last.seal.clone(),
        key_id: last.key_id.clone(),
        backups: manifests.len(),
        first: first.taken,
        last: last.taken,
        threshold: last.threshold,
        in_custody: obtainable.and(proven).map(|proven| proven.custody.iter().all(is_there)),
        opens_now: proof.and_then(|proof| proof.as_ref().ok()).copied(),
        not_tried: proof.and_then(|proof| proof.as_ref().err()).cloned(),
    })
}
