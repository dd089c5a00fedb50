//! Nodes that nothing but the cluster's own list proves.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use serde_json::{Value, json};

use super::proof::{Newcomer, NodeProof};
use super::{Node, SealStatus};
use crate::journal::Entry;
use crate::permit::Permit;
use crate::place::Place;
use crate::provider::Provider;
use crate::providers::vault::custodian::Initialisation;
use crate::providers::vault::settings::VaultSettings;
use crate::providers::vault::{Vault, VaultClient};
use crate::resource::Provided;
use crate::run;
use crate::secret::Secret;
use crate::trust::{Grant, Subject, Trust};

/// A server on a port of its own that answers each request with what `answer` makes of its path.
fn serve(listener: TcpListener, answer: impl Fn(&str) -> Value + Send + 'static) {
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 8192];
            let read = stream.read(&mut request).unwrap_or_default();
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let body = answer(text.split(' ').nth(1).unwrap_or_default()).to_string();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
        }
    });
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

/// A node that serves, whose cluster lists these.
fn serving(listed: &[String]) -> String {
    let (listener, address) = listen();
    let own = address.clone();
    let nodes: Vec<Value> = listed.iter().map(|node| json!({ "api_address": node })).collect();
    serve(listener, move |path| match path {
        "/v1/sys/ha-status" => json!({ "nodes": nodes, "data": { "nodes": nodes } }),
        "/v1/sys/leader" => json!({ "ha_enabled": true, "is_self": true, "leader_address": own }),
        _ => {
            json!({ "type": "shamir", "initialized": true, "sealed": false, "standby": false, "t": 1, "n": 1 })
        }
    });
    address
}

/// A node that waits for shares.
fn sealed() -> String {
    let (listener, address) = listen();
    serve(listener, |_| json!({ "type": "shamir", "initialized": true, "sealed": true, "t": 1, "n": 1 }));
    address
}

/// What is to be said of the last of these nodes, which is sealed; `known` are on record.
async fn newcomer(nodes: &[String], known: &[String]) -> Option<Newcomer> {
    newcomer_of(None, nodes, known).await
}

/// The same, for shares of this initialisation.
async fn newcomer_of(which: Option<&Initialisation>, nodes: &[String], known: &[String]) -> Option<Newcomer> {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        VaultSettings { address: Some(nodes[0].clone()), nodes: nodes.to_vec(), ..VaultSettings::default() };
    let trust = Trust::new(nodes.iter().map(|node| Grant::new(Subject::Vault, node.as_str())));
    let run = run::testing::run(folder.path(), trust).with(Arc::new(Vault::open(settings)));
    for origin in known {
        let (origin, initialisation) = (origin.clone(), "vault/init".to_owned());
        let node = Entry::Node { origin, tls: None, key: None, initialisation, cluster: None };
        run.journal.append(&Permit::mint(), node).await.unwrap();
    }
    let vault = VaultClient::provide(&run, &Place::OWN).await.unwrap();
    vault.set_token(Secret::from("s.token".to_owned())).await;
    let (sealed, others) = nodes.split_last().unwrap();
    let node = |address: &String, sealed: bool| {
        let status = json!({ "initialized": true, "sealed": sealed });
        let status: SealStatus = serde_json::from_value(status).unwrap();
        Node { address: address.clone(), status }
    };
    let all: Vec<Node> = others.iter().map(|one| node(one, false)).chain([node(sealed, true)]).collect();
    let proof = NodeProof::of_run(&run).unwrap();
    proof.newcomers(&vault, which, &all).await.unwrap().remove(sealed)
}

#[tokio::test]
async fn node_listed_by_known_cluster_gets_shares() {
    let sealed = sealed();
    let known = serving(std::slice::from_ref(&sealed));
    let found = newcomer(&[known.clone(), sealed.clone()], &[known]).await.expect("it is new");
    assert_eq!(found.refused, None, "{found:?}");
}

#[tokio::test]
async fn node_not_listed_by_cluster_gets_no_shares() {
    let sealed = sealed();
    let known = serving(&["http://127.0.0.1:1".to_owned()]);
    let found = newcomer(&[known.clone(), sealed.clone()], &[known]).await.expect("it is new");
    assert!(found.refused.is_some_and(|why| why.contains(&sealed)));
}

/// A stranger that serves beside the cluster may be what answers with the list.
#[tokio::test]
async fn list_counts_only_while_all_servers_are_known() {
    let sealed = sealed();
    let known = serving(std::slice::from_ref(&sealed));
    let stranger = serving(std::slice::from_ref(&sealed));
    let nodes = [known.clone(), stranger, sealed.clone()];
    let found = newcomer(&nodes, &[known]).await.expect("it is new");
    assert!(found.refused.is_some_and(|why| why.contains(&sealed)));
}

#[tokio::test]
async fn recorded_node_is_not_a_newcomer() {
    let sealed = sealed();
    let known = serving(&[]);
    assert_eq!(newcomer(&[known.clone(), sealed.clone()], &[known, sealed]).await, None);
}

/// A journal may have entries of another cluster, or of a stranger's.
#[tokio::test]
async fn record_of_another_initialisation_proves_nothing() {
    let sealed = sealed();
    let other = serving(&[]);
    let which = Initialisation::begin("https://elsewhere.example:8200");
    let found = newcomer_of(Some(&which), &[other.clone(), sealed.clone()], &[other, sealed.clone()]).await;
    assert!(found.and_then(|found| found.refused).is_some_and(|why| why.contains(&sealed)));
}
