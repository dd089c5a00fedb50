//! `aws.ssm_parameter`: a parameter in the Parameter Store of Systems Manager.

mod desired;

use std::collections::{BTreeMap, HashMap};

use aws_sdk_ssm::operation::put_parameter::builders::PutParameterFluentBuilder;
use aws_sdk_ssm::types::{
    ParameterMetadata, ParameterStringFilter, ParameterTier, ParameterType, ResourceTypeForTagging, Tag,
};
use aws_smithy_types::error::operation::BuildError;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

pub use desired::Desired;
use desired::{ParameterKind, Tier, check_name};

use super::arn::regional_arn;
use super::client::{AwsClient, missing};
use super::error::Answer;
use super::key_name::LiveKey;
use super::secret_value;
use super::{kms_key, tags};
use crate::access::{Grant, Granting};
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover, ROTATION};
use crate::providers::aws::needs::{self, Need, On, creates, deletes, reads, updates, writes};
use crate::providers::aws::risk::KEY_RISKS;
use crate::providers::aws::states;
use crate::resource::risk::Category::ProtectionOff;
use crate::resource::risk::{LABELS, Risks, fixed, identity, replaced, safe, unbound};
use crate::resource::{Diff, Look, Partial, Replacement, Requirement, Resource, Rotation, Tags, Writer};
use crate::run::{Permission, Use};
use crate::secret::{Fields, Input, Secret, SecretSource};

const DESCRIBE: &str = "ssm:DescribeParameters";
const GET: &str = "ssm:GetParameters";
const PUT: &str = "ssm:PutParameter";
const TAG: &str = "ssm:AddTagsToResource";
const TYPE_IS_FIXED: &str =
    "the type of a parameter is fixed; declare another name, or delete the parameter first";
const TIER_IS_FIXED: &str =
    "an advanced parameter cannot become a standard one; keep it, or delete it and create it again";

type W<'a> = Writer<'a, AwsClient>;

/// A parameter.
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>
pub struct SsmParameter;

/// The parameter as Systems Manager reports it. `Debug` shows no value.
#[derive(Clone, Debug)]
pub struct Observed {
    name: String,
    arn: String,
    kind: ParameterType,
    value: Secret,
    version: i64,
    /// When its value was last written.
    written: Option<Timestamp>,
    description: String,
    key: LiveKey,
    tier: ParameterTier,
    allowed_pattern: String,
    /// The data type that the value must have, such as the id of an image; a plan does not declare it.
    data_type: Option<String>,
    tags: Tags,
}

/// The outputs for other steps, which never include the value.
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

impl Observed {
    fn values(&self) -> Fields {
        Fields::from([("value".to_owned(), self.value.clone())])
    }
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["ssm:DescribeParameters"]).on(On::Everything),
    reads(&["ssm:GetParameters", "ssm:ListTagsForResource"]),
    creates(&["ssm:AddTagsToResource", "ssm:PutParameter"]),
    updates(&["ssm:PutParameter"]).with_default(&[
        "allowed_pattern",
        "description",
        "kms_key",
        "tier",
        "value",
        "values",
    ]),
    updates(&["ssm:AddTagsToResource"]).with(&["tags"]),
    reads(&["kms:Decrypt"]).with(&["kms_key"]).on(On::Other("kms_key")).through("ssm"),
    writes(&["kms:Encrypt"]).with(&["kms_key"]).on(On::Other("kms_key")).through("ssm"),
    // An advanced parameter has a data key of its own.
    writes(&["kms:GenerateDataKey"]).with(&["kms_key"]).on(On::Other("kms_key")).through("ssm"),
    deletes(&["ssm:DeleteParameter"]),
];

