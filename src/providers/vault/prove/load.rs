//! How fast secrets are read, bounded in count and time, against the plan's targets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::super::settings::ServiceTargets;
use super::Vault;
use crate::error::Result;
use crate::proof::Load;

/// How many reads there are at most, how long they take at most, and how many of them are under way at a time.
const READS: usize = 5_000;
const TIME: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 16;

const ADVICE: &str =
    "measure again while nothing else runs; then look at the servers' processors, disks and network";

/// Reads the secret at `path` many times. `None` when no read succeeds.
pub(in crate::providers::vault) async fn measure(
    prover: &Vault<'_>,
    path: &str,
    targets: Option<&ServiceTargets>,
) -> Option<Load> {
    let tried = "reads under load";
    // The first one opens connections and finds the active node.
    prover.ask(tried, "the secret can be read", prover.get(path).await)?;
    let (started, begun) = (Instant::now(), AtomicUsize::new(0));
    let workers = (0..AT_ONCE).map(|_| async {
        let mut took = Vec::new();
        while begun.fetch_add(1, Ordering::Relaxed) < READS && started.elapsed() < TIME {
            let read = Instant::now();
            prover.get(path).await?;
            took.push(read.elapsed());
        }
        Result::Ok(took)
    });
    let took = join_all(workers).await.into_iter().collect::<Result<Vec<_>>>();
    let elapsed = started.elapsed();
    let mut took = prover.ask(tried, "every read succeeds", took)?.concat();
    took.sort_unstable();
    let load = Load {
        reads: took.len(),
        at_once: AT_ONCE,
        p50_ms: millis(percentile(&took, 50)),
        p99_ms: millis(percentile(&took, 99)),
        reads_per_second: per_second(took.len(), elapsed),
    };
    judge(prover, &load, targets);
    Some(load)
}

fn judge(prover: &Vault<'_>, load: &Load, targets: Option<&ServiceTargets>) {
    let Some(targets) = targets else { return };
    if let Some(limit) = targets.p99_ms() {
        let tried = "p99 of its reads";
        match load.p99_ms <= limit {
            true => prover.proven(tried),
            false => {
                prover.failed(tried, format!("at most {limit} ms"), format!("{:.1} ms", load.p99_ms), ADVICE);
            }
        }
    }
    if let Some(wanted) = targets.reads_per_second {
        let tried = "reads per second";
        match load.reads_per_second >= wanted {
            true => prover.proven(tried),
            false => {
                prover.failed(tried, format!("at least {wanted}"), load.reads_per_second.to_string(), ADVICE);
            }
        }
    }
}

/// The time within which this share of the reads ended; `sorted` is sorted.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((sorted.len() * percent).div_ceil(100).saturating_sub(1).min(last))
        .copied()
        .unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn per_second(count: usize, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    count as u64 * 1_000 / millis
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_rates_are_those_of_the_sample() {
        let sample: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sample, 50), Duration::from_millis(100));
        assert_eq!(percentile(&sample, 99), Duration::from_millis(198));
        assert_eq!(percentile(&sample[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
        assert_eq!(per_second(500, Duration::from_millis(250)), 2_000);
    }
}
