//! Which key shares open a snapshot, one by one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::shamir::{KEY_LEN, Share, combine};
use super::{Blob, Seal, Vitals};
use crate::secret::Secret;

/// More combinations are not tried: with the shares of one cluster the first one fits.
const MOST_TRIES: usize = 20_000;

/// The verdict on a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It takes part in opening the snapshot.
    Good,
    /// It belongs to another key, or is damaged.
    Wrong,
    /// The same as another one.
    Repeated,
    /// Not a share at all.
    Malformed,
    /// There are too few good ones to decide.
    Unproven,
}

/// The result for a list of shares.
#[derive(Debug)]
pub struct ShareReport {
    /// For each share, in order.
    pub verdicts: Vec<Verdict>,
    /// How many are needed.
    pub threshold: usize,
    /// The key that they give.
    pub key: Option<Secret>,
}

impl ShareReport {
    /// How many are good.
    pub fn good(&self) -> usize {
        self.verdicts.iter().filter(|verdict| **verdict == Verdict::Good).count()
    }
}

impl Vitals {
    /// Tries the shares of the unseal key. The snapshot itself decides: only the right key opens its root key.
    pub fn try_shares(&self, shares: &[Secret]) -> ShareReport {
        debug_assert!(self.seal == Seal::Shamir, "only these have a divided unseal key");
        try_each(shares, self.config.threshold, &|key| self.root.open(key).is_some())
    }

    /// Tries the shares of the recovery key, which the key of the seal proves. `None` if there is no recovery
    /// key, or `seal_key` does not open it.
    pub fn try_recovery_shares(&self, seal_key: &Secret, shares: &[Secret]) -> Option<ShareReport> {
        let recovery = self.recovery_key.as_ref()?.open(seal_key)?;
        Some(try_each(shares, self.recovery.as_ref()?.threshold, &|key| *key == recovery))
    }

    /// The recovery key, as the seal has encrypted it.
    pub fn recovery_blob(&self) -> Option<&Blob> {
        self.recovery_key.as_ref()
    }
}

/// Whether all of these are shares of one key that `threshold` of them open: each of them gives the same key together
/// with the first ones.
pub fn belong_together(shares: &[Secret], threshold: usize) -> bool {
    let Some(all) = shares.iter().map(|share| parse(share, threshold)).collect::<Option<Vec<Secret>>>()
    else {
        return false;
    };
    let Some((base, rest)) = threshold.checked_sub(1).and_then(|most| all.split_at_checked(most)) else {
        return false;
    };
    let key = |last: &Secret| match threshold {
        1 => Some(last.clone()),
        _ => combine(&base.iter().chain([last]).map(bytes).collect::<Option<Vec<&Share>>>()?),
    };
    let keys: Option<Vec<Secret>> = rest.iter().map(key).collect();
    keys.is_some_and(|keys| !keys.is_empty() && keys.windows(2).all(|two| two[0] == two[1]))
}

fn bytes(share: &Secret) -> Option<&Share> {
    share.expose_bytes().try_into().ok()
}

/// The bytes of a share, written in hexadecimal or base64. With a threshold of one it is the key itself.
fn parse(share: &Secret, threshold: usize) -> Option<Secret> {
    let text = share.expose_str()?.trim();
    let bytes = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok())?;
    let length = if threshold == 1 { KEY_LEN } else { KEY_LEN + 1 };
    (bytes.len() == length).then(|| Secret::new(bytes))
}

/// The key of a seal in the server's configuration: 32 bytes, or these in hexadecimal or base64.
pub fn seal_key(text: Secret) -> Option<Secret> {
    if text.len() == KEY_LEN { Some(text) } else { parse(&text, 1) }
}

