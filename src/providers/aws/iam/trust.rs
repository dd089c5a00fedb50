//! The short form of a trust policy: who may assume a role.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::oidc_provider::IamOidcProvider;
use crate::error::FieldError;
use crate::providers::aws::is_account_id;
use crate::providers::aws::policy::Document;
use crate::resource::{Requirement, Resource as _};

/// A principal that may assume a role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Trust {
    /// A service of AWS, e.g. `ec2.amazonaws.com`.
    Service(String),
    /// The principals that another account, or this one, permits.
    Account(Account),
    /// One user or role.
    Principal(Principal),
    /// A service account of a Kubernetes cluster (IAM roles for service accounts).
    Irsa(Irsa),
    /// Workflows of a repository on GitHub.
    Github(Github),
    /// Any other holder of a token from an OpenID Connect provider.
    Oidc(Oidc),
}

/// An account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// The external id that the caller must send, which prevents a confused deputy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Whether the caller must have logged in with a second factor.
    #[serde(default)]
    pub mfa: bool,
}

/// A user or role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// The ARN of the user or role.
    pub arn: String,
    /// The external id that the caller must send, which prevents a confused deputy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Whether the caller must have logged in with a second factor.
    #[serde(default)]
    pub mfa: bool,
}

/// A service account.
/// <https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html>
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Irsa {
    /// ARN of the cluster's OpenID Connect provider.
    pub provider: String,
    /// The namespace.
    pub namespace: String,
    /// The service account; `*` matches any text.
    pub service_account: String,
    /// The audience that the token must have.
    #[serde(default = "sts")]
    pub audience: String,
}

/// Workflows. Declare exactly one of `branch`, `tag`, `environment`, `pull_requests` and `anything`.
/// <https://docs.github.com/en/actions/concepts/security/openid-connect>
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Github {
    /// ARN of the OpenID Connect provider for `https://token.actions.githubusercontent.com`.
    pub provider: String,
    /// `organisation/repository`.
    pub repository: String,
    /// Runs for this branch; `*` matches any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Runs for this tag; `*` matches any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Jobs in this environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Runs for pull requests.
    #[serde(default)]
    pub pull_requests: bool,
    /// Every run of the repository, including runs that outsiders start.
    #[serde(default)]
    pub anything: bool,
    /// The audience that the token must have.
    #[serde(default = "sts")]
    pub audience: String,
}

/// A token's holder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// ARN of the OpenID Connect provider.
    pub provider: String,
    /// The subject that the token must have; `*` matches any text.
    pub subject: String,
    /// The audience that the token must have.
    #[serde(default = "sts")]
    pub audience: String,
}

fn sts() -> String {
    "sts.amazonaws.com".to_owned()
}

/// The trust policy.
pub fn policy(trusted: &[Trust]) -> Document {
    Document::of(trusted.iter().map(Trust::statement).collect())
}

/// Finds mistakes.
pub fn check(trusted: &[Trust]) -> Vec<FieldError> {
    if trusted.is_empty() {
        return vec![FieldError::new("trust", "no principal may assume the role").help("name at least one")];
    }
    let each = trusted.iter().enumerate();
    each.filter_map(|(index, trust)| trust.check(&format!("trust[{index}]"))).collect()
}

impl Trust {
    fn statement(&self) -> Value {
        match self {
            Self::Service(name) => statement("sts:AssumeRole", json!({ "Service": name }), Map::new()),
            Self::Account(account) => assumed(&account.id, account.external_id.as_deref(), account.mfa),
            Self::Principal(one) => assumed(&one.arn, one.external_id.as_deref(), one.mfa),
            Self::Irsa(irsa) => {
                let subject = format!("system:serviceaccount:{}:{}", irsa.namespace, irsa.service_account);
                with_token(&irsa.provider, &subject, &irsa.audience)
            }
            Self::Github(github) => with_token(&github.provider, &github.subject(), &github.audience),
            Self::Oidc(oidc) => with_token(&oidc.provider, &oidc.subject, &oidc.audience),
        }
    }

