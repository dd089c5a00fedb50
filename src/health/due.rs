//! Dates by which something has to be replaced.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

const DAY: i64 = 86_400;
/// The name of a rotation that is under way.
pub const ROTATION: &str = "rotation under way";

/// Something that has to be replaced by a date, or that only grows old.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Due {
    /// The step whose thing it belongs to, or the address of a server.
    pub of: String,
    /// A word or two: `secret`, `access key`, `certificate`.
    pub what: &'static str,
    /// Since when it is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The date; nothing where it has none.
    pub by: Option<Timestamp>,
}

impl Due {
    /// Something in use since then, which may become this many days old.
    pub fn after_days(what: &'static str, since: Timestamp, days: i64) -> Self {
        let by = days.checked_mul(DAY).and_then(|age| since.as_second().checked_add(age));
        Self {
            of: String::new(),
            what,
            since: Some(since),
            by: by.and_then(|end| Timestamp::from_second(end).ok()),
        }
    }

    /// Something in use since then, which may become this many seconds old.
    pub fn after_seconds(what: &'static str, since: Timestamp, seconds: u64) -> Self {
        let by = since.checked_add(Duration::from_secs(seconds)).ok();
        Self { of: String::new(), what, since: Some(since), by }
    }

    /// Something that ends at this second since 1970.
    pub fn ends_at(what: &'static str, end: i64) -> Self {
        Self { of: String::new(), what, since: None, by: Timestamp::from_second(end).ok() }
    }

    /// A rotation that is under way, and when its next phase can begin.
    pub fn under_way(since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        Self { of: String::new(), what: ROTATION, since, by: until }
    }

    /// Something that only grows old.
    pub fn ages(what: &'static str, since: Timestamp) -> Self {
        Self { of: String::new(), what, since: Some(since), by: None }
    }

    /// The same, with a date by which it may be this old if it has none of its own.
    #[must_use]
    pub fn at_most(self, age: Duration) -> Self {
        let by = self.by.or_else(|| self.since?.checked_add(age).ok());
        Self { by, ..self }
    }

    /// How many whole days are left; negative after the date.
    pub fn days_left(&self, now: Timestamp) -> Option<i64> {
        self.by.map(|by| days_until(now, by))
    }

    /// How many whole days it is in use.
    pub fn age(&self, now: Timestamp) -> Option<i64> {
        self.since.map(|since| days_until(since, now))
    }
}

/// The whole days from one time to another, rounded down.
pub fn days_until(from: Timestamp, to: Timestamp) -> i64 {
    (to.as_second() - from.as_second()).div_euclid(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_negative_after_the_date() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let due = Due::after_days("secret", at("2026-11-01T12:00:00Z"), 30);
        assert_eq!(due.by, Some(at("2026-12-01T12:00:00Z")));
        for (now, left, age) in [
            ("2026-11-01T12:00:00Z", 30, 0),
            ("2026-11-28T00:00:00Z", 3, 26),
            ("2026-12-01T12:00:00Z", 0, 30),
            ("2026-12-01T12:00:01Z", -1, 30),
        ] {
            assert_eq!((due.days_left(at(now)), due.age(at(now))), (Some(left), Some(age)), "{now}");
        }
        let key = Due::ages("access key", at("2026-11-01T12:00:00Z"));
        assert_eq!(key.days_left(at(DAY_AFTER)), None);
        assert_eq!(key.at_most(Duration::from_hours(48)).days_left(at(DAY_AFTER)), Some(1));
        assert_eq!(due.clone().at_most(Duration::ZERO), due, "its own date goes first");
        assert_eq!(Due::after_days("secret", at(DAY_AFTER), i64::MAX).by, None, "no date is that late");
    }

    const DAY_AFTER: &str = "2026-11-02T12:00:00Z";
}
