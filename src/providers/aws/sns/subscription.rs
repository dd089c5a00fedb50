//! `aws.sns_subscription`: a receiver of a topic's messages.

use std::collections::HashMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::SnsTopic;
use crate::access::Granting;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::aws::UNKNOWN_VALUE;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::json::Json;
use crate::providers::aws::needs::{self, Need, creates, deletes, reads, updates};
use crate::resource::risk::Category::{Destination, ProtectionOff};
use crate::resource::risk::{Risks, changed, gone, identity, live_safe, replaced, turned_on};
use crate::resource::{Diff, Look, Part, Partial, Resource, Writer};
use crate::run::{Permission, Use};
use crate::secret::connection;

const NOT_FOUND: &[&str] = &["NotFound", "NotFoundException"];
const LIST: &str = "sns:ListSubscriptionsByTopic";

type W<'a> = Writer<'a, AwsClient>;

/// A subscription. A person or a web server must confirm it first. Until then it cannot be changed and
/// counts as in sync. <https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html>
pub struct SnsSubscription;

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SnsSubscription")]
pub struct Desired {
    /// The topic's ARN.
    pub topic: String,
    /// How messages are delivered.
    pub protocol: Protocol,
    /// The receiver: an address, a URL, a telephone number or an ARN, depending on the protocol.
    pub endpoint: String,
    /// Which messages are delivered: an SNS filter policy, as a map or as JSON text. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_policy: Option<Json>,
    /// Whether the filter matches attributes or the message.
    #[serde(default)]
    pub filter_scope: FilterScope,
    /// Whether messages are delivered without SNS's envelope; for `sqs`, `http` and `https`.
    #[serde(default)]
    pub raw_delivery: bool,
    /// The ARN of the dead-letter queue for undeliverable messages. Default: they are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_queue: Option<String>,
}

/// How messages are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// As text by e-mail.
    Email,
    /// As JSON by e-mail.
    EmailJson,
    /// By POST over HTTP.
    Http,
    /// By POST over HTTPS.
    Https,
    /// As a text message.
    Sms,
    /// To a queue.
    Sqs,
    /// To a function.
    Lambda,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::EmailJson => "email-json",
            Self::Http => "http",
            Self::Https => "https",
            Self::Sms => "sms",
            Self::Sqs => "sqs",
            Self::Lambda => "lambda",
        }
    }

    /// The required beginning of an endpoint, if there is one.
    fn begins(self) -> &'static str {
        match self {
            Self::Http => "http://",
            Self::Https => "https://",
            Self::Sms => "+",
            Self::Sqs | Self::Lambda => "arn:",
            Self::Email | Self::EmailJson => "",
        }
    }
}

/// The part of a message that a filter matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterScope {
    /// The message's attributes.
    #[default]
    Attributes,
    /// The message itself, which must be JSON.
    Body,
}

impl FilterScope {
    fn name(self) -> &'static str {
        match self {
            Self::Attributes => "MessageAttributes",
            Self::Body => "MessageBody",
        }
    }

    /// `None` for a scope that Groundwork does not know.
    fn of(name: &str) -> Option<Self> {
        [Self::Attributes, Self::Body].into_iter().find(|scope| scope.name() == name)
    }
}

/// A topic, a protocol and an endpoint, which identify a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    topic: String,
    protocol: Protocol,
    endpoint: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.topic, self.protocol.name(), self.endpoint)
    }
}

/// The subscription as SNS reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    id: Id,
    /// `None` until it is confirmed.
    arn: Option<String>,
    filter_policy: Option<Json>,
    filter_scope: String,
    raw_delivery: bool,
    dead_letter_queue: Option<String>,
}

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SnsSubscriptionOutputs")]
pub struct Outputs {
    /// The topic's ARN.
    pub topic: String,
    /// Whether the receiver has confirmed it.
    pub confirmed: bool,
    /// The subscription's ARN, once it is confirmed.
    pub arn: Option<String>,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["sns:GetSubscriptionAttributes", "sns:ListSubscriptionsByTopic"]),
    creates(&["sns:ListSubscriptionsByTopic", "sns:Subscribe"]),
    updates(&["sns:SetSubscriptionAttributes"]).with_default(&[
        "dead_letter_queue",
        "filter_policy",
        "filter_scope",
        "raw_delivery",
    ]),
    deletes(&["sns:ListSubscriptionsByTopic", "sns:Unsubscribe"]),
];

