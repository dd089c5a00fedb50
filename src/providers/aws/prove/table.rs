//! A table is proven by locking with it, as Terraform does, or by reading from it.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::{Aws, NAME, unique};
use crate::error::Result;
use crate::providers::aws::dynamodb_table::{Key, KeyKind};
use crate::providers::aws::error::Answer;

const REFUSED: &str = "ConditionalCheckFailedException";
/// The attribute with the time at which a verification began, in seconds since 1970.
const BEGAN: &str = "Began";
/// After how many seconds the lock of another run counts as abandoned.
const ABANDONED: u64 = 900;
/// A table that is gone has no item left.
const NO_TABLE: &str = "ResourceNotFoundException";

/// Of two writers of one lock only one may get it. The lock has one name, so that one that a killed run left is
/// taken over, and removed, by the next.
pub(in crate::providers::aws) async fn lock(prover: &Aws<'_>, table: &str, key: &Key) {
    let tried = "of two writers of one lock, one gets it";
    let expected = "one write succeeds, and the other is refused by its condition";
    let now = seconds();
    let id = HashMap::from([(key.name.clone(), AttributeValue::S(NAME.to_owned()))]);
    let (of_run, gone, of) = (AttributeValue::N(now.to_string()), id.clone(), table.to_owned());
    let client = prover.write(prover.permit()).dynamodb.clone();
    let undo = prover.undo("a lock", move || {
        // That of another run stays.
        let request = client.delete_item().table_name(&of).set_key(Some(gone.clone()));
        let request =
            request.condition_expression("#began = :began").expression_attribute_names("#began", BEGAN);
        let request = request.expression_attribute_values(":began", of_run.clone());
        async move { request.send().await.found("dynamodb:DeleteItem", &[NO_TABLE, REFUSED]).map(drop) }
    });
    let write = || {
        let request = prover.write(prover.permit()).dynamodb.put_item().table_name(table);
        let request = request.set_item(Some(id.clone())).item(BEGAN, AttributeValue::N(now.to_string()));
        let request = request.condition_expression("attribute_not_exists(#key) OR #began < :abandoned");
        let request = request.expression_attribute_names("#key", &key.name);
        let request = request.expression_attribute_names("#began", BEGAN);
        let abandoned = now.saturating_sub(ABANDONED).to_string();
        let request = request.expression_attribute_values(":abandoned", AttributeValue::N(abandoned));
        async move { request.send().await.found("dynamodb:PutItem", &[REFUSED]).map(|taken| taken.is_some()) }
    };
    let (one, other) = tokio::join!(write(), write());
    let both: Result<Vec<bool>> = [one, other].into_iter().collect();
    if let Some(both) = prover.ask(tried, expected, both) {
        let advice = "do not lock with this table until its service is in order";
        match both.iter().filter(|taken| **taken).count() {
            0 => prover.untried(tried, "no other verification of it within a quarter of an hour"),
            1 => prover.proven(tried),
            _ => prover.failed(tried, expected, "both get it", advice),
        }
    }
    // A failure is tried again, and reported, at the end.
    let _ = undo.now().await;
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
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
