//! The permissions that the token of the run lacks, according to the server.
//! <https://openbao.org/api-docs/system/capabilities-self/>

use std::collections::BTreeSet;

use super::VaultClient;
use super::permissions::{gives, in_any_order, path_from_home};
use crate::run::{Lack, Needs};
use crate::template::unknown::is_unknown;

/// How many paths one question has.
const AT_ONCE: usize = 500;
/// Where policies are: a run that writes one may change its own rights.
const POLICIES: &str = "sys/policies/acl/";

/// The permissions that the token certainly lacks. None where it may not ask, and where the run changes policies.
pub(super) async fn lacking(client: &VaultClient, needs: &[&Needs]) -> Vec<Lack> {
    let all = needs.iter().flat_map(|needs| needs.permissions.iter().map(move |one| (*needs, one)));
    let asked: Vec<(String, &'static [&'static str], &str)> = all
        .map(|(needs, one)| {
            (path_from_home(&needs.place, &one.on), in_any_order(one.any_of), needs.step.as_str())
        })
        .filter(|(path, ..)| !is_unknown(path) && !path.contains('+'))
        .collect();
    if asked.iter().any(|(path, any_of, _)| path.starts_with(POLICIES) && any_of.contains(&"update")) {
        return Vec::new();
    }
    let paths: BTreeSet<&String> = asked.iter().map(|(path, ..)| path).collect();
    let paths: Vec<String> = paths.into_iter().cloned().collect();
    let mut found = BTreeSet::new();
    for some in paths.chunks(AT_ONCE) {
        let Ok(capabilities) = client.capabilities(some).await else { return Vec::new() };
        for (path, any_of, step) in asked.iter().filter(|(path, ..)| some.contains(path)) {
            if capabilities.get(path).is_some_and(|listed| !gives(Some(listed), any_of)) {
                let action = any_of.join(" or ");
                found.insert(Lack { action, resource: path.clone(), step: (*step).to_owned(), reason: None });
            }
        }
    }
    found.into_iter().collect()
}