impl Resource for SnsSubscription {
    const KIND: &'static str = "aws.sns_subscription";
    const GRANTS: Granting =
        Granting::Never("a subscription sends messages on; who may subscribe, the topic says");
    const ABOUT: &'static str =
        "A subscription to a topic; it is blocked until its receiver has confirmed it.";
    const EXAMPLE: &'static str = r"on_call:
  kind: aws.sns_subscription
  topic: arn:aws:sns:us-east-1:123456789012:candlefish-alerts
  protocol: email
  endpoint: on-call@candlefish.example
alert_queue:
  kind: aws.sns_subscription
  topic: arn:aws:sns:us-east-1:123456789012:candlefish-alerts
  protocol: sqs
  endpoint: arn:aws:sqs:us-east-1:123456789012:alerts
  raw_delivery: true
  filter_policy: { severity: [ critical ] }
";
    const REBUILT: Option<&'static str> = Some("unconfirmed: its endpoint has to confirm it again");
    const RISKS: Risks = &[&[
        live_safe("confirmed", "only its receiver can confirm it"),
        identity("topic protocol endpoint"),
        changed("filter_policy filter_scope")
            .medium(ProtectionOff, "other messages are delivered than before"),
        turned_on("raw_delivery").low(ProtectionOff, "messages arrive without SNS's signature"),
        gone("dead_letter_queue").low(ProtectionOff, "messages that cannot be delivered are dropped"),
        replaced("dead_letter_queue")
            .low(Destination, "messages that cannot be delivered go to another queue"),
    ]];
    const PROOF: Proof = Proof::InSync("its confirmation is a part of being as declared");

    type Client = AwsClient;
    type Id = Id;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    /// SNS takes the topic for the resource. Its ARN is not known before the account is.
    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |_| vec![needs::literal(&desired.topic)])
    }

    fn id(desired: &Desired) -> Id {
        Id { topic: desired.topic.clone(), protocol: desired.protocol, endpoint: desired.endpoint.clone() }
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found = Vec::new();
        if !desired.topic.starts_with("arn:") {
            let error = FieldError::new("topic", "not an ARN");
            found.push(error.help("refer to the topic's step, e.g. `{{ alerts.arn }}`"));
        }
        let begins = desired.protocol.begins();
        if !desired.endpoint.starts_with(begins) {
            let message = format!("an endpoint of `{}` begins with `{begins}`", desired.protocol.name());
            found.push(FieldError::new("endpoint", message));
        }
        if !connection::passwords_of(&desired.endpoint).is_empty() {
            let message = "holds a password, which SNS hides when it lists subscriptions: Groundwork could \
                           not find this one again";
            let help = "remove the password; a receiver authenticates SNS by the signature of its messages";
            found.push(FieldError::new("endpoint", message).help(help).secret());
        }
        if desired.raw_delivery
            && !matches!(desired.protocol, Protocol::Sqs | Protocol::Http | Protocol::Https)
        {
            found.push(FieldError::new("raw_delivery", "is only for `sqs`, `http` and `https`"));
        }
        found
    }

    /// One request, and a second if the subscription is confirmed.
    async fn observe(client: &AwsClient, id: &Id, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let Some(arn) = find(client, id).await? else { return Ok(None) };
        let Some(arn) = Some(arn).filter(|arn| arn.starts_with("arn:")) else {
            return Ok(Some(Observed::waiting(id)));
        };
        let answer = client.read().sns().get_subscription_attributes().subscription_arn(&arn).send().await;
        let answer = answer.found("sns:GetSubscriptionAttributes", NOT_FOUND)?;
        Ok(answer.map(|answer| assemble(id, arn, &answer.attributes.unwrap_or_default())))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        if observed.arn.is_none() {
            diff.awaited("confirmed", &false, &true, UNCONFIRMED);
            return diff;
        }
        if observed.filter_policy != desired.filter_policy {
            diff.push("filter_policy", json!(observed.filter_policy), json!(desired.filter_policy));
        }
        if desired.filter_policy.is_some() {
            match FilterScope::of(&observed.filter_scope) {
                Some(live) => diff.field("filter_scope", &live, &desired.filter_scope),
                None => diff.immutable(
                    "filter_scope",
                    &observed.filter_scope,
                    &desired.filter_scope,
                    UNKNOWN_VALUE,
                ),
            };
        }
        diff.field("raw_delivery", &observed.raw_delivery, &desired.raw_delivery).field(
            "dead_letter_queue",
            &observed.dead_letter_queue,
            &desired.dead_letter_queue,
        );
        diff
    }

    /// Subscribing again returns the existing subscription, so a second request does no harm.
    async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
        let id = Self::id(desired);
        // SNS returns an existing subscription of the same attributes as if it had just made it.
        if find(w, &id).await?.is_some() {
            let error = Error::new(ErrorKind::Conflict, "sns:Subscribe", format!("{id} already exists"));
            return Err(error.advice("it was created in the meantime; run `groundwork plan` again"));
        }
        let request = w.write(w.permit()).sns().subscribe().topic_arn(&desired.topic);
        let request = request.protocol(desired.protocol.name()).endpoint(&desired.endpoint);
        let declared = ["filter_scope", "filter_policy", "raw_delivery", "dead_letter_queue"]
            .map(|f| setting(desired, f));
        let declared = declared.into_iter().filter(|(_, value)| !value.is_empty() && value != "false");
        let declared = declared.map(|(name, value)| (name.to_owned(), value)).collect();
        request.set_attributes(Some(declared)).send().await.at("sns:Subscribe").map(drop)
    }

    async fn update(w: &W<'_>, desired: &Desired, observed: &Observed) -> Result<()> {
        let Some(arn) = &observed.arn else { return Ok(()) };
        let diff = Self::diff(desired, observed);
        for field in ["filter_scope", "filter_policy", "raw_delivery", "dead_letter_queue"] {
            if diff.touches(field) {
                let (name, value) = setting(desired, field);
                // SNS cannot remove a filter, but accepts one that matches everything.
                let value =
                    if field == "filter_policy" && value.is_empty() { "{}".to_owned() } else { value };
                let request = w.write(w.permit()).sns().set_subscription_attributes().subscription_arn(arn);
                let request = request.attribute_name(name).attribute_value(value);
                request.send().await.at("sns:SetSubscriptionAttributes")?;
            }
        }
        Ok(())
    }

    async fn delete(w: &W<'_>, id: &Id) -> Result<()> {
        let Some(arn) = find(w, id).await? else { return Ok(()) };
        if !arn.starts_with("arn:") {
            return Err(unconfirmed(id));
        }
        let answer = w.write(w.permit()).sns().unsubscribe().subscription_arn(arn).send().await;
        answer.found("sns:Unsubscribe", NOT_FOUND).map(drop)
    }

    fn part_of(id: &Id, observed: &Observed) -> Option<Part> {
        let topic = id.topic.rsplit(':').next().unwrap_or_default().to_owned();
        observed.arn.is_none().then(|| Part { kind: SnsTopic::KIND, id: topic, why: UNCONFIRMED.to_owned() })
    }

    fn outputs(observed: &Observed) -> Outputs {
        let (topic, arn) = (observed.id.topic.clone(), observed.arn.clone());
        Outputs { topic, confirmed: arn.is_some(), arn }
    }

    fn predicted_outputs(desired: &Desired, _: &Realm) -> Partial {
        Partial::default().with("topic", &desired.topic)
    }
}

