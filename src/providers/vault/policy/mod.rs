//! ACL policies: <https://openbao.org/api-docs/system/policies/>.

pub mod acl;
mod risk;
mod rules;
pub mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use self::risk::of_rules;
use self::rules::CAPABILITIES;
use self::text::{from_data, mistakes, normalise, same};
use super::VaultClient;
use super::mount::{VAULTS_OWN, refuse_existing};
use super::notation::{Ttl, lower};
use super::permissions::{self, Making};
use super::prove;
use super::states::{manage, target};
use crate::access::{Grant, Granting};
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::resource::risk::{Risks, analysed, identity};
use crate::resource::{Diff, Look, Partial, Requirement, Resource, Writer};
use crate::run::{Access, Permission, Use};
use crate::secret::{LoadError, Loader};
use crate::template::Placeholders;

/// An ACL policy.
#[derive(Debug)]
pub struct Policy;

/// The declared fields of a policy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// The name; Vault converts it to lowercase.
    pub name: String,
    /// The rules: HCL as text, a map of paths, or HCL from a template file. The server fills in
    /// `{{identity.entity.id}}` and the like.
    #[schemars(extend("x-placeholders" = "identity"))]
    pub rules: Rules,
}

/// The rules of a policy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, try_from = "Value")]
#[schemars(!try_from)]
pub enum Rules {
    /// HCL, written to the server unchanged.
    Text(String),
    /// HCL from a template file.
    Template(TemplateRules),
    /// Rules by path.
    Paths(BTreeMap<String, PathRule>),
}

/// HCL from a template file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateRules {
    /// The template's file name, in `templates/` beside the plan or beside the plan's folder.
    pub template: PathBuf,
    /// Values for the template, in addition to the plan's variables.
    #[serde(default)]
    pub with: Map<String, Value>,
    /// The text, once the template has been read.
    #[serde(skip)]
    rendered: String,
}

/// The rule for a path.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, try_from = "Value")]
#[schemars(!try_from)]
pub enum PathRule {
    /// Only capabilities: `[read, list]`.
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
    /// Allowed request parameters, with their allowed values; an empty list allows any value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub allowed_parameters: BTreeMap<String, Vec<Value>>,
    /// Denied request parameters, with their denied values; an empty list denies all values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub denied_parameters: BTreeMap<String, Vec<Value>>,
    /// Required request parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_parameters: Vec<String>,
    /// The minimum TTL of wrapped responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_wrapping_ttl: Option<Ttl>,
    /// The maximum TTL of wrapped responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wrapping_ttl: Option<Ttl>,
}

/// A live policy.
#[derive(Clone, Debug)]
pub struct LivePolicy {
    name: String,
    text: String,
    /// All fields that the server reports.
    reported: Map<String, Value>,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PolicyOutputs {
    /// The name as the server stores it.
    pub name: String,
}

/// Policies that belong to the server.
const BUILT_IN: [&str; 3] = ["root", "default", "response-wrapping"];

// Implemented by hand, since serde would only report that no variant of an untagged enum matches.
impl TryFrom<Value> for Rules {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let rule = |(path, value): (String, Value)| match PathRule::try_from(value) {
            Ok(rule) => Ok((path, rule)),
            Err(why) => Err(format!("`{path}`: {why}")),
        };
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            // The rule for a path is never text, so this is not a path named `template`.
            Value::Object(fields) if fields.get("template").is_some_and(Value::is_string) => {
                serde_json::from_value(Value::Object(fields))
                    .map(Self::Template)
                    .map_err(|error| error.to_string())
            }
            Value::Object(paths) => paths.into_iter().map(rule).collect::<Result<_, _>>().map(Self::Paths),
            _ => Err("expected a policy as text, a map of paths, or a template".to_owned()),
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

/// Serialises the rendered text, which reviewers need and which must be known.
impl Serialize for TemplateRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rendered.serialize(serializer)
    }
}

impl Rules {
    /// The HCL that is written to the server.
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Template(template) => template.rendered.clone(),
            Self::Paths(paths) => {
                from_data(&paths.iter().map(|(path, rule)| (path.clone(), json!(rule))).collect())
            }
        }
    }
}

impl Resource for Policy {
    const KIND: &'static str = "vault.policy";
    const GRANTS: Granting = Granting::States;
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
    const RISKS: Risks = &[&[identity("name"), analysed("rules", of_rules)]];
    const PROOF: Proof = Proof::Tried(
        "a token with only this policy is allowed and refused what its rules say, on their paths and beside",
    );

    type Client = VaultClient;
    type Id = String;
    type Desired = PolicySpec;
    type Observed = LivePolicy;
    type Outputs = PolicyOutputs;

    fn id(desired: &PolicySpec) -> String {
        lower(&desired.name)
    }

