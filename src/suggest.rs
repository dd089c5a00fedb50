//! "Did you mean …?"

/// How many candidates are looked at: a plan of many mistakes and many names must not take minutes.
const MOST: usize = 2_000;

/// The candidate that `word` is most likely a misspelling of, if any is close enough.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .take(MOST)
        .map(|candidate| (likeness(word, candidate), candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// From 0 to 1. Short names differ much by a single slip of the fingers, which counts as close.
fn likeness(word: &str, candidate: &str) -> f64 {
    let one_slip = candidate.len() > 2 && strsim::osa_distance(word, candidate) == 1;
    strsim::jaro_winkler(word, candidate).max(if one_slip { 0.9 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelling_is_corrected_but_unrelated_word_is_not() {
        let known = ["versioning", "encryption", "tags"];
        assert_eq!(closest("versionning", known), Some("versioning"));
        assert_eq!(closest("quorum", known), None);
        assert_eq!(closest("kye", ["key", "bucket"]), Some("key"));
    }
}
