//! How a key is rotated while it is in use: another one is made, delivered and proven beside it; once its users have
//! changed over, the old one is made inactive, and deleted some time later.
//!
//! What is done so far stands in IAM, custody and the journal: two keys of ours and an open intent that names the old
//! one. A run that is cut off at any point is taken up from there, by the next one.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{LiveStatus, Status};
use crate::net::timeout::scaled_delay;
use crate::resource::{Blocked, Diff, Pending, Turn};

/// IAM records only the first use of a key in this span.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_getting-report.html>
const GRAIN: Duration = Duration::from_mins(15);

/// When a key is rotated, and how long its phases take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AccessKeyRotation")]
pub struct RotationSpec {
    /// How many days old the key may become; then it is due, and `rotate --due` replaces it. Without it, it is never
    /// due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// How many minutes the old key has to be unused before it is made inactive. IAM reports uses up to 15 minutes late.
    #[serde(default = "an_hour")]
    pub quiet_minutes: u32,
    /// How many hours the old key stays inactive before it is deleted. Until then `rotate --rollback` returns to it.
    #[serde(default = "a_day")]
    pub wait_hours: u32,
}

fn an_hour() -> u32 {
    60
}

fn a_day() -> u32 {
    24
}

impl Default for RotationSpec {
    fn default() -> Self {
        Self { days: None, quiet_minutes: an_hour(), wait_hours: a_day() }
    }
}

impl RotationSpec {
    /// Whether it is that of a plan which says nothing.
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    fn quiet(self) -> Duration {
        scaled_delay(Duration::from_mins(self.quiet_minutes.into()))
    }

    fn wait(self) -> Duration {
        scaled_delay(Duration::from_hours(self.wait_hours.into()))
    }
}

/// The latest use of a key, as IAM reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) at: Timestamp,
    /// Such as `s3`; this program's own proof is a use of `sts`.
    pub(super) service: String,
}

/// A rotation that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnderWay {
    /// The key on its way out.
    pub(super) old: String,
    /// Its status; `None` once it is deleted.
    pub(super) status: Option<LiveStatus>,
    /// Whether the old key is still the only one, because no other one was made.
    pub(super) is_current: bool,
    /// Since when the new key is delivered and proven.
    pub(super) delivered: Option<Timestamp>,
    /// When the old key was made inactive.
    pub(super) deactivated: Option<Timestamp>,
    /// The latest use of the old key, and of the new one.
    pub(super) uses: [Option<Used>; 2],
    /// Why their uses cannot be seen.
    pub(super) unseen: Option<String>,
    /// When all this was read.
    pub(super) now: Timestamp,
}

/// The next thing to do in a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Make another key.
    Make,
    /// Deliver and prove the new key.
    Deliver,
    /// Nothing yet: why, and when it may be different.
    Wait(String, Timestamp),
    /// Make the old key inactive.
    Deactivate,
    /// Delete the old key.
    Delete,
    /// Note that the old key is gone.
    End,
}

impl UnderWay {
    /// The next phase.
    pub(super) fn phase(&self, spec: RotationSpec) -> Phase {
        let Some(status) = &self.status else { return Phase::End };
        let Some(delivered) = self.delivered.filter(|_| !self.is_current) else {
            return if self.is_current { Phase::Make } else { Phase::Deliver };
        };
        if *status != Ok(Status::Active) {
            let until = self.deactivated.unwrap_or(delivered) + signed(spec.wait());
            let why = "it is inactive, and is deleted later, in case something misses it".to_owned();
            return if until <= self.now { Phase::Delete } else { Phase::Wait(why, until) };
        }
        self.while_active(delivered, spec)
    }

