//! How long a request may take, and how long is waited between two.

use std::time::Duration;

/// Seconds after which a request counts as lost, for every provider, where that is sooner than its
/// own limit. A request whose response comes only once is given [`FLOOR`] at least.
pub const VARIABLE: &str = "GROUNDWORK_TIMEOUT";

/// `limit`, or what the environment asks for when that is shorter.
pub fn at_most(limit: Duration) -> Duration {
    let asked = std::env::var(VARIABLE).ok().and_then(|text| parse(&text));
    asked.map_or(limit, |asked| asked.min(limit))
}

/// The least time that a request is given whose response comes only once: giving up loses it.
pub const FLOOR: Duration = Duration::from_mins(1);

/// As [`at_most`] for such a request.
pub fn of_once_only(limit: Duration) -> Duration {
    at_most(limit).max(FLOOR)
}

/// By what debug builds divide waits between attempts: tests in which things go wrong need not wait
/// as long as real servers want. Release builds do not read it.
pub const HASTE: &str = "GROUNDWORK_HASTE";

/// `wait`, or the shorter one that a test asks for.
pub fn scaled_delay(wait: Duration) -> Duration {
    #[cfg(debug_assertions)]
    let wait = wait / asked_haste().max(1);
    wait
}

#[cfg(debug_assertions)]
fn asked_haste() -> u32 {
    std::env::var(HASTE).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn parse(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|asked| !asked.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limit_must_be_a_positive_number() {
        assert_eq!(parse("1.5"), Some(Duration::from_millis(1500)));
        for wrong in ["", "0", "-1", "soon", "inf", "NaN"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
