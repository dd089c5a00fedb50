//! `aws.ssm_parameter`: a parameter in the Parameter Store of Systems Manager.

use std::collections::HashMap;

use aws_sdk_ssm::types::{
    ParameterMetadata, ParameterStringFilter, ParameterTier, ParameterType, ResourceTypeForTagging, Tag,
};
use aws_smithy_types::error::operation::BuildError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{AwsClient, missing};
use super::error::Answer;
use super::key_name::LiveKey;
use super::scope::regional_arn;
use super::secret_value;
use super::{kms_key, tags};
use crate::resolve::unknown::is_unknown;
use crate::resource::{
    Diff, Error, ErrorKind, FieldError, Partial, Requirement, Resource, Result, Scope, Tags, Writer,
};
use crate::secret::{Fields, Sources};
use crate::secret::{Input, Secret, SecretSource};

const DESCRIBE: &str = "ssm:DescribeParameters";
const GET: &str = "ssm:GetParameters";
const PUT: &str = "ssm:PutParameter";
const TAG: &str = "ssm:AddTagsToResource";
/// The key that AWS takes where none is named.
const DEFAULT_KEY: &str = "alias/aws/ssm";
const TYPE_IS_FIXED: &str =
    "a parameter keeps the type it was made with; declare another name, or delete it first";
const TIER_IS_FIXED: &str =
    "an advanced parameter cannot become a standard one; leave it, or delete it and make it again";

type W<'a> = Writer<'a, AwsClient>;

/// A parameter.
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>
pub struct SsmParameter;

/// What a plan declares.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SsmParameter")]
pub struct Desired {
    /// The name, e.g. `/candlefish/production/api-url`.
    pub name: String,
    /// What kind of value it has. Fixed when the parameter is made.
    #[serde(rename = "type", default)]
    pub kind: ParameterKind,
    /// The value; for a `secure_string` from any source of secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<SecretSource>,
    /// The values of a `string_list`, none of which may hold a comma.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The KMS key of a `secure_string`: ARN, id or alias. Not declared: the one that AWS manages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// How large it may be, and what it costs. An advanced parameter stays one.
    #[serde(default)]
    pub tier: Tier,
    /// A regular expression that every value must match.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub allowed_pattern: String,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// Text that is not secret.
    #[default]
    String,
    /// Texts, separated by commas.
    StringList,
    /// Text that is encrypted under a KMS key.
    SecureString,
}

impl ParameterKind {
    fn to_sdk(self) -> ParameterType {
        match self {
            Self::String => ParameterType::String,
            Self::StringList => ParameterType::StringList,
            Self::SecureString => ParameterType::SecureString,
        }
    }

    fn of(live: Option<&ParameterType>) -> Self {
        match live {
            Some(ParameterType::StringList) => Self::StringList,
            Some(ParameterType::SecureString) => Self::SecureString,
            _ => Self::String,
        }
    }
}

/// How large a parameter may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// 4 KB, free of charge.
    #[default]
    Standard,
    /// 8 KB, for money.
    Advanced,
}

/// What Systems Manager says. `Debug` shows no value.
#[derive(Clone, Debug)]
pub struct Observed {
    name: String,
    arn: String,
    kind: ParameterKind,
    value: Secret,
    version: i64,
    description: String,
    key: LiveKey,
    tier: Tier,
    allowed_pattern: String,
    tags: Tags,
}

/// What other steps may refer to. Never the value.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SsmParameterOutputs")]
pub struct Outputs {
    /// The parameter's name.
    pub name: String,
    /// The parameter's ARN.
    pub arn: String,
    /// The latest version.
    pub version: i64,
}

impl Desired {
    fn is_secure(&self) -> bool {
        self.kind == ParameterKind::SecureString
    }

    /// The one value, under the name that templates and messages know it by.
    fn sources(&self) -> Sources {
        let list = self.values.as_ref().map(|values| SecretSource::new(Input::Literal(values.join(","))));
        let value = self.value.clone().or(list);
        value.into_iter().map(|source| ("value".to_owned(), source)).collect()
    }

    /// The declared KMS key, which only a secure value has.
    fn kms_key(&self) -> Option<&str> {
        self.is_secure().then(|| self.kms_key.as_deref().unwrap_or(DEFAULT_KEY))
    }

