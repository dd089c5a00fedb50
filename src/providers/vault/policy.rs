//! ACL policies: <https://openbao.org/api-docs/system/policies/>.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::VaultClient;
use super::notation::{Ttl, lower};
use super::policy_text::{CAPABILITIES, from_data, mistakes, normalise, same};
use crate::resolve::unknown::is_unknown;
use crate::resource::{Diff, FieldError, Partial, Requirement, Resource, Result, Scope, Writer};

/// An ACL policy.
#[derive(Debug)]
pub struct Policy;

/// The declared fields of a policy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// The name; Vault lowers its case.
    pub name: String,
    /// What it allows: HCL as text, or a map of paths.
    pub rules: Rules,
}

/// What a policy allows.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, try_from = "Value")]
#[schemars(!try_from)]
pub enum Rules {
    /// HCL, as it is written to the server.
    Text(String),
    /// What is allowed, path by path.
    Paths(BTreeMap<String, PathRule>),
}

/// What is allowed on a path.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, try_from = "Value")]
#[schemars(!try_from)]
pub enum PathRule {
    /// Capabilities alone: `[read, list]`.
    Capabilities(Vec<String>),
    /// Capabilities with limits.
    Limited(LimitedRule),
}

/// Capabilities with limits on the parameters of requests.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitedRule {
    /// `create`, `read`, `update`, `delete`, `list`, `patch`, `scan`, `sudo` or `deny`.
    pub capabilities: Vec<String>,
    /// Parameters that a request may have, with the values they may have; none means any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub allowed_parameters: BTreeMap<String, Vec<Value>>,
    /// Parameters that a request must not have, with the values; none means any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub denied_parameters: BTreeMap<String, Vec<Value>>,
    /// Parameters that a request must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_parameters: Vec<String>,
    /// The shortest time for which answers may be wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_wrapping_ttl: Option<Ttl>,
    /// The longest time for which answers may be wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wrapping_ttl: Option<Ttl>,
}

/// A policy as it is.
#[derive(Clone, Debug)]
pub struct LivePolicy {
    name: String,
    text: String,
}

/// What other steps may refer to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PolicyOutputs {
    /// The name as the server keeps it.
    pub name: String,
}

/// Policies that belong to the server.
const BUILT_IN: [&str; 3] = ["root", "default", "response-wrapping"];

// By hand, since serde would only say that no form of an untagged enum fits.
impl TryFrom<Value> for Rules {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let rule = |(path, value): (String, Value)| match PathRule::try_from(value) {
            Ok(rule) => Ok((path, rule)),
            Err(why) => Err(format!("`{path}`: {why}")),
        };
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Object(paths) => paths.into_iter().map(rule).collect::<Result<_, _>>().map(Self::Paths),
            _ => Err("expected a policy as text or a map of paths".to_owned()),
        }
    }
}

impl TryFrom<Value> for PathRule {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Array(_) => serde_json::from_value(value).map(Self::Capabilities),
            Value::Object(_) => serde_json::from_value(value).map(Self::Limited),
            _ => return Err("expected a list of capabilities, or a map with `capabilities`".to_owned()),
        }
        .map_err(|error| error.to_string())
    }
}

impl Rules {
    /// The HCL that is written.
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Paths(paths) => {
                from_data(&paths.iter().map(|(path, rule)| (path.clone(), json!(rule))).collect())
            }
        }
    }
}

