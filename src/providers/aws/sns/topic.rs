//! `aws.sns_topic`: a topic.

use std::collections::HashMap;

use aws_sdk_sns::types::{Subscription, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::SnsSubscription;
use crate::access::{Grant, Granting};
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::providers::aws::arn::regional_arn;
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::key_name::LiveKey;
use crate::providers::aws::needs::{self, Need, creates, deletes, reads, updates};
use crate::providers::aws::policy::iam_policy;
use crate::providers::aws::policy::{self, Document, PolicyType};
use crate::providers::aws::risk::KEY_RISKS;
use crate::providers::aws::{kms_key, prove, states, tags};
use crate::resource::risk::{LABELS, Risks, identity, safe};
use crate::resource::{Attachment, Diff, Look, Partial, Requirement, Resource, Tags, Writer};
use crate::run::{Permission, Use};

const NOT_FOUND: &[&str] =
    &["NotFound", "NotFoundException", "ResourceNotFound", "ResourceNotFoundException"];
const GET: &str = "sns:GetTopicAttributes";
const CREATE: &str = "sns:CreateTopic";
/// The suffix of the name of a topic that keeps the order.
const FIFO: &str = ".fifo";

type W<'a> = Writer<'a, AwsClient>;

/// A topic.
/// <https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html>
pub struct SnsTopic;

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SnsTopic")]
pub struct Desired {
    /// The name, unique in account and region; one that ends with `.fifo` keeps the order of messages.
    pub name: String,
    /// The sender's name in text messages.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// The KMS key that encrypts messages at rest: ARN, id or alias. Alarms need a key whose policy lets
    /// CloudWatch use it. Default: not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// The topic policy: who may publish and subscribe. Not managed unless declared; a new topic is open
    /// to its account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Document>,
    /// Whether messages with the same content count as duplicates; for topics that keep the order.
    #[serde(default)]
    pub content_based_deduplication: bool,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// The topic as SNS reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    name: String,
    arn: String,
    display_name: String,
    key: LiveKey,
    policy: Option<Document>,
    content_based_deduplication: bool,
    tags: Tags,
}

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SnsTopicOutputs")]
pub struct Outputs {
    /// The topic's name.
    pub name: String,
    /// The topic's ARN.
    pub arn: String,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["sns:GetTopicAttributes", "sns:ListTagsForResource"]),
    creates(&["sns:CreateTopic", "sns:TagResource"]),
    updates(&["sns:SetTopicAttributes"]).with_default(&[
        "content_based_deduplication",
        "display_name",
        "kms_key",
        "policy",
    ]),
    updates(&["sns:TagResource"]).with(&["tags"]),
    deletes(&["sns:DeleteTopic", "sns:ListSubscriptionsByTopic"]),
];