    fn check_value(&self) -> Option<FieldError> {
        let list = self.kind == ParameterKind::StringList;
        let commas = self.values.iter().flatten().any(|value| value.contains(','));
        let is_secret =
            self.value.as_ref().is_some_and(|source| !matches!(source.input(), Input::Literal(_)));
        match () {
            () if self.value.is_some() == self.values.is_some() => {
                Some(FieldError::new("value", "exactly one of `value` and `values` is needed"))
            }
            () if list != self.values.is_some() => {
                let error = FieldError::new("values", "is for a `string_list`, which has no `value`");
                Some(error.help("set `type: string_list`, or use `value`"))
            }
            () if commas => Some(FieldError::new("values", "a value of a list cannot hold a comma")),
            () if is_secret && !self.is_secure() => {
                let error = FieldError::new("type", "a secret value is kept encrypted");
                Some(error.help("set `type: secure_string`"))
            }
            () if self.kms_key.is_some() && !self.is_secure() => {
                let error = FieldError::new("kms_key", "only a `secure_string` is encrypted");
                Some(error.help("remove it, or set `type: secure_string`"))
            }
            () => None,
        }
    }
}

impl Observed {
    fn values(&self) -> Fields {
        Fields::from([("value".to_owned(), self.value.clone())])
    }
}

