//! Places that a plan must not write, because other programs and people run or obey the files there
//! without having seen the plan.

use super::{has_hidden_part, leads_out};

const GIT: &str = "git runs hooks and commands that are written there";
const PIPELINE: &str = "a pipeline runs what is written there, with its own credentials";
const OURS: &str = "it holds Groundwork's journal, lock and custody";
const BUILD: &str = "a build tool runs what is written there";

/// Names of files and folders, in lower case, with the reason.
const RESERVED: [(&str, &str); 50] = [
    (".git", GIT),
    ("git~1", GIT),
    (".gitmodules", GIT),
    (".gitattributes", GIT),
    (".gitconfig", GIT),
    (".githooks", GIT),
    (".husky", GIT),
    (".groundwork", OURS),
    (".github", PIPELINE),
    (".gitlab", PIPELINE),
    (".gitlab-ci.yml", PIPELINE),
    (".circleci", PIPELINE),
    (".gitea", PIPELINE),
    (".forgejo", PIPELINE),
    (".woodpecker", PIPELINE),
    (".travis.yml", PIPELINE),
    (".drone.yml", PIPELINE),
    (".buildkite", PIPELINE),
    ("jenkinsfile", PIPELINE),
    ("azure-pipelines.yml", PIPELINE),
    ("azure-pipelines.yaml", PIPELINE),
    ("bitbucket-pipelines.yml", PIPELINE),
    ("appveyor.yml", PIPELINE),
    ("buildspec.yml", PIPELINE),
    ("buildspec.yaml", PIPELINE),
    ("cloudbuild.yaml", PIPELINE),
    ("cloudbuild.json", PIPELINE),
    ("atlantis.yaml", PIPELINE),
    ("makefile", BUILD),
    ("gnumakefile", BUILD),
    ("justfile", BUILD),
    ("rakefile", BUILD),
    ("gemfile", BUILD),
    ("taskfile.yml", BUILD),
    ("taskfile.yaml", BUILD),
    ("vagrantfile", BUILD),
    ("cmakelists.txt", BUILD),
    ("package.json", BUILD),
    ("setup.py", BUILD),
    ("pyproject.toml", BUILD),
    ("conftest.py", BUILD),
    ("sitecustomize.py", BUILD),
    ("tox.ini", BUILD),
    ("noxfile.py", BUILD),
    ("build.rs", BUILD),
    ("cargo.toml", BUILD),
    ("build.gradle", BUILD),
    ("gradlew", BUILD),
    ("pom.xml", BUILD),
    ("composer.json", BUILD),
];

/// What is wrong with the path of a file that a plan wants to write; `None` when nothing is. Letter
/// case does not count, because some file systems ignore it.
pub fn mistake_in_writing(path: &str) -> Option<String> {
    if let Some(why) = leads_out(path) {
        return Some(why.to_owned());
    }
    let reserved = path.split('/').find_map(|part| {
        let part = part.to_ascii_lowercase();
        RESERVED.iter().find(|(name, _)| *name == part)
    });
    match reserved {
        Some((name, why)) => Some(format!("a plan does not write `{name}`: {why}")),
        None if has_hidden_part(path) => Some(super::HIDDEN.to_owned()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_refused_in_any_case() {
        for path in [
            ".git/hooks/pre-commit",
            "a/.GIT/config",
            ".GitHub/workflows/x.yml",
            ".groundwork/journal/other.jsonl",
            "./.gitlab-ci.yml",
            "sub/JENKINSFILE",
            "Makefile",
            ".env",
            "a/.ssh/authorized_keys",
        ] {
            assert!(mistake_in_writing(path).is_some(), "{path}");
        }
        for path in ["rendered/app.env", "./x.json", "makefile.txt", "a.git/x", "github/x"] {
            assert_eq!(mistake_in_writing(path), None, "{path}");
        }
    }

    #[test]
    fn reserved_names_are_lowercase_and_unique() {
        for (index, (name, _)) in RESERVED.iter().enumerate() {
            assert_eq!(*name, name.to_ascii_lowercase());
            assert!(!RESERVED[..index].iter().any(|(other, _)| other == name), "{name}");
        }
    }
}