impl Resource for SnsTopic {
    const KIND: &'static str = "aws.sns_topic";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str = "An SNS topic, to which alarms and programs send messages.";
    const EXAMPLE: &'static str = r"alerts:
  kind: aws.sns_topic
  name: candlefish-alerts
  display_name: Candlefish
  kms_key: alias/candlefish-alerts
";
    const RISKS: Risks = &[
        &[
            identity("name"),
            safe("display_name tags", LABELS),
            iam_policy("policy"),
            safe("content_based_deduplication", "it decides only whether repeated messages are sent once"),
        ],
        KEY_RISKS,
    ];
    const PROOF: Proof = Proof::Tried("the alarms that go to it reach a subscriber");
    const TAGGED: bool = true;
    const REMOVAL: Option<&'static str> = Some("with its subscriptions");

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |_| {
            vec![needs::in_region(used.realm, "sns", &needs::literal(&desired.name))]
        })
    }

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = check_name(&desired.name).into_iter().collect();
        if desired.content_based_deduplication && !desired.name.ends_with(FIFO) {
            let message = "only a topic that keeps the order detects duplicate messages";
            let error = FieldError::new("content_based_deduplication", message).reading("name");
            found.push(error.help("remove it, or let the name end with `.fifo`"));
        }
        if let Some(policy) = &desired.policy {
            found.extend(policy.check("policy", PolicyType::Resource));
        }
        found.extend(tags::check(&desired.tags));
        found
    }

    fn grants(desired: &Desired, live: Option<&Observed>, _: &Realm) -> Vec<Grant> {
        let policy = desired.policy.as_ref().or_else(|| live?.policy.as_ref());
        states::with_policy("topic", &desired.name, states::TOPIC, policy)
    }

    fn granted(observed: &Observed) -> Vec<Grant> {
        states::with_policy("topic", &observed.name, states::TOPIC, observed.policy.as_ref())
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        desired.kms_key.as_deref().and_then(kms_key::requirement).into_iter().collect()
    }

    /// Sends two requests at once.
    async fn observe(client: &AwsClient, id: &String, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let arn = arn(client, id).await?;
        let (attributes, tags) = tokio::join!(attributes(client, &arn), live_tags(client, &arn));
        let Some(attributes) = attributes? else { return Ok(None) };
        // Checked only now, because AWS may deny access to the tags of a missing topic.
        let tags = tags?;
        let text = |name: &str| attributes.get(name).filter(|text| !text.is_empty());
        let policy = text("Policy").map(|policy| Document::parse(GET, policy)).transpose()?;
        Ok(Some(Observed {
            name: id.clone(),
            display_name: text("DisplayName").cloned().unwrap_or_default(),
            key: LiveKey::named(client, text("KmsMasterKeyId").cloned()).await?,
            policy,
            content_based_deduplication: text("ContentBasedDeduplication").is_some_and(|on| on == "true"),
            arn,
            tags,
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.field("display_name", &observed.display_name, &desired.display_name);
        if !observed.key.is(desired.kms_key.as_deref()) {
            diff.push("kms_key", json!(observed.key.name), json!(desired.kms_key));
        }
        if let Some(declared) = &desired.policy {
            policy::compare(&mut diff, "policy", observed.policy.as_ref(), declared);
        }
        diff.field(
            "content_based_deduplication",
            &observed.content_based_deduplication,
            &desired.content_based_deduplication,
        )
        .entries("tags", &observed.tags, &desired.tags);
        diff
    }

    /// Creating an existing topic returns that topic, so Groundwork checks right before that it does not
    /// exist.
    async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
        if attributes(w, &arn(w, &desired.name).await?).await?.is_some() {
            let error =
                Error::new(ErrorKind::Conflict, CREATE, format!("the topic {} already exists", desired.name));
            return Err(error.advice("it was created in the meantime; run `groundwork plan` again"));
        }
        let request = w.write(w.permit()).sns().create_topic().name(&desired.name);
        let fifo = desired.name.ends_with(FIFO).then(|| ("FifoTopic", "true".to_owned()));
        let declared =
            ["display_name", "kms_key", "policy", "content_based_deduplication"].map(|f| setting(desired, f));
        let declared =
            declared.into_iter().filter(|(_, value)| !value.is_empty() && value != "false").chain(fifo);
        let declared = declared.map(|(name, value)| (name.to_owned(), value)).collect();
        let request = request.set_attributes(Some(declared)).set_tags(Some(to_sdk(&desired.tags)?));
        request.send().await.at(CREATE).map(drop)
    }

    async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
        let diff = Self::diff(desired, observed);
        for field in ["display_name", "kms_key", "policy", "content_based_deduplication"] {
            if diff.touches(field) {
                let (name, value) = setting(desired, field);
                let request = w.write(w.permit()).sns().set_topic_attributes().topic_arn(&observed.arn);
                let request = request.attribute_name(name).attribute_value(value);
                request.send().await.at("sns:SetTopicAttributes")?;
            }
        }
        if diff.touches("tags") {
            let added = to_sdk(&tags::to_add(&desired.tags, &observed.tags))?;
            let request = w.write(w.permit()).sns().tag_resource().resource_arn(&observed.arn);
            request.set_tags(Some(added)).send().await.at("sns:TagResource")?;
        }
        Ok(())
    }

    /// Deletes the subscriptions with the topic.
    async fn delete(w: &W<'_>, id: &String) -> Result<()> {
        let arn = arn(w, id).await?;
        let answer = w.write(w.permit()).sns().delete_topic().topic_arn(arn).send().await;
        answer.found("sns:DeleteTopic", NOT_FOUND).map(drop)
    }

    /// The topic's subscriptions, which are deleted with it.
    async fn attachments(client: &AwsClient, id: &String, _: &Observed) -> Result<Vec<Attachment>> {
        let arn = arn(client, id).await?;
        let pages = client.read().sns().list_subscriptions_by_topic().topic_arn(&arn);
        let found = pages.into_paginator().items().send().try_collect().await;
        let found = found.found("sns:ListSubscriptionsByTopic", NOT_FOUND)?.unwrap_or_default().into_iter();
        let attachment = |one: Subscription| {
            let (protocol, endpoint) = (one.protocol.unwrap_or_default(), one.endpoint.unwrap_or_default());
            let id = format!("{arn} {protocol} {endpoint}");
            Attachment::ends("subscriptions", format!("{protocol} {endpoint}"))
                .held_by(SnsSubscription::KIND, id)
        };
        Ok(found.map(attachment).collect())
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), arn: observed.arn.clone() }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        Partial::default()
            .with("name", &desired.name)
            .with_some("arn", regional_arn(realm, "sns", &desired.name))
    }

    async fn prove(prover: &Prover<'_, AwsClient>, _: &Desired, observed: &Observed) {
        prove::notified::topic(prover, &observed.arn).await;
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

/// SNS's name of a field, with the declared value; an absent value is the empty text.
fn setting(desired: &Desired, field: &str) -> (&'static str, String) {
    match field {
        "display_name" => ("DisplayName", desired.display_name.clone()),
        "kms_key" => ("KmsMasterKeyId", desired.kms_key.clone().unwrap_or_default()),
        "policy" => ("Policy", desired.policy.as_ref().map(Document::text).unwrap_or_default()),
        _ => ("ContentBasedDeduplication", desired.content_based_deduplication.to_string()),
    }
}

async fn arn(client: &AwsClient, name: &str) -> Result<String> {
    let (partition, region) = (client.partition(), client.region());
    Ok(format!("arn:{partition}:sns:{region}:{}:{name}", client.account_id().await?))
}

async fn attributes(client: &AwsClient, arn: &str) -> Result<Option<HashMap<String, String>>> {
    let answer = client.read().sns().get_topic_attributes().topic_arn(arn).send().await;
    Ok(answer.found(GET, NOT_FOUND)?.and_then(|answer| answer.attributes))
}

async fn live_tags(client: &AwsClient, arn: &str) -> Result<Tags> {
    let answer = client.read().sns().list_tags_for_resource().resource_arn(arn).send().await;
    let tags = answer.found("sns:ListTagsForResource", NOT_FOUND)?.and_then(|answer| answer.tags);
    Ok(tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect())
}

fn to_sdk(tags: &Tags) -> Result<Vec<Tag>> {
    let wrong = |error: aws_smithy_types::error::operation::BuildError| {
        Error::new(ErrorKind::Local, "sns:TagResource", error.to_string())
    };
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build().map_err(wrong)).collect()
}