impl Resource for SsmParameter {
    const KIND: &'static str = "aws.ssm_parameter";
    const ABOUT: &'static str =
        "A parameter in the Parameter Store of Systems Manager: text, a list, or a secret.";
    const EXAMPLE: &'static str = r"api_url:
  kind: aws.ssm_parameter
  name: /candlefish/production/api-url
  value: https://api.candlefish.example
zones:
  kind: aws.ssm_parameter
  name: /candlefish/production/zones
  type: string_list
  values: [ us-east-1a, us-east-1b ]
session_key:
  kind: aws.ssm_parameter
  name: /candlefish/production/session-key
  type: secure_string
  value: { generate: { length: 48 } }
  kms_key: alias/candlefish-data
";
    const TAGGED: bool = true;
    const PROTECTED: bool = true;
    const REMOVAL: Option<&'static str> = Some("with every version, for good");

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = check_name(&desired.name).into_iter().collect();
        found.extend(desired.check_value());
        found.extend(secret_value::check("", &desired.sources()));
        found.extend(tags::check(&desired.tags));
        found
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.kms_key.as_deref().and_then(kms_key::requirement).into_iter().collect()
    }

    fn sources(desired: &mut Desired) -> Vec<&mut SecretSource> {
        desired.value.iter_mut().collect()
    }

    /// Two calls for many parameters, and one for the tags of each.
    async fn observe(client: &AwsClient, id: &String) -> Result<Option<Observed>> {
        let about = client.batches.parameters.ask(id, |names| describe(client, names));
        let value = client.batches.parameter_values.ask(id, |names| values(client, names));
        let (about, value) = tokio::join!(about, value);
        let (Some(about), Some(value)) = (about?, value?) else { return Ok(None) };
        let tags = live_tags(client, id).await?;
        Ok(Some(Observed {
            name: id.clone(),
            arn: about.arn.ok_or_else(|| missing(DESCRIBE, "ARN"))?,
            kind: ParameterKind::of(about.r#type.as_ref()),
            value,
            version: about.version,
            description: about.description.unwrap_or_default(),
            key: LiveKey::named(client, about.key_id.filter(|key| !key.is_empty())).await?,
            tier: if about.tier == Some(ParameterTier::Advanced) { Tier::Advanced } else { Tier::Standard },
            allowed_pattern: about.allowed_pattern.unwrap_or_default(),
            tags,
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.immutable("type", &observed.kind, &desired.kind, TYPE_IS_FIXED);
        compare_value(&mut diff, desired, observed);
        diff.field("description", &observed.description, &desired.description);
        if !observed.key.is(desired.kms_key()) {
            diff.push("kms_key", json!(observed.key.name), json!(desired.kms_key()));
        }
        match observed.tier {
            Tier::Standard => diff.field("tier", &observed.tier, &desired.tier),
            Tier::Advanced => diff.immutable("tier", &observed.tier, &desired.tier, TIER_IS_FIXED),
        };
        diff.field("allowed_pattern", &observed.allowed_pattern, &desired.allowed_pattern).entries(
            "tags",
            &observed.tags,
            &desired.tags,
        );
        diff
    }

    /// Not overwriting: a parameter of this name that was made meanwhile is refused.
    async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
        put(w, desired, &Fields::new(), Some(to_sdk(&desired.tags)?)).await
    }

    /// One request replaces everything but the tags.
    async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
        let diff = Self::diff(desired, observed);
        if diff.changes.iter().any(|change| !change.path.starts_with("tags.")) {
            put(w, desired, &observed.values(), None).await?;
        }
        if diff.touches("tags") {
            let added = to_sdk(&tags::to_add(&desired.tags, &observed.tags))?;
            let request = w.write(w.permit()).ssm().add_tags_to_resource();
            let request = request.resource_type(ResourceTypeForTagging::Parameter).resource_id(&desired.name);
            request.set_tags(Some(added)).send().await.at(TAG)?;
        }
        Ok(())
    }

    async fn delete(w: &W<'_>, id: &String) -> Result<()> {
        let answer = w.write(w.permit()).ssm().delete_parameter().name(id).send().await;
        answer.found("ssm:DeleteParameter", &["ParameterNotFound"]).map(drop)
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), arn: observed.arn.clone(), version: observed.version }
    }

    fn predicted_outputs(desired: &Desired, scope: &Scope) -> Partial {
        let path = format!("parameter/{}", desired.name.trim_start_matches('/'));
        Partial::default().with("name", &desired.name).with_some("arn", regional_arn(scope, "ssm", &path))
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

/// A value is shown where it is no secret on either side.
fn compare_value(diff: &mut Diff, desired: &Desired, observed: &Observed) {
    if desired.is_secure() || observed.kind == ParameterKind::SecureString {
        diff.secrets("", &desired.sources(), &observed.values(), false);
        return;
    }
    let live = observed.value.expose_str().unwrap_or_default();
    match (&desired.values, desired.value.as_ref().map(SecretSource::input)) {
        (Some(values), _) => {
            diff.field("values", &live.split(',').collect::<Vec<_>>(), values);
        }
        (None, Some(Input::Literal(text))) => {
            diff.field("value", live, text);
        }
        _ => {}
    }
}

async fn describe(client: &AwsClient, names: Vec<String>) -> Result<HashMap<String, ParameterMetadata>> {
    let filter = ParameterStringFilter::builder().key("Name").option("Equals").set_values(Some(names));
    let filter = filter.build().map_err(wrong_request)?;
    let request = client.read().ssm().describe_parameters().parameter_filters(filter).max_results(50);
    let pages: Vec<_> = request.into_paginator().send().try_collect().await.at(DESCRIBE)?;
    let found = pages.into_iter().flat_map(|page| page.parameters.unwrap_or_default());
    Ok(found.filter_map(|about| Some((about.name.clone()?, about))).collect())
}

async fn values(client: &AwsClient, names: Vec<String>) -> Result<HashMap<String, Secret>> {
    let request = client.read().ssm().get_parameters().set_names(Some(names)).with_decryption(true);
    let found = request.send().await.at(GET)?.parameters.unwrap_or_default();
    Ok(found.into_iter().filter_map(|found| Some((found.name?, Secret::from(found.value?)))).collect())
}

async fn live_tags(client: &AwsClient, name: &str) -> Result<Tags> {
    let request = client.read().ssm().list_tags_for_resource();
    let request = request.resource_type(ResourceTypeForTagging::Parameter).resource_id(name);
    let answer =
        request.send().await.found("ssm:ListTagsForResource", &["InvalidResourceId", "ParameterNotFound"])?;
    let tags = answer.and_then(|answer| answer.tag_list).unwrap_or_default();
    Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

/// With `tags` it is made, without it is overwritten: Systems Manager takes them for a new one alone.
async fn put(w: &W<'_>, desired: &Desired, live: &Fields, tags: Option<Vec<Tag>>) -> Result<()> {
    let made = secret_value::make(PUT, &desired.sources(), live)?;
    let value = made.get("value").ok_or_else(|| missing(PUT, "value"))?;
    let tier = match desired.tier {
        Tier::Standard => ParameterTier::Standard,
        Tier::Advanced => ParameterTier::Advanced,
    };
    let request = match tags {
        Some(tags) => w.write_once(w.permit()).ssm().put_parameter().set_tags(Some(tags)),
        None => w.write(w.permit()).ssm().put_parameter().overwrite(true),
    };
    let request = request
        .name(&desired.name)
        .r#type(desired.kind.to_sdk())
        .value(secret_value::text(PUT, value)?)
        .description(&desired.description)
        .tier(tier)
        .set_key_id(desired.kms_key().map(str::to_owned))
        .allowed_pattern(&desired.allowed_pattern);
    request.send().await.at(PUT).map(drop)
}

fn to_sdk(tags: &Tags) -> Result<Vec<Tag>> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build().map_err(wrong_request))
        .collect()
}

