//! Permissions of AWS identities, and who may assume them.

use crate::lint::Rule;
use crate::lint::facts::Fact;
use crate::lint::findings::Findings;
use crate::lint::policy::{Statement, granted_by, statements};
use crate::plan::Severity;
use crate::providers::aws::Aws;

pub const RULES: &[&Rule] =
    &[&WILDCARD_ADMIN, &MANAGES_ACCESS, &ALL_BUT, &ACCESS_KEY, &FOREIGN, &UNBOUND_OIDC];

const WILDCARD_ADMIN: Rule = Rule {
    id: "wildcard-admin",
    severity: Severity::Error,
    title: "A policy allows everything",
    explanation: "`Action: \"*\"` on `Resource: \"*\"`, AWS's AdministratorAccess, or `sudo` on Vault's path \
                  `*` gives the power of the root user. Anyone who obtains such a credential controls the \
                  whole environment, and the policy does not document which permissions it really needs.",
    help: "list only the actions and resources that are needed",
    bad: r#"vault: { address: "https://vault.example.net:8200" }
steps:
  deployer:
    kind: aws.iam_role
    name: deployer
    managed_policies: [ "arn:aws:iam::aws:policy/AdministratorAccess" ]    # here
    assume_role_policy:
      Version: "2012-10-17"
      Statement: [ { Effect: Allow, Principal: { Service: ec2.amazonaws.com }, Action: "sts:AssumeRole" } ]
  everything:
    kind: aws.iam_policy
    name: everything
    document:
      Version: "2012-10-17"
      Statement:
        - { Effect: Allow, Action: "*", Resource: "*" }                     # here
  admin:
    kind: vault.policy
    name: admin
    rules: |
      path "*" {                                                            # here
        capabilities = ["create", "read", "update", "delete", "list", "sudo"]
      }
"#,
    good: r#"vault: { address: "https://vault.example.net:8200" }
steps:
  state:
    kind: aws.iam_policy
    name: state
    document:
      Version: "2012-10-17"
      Statement:
        - { Effect: Allow, Action: [ "s3:GetObject", "s3:PutObject" ], Resource: "arn:aws:s3:::state/*" }
  policies:
    kind: vault.policy
    name: policies
    rules:
      "sys/policies/*": [ create, read, update, delete, list, sudo ]
"#,
    check: |facts, findings| {
        for fact in &facts.steps {
            attached(fact, findings, &["AdministratorAccess"], "may do everything in the account");
            for statement in statements(fact).iter().filter(|statement| is_grant(statement)) {
                let all = |name: &str| statement.texts(name).iter().any(|text| ["*", "*:*"].contains(text));
                if all("Action") && all("Resource") {
                    findings.step(fact, &statement.element("Action"), "may do everything on every resource");
                }
            }
        }
        for fact in facts.of_kind("vault.policy") {
            for (path, capabilities) in granted_by(fact) {
                let is_all = ["*", "+/*"].contains(&path.as_str());
                if is_all && capabilities.iter().any(|name| name == "sudo") {
                    findings.vault_path(fact, &path, "may do everything in Vault, as the root token may");
                }
            }
        }
    },
};

const MANAGES_ACCESS: Rule = Rule {
    id: "manages-access",
    severity: Severity::Warning,
    title: "An identity may give itself every permission",
    explanation: "An identity that may change policies and roles without limit can give itself every other \
                  permission. AWS's IAMFullAccess, or `iam:*` on everything, is therefore as powerful as \
                  AdministratorAccess.",
    help: "list the actions, limit them to a path such as role/app/*, or set a `permissions_boundary`",
    bad: r#"steps:
  admin:
    kind: aws.iam_user
    name: admin
    managed_policies: [ "arn:aws:iam::aws:policy/IAMFullAccess" ]          # here
    inline_policies:
      iam:
        Version: "2012-10-17"
        Statement:
          - { Effect: Allow, Action: [ "iam:*" ], Resource: "*" }           # here
"#,
    good: r#"steps:
  admin:
    kind: aws.iam_user
    name: admin
    permissions_boundary: arn:aws:iam::111122223333:policy/apps
    managed_policies: [ "arn:aws:iam::aws:policy/IAMFullAccess" ]
  reader:
    kind: aws.iam_user
    name: reader
    managed_policies: [ "arn:aws:iam::aws:policy/IAMReadOnlyAccess" ]
"#,
    check: |facts, findings| {
        let unbounded = |fact: &&Fact<'_>| fact.fields["permissions_boundary"].is_null();
        for fact in facts.steps.iter().filter(unbounded) {
            attached(fact, findings, &["IAMFullAccess"], "may give itself every permission");
            for statement in statements(fact).iter().filter(|statement| is_grant(statement)) {
                let iam = statement.texts("Action").iter().any(|action| action.eq_ignore_ascii_case("iam:*"));
                if iam && statement.texts("Resource").contains(&"*") {
                    findings.step(fact, &statement.element("Action"), "may give itself every permission");
                }
            }
        }
    },
};

