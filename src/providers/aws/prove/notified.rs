//! Alarms and topics are proven by the subscribers that they reach.

use super::Aws;
use crate::error::Result;
use crate::proof::Known;
use crate::providers::aws::error::Answer;

/// The topics among an alarm's targets exist. One that the plan declares speaks for itself.
pub(in crate::providers::aws) async fn targets(prover: &Aws<'_>, targets: impl Iterator<Item = &String>) {
    let is_declared = |arn: &str| prover.plan().iter().any(|step| arn_of(step) == Some(arn));
    for topic in targets.filter(|target| is_topic(target) && !is_declared(target)) {
        if topic.split(':').nth(3) != Some(prover.region()) {
            continue;
        }
        let tried = format!("its topic {topic} exists");
        let Some(confirmed) = prover.ask(&tried, "the topic exists", confirmed(prover, topic).await) else {
            continue;
        };
        match confirmed {
            Some(_) => prover.proven(tried),
            None => prover.failed(
                tried,
                "the topic exists",
                "there is none: the alarm goes nowhere",
                "make the topic again, or name another one in the plan",
            ),
        }
    }
}

/// The topic has a subscriber, where alarms of the plan go to it and the plan declares none.
pub(in crate::providers::aws) async fn topic(prover: &Aws<'_>, arn: &str) {
    let names = |step: &Known, field: &str| step.fields[field].as_str() == Some(arn);
    let declared = prover.plan().iter().filter(|step| step.kind == "aws.sns_subscription");
    if declared.clone().any(|step| names(step, "topic")) {
        return;
    }
    let alarms = prover.plan().iter().filter(|step| step.kind == "aws.cloudwatch_alarm");
    let mut targets = alarms.flat_map(|step| step.fields["alarm_actions"].as_array().into_iter().flatten());
    if !targets.any(|target| target == arn) {
        return;
    }
    let tried = "its alarms reach a subscriber";
    let expected = "a subscription that is confirmed";
    let Some(found) = prover.ask(tried, expected, confirmed(prover, arn).await) else { return };
    match found.unwrap_or_default() {
        0 => {
            prover.failed(
                tried,
                expected,
                "there is none",
                "declare a step of kind `aws.sns_subscription` for it",
            );
        }
        _ => prover.proven(tried),
    }
}

/// How many subscriptions of a topic are confirmed; `None` when there is no such topic.
async fn confirmed(prover: &Aws<'_>, arn: &str) -> Result<Option<u64>> {
    let answer = prover.read().sns().get_topic_attributes().topic_arn(arn).send().await;
    let answer = answer.found("sns:GetTopicAttributes", &["NotFound", "NotFoundException"])?;
    let count = |attributes: std::collections::HashMap<String, String>| {
        attributes.get("SubscriptionsConfirmed").and_then(|count| count.parse().ok()).unwrap_or(0)
    };
    Ok(answer.map(|answer| answer.attributes.map_or(0, count)))
}

/// Whether an ARN is a topic's.
pub(in crate::providers::aws) fn is_topic(arn: &str) -> bool {
    arn.split(':').nth(2) == Some("sns")
}

fn arn_of(step: &Known) -> Option<&str> {
    step.outputs.as_ref()?.get("arn")?.as_str()
}
