//! KMS as custody's key service.

use async_trait::async_trait;

use super::AwsClient;
use crate::custody::{Context, KeyService};
use crate::error::Result;
use crate::secret::Secret;

#[async_trait]
impl KeyService for AwsClient {
    async fn encrypt(&self, key: &str, plaintext: &Secret, context: &Context) -> Result<Vec<u8>> {
        self.kms_encrypt(key, plaintext, context).await
    }

    async fn decrypt(&self, ciphertext: &[u8], context: &Context) -> Result<Secret> {
        self.kms_decrypt(ciphertext, context).await
    }
}