const ALL_BUT: Rule = Rule {
    id: "allow-all-but",
    severity: Severity::Warning,
    title: "A policy allows everything except a few actions",
    explanation: "`Effect: Allow` with `NotAction` allows every action that it does not name, including \
                  those of services that AWS adds later.",
    help: "list the allowed actions in `Action`; to forbid some of them, add a statement with `Effect: Deny`",
    bad: r#"steps:
  ops:
    kind: aws.iam_policy
    name: ops
    document:
      Version: "2012-10-17"
      Statement:
        - { Effect: Allow, NotAction: "iam:*", Resource: "*" }              # here
"#,
    good: r#"steps:
  ops:
    kind: aws.iam_policy
    name: ops
    document:
      Version: "2012-10-17"
      Statement:
        - { Effect: Allow, Action: "ec2:Describe*", Resource: "*" }
        - { Effect: Deny, NotAction: "ec2:*", Resource: "*" }
"#,
    check: |facts, findings| {
        for fact in &facts.steps {
            for statement in statements(fact) {
                if statement.allows() && statement.has("NotAction") {
                    findings.step(
                        fact,
                        &statement.element("NotAction"),
                        "allows everything except these actions",
                    );
                }
            }
        }
    },
};

const ACCESS_KEY: Rule = Rule {
    id: "long-lived-access-key",
    severity: Severity::Warning,
    title: "An access key is used where a role would do",
    explanation: "An access key works from anywhere until it is deactivated or deleted. Programs in AWS get \
                  short-lived credentials from a role, CI jobs and Kubernetes through OIDC, and people \
                  through IAM Identity Center.",
    help: "use an `aws.iam_role`; if only a key will do, silence this rule and give the reason",
    bad: r"steps:
  user:
    kind: aws.iam_user
    name: app
  key:                                   # here
    kind: aws.iam_access_key
    user: app
custody: { recipients: [ { kms: alias/a }, { kms: alias/b } ], stores: [ { file: a }, { file: b } ] }
",
    good: r#"steps:
  app:
    kind: aws.iam_role
    name: app
    assume_role_policy:
      Version: "2012-10-17"
      Statement: [ { Effect: Allow, Principal: { Service: ecs-tasks.amazonaws.com }, Action: "sts:AssumeRole" } ]
"#,
    check: |facts, findings| {
        for fact in facts.of_kind("aws.iam_access_key") {
            findings.step(fact, "", "an access key works from anywhere until it is deactivated or deleted");
        }
    },
};

