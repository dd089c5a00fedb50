//! The credentials of a user. Any of them blocks its deletion.
//!
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteUser.html>

use super::NO_SUCH_ENTITY;
use crate::error::Result;
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::in_order::InOrder;
use crate::resource::Attachment;

/// The sandbox's emulator does not support every type of credential or the operation that lists it.
const NONE: &[&str] = &["NoSuchEntity", "InvalidAction"];

/// Every credential of the user.
pub async fn read(client: &AwsClient, user: &str, console_login: bool) -> Result<Vec<Attachment>> {
    let (keys, devices, ssh, certificates, services) = tokio::join!(
        access_keys(client, user),
        devices(client, user),
        ssh_keys(client, user),
        certificates(client, user),
        services(client, user),
    )
    .in_order()?;
    let password =
        console_login.then(|| Attachment::blocks("console_login", user, "the user has a console password"));
    Ok([keys, devices, ssh, certificates, services].into_iter().flatten().chain(password).collect())
}

async fn access_keys(client: &AwsClient, user: &str) -> Result<Vec<Attachment>> {
    let pages = client.read().iam.list_access_keys().user_name(user).into_paginator().items().send();
    let keys = pages.try_collect().await.found("iam:ListAccessKeys", NO_SUCH_ENTITY)?.unwrap_or_default();
    let attachment = |id: String| {
        Attachment::blocks("access_keys", &id, format!("the user has the access key {id}"))
            .held_by("aws.iam_access_key", user)
            .with_output("access_key_id", id)
    };
    Ok(keys.into_iter().filter_map(|key| key.access_key_id).map(attachment).collect())
}

async fn devices(client: &AwsClient, user: &str) -> Result<Vec<Attachment>> {
    let pages = client.read().iam.list_mfa_devices().user_name(user).into_paginator().items().send();
    let devices = pages.try_collect().await.found("iam:ListMFADevices", NO_SUCH_ENTITY)?.unwrap_or_default();
    let names = devices.into_iter().map(|device| device.serial_number);
    Ok(blocking("mfa_devices", "MFA device", names))
}

async fn ssh_keys(client: &AwsClient, user: &str) -> Result<Vec<Attachment>> {
    let pages = client.read().iam.list_ssh_public_keys().user_name(user).into_paginator().items().send();
    let keys = pages.try_collect().await.found("iam:ListSSHPublicKeys", NONE)?.unwrap_or_default();
    Ok(blocking("ssh_public_keys", "SSH public key", keys.into_iter().map(|key| key.ssh_public_key_id)))
}

async fn certificates(client: &AwsClient, user: &str) -> Result<Vec<Attachment>> {
    let pages = client.read().iam.list_signing_certificates().user_name(user).into_paginator().items().send();
    let found = pages.try_collect().await.found("iam:ListSigningCertificates", NONE)?;
    let names = found.unwrap_or_default().into_iter().map(|certificate| certificate.certificate_id);
    Ok(blocking("signing_certificates", "signing certificate", names))
}

async fn services(client: &AwsClient, user: &str) -> Result<Vec<Attachment>> {
    let answer = client.read().iam.list_service_specific_credentials().user_name(user).send().await;
    let answer = answer.found("iam:ListServiceSpecificCredentials", NONE)?;
    let found = answer.and_then(|answer| answer.service_specific_credentials).unwrap_or_default();
    let names = found.into_iter().map(|credential| credential.service_specific_credential_id);
    Ok(blocking("service_credentials", "service-specific credential", names))
}

fn blocking(field: &'static str, noun: &str, names: impl Iterator<Item = String>) -> Vec<Attachment> {
    names
        .map(|name| {
            let clause = format!("the user has the {noun} {name}");
            Attachment::blocks(field, name, clause)
        })
        .collect()
}
