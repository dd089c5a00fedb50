//! The key that unseals Vault, in the sandbox's own KMS.

use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Region};
use aws_sdk_kms::error::DisplayErrorContext;
use aws_sdk_kms::operation::describe_key::DescribeKeyError;

use super::Error;
use super::aws_key::AwsKey;
use super::environment::REGION;
use crate::net::http;

/// Makes sure that the key exists. An alias that is missing is created with a new key; a key id
/// cannot be chosen, so a missing one is an error.
pub async fn ensure_key(endpoint: &str, credentials: &AwsKey, key: &str) -> Result<(), Error> {
    let client = client(endpoint, credentials);
    let fail = |detail: String| Error::Kms { key: key.to_owned(), detail };
    match client.describe_key().key_id(key).send().await {
        Ok(_) => return Ok(()),
        Err(error) => {
            let missing = error.as_service_error().is_some_and(DescribeKeyError::is_not_found_exception);
            if !missing || !key.starts_with("alias/") {
                return Err(fail(DisplayErrorContext(error).to_string()));
            }
        }
    }
    let made = client.create_key().description("Unseals the sandbox's Vault").send().await;
    let made = made.map_err(|error| fail(DisplayErrorContext(error).to_string()))?;
    let id = made.key_metadata().map(|metadata| metadata.key_id().to_owned());
    let id = id.ok_or_else(|| fail("CreateKey returned no key".to_owned()))?;
    let alias = client.create_alias().alias_name(key).target_key_id(id).send().await;
    alias.map(drop).map_err(|error| fail(DisplayErrorContext(error).to_string()))
}

fn client(endpoint: &str, key: &AwsKey) -> Client {
    let secret = key.secret.expose_str().unwrap_or_default();
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .http_client(http::direct_aws_client())
        .credentials_provider(Credentials::new(&key.id, secret, None, None, "sandbox"))
        .build();
    Client::from_conf(config)
}
