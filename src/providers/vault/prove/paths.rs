//! The paths at which a policy is tried: what it allows, and what lies closely beside that.

use std::collections::BTreeSet;

use serde_json::Value;

use super::beside;
use crate::proof::Prover;

/// Stands for what a wildcard leaves open.
const ANYTHING: &str = "groundwork-verify";

/// At how many secrets of the plan each policy is tried, besides its own paths.
const SAMPLE: usize = 40;

/// Below a KV engine of version 2, the parts of a secret: the values, what is known of them, and what ends them.
const PARTS: [&str; 6] = ["data", "metadata", "delete", "undelete", "destroy", "subkeys"];

/// The secrets and engines that the plan has in one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// The paths of KV engines of version 2.
    pub engines: Vec<String>,
    /// Secrets, by engine and path.
    pub secrets: Vec<(String, String)>,
}

impl Surroundings {
    /// The secrets and engines beside the prover's own step.
    pub(super) fn of<C>(prover: &Prover<'_, C>) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().trim_matches('/').to_owned();
        let mounts = beside(prover, "vault.mount").map(|step| &step.fields);
        let mounts = mounts.filter(|fields| fields["type"] == "kv" && fields["version"] == 2);
        let secrets: Vec<(String, String)> = beside(prover, "vault.kv_secret")
            .map(|step| (text(&step.fields["mount"]), text(&step.fields["path"])))
            .collect();
        let engines = mounts.map(|fields| text(&fields["path"]));
        let engines = engines.chain(secrets.iter().map(|(mount, _)| mount.clone()));
        Self { engines: engines.collect::<BTreeSet<_>>().into_iter().collect(), secrets }
    }

    /// The paths at which the values of the secrets are read.
    pub(super) fn values(&self) -> impl Iterator<Item = String> {
        self.secrets.iter().map(|(mount, path)| format!("{mount}/data/{path}"))
    }

    /// The folders that the secrets are in, as a LIST names them.
    pub(super) fn folders(&self) -> BTreeSet<String> {
        let folder = |(mount, path): &(String, String)| match path.rsplit_once('/') {
            Some((folder, _)) => format!("{mount}/metadata/{folder}"),
            None => format!("{mount}/metadata"),
        };
        self.secrets.iter().map(folder).collect()
    }

    /// Some of these paths, from everywhere in the plan.
    fn sample(&self) -> impl Iterator<Item = String> {
        self.values().step_by(self.secrets.len().div_ceil(SAMPLE).max(1))
    }

    /// The other parts of what is at a path of a KV engine.
    fn parts(&self, path: &str) -> Vec<String> {
        let below = self.engines.iter().find_map(|engine| {
            let (part, rest) = path.strip_prefix(engine.as_str())?.strip_prefix('/')?.split_once('/')?;
            PARTS.contains(&part).then_some((engine, rest))
        });
        let Some((engine, rest)) = below else { return Vec::new() };
        PARTS.iter().map(|part| format!("{engine}/{part}/{rest}")).collect()
    }
}

/// The paths at which rules with these patterns are tried, sorted. Patterns that depend on who logs in are left out.
pub(super) fn trials<'a>(patterns: impl IntoIterator<Item = &'a str>, around: &Surroundings) -> Vec<String> {
    let mut all: BTreeSet<String> = BTreeSet::new();
    for pattern in patterns.into_iter().filter(|pattern| !is_templated(pattern)) {
        let path = filled(pattern);
        for near in near(&path) {
            all.extend(around.parts(&near));
            all.insert(near);
        }
        all.extend(around.parts(&path));
        all.insert(path);
    }
    for value in around.sample() {
        all.extend(around.parts(&value));
        all.insert(value);
    }
    all.retain(|path| is_addressable(path));
    all.into_iter().collect()
}

/// Whether the server fills in a part of a pattern for each login.
pub(super) fn is_templated(pattern: &str) -> bool {
    pattern.contains("{{")
}