fn check_name(name: &str) -> Option<FieldError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let stem = name.strip_suffix(FIFO).unwrap_or(name);
    let good = !stem.is_empty() && name.len() <= 256 && stem.chars().all(allowed);
    (!good).then(|| {
        FieldError::new("name", "not a valid name for a topic")
            .help("1 to 256 letters, digits, `-` and `_`; `.fifo` at the end for one that keeps the order")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn desired(extra: Value) -> Desired {
        let mut fields = json!({ "name": "alerts" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        serde_json::from_value(fields).expect("valid")
    }

    #[test]
    fn names_are_checked() {
        assert!(check_name("a-b_1").is_none() && check_name("a.fifo").is_none());
        assert!(check_name("a.b").is_some() && check_name(".fifo").is_some());
        let found = SnsTopic::check(&desired(json!({ "content_based_deduplication": true })));
        assert_eq!(found[0].path, "content_based_deduplication");
    }

    #[test]
    fn arn_is_predicted() {
        let account = Some("123456789012".to_owned());
        let realm = Realm::default().with("region", "us-gov-west-1").with_some("account", account);
        let outputs = SnsTopic::predicted_outputs(&desired(json!({})), &realm).into_map();
        assert_eq!(outputs["arn"], "arn:aws-us-gov:sns:us-gov-west-1:123456789012:alerts");
    }
}
