//! The short form of a policy document: a list of rules.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::template::unknown::is_unknown;

/// One statement in short form.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The statement's id.
    pub sid: Option<String>,
    /// The allowed action or actions; either this or `deny`.
    pub allow: Option<OneOrMany>,
    /// The denied action or actions.
    pub deny: Option<OneOrMany>,
    /// The resource or resources.
    pub on: Option<OneOrMany>,
    /// The principals, in resource policies: accounts, ARNs, services such as `logs.amazonaws.com`,
    /// providers of identities, or `*`.
    pub to: Option<OneOrMany>,
    /// Conditions: operator → key → value or values.
    pub when: Option<Map<String, Value>>,
}

/// A text or a list of texts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "takes a text or a list of texts")]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Many.
    Many(Vec<String>),
}

impl OneOrMany {
    fn value(&self) -> Value {
        match self {
            Self::One(text) => json!(text),
            Self::Many(texts) => json!(texts),
        }
    }

    fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// The statements that the rules describe.
///
/// # Errors
/// The mistake, with the rule's number.
pub fn statements(rules: Vec<Value>) -> Result<Vec<Value>, String> {
    let numbered = rules.into_iter().enumerate();
    numbered
        .map(|(index, rule)| match rule {
            // A whole rule may come from another step.
            Value::String(text) if is_unknown(&text) => Ok(Value::String(text)),
            rule => statement(rule).map_err(|why| format!("rule {}: {why}", index + 1)),
        })
        .collect()
}

fn statement(rule: Value) -> Result<Value, String> {
    let rule: Rule = serde_json::from_value(rule).map_err(|error| error.to_string())?;
    let (effect, actions) = match (&rule.allow, &rule.deny) {
        (Some(actions), None) => ("Allow", actions),
        (None, Some(actions)) => ("Deny", actions),
        _ => return Err("must have exactly one of `allow` and `deny`".to_owned()),
    };
    let mut statement = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            statement.insert(key.to_owned(), value);
        }
    };
    set("Sid", rule.sid.as_ref().map(|sid| json!(sid)));
    set("Effect", Some(json!(effect)));
    set("Principal", rule.to.as_ref().map(principal));
    set("Action", Some(actions.value()));
    set("Resource", rule.on.as_ref().map(OneOrMany::value));
    set("Condition", rule.when.map(Value::Object));
    Ok(Value::Object(statement))
}

/// The names of sign-ins outside of AWS.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-federated-web-identity>
const SIGN_INS: [&str; 4] =
    ["cognito-identity.amazonaws.com", "accounts.google.com", "graph.facebook.com", "www.amazon.com"];

/// Whether a principal is a provider of identities, which is neither an account nor a service.
pub(super) fn is_federated(name: &str) -> bool {
    SIGN_INS.contains(&name) || name.contains(":oidc-provider/") || name.contains(":saml-provider/")
}

/// Names of services are service principals, providers of identities are federated ones; `*` is everyone; all
/// others are AWS principals.
fn principal(to: &OneOrMany) -> Value {
    if let [everybody] = to.texts()
        && everybody == "*"
    {
        return json!("*");
    }
    let mut of_each = Map::new();
    for name in to.texts() {
        let is_service = name.ends_with(".amazonaws.com") || name.ends_with(".amazonaws.com.cn");
        let family = match () {
            () if is_federated(name) => "Federated",
            () if is_service => "Service",
            () => "AWS",
        };
        if let Value::Array(names) = of_each.entry(family).or_insert_with(|| json!([])) {
            names.push(json!(name));
        }
    }
    Value::Object(of_each)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_become_statements() {
        let rules = vec![
            json!({ "allow": "s3:GetObject", "on": ["a", "b"], "when": { "Bool": { "k": true } } }),
            json!({ "sid": "S", "deny": ["s3:*"], "to": ["logs.us-east-1.amazonaws.com", "123456789012"], "on": "*" }),
            json!({ "deny": "s3:*", "to": "*", "on": "*" }),
            json!({ "allow": "sts:AssumeRoleWithWebIdentity", "on": "*",
                "to": ["arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
                       "cognito-identity.amazonaws.com"] }),
        ];
        assert_eq!(
            statements(rules).expect("rules"),
            [
                json!({ "Effect": "Allow", "Action": "s3:GetObject", "Resource": ["a", "b"],
                    "Condition": { "Bool": { "k": true } } }),
                json!({ "Sid": "S", "Effect": "Deny", "Action": ["s3:*"], "Resource": "*",
                    "Principal": { "AWS": ["123456789012"], "Service": ["logs.us-east-1.amazonaws.com"] } }),
                json!({ "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*" }),
                json!({ "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Resource": "*", "Principal": {
                    "Federated": ["arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
                                  "cognito-identity.amazonaws.com"] } }),
            ]
        );
    }

    #[test]
    fn mistakes_name_the_rule() {
        let wrong = |rule: Value| statements(vec![json!({ "allow": "a:b" }), rule]).expect_err("refused");
        assert!(wrong(json!({ "allow": "a:b", "deny": "c:d" })).starts_with("rule 2: must have exactly one"));
        assert!(wrong(json!({ "alow": "a:b" })).contains("unknown field `alow`"));
        assert!(wrong(json!("text")).starts_with("rule 2"));
    }
}