    fn check(&self, path: &str) -> Option<FieldError> {
        match self {
            Self::Service(name) => (!name.contains(".amazonaws.")).then(|| {
                FieldError::new(format!("{path}.service"), "not the name of a service")
                    .help("e.g. `ec2.amazonaws.com`")
            }),
            Self::Account(account) => {
                let fits = is_account_id(&account.id);
                (!fits).then(|| {
                    FieldError::new(format!("{path}.account.id"), "an account has twelve digits")
                        .help("quote it, so that a leading zero is kept")
                })
            }
            Self::Principal(one) => (!one.arn.starts_with("arn:"))
                .then(|| FieldError::new(format!("{path}.principal.arn"), "not an ARN")),
            Self::Irsa(irsa) => check_provider(&format!("{path}.irsa"), &irsa.provider),
            Self::Oidc(oidc) => check_provider(&format!("{path}.oidc"), &oidc.provider),
            Self::Github(github) => check_provider(&format!("{path}.github"), &github.provider)
                .or_else(|| github.check(&format!("{path}.github"))),
        }
    }

    fn provider(&self) -> Option<&str> {
        match self {
            Self::Irsa(irsa) => Some(&irsa.provider),
            Self::Github(github) => Some(&github.provider),
            Self::Oidc(oidc) => Some(&oidc.provider),
            Self::Service(_) | Self::Account(_) | Self::Principal(_) => None,
        }
    }

    /// The provider that must exist first.
    pub fn requirement(&self) -> Option<Requirement> {
        let issuer = self.provider()?.split_once(":oidc-provider/")?.1;
        Some(Requirement::thing(IamOidcProvider::KIND, issuer))
    }
}

impl Github {
    fn which(&self) -> Vec<String> {
        let given = [
            self.branch.as_ref().map(|branch| format!("ref:refs/heads/{branch}")),
            self.tag.as_ref().map(|tag| format!("ref:refs/tags/{tag}")),
            self.environment.as_ref().map(|environment| format!("environment:{environment}")),
            self.pull_requests.then(|| "pull_request".to_owned()),
            self.anything.then(|| "*".to_owned()),
        ];
        given.into_iter().flatten().collect()
    }

    fn subject(&self) -> String {
        format!("repo:{}:{}", self.repository, self.which().join(""))
    }

    fn check(&self, path: &str) -> Option<FieldError> {
        let parts: Vec<&str> = self.repository.split('/').collect();
        let fits = matches!(parts[..], [owner, name] if !owner.is_empty() && !name.is_empty() && !owner.contains('*'));
        if !fits {
            let mistake = FieldError::new(format!("{path}.repository"), "not a repository");
            return Some(mistake.help("write `organisation/repository`"));
        }
        (self.which().len() != 1).then(|| {
            FieldError::new(path, "declare which runs may assume the role, exactly once").help(
                "write exactly one of `branch`, `tag`, `environment`, `pull_requests: true` and `anything: \
                 true`",
            )
        })
    }
}

fn check_provider(path: &str, provider: &str) -> Option<FieldError> {
    (!provider.contains(":oidc-provider/")).then(|| {
        FieldError::new(format!("{path}.provider"), "not the ARN of an OpenID Connect provider")
            .help("refer to a step of kind `aws.iam_oidc_provider`: `{{ step_id.arn }}`")
    })
}

/// A statement for callers with AWS credentials.
fn assumed(principal: &str, external_id: Option<&str>, mfa: bool) -> Value {
    let mut conditions = Map::new();
    if let Some(id) = external_id {
        conditions.insert("StringEquals".to_owned(), json!({ "sts:ExternalId": id }));
    }
    if mfa {
        conditions.insert("Bool".to_owned(), json!({ "aws:MultiFactorAuthPresent": "true" }));
    }
    statement("sts:AssumeRole", json!({ "AWS": principal }), conditions)
}

/// A statement for callers with a token. Without a condition on its subject, every token of the provider
/// would be accepted.
fn with_token(provider: &str, subject: &str, audience: &str) -> Value {
    let issuer = provider.split_once(":oidc-provider/").map_or(provider, |(_, issuer)| issuer);
    let (subject_key, audience_key) = (format!("{issuer}:sub"), format!("{issuer}:aud"));
    let mut conditions = Map::new();
    if subject.contains(['*', '?']) {
        conditions.insert("StringEquals".to_owned(), json!({ (audience_key): audience }));
        conditions.insert("StringLike".to_owned(), json!({ (subject_key): subject }));
    } else {
        conditions
            .insert("StringEquals".to_owned(), json!({ (audience_key): audience, (subject_key): subject }));
    }
    statement("sts:AssumeRoleWithWebIdentity", json!({ "Federated": provider }), conditions)
}