/// A path for which the pattern stands.
fn filled(pattern: &str) -> String {
    let (start, tail) = pattern.strip_suffix('*').map_or((pattern, ""), |start| (start, ANYTHING));
    let parts: Vec<&str> = start.split('/').map(|part| if part == "+" { ANYTHING } else { part }).collect();
    let filled = format!("{}{tail}", parts.join("/"));
    filled.trim_end_matches('/').to_owned()
}

/// Paths that a rule for `path` must not reach unless it says so.
pub(super) fn near(path: &str) -> Vec<String> {
    let (parent, last) = path.rsplit_once('/').unwrap_or(("", path));
    let beside = |name: &str| if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
    let mut all =
        vec![beside(&format!("{last}-beside")), format!("{path}/below"), beside(&last.to_uppercase())];
    if let Some((end, _)) = last.char_indices().next_back().filter(|(end, _)| *end > 0) {
        all.push(beside(&last[..end]));
    }
    if !parent.is_empty() {
        all.push(parent.to_owned());
    }
    if let Some((mount, rest)) = path.split_once('/') {
        all.push(format!("{mount}-other/{rest}"));
    }
    all.retain(|near| near != path);
    all
}

/// Whether a request can be sent to a path.
fn is_addressable(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings {
        Surroundings {
            engines: vec!["secret".to_owned()],
            secrets: vec![("secret".to_owned(), "app/db".to_owned())],
        }
    }

    #[test]
    fn rule_is_tried_where_it_allows_and_closely_beside() {
        let found = trials(["secret/data/app/*"], &around());
        for path in [
            "secret/data/app/groundwork-verify",
            "secret/data/app/groundwork-verify-beside",
            "secret/data/app/groundwork-verif",
            "secret/data/app",
            "secret-other/data/app/groundwork-verify",
            "secret/metadata/app/groundwork-verify",
            "secret/destroy/app/groundwork-verify",
            "secret/delete/app",
            "secret/data/app/db",
            "secret/undelete/app/db",
        ] {
            assert!(found.contains(&path.to_owned()), "{path} is not among {found:#?}");
        }
    }

    #[test]
    fn wildcards_are_filled_and_templates_left_out() {
        assert_eq!(filled("a/+/b/*"), "a/groundwork-verify/b/groundwork-verify");
        assert_eq!(filled("a/b"), "a/b");
        assert_eq!(filled("a/b*"), "a/bgroundwork-verify");
        assert_eq!(filled("*"), "groundwork-verify");
        assert_eq!(filled("a/"), "a");
        let templated = trials(["x/{{identity.entity.id}}/*"], &Surroundings::default());
        assert!(templated.is_empty(), "{templated:?}");
    }

    #[test]
    fn folders_are_those_of_the_secrets() {
        let secrets = [("kv", "a/b/c"), ("kv", "a/b/d"), ("kv", "top")];
        let secrets = secrets.map(|(mount, path)| (mount.to_owned(), path.to_owned())).into();
        let around = Surroundings { engines: Vec::new(), secrets };
        let folders: Vec<String> = around.folders().into_iter().collect();
        assert_eq!(folders, ["kv/metadata", "kv/metadata/a/b"]);
    }

    #[test]
    fn large_plan_is_sampled() {
        let secrets = (0..1_000).map(|number| ("kv".to_owned(), format!("s{number}"))).collect();
        let found = trials([], &Surroundings { engines: vec!["kv".to_owned()], secrets });
        assert_eq!(found.len(), SAMPLE * PARTS.len());
        assert!(found.contains(&"kv/data/s0".to_owned()) && found.contains(&"kv/destroy/s975".to_owned()));
    }

    #[test]
    fn near_paths_differ_from_the_path() {
        for path in ["a", "a/b", "A/B", "sys/mounts/x"] {
            let near = near(path);
            assert!(!near.contains(&path.to_owned()), "{path}: {near:?}");
            assert!(
                near.contains(&format!("{path}/below")) && near.contains(&format!("{path}-beside")),
                "{near:?}"
            );
        }
    }
}