fn try_each(shares: &[Secret], threshold: usize, opens: &dyn Fn(&Secret) -> bool) -> ShareReport {
    let parsed: Vec<Option<Secret>> = shares.iter().map(|share| parse(share, threshold)).collect();
    let is_repeated = |index: usize| parsed[..index].contains(&parsed[index]);
    let mut verdicts: Vec<Verdict> = (0..parsed.len())
        .map(|index| match &parsed[index] {
            None => Verdict::Malformed,
            Some(_) if is_repeated(index) => Verdict::Repeated,
            Some(_) => Verdict::Unproven,
        })
        .collect();
    let open: Vec<usize> = (0..parsed.len()).filter(|index| verdicts[*index] == Verdict::Unproven).collect();
    let key_of = |chosen: &[usize]| {
        let chosen: Vec<&Secret> = chosen.iter().filter_map(|index| parsed[*index].as_ref()).collect();
        let key = match threshold {
            1 => chosen.first().map(|key| (*key).clone()),
            _ => combine(&chosen.iter().filter_map(|share| as_share(share)).collect::<Vec<&Share>>()),
        };
        key.filter(opens)
    };
    let found = Combinations::new(open.len(), threshold).take(MOST_TRIES).find_map(|positions| {
        let chosen: Vec<usize> = positions.iter().map(|position| open[*position]).collect();
        key_of(&chosen).map(|key| (chosen, key))
    });
    let Some((mut chosen, key)) = found else {
        if open.len() >= threshold {
            for index in &open {
                verdicts[*index] = Verdict::Wrong;
            }
        }
        return ShareReport { verdicts, threshold, key: None };
    };
    for index in open {
        let is_chosen = chosen.contains(&index);
        let replaced = std::mem::replace(&mut chosen[0], index);
        let is_good = is_chosen || key_of(&chosen).is_some();
        chosen[0] = replaced;
        verdicts[index] = if is_good { Verdict::Good } else { Verdict::Wrong };
    }
    ShareReport { verdicts, threshold, key: Some(key) }
}

fn as_share(share: &Secret) -> Option<&Share> {
    share.expose_bytes().try_into().ok()
}

/// All ways to choose some of a number of things.
struct Combinations {
    of: usize,
    next: Option<Vec<usize>>,
}

impl Combinations {
    fn new(of: usize, some: usize) -> Self {
        Self { of, next: (some > 0 && some <= of).then(|| (0..some).collect()) }
    }
}

impl Iterator for Combinations {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let current = self.next.take()?;
        let some = current.len();
        let movable = (0..some).rev().find(|place| current[*place] < self.of - some + place);
        self.next = movable.map(|place| {
            let mut next = current.clone();
            next.iter_mut().skip(place).zip(current[place] + 1..).for_each(|(one, value)| *one = value);
            next
        });
        Some(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_all_and_each_once() {
        let all: Vec<Vec<usize>> = Combinations::new(4, 2).collect();
        assert_eq!(all, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
        assert_eq!(Combinations::new(3, 3).collect::<Vec<_>>(), [[0, 1, 2]]);
        assert_eq!(Combinations::new(2, 3).count() + Combinations::new(2, 0).count(), 0);
    }

    #[test]
    fn single_share_is_the_key_itself() {
        let key = Secret::new(vec![7; KEY_LEN]);
        let opens = |tried: &Secret| *tried == key;
        let shares: Vec<Secret> = ["x", &"08".repeat(32), &"07".repeat(32), &"07".repeat(32)]
            .map(|text| Secret::from(text.to_owned()))
            .into();
        let report = try_each(&shares, 1, &opens);
        assert_eq!(report.verdicts, [Verdict::Malformed, Verdict::Wrong, Verdict::Good, Verdict::Repeated]);
        assert_eq!((report.good(), report.key), (1, Some(key.clone())));
    }

    #[test]
    fn shares_belong_together_when_any_of_them_give_one_key() {
        // On the line `7 + x`, which two of them determine.
        let share = |place: u8| {
            let mut bytes = vec![7 ^ place; KEY_LEN];
            bytes.push(place);
            Secret::from(hex::encode(bytes))
        };
        let wrong = Secret::from(format!("{}05", "09".repeat(KEY_LEN)));
        assert!(belong_together(&[share(1), share(2), share(3)], 2));
        assert!(!belong_together(&[share(1), share(2), wrong.clone()], 2));
        assert!(!belong_together(&[share(1), wrong, share(3)], 2));
        assert!(!belong_together(&[share(1), share(1), share(3)], 2), "one twice");
        assert!(
            !belong_together(&[share(1)], 2) && !belong_together(&[], 1) && !belong_together(&[share(1)], 0)
        );
        let key = Secret::from("07".repeat(KEY_LEN));
        assert!(belong_together(std::slice::from_ref(&key), 1) && !belong_together(&[share(1)], 1));
    }
}
