//! Which initialisation in custody belongs to the servers of a run.
//!
//! The cluster's id decides when a server reports one. A sealed one does not: then its address decides, which is
//! in the name of the initialisation or on record in the journal, and after that its public key. An id is
//! public and anybody can report it, so that it finds objects and releases none: that takes what
//! [`NodeProof`](super::NodeProof) knows.

use super::custodian::Initialisation;
use super::{NodeProof, VaultClient};
use crate::custody::Custody;
use crate::error::Result;
use crate::journal::{Entry, Journal};

/// What connects an initialisation with the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tie {
    /// The cluster's address is in its name or on record with it.
    Address,
    /// The server says that it is of its cluster.
    Claim,
    /// So is the address of another node of the plan.
    Node,
    /// The server has the public key of one of its nodes.
    Key,
    /// Nothing, but custody has those of no other cluster.
    Only,
}

/// An initialisation, and what connects it with the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) which: Initialisation,
    pub(super) tie: Tie,
}

/// What is known of the servers.
struct Servers<'a> {
    /// The cluster's address.
    address: &'a str,
    /// Those of its nodes.
    nodes: &'a [String],
    /// The cluster's id, if one of them reports it.
    cluster: Option<&'a str>,
    /// The public key of the one at the cluster's address, where it was asked for.
    key: Option<&'a str>,
}

/// A node of a cluster, as the journal has it.
struct Recorded {
    origin: String,
    keys: [Option<String>; 2],
    initialisation: String,
    cluster: Option<String>,
}

impl Recorded {
    fn all(journal: &Journal) -> Vec<Self> {
        let of_entry = |entry| match entry {
            Entry::Node { origin, tls, key, initialisation, cluster } => {
                Some(Self { origin, keys: [tls, key], initialisation, cluster })
            }
            _ => None,
        };
        journal.believed().into_iter().filter_map(|record| of_entry(record.entry)).collect()
    }

    fn has_key(&self, key: &str) -> bool {
        self.keys.iter().flatten().any(|one| one == key)
    }
}

/// The initialisation that custody has for the servers of `vault`, of which one reports the cluster's id
/// `cluster`. What [`Tie::Only`] connects is a guess: good for what stays on this machine.
///
/// # Errors
/// When no store can be listed.
pub(super) async fn find(
    custody: &Custody,
    journal: &Journal,
    vault: &VaultClient,
    cluster: Option<&str>,
) -> Result<Option<Found>> {
    let (records, mut kept) = (Recorded::all(journal), answers(custody).await?);
    let nodes: Vec<String> = vault.nodes().iter().map(|node| node.address().to_owned()).collect();
    let mut servers = Servers { address: vault.address(), nodes: &nodes, cluster, key: None };
    let key;
    if choose(&kept, &records, &servers).is_some_and(|found| found.tie == Tie::Only) {
        key = vault.node(vault.address())?.public_key().await.ok().flatten();
        servers.key = key.as_deref();
    }
    while let Some(found) = choose(&kept, &records, &servers) {
        // An object that another writer has put there is not an answer.
        if custody.has(&found.which.answer()).await? {
            return Ok(Some(found));
        }
        kept.retain(|one| *one != found.which);
    }
    // A store that cannot be read may have it: "there is none" would be a guess then.
    custody.list(&Initialisation::folder(vault.address())).await.map(|_| None)
}

/// As [`find`], for what leaves this machine: without guesses, unless the caller has named the server as one
/// that may get key shares.
///
/// # Errors
/// When no store can be listed.
pub(super) async fn find_for_servers(
    (custody, journal, proof): (&Custody, &Journal, &NodeProof),
    vault: &VaultClient,
    cluster: Option<&str>,
) -> Result<Option<Found>> {
    let found = find(custody, journal, vault, cluster).await?;
    Ok(found.filter(|found| found.tie != Tie::Only || proof.is_granted(vault.address())))
}

