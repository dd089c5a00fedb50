//! How long a request may take.

use std::time::Duration;

/// Seconds after which a request counts as lost, for every provider, where that is sooner than its
/// own limit. Initialising Vault is given three times as long, since giving up loses the shares.
pub const VARIABLE: &str = "GROUNDWORK_TIMEOUT";

/// `limit`, or what the environment asks for when that is shorter.
pub fn at_most(limit: Duration) -> Duration {
    let asked = std::env::var(VARIABLE).ok().and_then(|text| parse(&text));
    asked.map_or(limit, |asked| asked.min(limit))
}

fn parse(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|asked| !asked.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_positive_number_of_seconds_is_a_limit() {
        assert_eq!(parse("1.5"), Some(Duration::from_millis(1500)));
        for wrong in ["", "0", "-1", "soon", "inf", "NaN"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
