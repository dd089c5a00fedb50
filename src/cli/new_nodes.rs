//! Nodes of Vault that get key shares for the first time. A server at such an address can open the
//! cluster, so a person at a terminal confirms each by typing its address.

use std::collections::BTreeSet;

use crate::changeset::Changeset;
use crate::console;
use crate::providers::vault::{FIRST_SHARES, REFUSED_SHARES};
use crate::trust::{Grant, Subject};

/// The nodes that a person has confirmed in this run.
#[derive(Debug, Default)]
pub(super) struct NewNodes(BTreeSet<String>);

impl NewNodes {
    /// Asks for each node that would get shares and that the caller has not allowed. `None` when there is
    /// none, or one is not confirmed; else the permissions for this run.
    pub(super) async fn ask(&mut self, changeset: &Changeset) -> Option<Vec<Grant>> {
        let refused = nodes(changeset, REFUSED_SHARES);
        let refused: Vec<String> = refused.into_iter().filter(|node| !self.0.contains(node)).collect();
        if refused.is_empty() || !self.confirm(refused.clone()).await {
            return None;
        }
        Some(refused.into_iter().map(|node| Grant::new(Subject::Node, node)).collect())
    }

    /// Asks for each node that gets shares now, unless it was confirmed before.
    pub(super) async fn are_confirmed(&mut self, changeset: &Changeset) -> bool {
        let nodes = nodes(changeset, FIRST_SHARES);
        self.confirm(nodes.into_iter().filter(|node| !self.0.contains(node)).collect()).await
    }

    /// The first that is not confirmed ends it.
    async fn confirm(&mut self, nodes: Vec<String>) -> bool {
        for node in nodes {
            let question = format!(
                "{node} is new to this plan's record and would get key shares. To let it have them, type its \
                 address: "
            );
            let word = node.clone();
            let answer = tokio::task::spawn_blocking(move || console::ask_for(question, &word)).await;
            if !answer.unwrap_or(false) {
                return false;
            }
            self.0.insert(node);
        }
        true
    }
}

fn nodes(changeset: &Changeset, field: &str) -> Vec<String> {
    let nodes = changeset.steps.iter().flat_map(|step| step.nodes(field));
    nodes.map(|(node, _)| node.to_owned()).collect()
}
