//! Which environment variables a plan may ask for at all.

/// How a variable of the environment stands to the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be allowed by its name or by a pattern.
    Ordinary,
    /// It belongs to the pipeline or to Vault's tools. Only its whole name allows it.
    Pipeline,
    /// It is, or leads to, a credential of AWS, Vault, the pipeline or this program. Nothing allows it.
    Credential,
}

/// Beginnings of names that are read by the AWS, Vault and pipeline tools themselves.
const RESERVED: [&str; 11] = [
    "AWS_",
    "BAO_",
    "GROUNDWORK_",
    "GITHUB_",
    "ACTIONS_",
    "RUNNER_",
    "GITLAB_",
    "SSH_",
    "CIRCLE_",
    "BUILDKITE_",
    "TF_TOKEN_",
];
/// The same for names that are not credentials unless they contain one of [`TELLING`].
const TOOLS: [&str; 4] = ["VAULT_", "CI_", "BITBUCKET_", "SYSTEM_"];
/// Parts of names that mark those as credentials.
const TELLING: [&str; 8] =
    ["TOKEN", "PASSWORD", "JWT", "SECRET_ID", "ROLE_ID", "REPOSITORY_URL", "UNSEAL", "CLIENT_KEY"];
/// Credentials under names of their own.
const NAMES: [&str; 3] = ["GH_TOKEN", "GH_ENTERPRISE_TOKEN", "DOCKER_AUTH_CONFIG"];

/// How a variable of this name stands. A pattern stands as the names that begin so.
pub fn standing(name: &str) -> Standing {
    let name = name.to_ascii_uppercase();
    let begins = |all: &[&str]| all.iter().any(|beginning| name.starts_with(beginning));
    let telling = TELLING.iter().any(|part| name.contains(part));
    if begins(&RESERVED) || NAMES.contains(&name.as_str()) || name.ends_with("_PROXY") {
        return Standing::Credential;
    }
    match begins(&TOOLS) {
        true if telling => Standing::Credential,
        true => Standing::Pipeline,
        false => Standing::Ordinary,
    }
}

/// Whether this names one variable; a pattern does not.
pub fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| "*=,".contains(c) || c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_known_by_their_names() {
        for name in [
            "VAULT_TOKEN",
            "VAULT_ID_TOKEN",
            "VAULT_SECRET_ID",
            "VAULT_CLIENT_KEY",
            "BAO_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_PROFILE",
            "GITHUB_TOKEN",
            "GH_TOKEN",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
            "CI_JOB_TOKEN",
            "CI_REGISTRY_PASSWORD",
            "CI_REPOSITORY_URL",
            "GITLAB_TOKEN",
            "GROUNDWORK_AGE_IDENTITY",
            "SSH_AUTH_SOCK",
            "HTTPS_PROXY",
            "all_proxy",
            "SYSTEM_ACCESSTOKEN",
        ] {
            assert_eq!(standing(name), Standing::Credential, "{name}");
        }
        for name in ["CI_COMMIT_SHA", "VAULT_AWS_SECRET_KEY"] {
            assert_eq!(standing(name), Standing::Pipeline, "{name}");
        }
        for name in ["APP_KEY", "DATABASE_TOKEN", "MY_AWS_KEY", "PROXY_PASSWORD", "CIVIC"] {
            assert_eq!(standing(name), Standing::Ordinary, "{name}");
        }
    }
}
