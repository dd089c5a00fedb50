//! The settings of an object that a plan does not declare. Writing an object replaces it completely, so
//! they are sent again.

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    Grant, ObjectLockEventHold, ObjectLockLegalHoldStatus, ObjectLockMode, Permission, ServerSideEncryption,
    StorageClass,
};

use super::{Desired, W};
use crate::providers::aws::error::Answer;
use crate::resource::{ErrorKind, Result};

const GET_ACL: &str = "s3:GetObjectAcl";

/// The undeclared settings of a live object.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    storage_class: Option<StorageClass>,
    disposition: Option<String>,
    language: Option<String>,
    /// Kept as text, because S3 accepts any text.
    expires: Option<String>,
    redirect: Option<String>,
    encryption: Option<ServerSideEncryption>,
    key: Option<String>,
    bucket_key: Option<bool>,
    lock: Lock,
}

/// The lock that protects an object from deletion.
#[derive(Clone, Debug, Default)]
struct Lock {
    mode: Option<ObjectLockMode>,
    until: Option<DateTime>,
    legal_hold: Option<ObjectLockLegalHoldStatus>,
    event_hold: Option<ObjectLockEventHold>,
    event_days: Option<i32>,
    event_years: Option<i32>,
}

impl Kept {
    /// The settings of an object that was read.
    pub fn of(object: &GetObjectOutput) -> Self {
        Self {
            storage_class: object.storage_class.clone(),
            disposition: object.content_disposition.clone(),
            language: object.content_language.clone(),
            expires: object.expires_string.clone(),
            redirect: object.website_redirect_location.clone(),
            encryption: object.server_side_encryption.clone(),
            key: object.ssekms_key_id.clone(),
            bucket_key: object.bucket_key_enabled,
            lock: Lock {
                mode: object.object_lock_mode.clone(),
                until: object.object_lock_retain_until_date,
                legal_hold: object.object_lock_legal_hold_status.clone(),
                event_hold: object.object_lock_event_hold.clone(),
                event_days: object.object_lock_event_hold_duration_days,
                event_years: object.object_lock_event_hold_duration_years,
            },
        }
    }

    /// The encryption, if Groundwork would not set it: dual-layer, or an algorithm that it does not
    /// know.
    pub fn other_encryption(&self) -> Option<&str> {
        let known = [ServerSideEncryption::Aes256, ServerSideEncryption::AwsKms];
        self.encryption.as_ref().filter(|live| !known.contains(live)).map(ServerSideEncryption::as_str)
    }

    /// Adds the same settings to the request that writes the object. A declared key is in it already; an
    /// object without a key follows its bucket.
    pub fn send(&self, desired: &Desired, request: PutObjectFluentBuilder) -> PutObjectFluentBuilder {
        let under_key = self.encryption.clone().filter(|_| self.key.is_some());
        let request = match (&desired.kms_key, under_key) {
            (None, Some(encryption)) => {
                request.server_side_encryption(encryption).set_ssekms_key_id(self.key.clone())
            }
            _ => request,
        };
        request
            .set_bucket_key_enabled(self.bucket_key.filter(|on| *on && self.key.is_some()))
            .set_storage_class(self.storage_class.clone())
            .set_content_disposition(self.disposition.clone())
            .set_content_language(self.language.clone())
            .set_website_redirect_location(self.redirect.clone())
            .set_object_lock_mode(self.lock.mode.clone())
            .set_object_lock_retain_until_date(self.lock.until)
            .set_object_lock_legal_hold_status(self.lock.legal_hold.clone())
            .set_object_lock_event_hold(self.lock.event_hold.clone())
            .set_object_lock_event_hold_duration_days(self.lock.event_days)
            .set_object_lock_event_hold_duration_years(self.lock.event_years)
    }

    /// When copies expire, as the writer set it.
    pub fn expires(&self) -> Option<&str> {
        self.expires.as_deref()
    }
}

/// The grants in the live object's access list to anyone but its owner. Requested only before a write,
/// because most objects do not have any.
pub async fn grants(w: &W<'_>, desired: &Desired) -> Result<Vec<Grant>> {
    let s3 = w.read().s3_in(desired.region.as_deref());
    let request = s3.get_object_acl().bucket(&desired.bucket).key(&desired.key);
    let answer = request.expected_bucket_owner(w.account_id().await?).send().await;
    let answer = answer.found(GET_ACL, &super::ABSENT).map_err(|error| match error.kind {
        ErrorKind::Denied => error.advice(
            "writing the object replaces its access list, so it is read first; give the caller \
             s3:GetObjectAcl",
        ),
        _ => error,
    })?;
    let Some(answer) = answer else { return Ok(Vec::new()) };
    let owner = answer.owner.and_then(|owner| owner.id);
    let grants = answer.grants.unwrap_or_default();
    let is_owner = |grant: &Grant| grant.grantee.as_ref().is_some_and(|to| to.id.is_some() && to.id == owner);
    Ok(if grants.iter().all(is_owner) { Vec::new() } else { grants })
}

/// Adds the same access list to the request that writes the object.
pub fn send_grants(grants: &[Grant], request: PutObjectFluentBuilder) -> PutObjectFluentBuilder {
    let header = |of: &Permission| {
        let names = grants.iter().filter(|grant| grant.permission.as_ref() == Some(of)).filter_map(grantee);
        let names: Vec<String> = names.collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    request
        .set_grant_full_control(header(&Permission::FullControl))
        .set_grant_read(header(&Permission::Read))
        .set_grant_read_acp(header(&Permission::ReadAcp))
        .set_grant_write_acp(header(&Permission::WriteAcp))
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html>
fn grantee(grant: &Grant) -> Option<String> {
    let to = grant.grantee.as_ref()?;
    let name = [("id", &to.id), ("uri", &to.uri), ("emailAddress", &to.email_address)];
    name.into_iter().find_map(|(kind, value)| Some(format!("{kind}=\"{}\"", value.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{Grantee, Type};

    #[test]
    fn grantees_are_named_as_in_headers() {
        let to = |to: Grantee| grantee(&Grant::builder().grantee(to).permission(Permission::Read).build());
        let user = Grantee::builder().r#type(Type::CanonicalUser).id("abc").build().expect("complete");
        let group = Grantee::builder().r#type(Type::Group).uri("http://g").build().expect("complete");
        assert_eq!(to(user).as_deref(), Some("id=\"abc\""));
        assert_eq!(to(group).as_deref(), Some("uri=\"http://g\""));
    }

    #[test]
    fn encryption_in_two_layers_is_named() {
        let kept = |encryption| Kept { encryption: Some(encryption), ..Kept::default() };
        assert_eq!(kept(ServerSideEncryption::AwsKms).other_encryption(), None);
        assert_eq!(kept(ServerSideEncryption::AwsKmsDsse).other_encryption(), Some("aws:kms:dsse"));
    }
}
