//! Terraform's lock in DynamoDB: an item whose presence is the lock.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;

use super::AwsClient;
use super::error::Answer;
use crate::error::Result;
use crate::lock::{self, Held, Info, Place, Put};
use crate::permit::Permit;
use crate::providers::patience::Patience;

const GET: &str = "dynamodb:GetItem";
const PUT: &str = "dynamodb:PutItem";
const DELETE: &str = "dynamodb:DeleteItem";
/// The hash key.
const ID: &str = "LockID";
/// The attribute that says who holds it.
const INFO: &str = "Info";
const REFUSED: &str = "ConditionalCheckFailedException";
const NO_TABLE: &str = "ResourceNotFoundException";

/// The item `id` in `table`.
#[derive(Debug)]
pub struct LockItem {
    aws: Arc<AwsClient>,
    table: String,
    id: String,
    patience: Patience,
}

impl LockItem {
    /// A lock under `id` in `table`.
    pub fn new(aws: Arc<AwsClient>, table: String, id: String) -> Self {
        let patience = Patience::with(format!("the lock table {table}"));
        Self { aws, table, id, patience }
    }

    fn key(&self) -> AttributeValue {
        AttributeValue::S(self.id.clone())
    }
}

#[async_trait]
impl Place for LockItem {
    async fn put(&self, permit: &Permit, info: &Info) -> Result<Put> {
        self.patience.write(PUT, self.put_now(permit, info)).await
    }

    async fn held(&self) -> Result<Option<Held>> {
        self.patience.read(GET, self.held_now()).await
    }

    async fn remove(&self, permit: &Permit, held: &Held) -> Result<bool> {
        self.patience.write(DELETE, self.remove_now(permit, held)).await
    }

    /// The item is all that there is.
    async fn erase(&self, permit: &Permit) -> Result<()> {
        match self.held().await? {
            Some(held) => self.remove(permit, &held).await.map(drop),
            None => Ok(()),
        }
    }

    fn path(&self) -> String {
        self.id.clone()
    }
}

impl LockItem {
    async fn put_now(&self, permit: &Permit, info: &Info) -> Result<Put> {
        let text = serde_json::to_string(info).expect("plain data");
        let request = self.aws.write(permit).dynamodb.put_item().table_name(&self.table);
        let request = request.item(ID, self.key()).item(INFO, AttributeValue::S(text));
        let answer = request.condition_expression("attribute_not_exists(LockID)").send().await;
        match answer.as_ref().err().and_then(|error| error.as_service_error()?.meta().code()) {
            Some(REFUSED) => Ok(Put::Refused),
            Some(NO_TABLE) => Ok(Put::Nowhere),
            _ => answer.at(PUT).map(|_| Put::Taken),
        }
    }

    async fn held_now(&self) -> Result<Option<Held>> {
        let request = self.aws.read().dynamodb.get_item().table_name(&self.table).key(ID, self.key());
        let answer = request.consistent_read(true).send().await.found(GET, &[NO_TABLE])?;
        let Some(item) = answer.and_then(|answer| answer.item) else { return Ok(None) };
        let text = item.get(INFO).and_then(|value| value.as_s().ok());
        let text = text.ok_or_else(|| lock::unreadable(&self.path()))?;
        let info = serde_json::from_str(text).map_err(|_| lock::unreadable(&self.path()))?;
        Ok(Some(Held { info, proof: text.clone() }))
    }

    async fn remove_now(&self, permit: &Permit, held: &Held) -> Result<bool> {
        let request = self.aws.write(permit).dynamodb.delete_item().table_name(&self.table);
        let request = request.key(ID, self.key()).condition_expression("#info = :seen");
        let request = request.expression_attribute_names("#info", INFO);
        let request = request.expression_attribute_values(":seen", AttributeValue::S(held.proof.clone()));
        let answer = request.send().await;
        match answer.as_ref().err().and_then(|error| error.as_service_error()?.meta().code()) {
            Some(REFUSED) => Ok(false),
            _ => answer.at(DELETE).map(|_| true),
        }
    }
}
