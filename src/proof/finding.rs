//! The findings of a proof.

use serde::Serialize;

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The id of the step, or the name of the plan's section, that it is about.
    pub step: String,
    /// The trial, as a short phrase.
    pub tried: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It is as declared.
    Proven,
    /// It is not.
    Failed {
        /// The state by the plan.
        expected: String,
        /// The state that was seen.
        seen: String,
        /// What to do about it.
        advice: String,
    },
    /// It could not be tried.
    Untried {
        /// Why, and what the trial needs.
        needs: String,
    },
}

impl Finding {
    /// Something that was proven.
    pub fn proven(step: &str, tried: impl Into<String>) -> Self {
        Self { step: step.to_owned(), tried: tried.into(), outcome: Outcome::Proven }
    }

    /// Something that is not as declared.
    pub fn failed(
        step: &str,
        tried: impl Into<String>,
        expected: impl Into<String>,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let outcome = Outcome::Failed { expected: expected.into(), seen: seen.into(), advice: advice.into() };
        Self { step: step.to_owned(), tried: tried.into(), outcome }
    }

    /// Something that could not be tried, and what it needs.
    pub fn untried(step: &str, tried: impl Into<String>, needs: impl Into<String>) -> Self {
        let outcome = Outcome::Untried { needs: needs.into() };
        Self { step: step.to_owned(), tried: tried.into(), outcome }
    }
}
