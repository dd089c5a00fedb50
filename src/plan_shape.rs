//! Distinguishes a plan from any other file. Other files may hold secrets, so none of their text is shown.

/// The keys of a plan, beside the sections of providers.
pub(crate) const PLAN_KEYS: [&str; 16] = [
    "version", "name", "vars", "stages", "groups", "include", "custody", "journal", "lock", "backup",
    "recovery", "notify", "lint", "steps", "moved", "removed",
];

/// Whether a file is a plan or an include of one, judged by its outermost keys: any other key may be the
/// section of a provider.
pub fn is_plan(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut keys: Vec<&str> = keys_of(text).collect();
    keys.sort_unstable();
    keys.dedup();
    let has_version = text.lines().any(|line| line.trim_end() == "version: 1");
    let (known, others): (Vec<&str>, Vec<&str>) = keys.into_iter().partition(|key| PLAN_KEYS.contains(key));
    let may_be_section = |key: &&str| key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let fit = others.iter().all(may_be_section) && others.len() <= known.len();
    has_version && known.len() + others.len() > 1 && fit
}

/// Whether a file is meant as a plan: most of its keys are a plan's or these sections. With `strictly`, all
/// of them.
pub(crate) fn is_meant_as_plan<'a>(
    keys: impl Iterator<Item = &'a str>,
    sections: &[&str],
    strictly: bool,
) -> bool {
    let is_known = |key: &&str| PLAN_KEYS.contains(key) || sections.contains(key);
    let (known, others): (Vec<&str>, Vec<&str>) = keys.partition(is_known);
    if strictly { !known.is_empty() && others.is_empty() } else { known.len() > others.len() }
}

/// The outermost keys of a text that may not be YAML: the words before a colon that begin a line.
pub(crate) fn keys_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        let (key, _) = line.split_once(':')?;
        let key = key.trim_end().trim_matches(['"', '\'']);
        let is_word = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        is_word.then_some(key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_is_distinguished_from_other_files() {
        assert!(is_plan(b"version: 1\nname: x\nsteps:\n  a: { kind: b.c }\n"));
        assert!(is_plan(b"# shared\nversion: 1\r\nvars: {}\n"));
        for other in [
            "",
            "version: 1\n",
            "version: '3'\nservices: {}\n",
            "apiVersion: v2\nname: chart\nversion: 1\n",
            "hvs.abc",
            "name: x\nsteps: {}\n",
        ] {
            assert!(!is_plan(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn broken_plan_is_still_recognised_as_plan() {
        for plan in ["version: 1\nname: x\nvrs: {}\n", "version: 1\nname: [\n", "steps: {\n"] {
            assert!(is_meant_as_plan(keys_of(plan), &[], false), "{plan}");
        }
        for other in [
            "hvs.token",
            "[default]\naws_secret_access_key = x",
            "{ \"auths\": { } }",
            "{\"version\": 4, \"outputs\": {",
            "{\n  \"version\": 4,\n  \"outputs\": {}",
            "version: 4\nserial: 1\noutputs: {}\n",
            "machine: x\npassword: y\n",
        ] {
            assert!(!is_meant_as_plan(keys_of(other), &["aws"], false), "{other}");
        }
        assert!(!is_meant_as_plan(["version", "password"].into_iter(), &["aws", "vault"], true));
    }
}
