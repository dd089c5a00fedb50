//! A table is proven by locking with it, as Terraform does, or by reading from it.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::{Aws, NAME, unique};
use crate::error::Result;
use crate::providers::aws::dynamodb_table::{Key, KeyKind};
use crate::providers::aws::error::Answer;

const REFUSED: &str = "ConditionalCheckFailedException";
/// A table that is gone has no item left.
const NO_TABLE: &str = "ResourceNotFoundException";

/// Of two writers of one lock only one may get it.
pub(in crate::providers::aws) async fn lock(prover: &Aws<'_>, table: &str, key: &Key) {
    let tried = "of two writers of one lock, one gets it";
    let expected = "one write succeeds, and the other is refused by its condition";
    let item = HashMap::from([(key.name.clone(), AttributeValue::S(format!("{NAME}/{}", unique())))]);
    let (client, gone, of) = (prover.write(prover.permit()).dynamodb.clone(), item.clone(), table.to_owned());
    let undo = prover.undo("a lock", move || {
        let request = client.delete_item().table_name(&of).set_key(Some(gone.clone()));
        async move { request.send().await.found("dynamodb:DeleteItem", &[NO_TABLE]).map(drop) }
    });
    let write = || {
        let request = prover.write(prover.permit()).dynamodb.put_item().table_name(table);
        let request = request.set_item(Some(item.clone())).expression_attribute_names("#key", &key.name);
        let request = request.condition_expression("attribute_not_exists(#key)");
        async move { request.send().await.found("dynamodb:PutItem", &[REFUSED]).map(|taken| taken.is_some()) }
    };
    let (one, other) = tokio::join!(write(), write());
    let both: Result<Vec<bool>> = [one, other].into_iter().collect();
    if let Some(both) = prover.ask(tried, expected, both) {
        let seen = match both.iter().filter(|taken| **taken).count() {
            0 => "both are refused",
            1 => expected,
            _ => "both get it",
        };
        prover.compare(tried, &expected, &seen, "do not lock with this table until its service is in order");
    }
    // A failure is tried again, and reported, at the end.
    let _ = undo.now().await;
}

/// The table answers a question for an item that does not exist.
pub(in crate::providers::aws) async fn read(prover: &Aws<'_>, table: &str, keys: &[&Key]) {
    let tried = "answers a read";
    let value = |key: &Key| match key.kind {
        KeyKind::S => AttributeValue::S(format!("{NAME}/{}", unique())),
        KeyKind::N => AttributeValue::N("0".to_owned()),
        KeyKind::B => AttributeValue::B(Blob::new(NAME)),
    };
    let item = keys.iter().map(|key| (key.name.clone(), value(key))).collect();
    // An item may exist after all; of its attributes only the key is asked for.
    let request =
        prover.read().dynamodb.get_item().table_name(table).set_key(Some(item)).consistent_read(true);
    let request = request.projection_expression("#key").expression_attribute_names("#key", &keys[0].name);
    let answer = request.send().await.at("dynamodb:GetItem");
    if prover.ask(tried, "an answer", answer).is_some() {
        prover.proven(tried);
    }
}