impl Resource for Policy {
    const KIND: &'static str = "vault.policy";
    const ABOUT: &'static str = "An ACL policy, written as HCL or as a map of paths.";
    const EXAMPLE: &'static str = "\
payments:
  kind: vault.policy
  name: payments-app
  rules:
    secret/data/payments/*: [read]
    secret/metadata/payments/*: [read, list]
    transit/encrypt/payments:
      capabilities: [update]
      allowed_parameters: { plaintext: [] }
search:
  kind: vault.policy
  name: search-app
  rules: |
    path \"secret/data/search/*\" {
      capabilities = [\"read\"]
    }
";

    type Client = VaultClient;
    type Id = String;
    type Desired = PolicySpec;
    type Observed = LivePolicy;
    type Outputs = PolicyOutputs;

    fn id(desired: &PolicySpec) -> String {
        lower(&desired.name)
    }

    fn check(desired: &PolicySpec) -> Vec<FieldError> {
        check_name(&desired.name).into_iter().chain(check_rules(&desired.rules)).collect()
    }

    fn requires(_: &PolicySpec) -> Vec<Requirement> {
        vec![Requirement::Kind("vault.init")]
    }

    async fn observe(client: &VaultClient, id: &String) -> Result<Option<LivePolicy>> {
        let text = |told: &Value| told["policy"].as_str().unwrap_or_default().to_owned();
        let found = match client.policies().await? {
            Some(listing) => listing.get(id).map(text),
            None => client.get(&format!("sys/policies/acl/{id}")).await?.as_ref().map(text),
        };
        Ok(found.map(|text| LivePolicy { name: id.clone(), text }))
    }

    fn diff(desired: &PolicySpec, observed: &LivePolicy) -> Diff {
        let mut diff = Diff::none();
        let declared = desired.rules.text();
        if !same(&observed.text, &declared) {
            diff.push("rules", shown(&observed.text), shown(&declared));
        }
        diff
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &PolicySpec) -> Result<()> {
        // OpenBao refuses when somebody else has just made it; HashiCorp Vault ignores `cas`.
        let body = json!({ "policy": desired.rules.text(), "cas": 0 });
        w.post(w.permit(), &format!("sys/policies/acl/{}", Self::id(desired)), &body).await.map(drop)
    }

    async fn update(w: &Writer<'_, VaultClient>, desired: &PolicySpec, _: &LivePolicy) -> Result<()> {
        let body = json!({ "policy": desired.rules.text() });
        w.post(w.permit(), &format!("sys/policies/acl/{}", Self::id(desired)), &body).await.map(drop)
    }

    async fn delete(w: &Writer<'_, VaultClient>, id: &String) -> Result<()> {
        w.delete(w.permit(), &format!("sys/policies/acl/{id}")).await
    }

    fn outputs(observed: &LivePolicy) -> PolicyOutputs {
        PolicyOutputs { name: observed.name.clone() }
    }

    fn predicted_outputs(desired: &PolicySpec, _: &Scope) -> Partial {
        Partial::default().with("name", Self::id(desired))
    }
}

/// A policy's text as a diff shows it: in the form in which equal texts are equal lines.
fn shown(text: &str) -> Value {
    Value::String(normalise(text).unwrap_or_else(|| text.to_owned()))
}

fn check_name(name: &str) -> Option<FieldError> {
    if BUILT_IN.contains(&lower(name).as_str()) {
        return Some(
            FieldError::new("name", format!("`{name}` belongs to Vault")).help("choose another name"),
        );
    }
    let bad = name.is_empty() || name.contains('/') || name.contains(char::is_whitespace);
    (bad && !is_unknown(name))
        .then(|| FieldError::new("name", "is no name of a policy").help("use letters, digits, `-` and `_`"))
}

fn check_rules(rules: &Rules) -> Vec<FieldError> {
    let text = rules.text();
    if is_unknown(&text) {
        return Vec::new();
    }
    let help = format!("capabilities are {}", CAPABILITIES.join(", "));
    mistakes(&text).into_iter().map(|mistake| FieldError::new("rules", mistake).help(help.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: Value) -> PolicySpec {
        serde_json::from_value(value).expect("valid")
    }

    #[test]
    fn a_difference_is_shown_line_by_line() {
        let declared = spec(json!({ "name": "App", "rules": { "a": ["read", "list"] } }));
        let live = |text: &str| LivePolicy { name: "app".to_owned(), text: text.to_owned() };
        assert!(Policy::diff(&declared, &live("path \"a\" { capabilities=[\"list\",\"read\"] }")).is_empty());
        let diff = Policy::diff(&declared, &live("path \"a\" { capabilities=[\"read\"] }"));
        assert_eq!(diff.changes[0].before, "path \"a\" {\n  capabilities = [\"read\"]\n}\n");
        assert_eq!(diff.changes[0].after, "path \"a\" {\n  capabilities = [\"list\", \"read\"]\n}\n");
    }

    #[test]
    fn a_wrong_key_is_named() {
        let rules = json!({ "name": "a", "rules": { "b": { "capabilities": ["read"], "alowed": {} } } });
        let error = serde_json::from_value::<PolicySpec>(rules).expect_err("unknown").to_string();
        assert!(error.contains("`b`: unknown field `alowed`"), "{error}");
    }

    #[test]
    fn mistakes_are_found_beforehand() {
        let errors =
            |name: &str, rules: Value| Policy::check(&spec(json!({ "name": name, "rules": rules }))).len();
        assert_eq!(errors("app", json!({ "a": ["read"] })), 0);
        assert_eq!(errors("Root", json!({ "a": ["reads"] })), 2);
        assert_eq!(errors("a b", json!("path a {")), 2);
        let unknown = crate::resolve::unknown::marker("x.y");
        assert_eq!(errors("app", json!(format!("path \"{unknown}"))), 0);
    }
}