    /// The old key is made inactive once it was quiet for long enough, and the new one is in use if the old one was.
    fn while_active(&self, delivered: Timestamp, spec: RotationSpec) -> Phase {
        if let Some(why) = &self.unseen {
            return Phase::Wait(format!("whether it is in use cannot be seen: {why}"), self.now);
        }
        let grain = signed(scaled_delay(GRAIN));
        let [old, new] = &self.uses;
        // A use at the end of the span is recorded with the time of the first one in it.
        let last = old.as_ref().map_or(delivered, |used| delivered.max(used.at + grain));
        let until = last + signed(spec.quiet());
        let was_in_use = old.as_ref().is_some_and(|used| used.service != "sts");
        let is_in_use = new.as_ref().is_some_and(|used| used.service != "sts" || used.at > delivered + grain);
        if until > self.now {
            let why = match old {
                Some(used) if used.at >= delivered => {
                    format!("it was last used at {}, by {}", time(used.at), used.service)
                }
                _ => "its users may not have the new key yet".to_owned(),
            };
            return Phase::Wait(why, until);
        }
        if was_in_use && !is_in_use {
            let why =
                "nothing has used the new key yet, although this one was in use: its users lack the new one";
            return Phase::Wait(why.to_owned(), self.now);
        }
        Phase::Deactivate
    }

    /// Shows the next phase, with the current key's id.
    pub(super) fn compare(&self, diff: &mut Diff, spec: RotationSpec, current: &str) {
        let old = &self.old;
        match self.phase(spec) {
            Phase::Make => begin(diff, old),
            Phase::Deliver => {
                diff.push("proven", json!(false), json!(true));
                diff.note(format!("{current} is proven and delivered; {old} stays beside it"));
            }
            Phase::Wait(..) => {}
            Phase::Deactivate => {
                diff.push(&format!("keys[{old}].status"), json!("active"), json!("inactive"));
                diff.note("nothing uses it; it can be made active again until it is deleted");
            }
            Phase::Delete => {
                diff.push(&format!("keys[{old}]"), json!("exists"), json!(null));
                diff.note("it was inactive for long enough");
            }
            Phase::End => {
                diff.push("rotated", json!(false), json!(true));
                diff.note(format!("{old} is gone; that is noted"));
            }
        }
    }

    /// Its description while it lasts.
    pub(super) fn pending(&self, spec: RotationSpec) -> Pending {
        let (waits, until) = match self.phase(spec) {
            Phase::Make => ("another key is made beside it next".to_owned(), None),
            Phase::Deliver => ("the new key is to be delivered".to_owned(), None),
            Phase::Wait(why, until) => (why, Some(until)),
            Phase::Deactivate => ("it is made inactive next".to_owned(), Some(self.now)),
            Phase::Delete => ("it is deleted next".to_owned(), Some(self.now)),
            Phase::End => ("it is gone, and that is to be noted".to_owned(), Some(self.now)),
        };
        let needs_person = self.unseen.is_some() && matches!(self.phase(spec), Phase::Wait(..));
        Pending {
            needs_person,
            old: self.old.clone(),
            waits,
            since: self.delivered,
            until,
            can_go_back: self.status.is_some(),
        }
    }
}

/// That another key is made beside this one.
fn begin(diff: &mut Diff, key: &str) {
    diff.push("access_key_id", json!(key), json!("another key"));
    diff.note(
        "another key is made, proven and delivered; this one stays active until its users have changed over",
    );
}

/// The differences of a rotation that is asked for, in this direction.
pub(super) fn compare(
    diff: &mut Diff,
    rotation: Option<&UnderWay>,
    spec: RotationSpec,
    current: &str,
    turn: Turn,
) {
    match (rotation.filter(|rotation| rotation.status.is_some()), turn) {
        (Some(rotation), Turn::Forward) => rotation.compare(diff, spec, current),
        (None, Turn::Forward) => match rotation {
            Some(ended) => ended.compare(diff, spec, current),
            None => begin(diff, current),
        },
        (Some(rotation), Turn::Back) if !rotation.is_current => {
            diff.push("access_key_id", json!(current), json!(rotation.old));
            diff.note(format!(
                "{} is made active again, proven and delivered; {current} stays beside it until its users have changed over",
                rotation.old
            ));
        }
        (_, Turn::Back) => {
            diff.push("access_key_id", json!(current), json!("the key before"));
            let why = "no rotation is under way: the key before this one is deleted, or there never was one";
            diff.blocked.push(Blocked::new("access_key_id", why));
        }
    }
}

