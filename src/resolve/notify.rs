//! The section `notify:`, made definite: who hears of an emergency.

use super::{OutputTable, Resolved};
use crate::error::FieldError;
use crate::plan::settings::NotifySettings;
use crate::plan::{Diagnostic, Section};
use crate::template::unknown::is_unknown;

/// What is to be published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The ARN of a topic.
    Known(String),
    /// An expression whose value is not known before its step is applied.
    NotYet,
}

impl Resolved {
    /// The topic that hears of an emergency; `None` where the plan names none.
    ///
    /// # Errors
    /// Expressions that fail, and a value that is not the ARN of a topic, with their places.
    pub fn notify(&self, outputs: &OutputTable) -> Result<Option<Topic>, Vec<Diagnostic>> {
        let settings: Option<NotifySettings> = self.section(Section::Notify, outputs)?;
        let Some(arn) = settings.and_then(|settings| settings.sns) else { return Ok(None) };
        definite(arn).map(Some).map_err(|mistake| self.mistake(Section::Notify, mistake))
    }
}

fn definite(arn: String) -> Result<Topic, FieldError> {
    if is_unknown(&arn) {
        return Ok(Topic::NotYet);
    }
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "sns", region, account, name]
            if [region, account, name].iter().all(|part| !part.is_empty()) =>
        {
            Ok(Topic::Known(arn))
        }
        _ => Err(FieldError::new("sns", format!("`{arn}` is not the ARN of a topic")).help(
            "write it as `arn:aws:sns:REGION:ACCOUNT:NAME`, or refer to a step of kind `aws.sns_topic`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_is_an_arn_or_a_mistake() {
        let arn = "arn:aws:sns:us-east-1:123456789012:emergencies";
        assert_eq!(definite(arn.to_owned()).ok(), Some(Topic::Known(arn.to_owned())));
        for wrong in ["emergencies", "arn:aws:sqs:us-east-1:123456789012:a", "arn:aws:sns:us-east-1::a", ""] {
            let mistake = definite(wrong.to_owned()).expect_err(wrong);
            assert_eq!(mistake.path, "sns", "{wrong}");
        }
    }
}