    fn check(desired: &PolicySpec) -> Vec<FieldError> {
        let rules = match &desired.rules {
            // Checked after the template has been read.
            Rules::Template(_) => Vec::new(),
            rules => check_rules(rules),
        };
        check_name(&desired.name).into_iter().chain(rules).collect()
    }

    fn requires(_: &PolicySpec) -> Vec<Requirement> {
        vec![Requirement::Kind("vault.init")]
    }

    fn grants(desired: &PolicySpec, _: Option<&LivePolicy>, _: &Realm) -> Vec<Grant> {
        states(&lower(&desired.name), &desired.rules.text())
    }

    fn granted(observed: &LivePolicy) -> Vec<Grant> {
        states(&observed.name, &observed.text)
    }

    fn permissions(desired: &PolicySpec, used: Use<'_>) -> Vec<Permission> {
        let path = format!("sys/policies/acl/{}", Self::id(desired));
        match used.access {
            Access::Prove => prove::policy::needs(),
            access => permissions::at(&path, access, Making::Update),
        }
    }

    fn load(desired: &mut PolicySpec, loader: &Loader) -> Result<(), LoadError> {
        let Rules::Template(rules) = &mut desired.rules else { return Ok(()) };
        rules.rendered = loader.render_file(&rules.template, &rules.with, Some(Placeholders::Identity))?;
        match check_rules(&desired.rules).into_iter().next() {
            Some(mistake) => Err(LoadError::Template(mistake.message)),
            None => Ok(()),
        }
    }

    async fn observe(client: &VaultClient, id: &String, _: Look<'_, Self>) -> Result<Option<LivePolicy>> {
        let found = match client.policies().await? {
            Some(listing) => listing.get(id).cloned(),
            None => client.get(&format!("sys/policies/acl/{id}")).await?,
        };
        Ok(found.map(|told| live(id, told)))
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
        let path = format!("sys/policies/acl/{}", Self::id(desired));
        // OpenBao refuses `cas` 0 for an existing policy; HashiCorp Vault ignores it and has no request that
        // only creates.
        refuse_existing(w.get(&path).await?.is_some(), &path)?;
        let body = json!({ "policy": desired.rules.text(), "cas": 0 });
        w.post(w.permit(), &path, &body).await.map(drop)
    }

    async fn update(w: &Writer<'_, VaultClient>, desired: &PolicySpec, observed: &LivePolicy) -> Result<()> {
        let body = observed.with_text(&desired.rules.text());
        w.post(w.permit(), &format!("sys/policies/acl/{}", Self::id(desired)), &body).await.map(drop)
    }

    async fn delete(w: &Writer<'_, VaultClient>, id: &String) -> Result<()> {
        w.delete(w.permit(), &format!("sys/policies/acl/{id}")).await
    }

    async fn prove(prover: &Prover<'_, VaultClient>, desired: &PolicySpec, _: &LivePolicy) {
        prove::policy::prove(prover, &Self::id(desired), &desired.rules.text()).await;
    }

    fn permanent(id: &String) -> Option<&'static str> {
        BUILT_IN.contains(&id.as_str()).then_some(VAULTS_OWN)
    }

    fn outputs(observed: &LivePolicy) -> PolicyOutputs {
        PolicyOutputs { name: observed.name.clone() }
    }

    fn predicted_outputs(desired: &PolicySpec, _: &Realm) -> Partial {
        Partial::default().with("name", Self::id(desired))
    }
}

/// The policy, which principals have, and which others may change.
fn states(name: &str, text: &str) -> Vec<Grant> {
    let policy = Grant::Policy { name: name.to_owned(), rules: Value::from(text) };
    vec![policy, target("Vault policy", name, manage(&format!("sys/policies/acl/{name}")))]
}