impl Resource for SsmParameter {
    const KIND: &'static str = "aws.ssm_parameter";
    const GRANTS: Granting = Granting::States;
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
    const REBUILT: Option<&'static str> =
        Some("without its earlier versions, and generated values are made again");
    const RISKS: Risks = &[
        &[
            identity("name"),
            fixed("type"),
            safe("value values", "the change of the value is shown"),
            safe("description tags", LABELS),
            safe("tier", "it decides the price and the size"),
            unbound("allowed_pattern").low(ProtectionOff, "any value is accepted"),
            replaced("allowed_pattern").low(ProtectionOff, "other values are accepted"),
        ],
        KEY_RISKS,
    ];
    const PROOF: Proof =
        Proof::Tried("its value is read, compared, and no older than its tag `rotation_days` says");
    const TAGGED: bool = true;
    const PROTECTED: bool = true;
    const REPLACEMENT: Replacement = Replacement::Renewed;
    const ROTATION: Rotation =
        Rotation::AtOnce("generated values are made again, and the version before stays readable");
    const HOLDS_VALUES: bool = true;
    const REMOVAL: Option<&'static str> = Some("with every version, for good");

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |on| match on {
            On::Other(_) => {
                desired.kms_key.as_deref().map(|key| needs::kms_key(used.realm, key)).into_iter().collect()
            }
            _ => {
                let name = needs::literal(desired.name.trim_start_matches('/'));
                vec![needs::in_region(used.realm, "ssm", &format!("parameter/{name}"))]
            }
        })
    }

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

    fn grants(desired: &Desired, _: Option<&Observed>, _: &Realm) -> Vec<Grant> {
        vec![Grant::Target(states::target("parameter", &desired.name, states::PARAMETER))]
    }

    fn granted(observed: &Observed) -> Vec<Grant> {
        vec![Grant::Target(states::target("parameter", &observed.name, states::PARAMETER))]
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.kms_key.as_deref().and_then(kms_key::requirement).into_iter().collect()
    }

    fn sources(desired: &mut Desired) -> Vec<&mut SecretSource> {
        desired.value.iter_mut().collect()
    }

    fn secrets(observed: &Observed) -> Fields {
        observed.values()
    }

    /// A string has its comparison elsewhere; one that became a secret is compared as one.
    fn compared(desired: &mut Desired) -> (&'static str, BTreeMap<String, &mut SecretSource>) {
        ("", desired.value.iter_mut().map(|value| ("value".to_owned(), value)).collect())
    }

    /// Two requests for many parameters, and one for the tags of each.
    async fn observe(client: &AwsClient, name: &String, look: Look<'_, Self>) -> Result<Option<Observed>> {
        let about = client.batches.parameters.ask(name, |names| describe(client, names));
        let value = async {
            match look.values {
                true => client.batches.parameter_values.ask(name, |names| values(client, names)).await,
                false => Ok(None),
            }
        };
        let (about, value) = tokio::join!(about, value);
        let found = match look.values {
            true => both(name, about?, value?)?,
            false => about?.map(|about| (about, Secret::new(Vec::new()))),
        };
        let Some((about, value)) = found else { return Ok(None) };
        let tags = live_tags(client, name).await?;
        Ok(Some(Observed {
            name: name.clone(),
            arn: about.arn.ok_or_else(|| missing(DESCRIBE, "ARN"))?,
            kind: about.r#type.ok_or_else(|| missing(DESCRIBE, "type"))?,
            value,
            version: about.version,
            written: about.last_modified_date.and_then(|date| Timestamp::from_second(date.secs()).ok()),
            description: about.description.unwrap_or_default(),
            key: LiveKey::named(client, about.key_id.filter(|key| !key.is_empty())).await?,
            tier: about.tier.unwrap_or(ParameterTier::Standard),
            allowed_pattern: about.allowed_pattern.unwrap_or_default(),
            data_type: about.data_type,
            tags,
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.immutable("type", &ParameterKind::shown(&observed.kind), &json!(desired.kind), TYPE_IS_FIXED);
        compare_value(&mut diff, desired, observed);
        diff.field("description", &observed.description, &desired.description);
        if !observed.key.is(desired.kms_key()) {
            diff.push("kms_key", json!(observed.key.name), json!(desired.kms_key()));
        }
        let (before, after) = (Tier::shown(&observed.tier), json!(desired.tier));
        match observed.tier {
            ParameterTier::Standard => diff.field("tier", &before, &after),
            _ => diff.immutable("tier", &before, &after, TIER_IS_FIXED),
        };
        diff.field("allowed_pattern", &observed.allowed_pattern, &desired.allowed_pattern).entries(
            "tags",
            &observed.tags,
            &desired.tags,
        );
        diff
    }

    /// Does not overwrite: the request fails if a parameter of this name was created in the meantime.
    async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
        let request = w.write_once(w.permit()).ssm().put_parameter().set_tags(Some(to_sdk(&desired.tags)?));
        put(request, desired, &Fields::new()).await
    }

    /// One request replaces everything except the tags and the policies of an advanced parameter;
    /// settings that the plan does not declare are sent again. Systems Manager accepts tags only for a
    /// new parameter.
    async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
        let diff = Self::diff(desired, observed);
        if diff.changes.iter().any(|change| !change.path.starts_with("tags.")) {
            let request = w.write(w.permit()).ssm().put_parameter().overwrite(true);
            let request = request.set_data_type(observed.data_type.clone());
            put(request, desired, &observed.values()).await?;
        }
        if diff.touches("tags") {
            let added = to_sdk(&tags::to_add(&desired.tags, &observed.tags))?;
            let request = w.write(w.permit()).ssm().add_tags_to_resource();
            let request = request.resource_type(ResourceTypeForTagging::Parameter).resource_id(&desired.name);
            request.set_tags(Some(added)).send().await.at(TAG)?;
        }
        Ok(())
    }

    async fn delete(w: &W<'_>, name: &String) -> Result<()> {
        let answer = w.write(w.permit()).ssm().delete_parameter().name(name).send().await;
        answer.found("ssm:DeleteParameter", &["ParameterNotFound"]).map(drop)
    }

    async fn prove(prover: &Prover<'_, AwsClient>, _: &Desired, observed: &Observed) {
        if let Some(days) = observed.tags.get(ROTATION) {
            prover.judge_age(days, observed.written);
        }
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), arn: observed.arn.clone(), version: observed.version }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        let path = format!("parameter/{}", desired.name.trim_start_matches('/'));
        Partial::default().with("name", &desired.name).with_some("arn", regional_arn(realm, "ssm", &path))
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