impl Observed {
    fn waiting(id: &Id) -> Self {
        Self {
            id: id.clone(),
            arn: None,
            filter_policy: None,
            filter_scope: FilterScope::default().name().to_owned(),
            raw_delivery: false,
            dead_letter_queue: None,
        }
    }
}

fn assemble(id: &Id, arn: String, attributes: &HashMap<String, String>) -> Observed {
    let text = |name: &str| attributes.get(name).filter(|text| !text.is_empty());
    let redrive = text("RedrivePolicy").and_then(|text| serde_json::from_str::<Value>(text).ok());
    Observed {
        id: id.clone(),
        // Some endpoints have an ARN before they have confirmed.
        arn: text("PendingConfirmation").is_none_or(|pending| pending != "true").then_some(arn),
        filter_policy: text("FilterPolicy")
            .map(|text| Json::live(text))
            .filter(|policy| *policy != Json::live("{}")),
        filter_scope: text("FilterPolicyScope")
            .map_or(FilterScope::default().name(), String::as_str)
            .to_owned(),
        raw_delivery: text("RawMessageDelivery").is_some_and(|raw| raw == "true"),
        dead_letter_queue: redrive
            .and_then(|policy| Some(policy["deadLetterTargetArn"].as_str()?.to_owned())),
    }
}

/// SNS's name of a field, with the declared value; an absent value is the empty text.
fn setting(desired: &Desired, field: &str) -> (&'static str, String) {
    match field {
        "filter_policy" => {
            ("FilterPolicy", desired.filter_policy.as_ref().map(Json::text).unwrap_or_default())
        }
        "filter_scope" if desired.filter_policy.is_none() => ("FilterPolicyScope", String::new()),
        "filter_scope" => ("FilterPolicyScope", desired.filter_scope.name().to_owned()),
        "raw_delivery" => ("RawMessageDelivery", desired.raw_delivery.to_string()),
        _ => {
            let queue = desired.dead_letter_queue.as_ref();
            let policy = queue.map(|queue| json!({ "deadLetterTargetArn": queue }).to_string());
            ("RedrivePolicy", policy.unwrap_or_default())
        }
    }
}