fn wrong_request(error: BuildError) -> Error {
    Error::new(ErrorKind::Local, "build a request for Systems Manager", error.to_string())
}

/// <https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html>
fn check_name(name: &str) -> Option<FieldError> {
    const HELP: &str = "letters, digits and `_.-`, in up to 15 parts that begin with `/`";
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    let wrong = |message: &str| Some(FieldError::new("name", message).help(HELP));
    match () {
        () if is_unknown(name) => None,
        () if first.starts_with("aws") || first.starts_with("ssm") => {
            wrong("AWS reserves names that begin so")
        }
        () if name.contains('/') && !name.starts_with('/') => wrong("a name with `/` begins with it"),
        () if first.is_empty() || name.len() > 1011 || !name.chars().all(allowed) => {
            wrong("not a valid name for a parameter")
        }
        () if name.ends_with('/') || name.contains("//") || name.matches('/').count() > 15 => {
            wrong("not a valid name for a parameter")
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Loader;
    use serde_json::Value;

    fn desired(extra: Value) -> Desired {
        let mut fields = json!({ "name": "/a/b" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        let mut desired: Desired = serde_json::from_value(fields).expect("valid");
        SsmParameter::load(&mut desired, &Loader::default()).expect("loads");
        desired
    }

    fn observed(kind: ParameterKind, value: &str) -> Observed {
        Observed {
            name: "/a/b".into(),
            arn: "arn".into(),
            kind,
            value: Secret::from(value.to_owned()),
            version: 1,
            description: String::new(),
            key: LiveKey::default(),
            tier: Tier::Standard,
            allowed_pattern: String::new(),
            tags: Tags::new(),
        }
    }

    #[test]
    fn a_plain_value_is_shown_and_a_secret_is_not() {
        let diff =
            SsmParameter::diff(&desired(json!({ "value": "x" })), &observed(ParameterKind::String, "y"));
        assert_eq!((&diff.changes[0].before, &diff.changes[0].after), (&json!("y"), &json!("x")));
        let secret = desired(json!({ "type": "secure_string", "value": "x", "kms_key": "k" }));
        let diff = SsmParameter::diff(&secret, &observed(ParameterKind::SecureString, "y"));
        assert!(diff.changes[0].sensitive && diff.changes[0].path == "value");
        let text = serde_json::to_string(&diff).expect("JSON");
        assert!(!text.contains("\"x\"") && !text.contains("\"y\""), "{text}");
    }

    #[test]
    fn a_generated_value_is_kept() {
        let declared = desired(json!({ "type": "secure_string", "value": { "generate": {} } }));
        let mut live = observed(ParameterKind::SecureString, "anything");
        live.key.name = Some(DEFAULT_KEY.into());
        assert!(SsmParameter::diff(&declared, &live).is_empty());
    }

    #[test]
    fn what_cannot_be_changed_is_blocked() {
        let mut live = observed(ParameterKind::StringList, "x,y");
        live.tier = Tier::Advanced;
        let diff = SsmParameter::diff(&desired(json!({ "value": "x,y" })), &live);
        let blocked: Vec<&str> = diff.blocked.iter().map(|blocked| blocked.path.as_str()).collect();
        assert_eq!(blocked, ["type", "tier"]);
    }

    #[test]
    fn values_fit_their_type() {
        let path = |extra| desired(extra).check_value().map(|error| error.path);
        assert_eq!(path(json!({ "value": "x" })), None);
        assert_eq!(path(json!({})).as_deref(), Some("value"));
        assert_eq!(path(json!({ "values": ["x"] })).as_deref(), Some("values"));
        assert_eq!(path(json!({ "type": "string_list", "values": ["x,y"] })).as_deref(), Some("values"));
        assert_eq!(path(json!({ "value": { "generate": {} } })).as_deref(), Some("type"));
        assert_eq!(path(json!({ "value": "x", "kms_key": "k" })).as_deref(), Some("kms_key"));
    }

    #[test]
    fn names_are_checked() {
        assert!(check_name("/a/b_c.d-e").is_none() && check_name("plain").is_none());
        for wrong in ["a/b", "/aws/x", "ssm-x", "/a//b", "/a/", "a b", "/"] {
            assert!(check_name(wrong).is_some(), "{wrong}");
        }
    }
}
