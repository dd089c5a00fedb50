//! The age of a secret value, against the days after which it is to be replaced.

use jiff::Timestamp;

use super::Prover;

/// The name under which a secret says after how many days it is to be replaced, in its metadata or tags.
pub const ROTATION: &str = "rotation_days";

const DAY: i64 = 86_400;

/// The whole days in so many seconds.
pub const fn days_in(seconds: i64) -> i64 {
    seconds.div_euclid(DAY)
}

impl<C> Prover<'_, C> {
    /// Judges a value that was written at this time and is to be replaced after `days`.
    pub fn judge_age(&self, days: &str, written: Option<Timestamp>) {
        let tried = format!("is younger than its {ROTATION} ({days})");
        let limit = days.parse::<i64>().ok().filter(|days| *days > 0);
        let (Some(limit), Some(written)) = (limit, written) else {
            let seen = match written {
                Some(_) => format!("{ROTATION} is `{days}`"),
                None => "when its value was written is not known".to_owned(),
            };
            return self.failed(tried, "a number of days", seen, "write a whole number of days");
        };
        let age = days_in(Timestamp::now().as_second() - written.as_second());
        match age < limit {
            true => self.proven(tried),
            false => {
                let advice = "replace it (`groundwork apply PLAN --replace STEP` for a generated one)";
                self.failed(tried, format!("at most {limit} days"), format!("{age} days"), advice);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, Proofs};
    use super::*;
    use crate::permit::Permit;

    #[test]
    fn age_is_judged_in_whole_days() {
        let found = |days: &str, age: Option<i64>| {
            let proofs = Proofs::new(Permit::mint(), Vec::new(), std::collections::BTreeMap::new());
            let written = age.map(|days| Timestamp::from_second(Timestamp::now().as_second() - days * DAY));
            Prover::new(&(), &proofs, "secret").judge_age(days, written.and_then(Result::ok));
            proofs.take_findings().remove(0).outcome
        };
        assert_eq!(found("90", Some(89)), Outcome::Proven);
        let seen = |outcome| match outcome {
            Outcome::Failed { seen, .. } => seen,
            other => panic!("{other:?}"),
        };
        assert_eq!(seen(found("90", Some(90))), "90 days");
        assert_eq!(seen(found("soon", Some(1))), "rotation_days is `soon`");
        assert_eq!(seen(found("90", None)), "when its value was written is not known");
    }
}