fn live(name: &str, told: Value) -> LivePolicy {
    let text = told["policy"].as_str().unwrap_or_default().to_owned();
    let reported = match told {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    LivePolicy { name: name.to_owned(), text, reported }
}

/// Fields that the server reports and does not accept.
const OF_THE_SERVER: [&str; 3] = ["name", "modified", "version"];

impl LivePolicy {
    /// The body that replaces the policy's text. The server resets omitted fields to its defaults,
    /// such as the policy's expiration and the options of its templates, so all of them are sent
    /// back. The server refuses to replace another version than the observed one.
    fn with_text(&self, text: &str) -> Value {
        let mut body = self.reported.clone();
        body.retain(|name, value| !OF_THE_SERVER.contains(&name.as_str()) && !value.is_null());
        if let Some(version) = self.reported.get("version") {
            body.insert("cas".to_owned(), version.clone());
        }
        body.insert("policy".to_owned(), json!(text));
        Value::Object(body)
    }
}

/// A policy's text as a diff shows it: in the canonical form, in which equal rules are equal lines.
fn shown(text: &str) -> Value {
    Value::String(normalise(text).unwrap_or_else(|| text.to_owned()))
}

fn check_name(name: &str) -> Option<FieldError> {
    if BUILT_IN.contains(&lower(name).as_str()) {
        return Some(
            FieldError::new("name", format!("`{name}` belongs to Vault")).help("choose another name"),
        );
    }
    let bad = name.is_empty() || name.contains(char::is_whitespace) || name.split('/').any(str::is_empty);
    (bad).then(|| {
        FieldError::new("name", "is not a valid policy name").help("use letters, digits, `-`, `_` and `/`")
    })
}

fn check_rules(rules: &Rules) -> Vec<FieldError> {
    let text = rules.text();
    let with_help = |mistake: String| match mistake.contains("as a capability") {
        true => {
            FieldError::new("rules", mistake).help(format!("capabilities are {}", CAPABILITIES.join(", ")))
        }
        false => FieldError::new("rules", mistake),
    };
    mistakes(&text).into_iter().map(|mistake| with_help(mistake).reading("rules")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: Value) -> PolicySpec {
        serde_json::from_value(value).expect("valid")
    }

    #[test]
    fn difference_is_shown_line_by_line() {
        let declared = spec(json!({ "name": "App", "rules": { "a": ["read", "list"] } }));
        let live = |text: &str| live("app", json!({ "policy": text }));
        assert!(Policy::diff(&declared, &live("path \"a\" { capabilities=[\"list\",\"read\"] }")).is_empty());
        let diff = Policy::diff(&declared, &live("path \"a\" { capabilities=[\"read\"] }"));
        assert_eq!(diff.changes[0].before, "path \"a\" {\n  capabilities = [\"read\"]\n}\n");
        assert_eq!(diff.changes[0].after, "path \"a\" {\n  capabilities = [\"list\", \"read\"]\n}\n");
    }

    #[test]
    fn new_text_keeps_other_policy_fields() {
        let told = json!({
            "name": "app", "policy": "", "version": 3, "modified": "2026-11-27T10:03:53Z",
            "allow_slashes_in_identity_templates": true, "expiration": "2027-11-27T11:10:33Z", "ttl": null,
        });
        let expected = json!({
            "allow_slashes_in_identity_templates": true, "expiration": "2027-11-27T11:10:33Z", "cas": 3,
            "policy": "x",
        });
        assert_eq!(live("app", told).with_text("x"), expected);
        // HashiCorp Vault reports fewer fields.
        let told = json!({ "name": "app", "policy": "" });
        assert_eq!(live("app", told).with_text("x"), json!({ "policy": "x" }));
    }

    #[test]
    fn wrong_key_is_named() {
        let rules = json!({ "name": "a", "rules": { "b": { "capabilities": ["read"], "alowed": {} } } });
        let error = serde_json::from_value::<PolicySpec>(rules).expect_err("unknown").to_string();
        assert!(error.contains("`b`: unknown field `alowed`"), "{error}");
    }

    #[test]
    fn template_renders_the_rules() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = "path \"{{ mount }}/data/{{ team }}/*\" { capabilities = [\"read\"] }\n";
        std::fs::write(folder.path().join("app.hcl.j2"), path).expect("written");
        std::fs::write(folder.path().join("wrong.hcl.j2"), "path {{ team }} {").expect("written");
        let loader = Loader {
            folder: folder.path().to_owned(),
            vars: crate::template::Context::from(json!({ "mount": "kv", "team": "none" })),
            ..Loader::default()
        };
        let load = |name: &str| {
            let rules = json!({ "template": name, "with": { "team": "search" } });
            let mut declared = spec(json!({ "name": "app", "rules": rules }));
            assert!(Policy::check(&declared).is_empty(), "there is nothing to check yet");
            Policy::load(&mut declared, &loader).map(|()| declared)
        };
        let declared = load("app.hcl.j2").expect("rendered");
        assert!(Policy::check(&declared).is_empty());
        assert_eq!(declared.rules.text(), "path \"kv/data/search/*\" { capabilities = [\"read\"] }\n");
        assert_eq!(json!(declared)["rules"], declared.rules.text(), "a changeset shows the text");
        assert!(load("wrong.hcl.j2").is_err(), "mistakes in the text are found before the write");
        let unknown_key = json!({ "name": "a", "rules": { "template": "x", "wiht": {} } });
        assert!(serde_json::from_value::<PolicySpec>(unknown_key).is_err());
    }

    #[test]
    fn mistakes_are_found_by_check() {
        let errors =
            |name: &str, rules: Value| Policy::check(&spec(json!({ "name": name, "rules": rules }))).len();
        assert_eq!(errors("app", json!({ "a": ["read"] })), 0);
        assert_eq!(errors("Root", json!({ "a": ["reads"] })), 2);
        assert_eq!(errors("a b", json!("path a {")), 2);
        assert_eq!(errors("teams/app", json!({ "a": ["read"] })), 0);
        assert_eq!(errors("teams/", json!({ "a": ["read"] })), 1);
    }
}
