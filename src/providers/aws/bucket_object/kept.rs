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
use crate::error::{ErrorKind, Result};
use crate::providers::aws::error::Answer;

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
        self.send_encryption(desired.kms_key.is_some(), request)
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

    /// Adds the same encryption under a key, unless the request declares a key itself. S3 does not report
    /// the use of a bucket key when it is off, and the bucket's default would switch it on.
    pub fn send_encryption(&self, declared: bool, request: PutObjectFluentBuilder) -> PutObjectFluentBuilder {
        let Some(encryption) = self.encryption.clone().filter(|_| self.key.is_some()) else { return request };
        let by_kms = encryption == ServerSideEncryption::AwsKms;
        let request = match declared {
            true => request,
            false => request.server_side_encryption(encryption).set_ssekms_key_id(self.key.clone()),
        };
        request.set_bucket_key_enabled(by_kms.then(|| self.bucket_key.unwrap_or_default()))
    }

    /// Whether it is encrypted under a key, and so in a context of its writer's that S3 never reports.
    pub fn has_context(&self) -> bool {
        self.encryption.is_some() && self.key.is_some()
    }

    #[cfg(test)]
    pub fn under_key(key: &str) -> Self {
        let encryption = Some(ServerSideEncryption::AwsKms);
        Self { encryption, key: Some(key.to_owned()), ..Self::default() }
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

    fn sent(kept: &Kept, declared: bool) -> (Option<String>, Option<String>, Option<bool>) {
        let config =
            aws_sdk_s3::Config::builder().behavior_version(aws_sdk_s3::config::BehaviorVersion::latest());
        let request = aws_sdk_s3::Client::from_conf(config.build()).put_object();
        let request = kept.send_encryption(declared, request);
        let encryption = request.get_server_side_encryption().as_ref().map(|one| one.as_str().to_owned());
        (encryption, request.get_ssekms_key_id().clone(), *request.get_bucket_key_enabled())
    }

    #[test]
    fn encryption_key_and_bucket_key_are_sent_again() {
        let under = |encryption, bucket_key| Kept {
            encryption: Some(encryption),
            key: Some("k".to_owned()),
            bucket_key,
            ..Kept::default()
        };
        let words = |encryption: &str| (Some(encryption.to_owned()), Some("k".to_owned()));
        for (live, bucket_key) in [(None, false), (Some(false), false), (Some(true), true)] {
            let (encryption, key) = words("aws:kms");
            let kept = under(ServerSideEncryption::AwsKms, live);
            assert_eq!(sent(&kept, false), (encryption, key, Some(bucket_key)), "{live:?}");
            assert_eq!(
                sent(&kept, true),
                (None, None, Some(bucket_key)),
                "the plan declares the key: {live:?}"
            );
        }
        let (encryption, key) = words("aws:kms:dsse");
        assert_eq!(sent(&under(ServerSideEncryption::AwsKmsDsse, None), false), (encryption, key, None));
        let plain = Kept { encryption: Some(ServerSideEncryption::Aes256), ..Kept::default() };
        assert_eq!(sent(&plain, false), (None, None, None), "it follows its bucket");
    }

    #[test]
    fn dual_layer_encryption_is_named() {
        let kept = |encryption| Kept { encryption: Some(encryption), ..Kept::default() };
        assert_eq!(kept(ServerSideEncryption::AwsKms).other_encryption(), None);
        assert_eq!(kept(ServerSideEncryption::AwsKmsDsse).other_encryption(), Some("aws:kms:dsse"));
    }
}
