//! The sandbox's AWS as another tool sees it: what Terraform would write and read there.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use groundwork::sandbox::Running;

use crate::support::{TestEnvironment, block_on};

/// The root of the sandbox's own account, by its number.
pub const OWN: &str = "000000000000";

/// The secret of the sandbox's AWS, good for its own key and for the root of any account.
pub fn secret_key(sandbox: &Running) -> String {
    let found = sandbox.environment().into_iter().find(|(name, _)| name == "AWS_SECRET_ACCESS_KEY");
    found.expect("the sandbox has an access key").1
}

/// The root of the sandbox's own account.
pub fn credentials(sandbox: &Running) -> Credentials {
    root_of(sandbox, OWN)
}

/// The root of an account of the emulator, by its number.
pub fn root_of(sandbox: &Running, account: &str) -> Credentials {
    Credentials::new(account, secret_key(sandbox), None, None, "test")
}

/// The sandbox's AWS past the program, as the root of its own account.
pub fn config(sandbox: &Running) -> SdkConfig {
    config_with(sandbox, credentials(sandbox), "us-east-1")
}

/// The same with other credentials and in another region.
pub fn config_with(sandbox: &Running, credentials: Credentials, region: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(sandbox.aws_url())
        .build()
}

pub fn dynamodb(environment: &TestEnvironment) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::new(&config(&environment.sandbox))
}

pub fn s3(environment: &TestEnvironment) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(&config(&environment.sandbox)).force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}

/// Makes a bucket that keeps versions.
pub fn versioned_bucket(environment: &TestEnvironment, name: &str) {
    let s3 = s3(environment);
    block_on(s3.create_bucket().bucket(name).send()).expect("a bucket");
    let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let request = s3.put_bucket_versioning().bucket(name).versioning_configuration(versioning);
    block_on(request.send()).expect("versions");
}

/// Puts a lock item as Terraform does.
pub fn put_lock_item(environment: &TestEnvironment, table: &str, id: &str, info: &str) {
    let request = dynamodb(environment).put_item().table_name(table);
    let request = request
        .item("LockID", AttributeValue::S(id.to_owned()))
        .item("Info", AttributeValue::S(info.to_owned()))
        .condition_expression("attribute_not_exists(LockID)");
    block_on(request.send()).expect("locked");
}

/// The `Info` of a lock item.
pub fn lock_item(environment: &TestEnvironment, table: &str, id: &str) -> Option<String> {
    let request = dynamodb(environment).get_item().table_name(table);
    let request = request.key("LockID", AttributeValue::S(id.to_owned())).consistent_read(true);
    let item = block_on(request.send()).expect("an answer").item?;
    item.get("Info").and_then(|info| info.as_s().ok()).cloned()
}

pub fn put_object(environment: &TestEnvironment, bucket: &str, key: &str, text: &str) {
    let body = ByteStream::from(text.as_bytes().to_vec());
    let request = s3(environment).put_object().bucket(bucket).key(key).body(body);
    block_on(request.send()).expect("stored");
}

/// The object's text; `None` when there is none.
pub fn object(environment: &TestEnvironment, bucket: &str, key: &str) -> Option<String> {
    block_on(async {
        let answer = s3(environment).get_object().bucket(bucket).key(key).send().await.ok()?;
        let bytes = answer.body.collect().await.expect("the body").to_vec();
        Some(String::from_utf8(bytes).expect("text"))
    })
}

pub fn delete_object(client: &aws_sdk_s3::Client, bucket: &str, key: &str) {
    block_on(client.delete_object().bucket(bucket).key(key).send()).expect("deleted");
}

fn iam(sandbox: &Running) -> aws_sdk_iam::Client {
    aws_sdk_iam::Client::new(&config(sandbox))
}

/// Makes a user that is nobody's.
pub fn create_user(sandbox: &Running, name: &str) {
    block_on(iam(sandbox).create_user().user_name(name).send()).expect("a user");
}

/// The names of all users, sorted.
pub fn users(environment: &TestEnvironment) -> Vec<String> {
    let answer = block_on(iam(&environment.sandbox).list_users().send()).expect("users");
    let mut names: Vec<String> = answer.users.into_iter().map(|user| user.user_name).collect();
    names.sort();
    names
}

/// A user's tags, `key=value`, sorted.
pub fn user_tags(environment: &TestEnvironment, name: &str) -> Vec<String> {
    let answer = block_on(iam(&environment.sandbox).list_user_tags().user_name(name).send()).expect("tags");
    let mut tags: Vec<String> = answer.tags.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect();
    tags.sort();
    tags
}

/// The names of all tables.
pub fn tables(environment: &TestEnvironment) -> Vec<String> {
    block_on(dynamodb(environment).list_tables().send()).expect("tables").table_names.unwrap_or_default()
}

pub fn secretsmanager(environment: &TestEnvironment) -> aws_sdk_secretsmanager::Client {
    aws_sdk_secretsmanager::Client::new(&config(&environment.sandbox))
}

fn ssm(environment: &TestEnvironment) -> aws_sdk_ssm::Client {
    aws_sdk_ssm::Client::new(&config(&environment.sandbox))
}

/// The value of a secret in Secrets Manager.
pub fn secret(environment: &TestEnvironment, name: &str) -> String {
    let request = secretsmanager(environment).get_secret_value().secret_id(name);
    block_on(request.send()).expect("an answer").secret_string.expect("text")
}

/// Makes a secret of somebody, with the mark of a plan or without.
pub fn create_secret(environment: &TestEnvironment, name: &str, value: &str, plan: Option<&str>) {
    let tag = plan
        .map(|plan| aws_sdk_secretsmanager::types::Tag::builder().key("groundwork:plan").value(plan).build());
    let request = secretsmanager(environment).create_secret().name(name).secret_string(value);
    block_on(request.set_tags(tag.map(|tag| vec![tag])).send()).expect("stored");
}

/// Makes a parameter of somebody.
pub fn put_parameter(environment: &TestEnvironment, name: &str, value: &str, secure: bool) {
    use aws_sdk_ssm::types::ParameterType;
    let kind = if secure { ParameterType::SecureString } else { ParameterType::String };
    let request = ssm(environment).put_parameter().name(name).value(value).r#type(kind);
    block_on(request.send()).expect("stored");
}

/// Gives a secret in Secrets Manager another value.
pub fn put_secret(environment: &TestEnvironment, name: &str, value: &str) {
    let request = secretsmanager(environment).put_secret_value().secret_id(name).secret_string(value);
    block_on(request.send()).expect("stored");
}

/// The value of a parameter in Parameter Store, decrypted.
pub fn parameter(environment: &TestEnvironment, name: &str) -> String {
    let request = ssm(environment).get_parameter().name(name).with_decryption(true);
    let answer = block_on(request.send());
    answer.expect("an answer").parameter.and_then(|parameter| parameter.value).expect("a value")
}

/// Whether AWS takes an access key.
pub fn is_taken(sandbox: &Running, id: &str, secret: &str) -> bool {
    block_on(is_taken_within(&config(sandbox), id, secret))
}

/// The same, for callers that have the configuration only.
pub async fn is_taken_within(config: &SdkConfig, id: &str, secret: &str) -> bool {
    let key = SharedCredentialsProvider::new(Credentials::new(id, secret, None, None, "test"));
    let config = config.to_builder().credentials_provider(key).build();
    aws_sdk_sts::Client::new(&config).get_caller_identity().send().await.is_ok()
}
