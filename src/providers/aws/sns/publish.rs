//! A message to those who have subscribed to a topic.
//! [`Publish`](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html)

use crate::error::Result;
use crate::permit::Permit;
use crate::place::Place;
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::resource::Provided;
use crate::run::Run;

/// The longest subject that SNS takes.
const SUBJECT: usize = 100;

/// Publishes a message. It must hold no secret: subscribers get it in the clear.
///
/// # Errors
/// When AWS cannot be reached or refuses.
pub async fn publish(
    run: &Run,
    permit: &Permit,
    topic: &str,
    (subject, message): (&str, &str),
) -> Result<()> {
    let client = AwsClient::provide(run, &Place::OWN).await?;
    // SNS takes printable ASCII here, and refuses the message otherwise.
    let subject: String = subject.chars().filter(|c| (' '..='~').contains(c)).take(SUBJECT).collect();
    let request = client.write(permit).sns().publish().topic_arn(topic).subject(subject).message(message);
    request.send().await.at("sns:Publish").map(drop)
}