const FOREIGN: Rule = Rule {
    id: "foreign-account",
    severity: Severity::Warning,
    title: "Another account may assume a role without a condition",
    explanation: "A service of another account that assumes roles for many customers can be tricked into \
                  assuming yours for another customer, unless the trust policy requires an external id that \
                  only you and that service know (the confused deputy).",
    help: "add `Condition: { StringEquals: { \"sts:ExternalId\": … } }`, or aws:PrincipalOrgID within an \
           organisation",
    bad: r#"aws: { account_id: "111122223333" }
steps:
  monitoring:
    kind: aws.iam_role
    name: monitoring
    assume_role_policy:
      Version: "2012-10-17"
      Statement:
        - Effect: Allow
          Principal: { AWS: "arn:aws:iam::444455556666:root" }              # here
          Action: sts:AssumeRole
"#,
    good: r#"aws: { account_id: "111122223333" }
steps:
  monitoring:
    kind: aws.iam_role
    name: monitoring
    assume_role_policy:
      Version: "2012-10-17"
      Statement:
        - Effect: Allow
          Principal: { AWS: "arn:aws:iam::444455556666:root" }
          Action: sts:AssumeRole
          Condition: { StringEquals: { "sts:ExternalId": "7c1f" } }
        - Effect: Allow
          Principal: { AWS: "arn:aws:iam::111122223333:root" }
          Action: sts:AssumeRole
"#,
    check: |facts, findings| {
        let Some(own) = facts.resolved.provider::<Aws>().and_then(|aws| aws.settings.account_id.as_deref())
        else {
            return;
        };
        for fact in facts.of_kind("aws.iam_role") {
            for statement in statements(fact).iter().filter(|one| one.allows() && !one.is_narrowed()) {
                let is_foreign = |arn: &&str| account(arn).is_some_and(|account| account != own);
                if let Some(arn) = statement.principals("AWS").into_iter().find(is_foreign) {
                    let message = format!("`{arn}` may assume the role without a condition");
                    findings.step(fact, &statement.element("Principal"), message);
                }
            }
        }
    },
};

const UNBOUND_OIDC: Rule = Rule {
    id: "unbound-oidc",
    severity: Severity::Error,
    title: "Every token of an OIDC issuer may assume a role",
    explanation: "An issuer such as GitHub's or GitLab's signs tokens for every project that it hosts. \
                  Without a condition on the token's subject, a job in any of those projects may assume the \
                  role; the audience is the same for all of them.",
    help: "add a condition on `ISSUER:sub`, such as `repo:example/app:ref:refs/heads/main`",
    bad: r#"steps:
  deploy:
    kind: aws.iam_role
    name: deploy
    assume_role_policy:
      Version: "2012-10-17"
      Statement:
        - Effect: Allow
          Principal:                                                        # here
            Federated: arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com
          Action: sts:AssumeRoleWithWebIdentity
          Condition: { StringEquals: { "token.actions.githubusercontent.com:aud": sts.amazonaws.com } }
"#,
    good: r#"steps:
  deploy:
    kind: aws.iam_role
    name: deploy
    assume_role_policy:
      Version: "2012-10-17"
      Statement:
        - Effect: Allow
          Principal:
            Federated: arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com
          Action: sts:AssumeRoleWithWebIdentity
          Condition:
            StringEquals:
              "token.actions.githubusercontent.com:aud": sts.amazonaws.com
              "token.actions.githubusercontent.com:sub": repo:example/app:ref:refs/heads/main
"#,
    check: |facts, findings| {
        for fact in facts.of_kind("aws.iam_role") {
            for statement in statements(fact).iter().filter(|one| one.allows()) {
                let oidc =
                    statement.principals("Federated").iter().any(|arn| arn.contains(":oidc-provider/"));
                let binds = |(key, values): &(String, Vec<&str>)| {
                    key.ends_with(":sub") && !values.iter().any(|value| ["*", "repo:*"].contains(value))
                };
                if oidc && !statement.conditions().iter().any(binds) {
                    let message = "every project of this issuer may assume the role";
                    findings.step(fact, &statement.element("Principal"), message);
                }
            }
        }
    },
};

/// Whether a statement gives permissions to the identity that the policy is attached to. Statements for
/// keys and buckets name a principal and apply only to that resource.
fn is_grant(statement: &Statement<'_>) -> bool {
    statement.allows() && !statement.has("Principal") && !statement.has("NotPrincipal")
}

/// Reports AWS's managed policies of these names where a step attaches them.
fn attached(fact: &Fact<'_>, findings: &mut Findings<'_>, names: &[&str], what: &str) {
    for arn in fact.list("managed_policies") {
        let is_named = |name: &&str| arn.ends_with(&format!(":iam::aws:policy/{name}"));
        if let Some(name) = names.iter().find(|name| is_named(name)) {
            findings.within(fact, "managed_policies", arn, format!("with {name}, `{}` {what}", fact.id()));
        }
    }
}

/// The account of an ARN, or the text itself if it is an account id.
fn account(principal: &str) -> Option<&str> {
    let account = principal.split(':').nth(4).unwrap_or(principal);
    (account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())).then_some(account)
}
