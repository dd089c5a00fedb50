//! Which backups stay.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::plan::settings::KeepSettings;

/// A backup as far as its removal depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The common part of the names of what belongs to it.
    pub base: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// Whether it was proven.
    pub is_proven: bool,
    /// Which generation of shares opens it.
    pub generation: Option<String>,
}

/// Those that go, of all that a place has. The newest proven one never goes, nor does the newest proven one
/// of a generation of shares: what these shares open would be gone with it.
pub fn to_remove(mut all: Vec<Kept>, keep: KeepSettings) -> Vec<Kept> {
    all.sort_by_key(|one| std::cmp::Reverse(one.taken));
    let (mut days, mut generations, mut has_proven) = (BTreeSet::new(), BTreeSet::new(), false);
    let mut stays = |index: usize, one: &Kept| {
        let day = one.taken.strftime("%Y-%m-%d").to_string();
        let is_first_of_day = !days.contains(&day) && days.len() < keep.daily as usize && days.insert(day);
        let is_first_of_generation = one.is_proven && generations.insert(one.generation.clone());
        let is_first_proven = one.is_proven && !std::mem::replace(&mut has_proven, true);
        index < keep.last as usize || is_first_of_day || is_first_of_generation || is_first_proven
    };
    let marked: Vec<bool> = all.iter().enumerate().map(|(index, one)| stays(index, one)).collect();
    all.into_iter().zip(marked).filter(|(_, stays)| !stays).map(|(one, _)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(hours_ago: i64, is_proven: bool, generation: &str) -> Kept {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().expect("a time");
        let taken = now - jiff::SignedDuration::from_hours(hours_ago);
        let (base, generation) = (hours_ago.to_string(), Some(generation.to_owned()));
        Kept { base, taken, is_proven, generation }
    }

    fn removed(all: Vec<Kept>, last: u32, daily: u32) -> Vec<String> {
        to_remove(all, KeepSettings { last, daily }).into_iter().map(|one| one.base).collect()
    }

    #[test]
    fn newest_and_one_a_day_stay() {
        let hourly: Vec<Kept> = (0..72).map(|hours| backup(hours, true, "a")).collect();
        let gone = removed(hourly, 3, 2);
        // 12:00, 11:00 and 10:00 are the last three, and 23:00 of the day before is that day's.
        assert_eq!(gone.len(), 68);
        assert!(!["0", "1", "2", "13"].iter().any(|stays| gone.contains(&(*stays).to_owned())));
    }

    #[test]
    fn last_proven_backup_never_goes() {
        let all =
            vec![backup(0, false, "a"), backup(1, false, "a"), backup(90, true, "a"), backup(99, true, "a")];
        assert_eq!(removed(all, 1, 0), ["1", "99"]);
    }

    #[test]
    fn last_backup_of_a_share_generation_never_goes() {
        let all = vec![backup(0, true, "new"), backup(50, true, "old"), backup(60, true, "old")];
        assert_eq!(removed(all, 1, 0), ["60"]);
    }
}