/// Shows the value if neither side is secret.
fn compare_value(diff: &mut Diff, desired: &Desired, observed: &Observed) {
    let plain = [ParameterType::String, ParameterType::StringList];
    if desired.is_secure() || !plain.contains(&observed.kind) {
        diff.secrets("", &desired.sources(), &observed.values(), false);
        return;
    }
    let live = observed.value.expose_str().unwrap_or_default();
    match (&desired.values, desired.value.as_ref().map(SecretSource::input)) {
        (Some(values), _) => {
            diff.content("values", &live.split(',').collect::<Vec<_>>(), values);
        }
        (None, Some(Input::Literal(text))) => {
            diff.content("value", live, text);
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

/// Values by name. A name that is neither returned nor reported as invalid was not answered.
async fn values(client: &AwsClient, names: Vec<String>) -> Result<HashMap<String, Secret>> {
    let request = client.read().ssm().get_parameters().set_names(Some(names.clone())).with_decryption(true);
    let answer = request.send().await.at(GET)?;
    let absent = answer.invalid_parameters.unwrap_or_default();
    let found = answer.parameters.unwrap_or_default().into_iter();
    let found: HashMap<String, Secret> =
        found.filter_map(|found| Some((found.name?, Secret::from(found.value?)))).collect();
    match names.iter().find(|name| !found.contains_key(*name) && !absent.contains(name)) {
        Some(name) => Err(missing(GET, &format!("value of {name}"))),
        None => Ok(found),
    }
}

async fn live_tags(client: &AwsClient, name: &str) -> Result<Tags> {
    let request = client.read().ssm().list_tags_for_resource();
    let request = request.resource_type(ResourceTypeForTagging::Parameter).resource_id(name);
    let answer =
        request.send().await.found("ssm:ListTagsForResource", &["InvalidResourceId", "ParameterNotFound"])?;
    let tags = answer.and_then(|answer| answer.tag_list).unwrap_or_default();
    Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

/// Combines two responses about a parameter. If only one of them contains it, it was created or deleted
/// a moment ago, and its value may be in use.
fn both<A, V>(name: &str, about: Option<A>, value: Option<V>) -> Result<Option<(A, V)>> {
    let silent = match (about, value) {
        (Some(about), Some(value)) => return Ok(Some((about, value))),
        (None, None) => return Ok(None),
        (Some(_), None) => GET,
        (None, Some(_)) => DESCRIBE,
    };
    let message = format!("another request returned the parameter {name}, and this one did not");
    Err(Error::new(ErrorKind::Eventual, silent, message).advice("run again in a few seconds"))
}

async fn put(request: PutParameterFluentBuilder, desired: &Desired, live: &Fields) -> Result<()> {
    let made = secret_value::make(PUT, &desired.sources(), live)?;
    let value = made.get("value").ok_or_else(|| missing(PUT, "value"))?;
    let request = request
        .name(&desired.name)
        .r#type(desired.kind.to_sdk())
        .value(secret_value::text(PUT, value)?)
        .description(&desired.description)
        .tier(desired.tier.to_sdk())
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

#[cfg(test)]
mod tests {
    use super::desired::DEFAULT_KEY;
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

    fn observed(kind: ParameterType, value: &str) -> Observed {
        Observed {
            name: "/a/b".into(),
            arn: "arn".into(),
            kind,
            value: Secret::from(value.to_owned()),
            version: 1,
            written: None,
            description: String::new(),
            key: LiveKey::default(),
            tier: ParameterTier::Standard,
            allowed_pattern: String::new(),
            data_type: None,
            tags: Tags::new(),
        }
    }

    #[test]
    fn only_plain_values_are_shown() {
        let diff =
            SsmParameter::diff(&desired(json!({ "value": "x" })), &observed(ParameterType::String, "y"));
        assert_eq!((&diff.changes[0].before, &diff.changes[0].after), (&json!("y"), &json!("x")));
        let secret = desired(json!({ "type": "secure_string", "value": "x", "kms_key": "k" }));
        let diff = SsmParameter::diff(&secret, &observed(ParameterType::SecureString, "y"));
        assert!(diff.changes[0].sensitive && diff.changes[0].path == "value");
        let text = serde_json::to_string(&diff).expect("JSON");
        assert!(!text.contains("\"x\"") && !text.contains("\"y\""), "{text}");
    }

    #[test]
    fn generated_value_is_kept() {
        let declared = desired(json!({ "type": "secure_string", "value": { "generate": {} } }));
        let mut live = observed(ParameterType::SecureString, "anything");
        live.key.name = Some(DEFAULT_KEY.into());
        assert!(SsmParameter::diff(&declared, &live).is_empty());
    }

    #[test]
    fn fixed_fields_are_blocked() {
        let mut live = observed(ParameterType::StringList, "x,y");
        live.tier = ParameterTier::Advanced;
        let diff = SsmParameter::diff(&desired(json!({ "value": "x,y" })), &live);
        let blocked: Vec<&str> = diff.blocked.iter().map(|blocked| blocked.path.as_str()).collect();
        assert_eq!(blocked, ["type", "tier"]);
    }

    #[test]
    fn parameter_in_one_response_only_is_an_error() {
        assert_eq!(both("a", Some(1), Some(2)).expect("both"), Some((1, 2)));
        assert_eq!(both::<i32, i32>("a", None, None).expect("neither"), None);
        assert_eq!(both::<_, i32>("a", Some(1), None).unwrap_err().operation.as_ref(), GET);
        assert_eq!(both::<i32, _>("a", None, Some(2)).unwrap_err().operation.as_ref(), DESCRIBE);
    }

    #[test]
    fn unknown_values_of_enumerations_are_blocked() {
        let mut live = observed(ParameterType::from("Table"), "x");
        live.tier = ParameterTier::IntelligentTiering;
        let diff = SsmParameter::diff(&desired(json!({ "value": "x" })), &live);
        let blocked: Vec<&str> = diff.blocked.iter().map(|blocked| blocked.path.as_str()).collect();
        assert_eq!(blocked, ["type", "tier"]);
        let tier = diff.changes.iter().find(|change| change.path == "tier").expect("it differs");
        assert_eq!(tier.before, "Intelligent-Tiering");
    }
}