fn statement(action: &str, principal: Value, conditions: Map<String, Value>) -> Value {
    let mut statement = json!({ "Effect": "Allow", "Principal": principal, "Action": action });
    if !conditions.is_empty() {
        statement["Condition"] = Value::Object(conditions);
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::aws::policy::PolicyType;

    const PROVIDER: &str = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com";

    fn trust(value: Value) -> Vec<Trust> {
        serde_json::from_value(value).expect("valid")
    }

    #[test]
    fn each_trust_form_makes_a_valid_statement() {
        let all = trust(json!([
            { "service": "ec2.amazonaws.com" },
            { "account": { "id": "123456789012", "external_id": "x", "mfa": true } },
            { "principal": { "arn": "arn:aws:iam::123456789012:role/ci" } },
            { "irsa": { "provider": PROVIDER, "namespace": "n", "service_account": "s" } },
            { "github": { "provider": PROVIDER, "repository": "o/r", "branch": "main" } },
            { "oidc": { "provider": PROVIDER, "subject": "s-*", "audience": "a" } },
        ]));
        assert!(check(&all).is_empty());
        let document = policy(&all);
        assert!(document.check("trust", PolicyType::Trust).is_empty());
        let conditions: Vec<Value> =
            document.statements().into_iter().map(|statement| statement["Condition"].clone()).collect();
        let issuer = "token.actions.githubusercontent.com";
        assert_eq!(
            conditions,
            [
                Value::Null,
                json!({ "StringEquals": { "sts:ExternalId": "x" }, "Bool": { "aws:MultiFactorAuthPresent": "true" } }),
                Value::Null,
                json!({ "StringEquals": { (format!("{issuer}:aud")): "sts.amazonaws.com",
                    (format!("{issuer}:sub")): "system:serviceaccount:n:s" } }),
                json!({ "StringEquals": { (format!("{issuer}:aud")): "sts.amazonaws.com",
                    (format!("{issuer}:sub")): "repo:o/r:ref:refs/heads/main" } }),
                json!({ "StringEquals": { (format!("{issuer}:aud")): "a" },
                    "StringLike": { (format!("{issuer}:sub")): "s-*" } }),
            ]
        );
    }

    #[test]
    fn each_workflow_filter_makes_its_own_subject() {
        let subject = |which: Value| {
            let mut fields = json!({ "provider": PROVIDER, "repository": "o/r" });
            fields.as_object_mut().expect("a map").extend(which.as_object().expect("a map").clone());
            let github: Github = serde_json::from_value(fields).expect("valid");
            github.check("p").map_or_else(|| github.subject(), |mistake| mistake.path)
        };
        assert_eq!(subject(json!({ "tag": "v*" })), "repo:o/r:ref:refs/tags/v*");
        assert_eq!(subject(json!({ "environment": "production" })), "repo:o/r:environment:production");
        assert_eq!(subject(json!({ "pull_requests": true })), "repo:o/r:pull_request");
        assert_eq!(subject(json!({ "anything": true })), "repo:o/r:*");
        assert_eq!(subject(json!({})), "p");
        assert_eq!(subject(json!({ "branch": "a", "tag": "b" })), "p");
        assert_eq!(subject(json!({ "repository": "*/r", "branch": "a" })), "p.repository");
    }

    #[test]
    fn mistakes_name_their_field() {
        let wrong = trust(json!([
            { "service": "ec2" },
            { "account": { "id": "12" } },
            { "principal": { "arn": "ci" } },
            { "irsa": { "provider": "x", "namespace": "n", "service_account": "s" } },
        ]));
        let paths: Vec<String> = check(&wrong).into_iter().map(|mistake| mistake.path).collect();
        assert_eq!(
            paths,
            ["trust[0].service", "trust[1].account.id", "trust[2].principal.arn", "trust[3].irsa.provider"]
        );
        assert_eq!(check(&[])[0].path, "trust");
    }

    #[test]
    fn github_trust_requires_its_oidc_provider() {
        let github =
            trust(json!([{ "github": { "provider": PROVIDER, "repository": "o/r", "branch": "b" } }]));
        let wanted = Requirement::thing("aws.iam_oidc_provider", "token.actions.githubusercontent.com");
        assert_eq!(github[0].requirement(), Some(wanted));
    }
}
