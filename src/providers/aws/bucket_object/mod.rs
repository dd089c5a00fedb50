//! `aws.s3_object`: an object in a bucket, from text, a template or a file.

mod header;
mod kept;
mod needed;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ServerSideEncryption, Tag, Tagging};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use header::{encoded, media_type};
pub(super) use kept::Kept;

use super::body;
use super::client::{AwsClient, missing};
use super::error::Answer;
use super::in_order::InOrder;
use super::key_name::LiveKey;
use super::{kms_key, partition, tags};
use crate::access::Granting;
use crate::confined_path::FILE;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::aws::ACCOUNT;
use crate::providers::aws::risk::KEY_RISKS;
use crate::resource::risk::Category::BroaderGrant;
use crate::resource::risk::{LABELS, Risks, becomes, identity, live_safe, safe};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Tags, Writer};
use crate::run::{Permission, Use};
use crate::secret::{LoadError, Loader};

const GET: &str = "s3:GetObject";
const PUT: &str = "s3:PutObject";
/// Codes for a missing object, or for a bucket that the plan has not created yet.
const ABSENT: [&str; 3] = ["NoSuchKey", "NoSuchBucket", "NotFound"];
/// Codes for an object that has changed since it was observed, or that another request is changing now.
const MOVED: [&str; 2] = ["PreconditionFailed", "ConditionalRequestConflict"];
/// The longest text that a plan shows; for longer text it shows the digest.
const SHOWN: usize = 4096;
const OTHER_ENCRYPTION: &str = "the plan declares encryption with `aws:kms` and this object uses another \
                                kind; remove `kms_key` to keep it, or write the object again by hand";

type W<'a> = Writer<'a, AwsClient>;

/// An object.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
pub struct BucketObject;

/// The declared fields. Not for secrets: everyone who may read the bucket can read them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "S3Object")]
pub struct Desired {
    /// The bucket's name.
    pub bucket: String,
    /// The object's name in the bucket.
    pub key: String,
    /// The region the bucket is in. Default: the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The text. Expressions in it are evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The file name of a template, instead of `content`; in `templates/` beside the plan or beside the
    /// plan's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// Values for the template.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub with: Map<String, Value>,
    /// A file whose bytes are the content, instead of `content`; relative to the plan and inside its
    /// folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The media type. Default: derived from the extension of `key`, or `application/octet-stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// How long others may cache it, e.g. `max-age=300`. Default: no header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// Further `x-amz-meta-` headers, in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The KMS key that encrypts it: ARN, id or alias. Default: the bucket's encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// Tags; S3 accepts at most ten.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The content, once it has been read.
    #[serde(skip)]
    body: Vec<u8>,
}

impl Desired {
    fn media_type(&self) -> &str {
        self.content_type.as_deref().unwrap_or_else(|| media_type(&self.key))
    }
}

/// A bucket, an object's name, and the bucket's region.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Id {
    bucket: String,
    key: String,
    region: Option<String>,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}

/// The object as S3 reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    id: Id,
    arn: String,
    etag: String,
    body: Vec<u8>,
    content_type: String,
    cache_control: Option<String>,
    /// The content encoding; a plan declares none.
    encoding: Option<String>,
    metadata: BTreeMap<String, String>,
    key: LiveKey,
    kept: Kept,
    tags: Tags,
}

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "S3ObjectOutputs")]
pub struct Outputs {
    /// The bucket's name.
    pub bucket: String,
    /// The object's name.
    pub key: String,
    /// The object's ARN.
    pub arn: String,
    /// `s3://BUCKET/KEY`.
    pub url: String,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
}

impl Resource for BucketObject {
    const KIND: &'static str = "aws.s3_object";
    const GRANTS: Granting = Granting::Never("an object is reached through its bucket");
    /// Names of buckets are unique in a partition.
    const REALM: &'static [&'static str] = ACCOUNT;
    const ABOUT: &'static str = "An object in an S3 bucket, from text, a template or a file; written only if \
                                 it has not changed since it was observed.";
    const EXAMPLE: &'static str = r#"runbook:
  kind: aws.s3_object
  bucket: candlefish-runbooks
  key: vault/unseal.json
  content: '{ "address": "https://vault.candlefish.example:8200" }'
  cache_control: max-age=300
  metadata: { owner: platform-team }