/// Every initialisation whose answer may be in custody, the newest first.
pub(super) async fn answers(custody: &Custody) -> Result<Vec<Initialisation>> {
    let names = custody.list(Initialisation::ROOT).await?;
    let mut kept: Vec<_> = names.iter().filter_map(|name| Initialisation::of_answer(name)).collect();
    kept.sort_by(|one, other| other.when().cmp(one.when()));
    Ok(kept)
}

/// The newest of `kept`, which is sorted, that belongs to the servers.
fn choose(kept: &[Initialisation], records: &[Recorded], servers: &Servers<'_>) -> Option<Found> {
    let of = |which: &Initialisation| {
        let prefix = which.prefix().to_owned();
        records.iter().filter(move |record| record.initialisation == prefix)
    };
    let at = |which: &Initialisation, address: &str| {
        which.is_of(address) || of(which).any(|record| record.origin == address)
    };
    let newest = |tie, fits: &dyn Fn(&Initialisation) -> bool| {
        kept.iter().find(|which| fits(which)).map(|which| Found { which: which.clone(), tie })
    };
    let is_here = |which: &Initialisation| at(which, servers.address);
    let is_beside = |which: &Initialisation| servers.nodes.iter().any(|node| at(which, node));
    if let Some(id) = servers.cluster {
        let says = |which: &Initialisation| of(which).any(|record| record.cluster.as_deref() == Some(id));
        // One of another cluster is out of the question, whatever its address. Journals from before ids were
        // recorded do not say which cluster it is of.
        let is_silent = |which: &Initialisation| of(which).all(|record| record.cluster.is_none());
        return newest(Tie::Claim, &says)
            .map(|found| if is_here(&found.which) { Found { tie: Tie::Address, ..found } } else { found })
            .or_else(|| newest(Tie::Address, &|which| is_silent(which) && is_here(which)))
            .or_else(|| newest(Tie::Node, &|which| is_silent(which) && is_beside(which)));
    }
    let has_key =
        |which: &Initialisation| servers.key.is_some_and(|key| of(which).any(|record| record.has_key(key)));
    // Of two clusters, nothing says which one a server that has no other mark belongs to.
    let is_only = kept.windows(2).all(|two| two[0].is_beside(&two[1]));
    newest(Tie::Address, &is_here)
        .or_else(|| newest(Tie::Node, &is_beside))
        .or_else(|| newest(Tie::Key, &has_key))
        .or_else(|| newest(Tie::Only, &|_| is_only))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: &str = "20270101t000000000z";
    const EARLIER: &str = "20260101t000000000z";

    fn initialisation(address: &str, when: &str) -> Initialisation {
        let name = format!("{}{when}/init", Initialisation::folder(address));
        Initialisation::of_answer(&name).expect("a name")
    }

    fn recorded(which: &Initialisation, origin: &str, cluster: Option<&str>) -> Recorded {
        let (origin, initialisation) = (origin.to_owned(), which.prefix().to_owned());
        let cluster = cluster.map(str::to_owned);
        Recorded { origin, keys: [None, Some("key sha256:aa".to_owned())], initialisation, cluster }
    }

    /// What is found for a server at `address` beside `nodes` that reports `cluster`.
    fn found(
        kept: &[&Initialisation],
        records: &[Recorded],
        (address, nodes): (&str, &[&str]),
        cluster: Option<&str>,
    ) -> Option<(Initialisation, Tie)> {
        found_with(kept, records, (address, nodes), cluster, None)
    }

    fn found_with(
        kept: &[&Initialisation],
        records: &[Recorded],
        (address, nodes): (&str, &[&str]),
        cluster: Option<&str>,
        key: Option<&str>,
    ) -> Option<(Initialisation, Tie)> {
        let kept: Vec<Initialisation> = kept.iter().map(|one| (*one).clone()).collect();
        let nodes: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
        let servers = Servers { address, nodes: &nodes, cluster, key };
        choose(&kept, records, &servers).map(|found| (found.which, found.tie))
    }

    const HERE: &str = "http://127.0.0.1:8200";
    const ALIAS: &str = "http://localhost:8200";
    const ELSEWHERE: &str = "http://10.0.0.9:8200";

    #[test]
    fn id_finds_the_cluster_under_any_address() {
        let (ours, other) = (initialisation(HERE, EARLIER), initialisation(ELSEWHERE, LATER));
        let records = [recorded(&ours, HERE, Some("a")), recorded(&other, ELSEWHERE, Some("b"))];
        let at = |address, id| found(&[&other, &ours], &records, (address, &[]), Some(id));
        assert_eq!(at(ALIAS, "a"), Some((ours.clone(), Tie::Claim)));
        assert_eq!(at(HERE, "a"), Some((ours.clone(), Tie::Address)));
        assert_eq!(at(ELSEWHERE, "a"), Some((ours.clone(), Tie::Claim)), "its address is another cluster's");
        assert_eq!(at(HERE, "c"), None, "a new cluster at the old address is not opened with old shares");
        assert_eq!(at(ALIAS, "c"), None);
    }

    #[test]
    fn newest_of_the_cluster_wins_and_none_of_another() {
        let (old, new) = (initialisation(HERE, EARLIER), initialisation(HERE, LATER));
        let both = [recorded(&old, HERE, Some("a")), recorded(&new, ALIAS, Some("a"))];
        let which = found(&[&new, &old], &both, (ALIAS, &[]), Some("a"));
        assert_eq!(which, Some((new.clone(), Tie::Address)));
        let apart = [recorded(&old, HERE, Some("a")), recorded(&new, HERE, Some("b"))];
        let which = found(&[&new, &old], &apart, (HERE, &[]), Some("a"));
        assert_eq!(which, Some((old, Tie::Address)), "a server that was brought back");
    }

    #[test]
    fn objects_from_before_ids_were_recorded_are_found_by_address() {
        let (ours, other) = (initialisation(HERE, EARLIER), initialisation(ELSEWHERE, LATER));
        let records = [recorded(&other, ELSEWHERE, Some("b")), recorded(&ours, HERE, None)];
        let at = |address, nodes: &[&str]| found(&[&other, &ours], &records, (address, nodes), Some("a"));
        assert_eq!(at(HERE, &[]), Some((ours.clone(), Tie::Address)));
        assert_eq!(at(ALIAS, &[HERE]), Some((ours.clone(), Tie::Node)));
        assert_eq!(at(ALIAS, &[]), None, "an id that is not on record connects nothing");
        assert_eq!(at(ELSEWHERE, &[]), None);
    }

    #[test]
    fn sealed_server_is_found_by_its_addresses_then_its_key() {
        let (ours, other) = (initialisation(HERE, EARLIER), initialisation(ELSEWHERE, LATER));
        let mut records =
            vec![recorded(&ours, HERE, Some("a")), recorded(&ours, "http://n2:8200", Some("a"))];
        let kept = [&other, &ours];
        assert_eq!(found(&kept, &records, (HERE, &[]), None), Some((ours.clone(), Tie::Address)));
        let standby = found(&kept, &records, ("http://n2:8200", &[]), None);
        assert_eq!(standby, Some((ours.clone(), Tie::Address)), "it is on record");
        assert_eq!(
            found(&kept, &records, (ALIAS, &["http://n2:8200"]), None),
            Some((ours.clone(), Tie::Node))
        );
        assert_eq!(found(&kept, &records, (ALIAS, &[]), None), None, "it may be either");
        let key = |key| found_with(&kept, &records, (ALIAS, &[]), None, Some(key));
        assert_eq!(key("key sha256:aa"), Some((ours.clone(), Tie::Key)));
        assert_eq!(key("key sha256:bb"), None);
        records.clear();
        let which =
            found(&[&ours, &initialisation(HERE, "20250101t000000000z")], &records, (ALIAS, &[]), None);
        assert_eq!(which, Some((ours, Tie::Only)), "two of one address, the newer of them");
    }

    #[test]
    fn only_whole_names_of_answers_count() {
        for wrong in
            ["vault/a/init", "vault/a/b/c/init", "vault/a/b/pgp-key", "aws/a/b/init", "vault/a/b/init/x"]
        {
            assert_eq!(Initialisation::of_answer(wrong), None, "{wrong}");
        }
    }
}