fn signed(length: Duration) -> SignedDuration {
    SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).expect("a time")
    }

    fn used(minutes: i64, service: &str) -> Used {
        Used { at: at(minutes), service: service.to_owned() }
    }

    /// Delivered at minute 0, looked at at `now`.
    fn under_way(now: i64, uses: [Option<Used>; 2]) -> UnderWay {
        UnderWay {
            old: "OLD".to_owned(),
            status: Some(Ok(Status::Active)),
            is_current: false,
            delivered: Some(at(0)),
            deactivated: None,
            uses,
            unseen: None,
            now: at(now),
        }
    }

    fn phase(rotation: &UnderWay) -> Phase {
        rotation.phase(RotationSpec::default())
    }

    fn waits_until(rotation: &UnderWay) -> Option<Timestamp> {
        match phase(rotation) {
            Phase::Wait(_, until) => Some(until),
            _ => None,
        }
    }

    #[test]
    fn old_key_stays_active_until_it_is_quiet() {
        // Never used: only the quiet time counts.
        assert_eq!(waits_until(&under_way(59, [None, None])), Some(at(60)));
        assert_eq!(phase(&under_way(60, [None, None])), Phase::Deactivate);
        // Used after the delivery: a use up to 15 minutes later is not recorded.
        let still = [Some(used(30, "s3")), Some(used(5, "s3"))];
        assert_eq!(waits_until(&under_way(80, still.clone())), Some(at(105)));
        assert_eq!(waits_until(&under_way(104, still.clone())), Some(at(105)));
        assert_eq!(phase(&under_way(105, still)), Phase::Deactivate);
    }

    #[test]
    fn old_key_stays_active_while_the_new_one_is_unused() {
        let in_use = || used(-10, "s3");
        // The proof of this program is no use, neither is it right after the delivery.
        for new in [None, Some(used(0, "sts")), Some(used(10, "sts"))] {
            let Phase::Wait(why, _) = phase(&under_way(600, [Some(in_use()), new.clone()])) else {
                panic!("{new:?} counts as a use")
            };
            assert!(why.contains("nothing has used the new key"), "{why}");
        }
        for new in [used(1, "s3"), used(90, "sts")] {
            assert_eq!(phase(&under_way(600, [Some(in_use()), Some(new)])), Phase::Deactivate);
        }
        // An old key whose only use was its own proof had no users.
        assert_eq!(phase(&under_way(600, [Some(used(-900, "sts")), None])), Phase::Deactivate);
    }

    #[test]
    fn old_key_stays_active_while_its_use_cannot_be_seen() {
        let blind = UnderWay { unseen: Some("denied".to_owned()), ..under_way(600, [None, None]) };
        assert!(matches!(phase(&blind), Phase::Wait(why, _) if why.contains("denied")));
    }

    #[test]
    fn inactive_key_is_deleted_after_the_wait() {
        let inactive = |now, deactivated| UnderWay {
            status: Some(Ok(Status::Inactive)),
            deactivated,
            ..under_way(now, [None, None])
        };
        assert_eq!(waits_until(&inactive(70, Some(at(60)))), Some(at(60 + 24 * 60)));
        assert_eq!(phase(&inactive(60 + 24 * 60, Some(at(60)))), Phase::Delete);
        // Another hand made it inactive: the delivery is all that is known.
        assert_eq!(waits_until(&inactive(70, None)), Some(at(24 * 60)));
    }

    #[test]
    fn cut_rotation_goes_on_where_it_stands() {
        let fresh = || under_way(0, [None, None]);
        assert_eq!(phase(&UnderWay { is_current: true, delivered: None, ..fresh() }), Phase::Make);
        assert_eq!(phase(&UnderWay { delivered: None, ..fresh() }), Phase::Deliver);
        assert_eq!(phase(&UnderWay { status: None, ..fresh() }), Phase::End);
    }

    #[test]
    fn going_back_needs_an_old_key() {
        let blocked = |rotation: Option<&UnderWay>| {
            let mut diff = Diff::none();
            compare(&mut diff, rotation, RotationSpec::default(), "NEW", Turn::Back);
            diff.blocked.len()
        };
        let rotation = under_way(0, [None, None]);
        assert_eq!(blocked(Some(&rotation)), 0);
        assert_eq!(blocked(None), 1);
        assert_eq!(blocked(Some(&UnderWay { status: None, ..rotation.clone() })), 1);
        assert_eq!(blocked(Some(&UnderWay { is_current: true, ..rotation })), 1);
    }
}