/// SNS lists this instead of an ARN for some days after a subscription is deleted.
const DELETED: &str = "Deleted";

/// The subscription's ARN, or `PendingConfirmation`; `None` if the subscription or the topic does not
/// exist.
async fn find(client: &AwsClient, id: &Id) -> Result<Option<String>> {
    let request = client.read().sns().list_subscriptions_by_topic().topic_arn(&id.topic);
    let subscriptions = request.into_paginator().items().send().try_collect().await.found(LIST, NOT_FOUND)?;
    let found = subscriptions.into_iter().flatten().find(|subscription| {
        subscription.protocol.as_deref() == Some(id.protocol.name())
            && subscription.endpoint.as_deref() == Some(id.endpoint.as_str())
            && subscription.subscription_arn.as_deref() != Some(DELETED)
    });
    found.map(|found| found.subscription_arn.ok_or_else(|| missing(LIST, "ARN"))).transpose()
}

/// What to do about an unconfirmed subscription that cannot be deleted.
const UNCONFIRMED: &str = "waits for its receiver's confirmation, and SNS cannot delete it before that; it \
                           is deleted with its topic, or expires if it stays unconfirmed for some days";

fn unconfirmed(id: &Id) -> Error {
    Error::new(ErrorKind::Rejected, "sns:Unsubscribe", format!("{id} {UNCONFIRMED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(extra: Value) -> Desired {
        let mut fields =
            json!({ "topic": "arn:aws:sns:us-east-1:1:t", "protocol": "sqs", "endpoint": "arn:q" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        serde_json::from_value(fields).expect("valid")
    }

    fn live(pairs: &[(&str, &str)]) -> Observed {
        let attributes =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assemble(&SnsSubscription::id(&desired(json!({}))), "arn:s".into(), &attributes)
    }

    #[test]
    fn endpoint_with_a_password_is_refused() {
        let check = |endpoint: &str| {
            let declared = desired(json!({ "protocol": "https", "endpoint": endpoint }));
            SnsSubscription::check(&declared).into_iter().map(|mistake| mistake.secret).collect::<Vec<_>>()
        };
        assert_eq!(check("https://hook:hunter2@hooks.example.net/notify"), [true]);
        assert!(check("https://hooks.example.net/notify").is_empty());
    }

    #[test]
    fn unconfirmed_subscription_waits_for_its_receiver() {
        let declared = desired(json!({ "raw_delivery": true, "filter_policy": { "a": ["b"] } }));
        let pending = live(&[("PendingConfirmation", "true")]);
        let diff = SnsSubscription::diff(&declared, &pending);
        assert_eq!(diff.only_awaits().map(|waits| waits.path.as_str()), Some("confirmed"));
        assert!(diff.blocked[0].why.contains("confirmation"), "{diff:?}");
        let outputs = SnsSubscription::outputs(&pending);
        assert!(!outputs.confirmed && outputs.arn.is_none());
    }

    #[test]
    fn every_field_is_compared() {
        let all = json!({ "filter_policy": { "a": ["b"] }, "filter_scope": "body", "raw_delivery": true,
            "dead_letter_queue": "arn:d" });
        let diff = SnsSubscription::diff(&desired(all.clone()), &live(&[]));
        assert_eq!(diff.changes.len(), 4);
        let same = live(&[
            ("FilterPolicy", "{ \"a\" : [\"b\"] }"),
            ("FilterPolicyScope", "MessageBody"),
            ("RawMessageDelivery", "true"),
            ("RedrivePolicy", "{\"deadLetterTargetArn\": \"arn:d\"}"),
        ]);
        assert!(SnsSubscription::diff(&desired(all), &same).is_empty());
    }

    #[test]
    fn unknown_filter_scope_is_blocked() {
        let declared = desired(json!({ "filter_policy": { "a": ["b"] } }));
        let same = live(&[("FilterPolicy", "{\"a\":[\"b\"]}"), ("FilterPolicyScope", "MessageHeaders")]);
        let diff = SnsSubscription::diff(&declared, &same);
        assert_eq!((diff.blocked[0].path.as_str(), diff.changes.len()), ("filter_scope", 1));
    }

    #[test]
    fn mistakes_are_found_without_network() {
        let wrong =
            json!({ "topic": "alerts", "protocol": "email", "endpoint": "a@b", "raw_delivery": true });
        let paths: Vec<_> =
            SnsSubscription::check(&desired(wrong)).into_iter().map(|error| error.path).collect();
        assert_eq!(paths, ["topic", "raw_delivery"]);
        assert_eq!(SnsSubscription::check(&desired(json!({ "endpoint": "queue" })))[0].path, "endpoint");
    }
}