"#;
    const RISKS: Risks = &[
        &[
            live_safe("content_encoding", "it is removed, and the content is shown as it is"),
            live_safe("encryption_context", "every replacement resets it, which is a risk by itself"),
            identity("bucket key region"),
            safe("content template with file", "the content before and after is shown"),
            becomes("content_type", "text/html image/svg+xml application/javascript text/javascript")
                .low(BroaderGrant, "browsers run it as a page or a script"),
            safe("cache_control", "it says how old a copy may be, and opens nothing"),
            safe("metadata tags", LABELS),
        ],
        KEY_RISKS,
    ];
    const PROOF: Proof = Proof::InSync("its content was read and compared");
    const TAGGED: bool = true;
    const HOLDS_VALUES: bool = true;
    const TELLING: &'static [&'static str] = &["sha256"];

    type Client = AwsClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needed::permissions(desired, used)
    }

    fn id(desired: &Desired) -> Id {
        Id { bucket: desired.bucket.clone(), key: desired.key.clone(), region: desired.region.clone() }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found = Vec::new();
        let bodies = [desired.content.is_some(), desired.template.is_some(), desired.file.is_some()];
        if bodies.into_iter().filter(|body| *body).count() != 1 {
            found.push(FieldError::new("", "declare exactly one of `content`, `template` and `file`"));
        }
        if desired.key.is_empty() || desired.key.len() > 1024 {
            found.push(FieldError::new("key", "an object's name has 1 to 1024 bytes"));
        }
        let upper = desired.metadata.keys().find(|name| name.chars().any(|c| c.is_ascii_uppercase()));
        found.extend(upper.map(|name| {
            FieldError::new(format!("metadata.{name}"), "S3 keeps names of metadata in lower case")
                .help(format!("write `{}`", name.to_ascii_lowercase()))
        }));
        if desired.tags.len() > 10 {
            found.push(FieldError::new(
                "tags",
                "an object has at most ten tags, including those that Groundwork adds",
            ));
        }
        found.extend(tags::check(&desired.tags));
        found
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        let bucket = Requirement::thing("aws.s3_bucket", &desired.bucket);
        desired.kms_key.as_deref().and_then(kms_key::requirement).into_iter().chain([bucket]).collect()
    }

    fn load(desired: &mut Desired, loader: &Loader) -> Result<(), LoadError> {
        desired.body = match (&desired.content, &desired.template, &desired.file) {
            (Some(content), ..) => content.clone().into_bytes(),
            (None, Some(name), _) => loader.render_file(name, &desired.with, None)?.into_bytes(),
            (None, None, Some(path)) => loader.read_file(path)?.expose_bytes().to_vec(),
            (None, None, None) => Vec::new(),
        };
        Ok(())
    }

    /// Sends two requests at once.
    async fn observe(client: &AwsClient, id: &Id, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let (object, tags) = tokio::join!(get(client, id), live_tags(client, id)).in_order()?;
        let Some(object) = object else { return Ok(None) };
        assemble(client, id, object, tags).await.map(Some)
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        if observed.body != desired.body {
            let secretive = desired.file.is_some();
            diff.content("content", &shown(&observed.body, secretive), &shown(&desired.body, secretive));
        }
        diff.field("content_type", &observed.content_type, desired.media_type())
            .field("content_encoding", &observed.encoding, &Value::Null)
            .field("cache_control", &observed.cache_control, &desired.cache_control)
            .field("metadata", &observed.metadata, &desired.metadata);
        if desired.kms_key.is_some() {
            if !observed.key.is(desired.kms_key.as_deref()) {
                diff.push("kms_key", json!(observed.key.name), json!(desired.kms_key));
            }
            if let Some(other) = observed.kept.other_encryption() {
                diff.immutable("kms_key", other, &desired.kms_key, OTHER_ENCRYPTION);
            }
        }
        // S3 never reports the context that a writer has encrypted an object in. This plan gives none, and
        // writing the object drops that of another writer.
        let others = !tags::same_owner(&desired.tags, &observed.tags);
        if others && observed.kept.has_context() && !diff.is_empty() {
            diff.reset("encryption_context", Value::Null);
        }
        diff.entries("tags", &observed.tags, &desired.tags);
        diff
    }

    /// Fails if an object of this name exists.
    async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
        let request = put(w, desired, &desired.tags).await?.if_none_match("*");
        send(desired, request, None).await
    }

    /// Fails if the object has changed since it was observed. Writing it replaces its tags, its access
    /// list and all of its settings, so those that the plan does not declare are sent again.
    async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
        let diff = Self::diff(desired, observed);
        let mut all = observed.tags.clone();
        all.extend(desired.tags.clone());
        if diff.changes.iter().any(|change| !change.path.starts_with("tags.")) {
            let grants = kept::grants(w, desired).await?;
            let request = put(w, desired, &all).await?.if_match(&observed.etag);
            let request = observed.kept.send(desired, kept::send_grants(&grants, request));
            return send(desired, request, observed.kept.expires()).await;
        }
        let tagging = Tagging::builder().set_tag_set(Some(to_sdk(&all)?)).build().map_err(wrong_request)?;
        let s3 = w.write(w.permit()).s3_in(desired.region.as_deref());
        let request = s3.put_object_tagging().bucket(&desired.bucket).key(&desired.key).tagging(tagging);
        let request = request.expected_bucket_owner(w.account_id().await?);
        request.send().await.at("s3:PutObjectTagging").map(drop)
    }

    /// In a versioned bucket the old versions remain.
    async fn delete(w: &W<'_>, id: &Id) -> Result<()> {
        let s3 = w.write(w.permit()).s3_in(id.region.as_deref());
        let request = s3.delete_object().bucket(&id.bucket).key(&id.key);
        let answer = request.expected_bucket_owner(w.account_id().await?).send().await;
        answer.found("s3:DeleteObject", &ABSENT).map(drop)
    }

    fn outputs(observed: &Observed) -> Outputs {
        let Id { bucket, key, .. } = observed.id.clone();
        let url = format!("s3://{bucket}/{key}");
        Outputs { bucket, key, arn: observed.arn.clone(), url, sha256: digest(&observed.body) }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        let Desired { bucket, key, body, .. } = desired;
        Partial::default()
            .with("bucket", bucket)
            .with("key", key)
            .with("arn", arn(partition(realm), bucket, key))
            .with("url", format!("s3://{bucket}/{key}"))
            .with_sha256("sha256", body)
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

fn arn(partition: &str, bucket: &str, key: &str) -> String {
    format!("arn:{partition}:s3:::{bucket}/{key}")
}

async fn get(client: &AwsClient, id: &Id) -> Result<Option<GetObjectOutput>> {
    let s3 = client.read().s3_in(id.region.as_deref());
    let request = s3.get_object().bucket(&id.bucket).key(&id.key);
    request.expected_bucket_owner(client.account_id().await?).send().await.found(GET, &ABSENT)
}

async fn live_tags(client: &AwsClient, id: &Id) -> Result<Tags> {
    let s3 = client.read().s3_in(id.region.as_deref());
    let request = s3.get_object_tagging().bucket(&id.bucket).key(&id.key);
    let request = request.expected_bucket_owner(client.account_id().await?);
    let answer = request.send().await.found("s3:GetObjectTagging", &ABSENT)?;
    let tags = answer.map(|answer| answer.tag_set).unwrap_or_default();
    Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

async fn assemble(client: &AwsClient, id: &Id, object: GetObjectOutput, tags: Tags) -> Result<Observed> {
    let kept = Kept::of(&object);
    let body = body::read(object.body, FILE, GET).await?;
    Ok(Observed {
        id: id.clone(),
        arn: arn(client.partition(), &id.bucket, &id.key),
        etag: object.e_tag.ok_or_else(|| missing(GET, "ETag"))?,
        body,
        content_type: object.content_type.unwrap_or_default(),
        cache_control: object.cache_control.filter(|text| !text.is_empty()),
        // S3 may return `aws-chunked`, which applied only to the upload.
        encoding: object.content_encoding.filter(|text| !text.is_empty() && text != "aws-chunked"),
        metadata: object.metadata.unwrap_or_default().into_iter().collect(),
        key: LiveKey::named(client, object.ssekms_key_id).await?,
        kept,
        tags,
    })
}

/// The request that writes the declared content.
async fn put(w: &W<'_>, desired: &Desired, tags: &Tags) -> Result<PutObjectFluentBuilder> {
    let s3 = w.write(w.permit()).s3_in(desired.region.as_deref());
    let metadata = desired.metadata.iter().map(|(name, value)| (name.clone(), value.clone()));
    Ok(s3
        .put_object()
        .bucket(&desired.bucket)
        .key(&desired.key)
        .expected_bucket_owner(w.account_id().await?)
        .body(ByteStream::from(desired.body.clone()))
        .content_type(desired.media_type())
        .set_cache_control(desired.cache_control.clone())
        .set_metadata(Some(metadata.collect()))
        .set_server_side_encryption(desired.kms_key.as_ref().map(|_| ServerSideEncryption::AwsKms))
        .set_ssekms_key_id(desired.kms_key.clone())
        .tagging(encoded(tags)))
}

/// Sends the request with the expiry date unchanged: the SDK accepts only well-formed dates.
async fn send(desired: &Desired, request: PutObjectFluentBuilder, expires: Option<&str>) -> Result<()> {
    let expires = expires.map(str::to_owned);
    let request = request.customize().mutate_request(move |request| {
        if let Some(expires) = expires.clone() {
            request.headers_mut().insert("expires", expires);
        }
    });
    let answer = request.send().await;
    let code = answer
        .as_ref()
        .err()
        .and_then(|error| error.as_service_error())
        .and_then(|error| error.meta().code());
    if code.is_some_and(|code| MOVED.contains(&code)) {
        let message = format!("another process has changed or created {}/{}", desired.bucket, desired.key);
        return Err(Error::new(ErrorKind::Conflict, PUT, message)
            .advice("run `groundwork plan` again to see the current state"));
    }
    answer.at(PUT).map(drop)
}

/// Short text as it is; otherwise a digest, as for binary, long or file content.
fn shown(body: &[u8], secretive: bool) -> Value {
    match std::str::from_utf8(body) {
        Ok(text) if !secretive && text.len() <= SHOWN => json!(text),
        _ => json!(format!("sha256:{}", digest(body))),
    }
}

fn digest(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

fn to_sdk(tags: &Tags) -> Result<Vec<Tag>> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build().map_err(wrong_request))
        .collect()
}

fn wrong_request(error: aws_smithy_types::error::operation::BuildError) -> Error {
    Error::new(ErrorKind::Local, "build a request for S3", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(extra: Value) -> Desired {
        let mut fields = json!({ "bucket": "b", "key": "a/b.json" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        let mut desired: Desired = serde_json::from_value(fields).expect("valid");
        BucketObject::load(&mut desired, &Loader::default()).expect("loads");
        desired
    }

    fn observed() -> Observed {
        Observed {
            id: BucketObject::id(&desired(json!({ "content": "{}" }))),
            arn: "arn".into(),
            etag: "e".into(),
            body: b"{}".to_vec(),
            content_type: "application/json".into(),
            cache_control: None,
            encoding: None,
            metadata: BTreeMap::new(),
            key: LiveKey::default(),
            kept: Kept::default(),
            tags: Tags::new(),
        }
    }

    #[test]
    fn every_field_is_compared() {
        assert!(BucketObject::diff(&desired(json!({ "content": "{}" })), &observed()).is_empty());
        let all = json!({ "content": "[]", "content_type": "text/plain", "cache_control": "no-store",
            "metadata": { "a": "b" }, "kms_key": "k", "tags": { "a": "b" } });
        let diff = BucketObject::diff(&desired(all), &observed());
        let paths: Vec<&str> = diff.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["content", "content_type", "cache_control", "metadata", "kms_key", "tags.a"]);
    }

    #[test]
    fn encryption_context_of_another_writer_is_a_risk() {
        let marks = |plan: &str| {
            Tags::from([
                ("groundwork:plan".to_owned(), plan.to_owned()),
                ("groundwork:step".to_owned(), "o".to_owned()),
            ])
        };
        let resets = |tags: Tags, content: &str, kept: Kept| {
            let declared = Desired { tags: marks("p"), ..desired(json!({ "content": content })) };
            let diff = BucketObject::diff(&declared, &Observed { kept, tags, ..observed() });
            diff.changes.iter().any(|change| change.resets && change.path == "encryption_context")
        };
        assert!(resets(Tags::new(), "[]", Kept::under_key("k")));
        assert!(!resets(Tags::new(), "[]", Kept::default()), "it is encrypted by the bucket's key");
        assert!(!resets(Tags::new(), "{}", Kept::under_key("k")), "only tags are written");
        assert!(!resets(marks("p"), "[]", Kept::under_key("k")), "this plan has written it");
    }

    #[test]
    fn encoded_body_differs_from_a_plain_one() {
        let live = Observed { encoding: Some("gzip".into()), ..observed() };
        let diff = BucketObject::diff(&desired(json!({ "content": "{}" })), &live);
        assert_eq!(diff.changes[0].path, "content_encoding");
    }

    #[test]
    fn tags_are_encoded() {
        let tags =
            Tags::from([("groundwork:plan".to_owned(), "a b&c=é".to_owned()), ("k".into(), "v".into())]);
        assert_eq!(encoded(&tags), "groundwork%3Aplan=a%20b%26c%3D%C3%A9&k=v");
    }

    #[test]
    fn binary_and_file_content_is_shown_as_digest() {
        assert_eq!(shown(b"text", false), "text");
        assert!(
            shown(b"text", true).as_str().is_some_and(|text| text.starts_with("sha256:982d9e3eb996f559"))
        );
        assert!(shown(&[0xff], false).as_str().is_some_and(|text| text.starts_with("sha256:")));
    }

    #[test]
    fn exactly_one_source_of_content_is_required() {
        let count = |extra| BucketObject::check(&desired(extra)).len();
        assert_eq!(count(json!({ "content": "x" })), 0);
        assert_eq!(count(json!({})), 1);
        assert_eq!(count(json!({ "content": "x", "metadata": { "Owner": "a" } })), 1);
    }
}
