//! The actions that steps need in AWS, as a table beside each kind.
//!
//! An operation's action has another name in a few places, most of them in S3:
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html>

use serde::Serialize;
use serde_json::Value;

use super::arn::partition;
use crate::place::Realm;
use crate::run::{Access, Condition, Permission, Use};
use crate::template::unknown::{is_unknown, with_each};

/// A resource that AWS does not let a policy name, for actions without resources.
pub const EVERYTHING: &str = "*";

/// The resource of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The step's own thing.
    Thing,
    /// Any: AWS has no permission on one resource for the action.
    Everything,
    /// Another one, which the kind knows by this name.
    Other(&'static str),
}

/// Actions that a kind needs for some uses of its things.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    access: &'static [Access],
    on: On,
    actions: &'static [&'static str],
    /// Only where the plan declares one of these fields, or an update changes one.
    pub fields: &'static [&'static str],
    /// Whether these are parts of the live thing that no plan declares.
    pub is_live: bool,
    /// Whether an undeclared field needs it too.
    is_default: bool,
    /// The only service through which they are used.
    through: Option<&'static str>,
}

const fn need(access: &'static [Access], actions: &'static [&'static str]) -> Need {
    Need { access, on: On::Thing, actions, fields: &[], is_live: false, is_default: false, through: None }
}

/// To look at the thing.
pub const fn reads(actions: &'static [&'static str]) -> Need {
    need(&[Access::Read], actions)
}

/// To make the thing.
pub const fn creates(actions: &'static [&'static str]) -> Need {
    need(&[Access::Create], actions)
}

/// To change the thing.
pub const fn updates(actions: &'static [&'static str]) -> Need {
    need(&[Access::Update], actions)
}

/// To make and to change the thing.
pub const fn writes(actions: &'static [&'static str]) -> Need {
    need(&[Access::Create, Access::Update], actions)
}

/// To remove the thing, and to look at what hangs on it.
pub const fn deletes(actions: &'static [&'static str]) -> Need {
    need(&[Access::Delete], actions)
}

/// To prove that it works.
pub const fn proves(actions: &'static [&'static str]) -> Need {
    need(&[Access::Prove], actions)
}

/// To do anything with it.
pub const fn always(actions: &'static [&'static str]) -> Need {
    need(&[Access::Read, Access::Create, Access::Update, Access::Delete], actions)
}

impl Need {
    /// The same on another resource.
    #[must_use]
    pub const fn on(self, on: On) -> Self {
        Self { on, ..self }
    }

    /// Only where the plan declares one of these fields, and for updates that change one.
    #[must_use]
    pub const fn with(self, fields: &'static [&'static str]) -> Self {
        Self { fields, ..self }
    }

    /// The same for fields that have a default.
    #[must_use]
    pub const fn with_default(self, fields: &'static [&'static str]) -> Self {
        Self { fields, is_default: true, ..self }
    }

    /// Only for updates that change one of these parts of the live thing, which no plan declares.
    #[must_use]
    pub const fn live(self, fields: &'static [&'static str]) -> Self {
        Self { fields, is_live: true, ..self }
    }

    /// Only through this service, which asks for it in the caller's name.
    #[must_use]
    pub const fn through(self, service: &'static str) -> Self {
        Self { through: Some(service), ..self }
    }

    fn is_declared(&self, access: Access, fields: &Value) -> bool {
        let is_set = |field: &&str| match &fields[*field] {
            Value::Null => false,
            _ if access == Access::Update => true,
            Value::Bool(on) => *on,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            // `{ off: "the reason" }`.
            Value::Object(entries) => {
                !(entries.is_empty() || entries.len() == 1 && entries.contains_key("off"))
            }
            Value::Number(_) => true,
        };
        self.fields.is_empty() || self.is_live || self.is_default || self.fields.iter().any(is_set)
    }
}

/// The permissions of a table for a use of a thing; `resources` are the ARNs of the thing and of what the table
/// calls other.
pub fn of(
    table: &[Need],
    used: Use<'_>,
    declared: &impl Serialize,
    resources: impl Fn(On) -> Vec<String>,
) -> Vec<Permission> {
    let (access, realm) = (used.access, used.realm);
    let fields = serde_json::to_value(declared).unwrap_or_default();
    let needed = table.iter().filter(|need| need.access.contains(&access));
    let needed = needed.filter(|need| need.is_declared(access, &fields));
    needed
        .flat_map(|need| {
            let all =
                if need.on == On::Everything { vec![EVERYTHING.to_owned()] } else { resources(need.on) };
            let only = need.through.map(|service| Condition::through(service, realm));
            let changed = if access == Access::Update { need.fields } else { &[] };
            let one = move |on: String, action: &'static [&'static str]| Permission {
                fields: changed,
                only: only.clone(),
                ..Permission::new(on, action)
            };
            let actions = need.actions.chunks(1);
            all.into_iter()
                .flat_map(|on| actions.clone().map(|action| one(on.clone(), action)).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        })
        .collect()
}

impl Condition {
    /// Only through this service of the region.
    pub(super) fn through(service: &str, realm: &Realm) -> Self {
        let domain = if partition(realm) == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let service = format!("{service}.{}.{domain}", known(realm.get("region")));
        Self { key: "kms:ViaService", values: vec![service] }
    }
}

/// A part of an ARN: anything if it is not known.
pub fn known(part: Option<&str>) -> &str {
    part.filter(|part| !is_unknown(part)).unwrap_or(EVERYTHING)
}

/// A name within an ARN of a policy. What is not known yet may be anything; characters that a policy
/// understands otherwise are escaped.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html>
pub fn literal(name: &str) -> String {
    let escaped = |text: &str| {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '*' | '?' | '$' => escaped.extend(['$', '{', c, '}']),
                c => escaped.push(c),
            }
        }
        escaped
    };
    with_each(name, escaped, EVERYTHING)
}

/// The ARN of something in IAM. `path` starts and ends with `/`.
pub fn in_iam(realm: &Realm, noun: &str, path: &str, name: &str) -> String {
    let account = known(realm.get("account"));
    format!("arn:{}:iam::{account}:{noun}{}{}", partition(realm), literal(path), literal(name))
}

/// The ARN of something in the realm's region; `resource` is as a policy has it.
pub fn in_region(realm: &Realm, service: &str, resource: &str) -> String {
    let (account, region) = (known(realm.get("account")), known(realm.get("region")));
    format!("arn:{}:{service}:{region}:{account}:{resource}", partition(realm))
}

/// The ARN of a bucket, or of an object in it.
pub fn in_s3(realm: &Realm, bucket: &str, key: Option<&str>) -> String {
    let key = key.map(|key| format!("/{}", literal(key))).unwrap_or_default();
    format!("arn:{}:s3:::{}{key}", partition(realm), literal(bucket))
}

/// The ARNs of the secrets with this name, which is as a policy has it: Secrets Manager adds six characters
/// to the name of one that exists.
pub fn secret(realm: &Realm, name: &str) -> [String; 2] {
    ["", "-??????"].map(|end| in_region(realm, "secretsmanager", &format!("secret:{name}{end}")))
}

/// The ARN of a KMS key that a plan names by ARN, id or alias. One that is not known beforehand is any key of
/// the account: its id is chosen when it is made.
pub fn kms_key(realm: &Realm, name: &str) -> String {
    match name.rsplit_once('/') {
        Some((before, _)) if before.starts_with("arn:") && before.ends_with(":key") => literal(name),
        None if !is_unknown(name) => in_region(realm, "kms", &format!("key/{}", literal(name))),
        _ => in_region(realm, "kms", "key/*"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::unknown::marker;

    fn realm() -> Realm {
        Realm::default().with("account", "123456789012").with("region", "eu-west-1")
    }

    fn used(access: Access, realm: &Realm) -> Use<'_> {
        Use { access, realm, outputs: false }
    }

    const TABLE: &[Need] = &[
        reads(&["a:Get", "a:List"]),
        creates(&["a:Make"]),
        updates(&["a:Tag"]).with(&["tags"]),
        writes(&["a:Attach"]).with(&["policies"]),
        updates(&["a:Revive"]).live(&["deleted"]),
        reads(&["a:All"]).on(On::Everything),
        creates(&["kms:Decrypt"]).through("s3").with(&["kms_key"]),
    ];

    fn actions(access: Access, fields: &Value) -> Vec<&'static str> {
        let realm = realm();
        let needed = of(TABLE, used(access, &realm), fields, |_| vec!["x".to_owned()]);
        needed.iter().map(|one| one.any_of[0]).collect()
    }

    #[test]
    fn undeclared_fields_need_no_action() {
        let bare = json!({ "policies": [], "kms_key": null });
        assert_eq!(actions(Access::Read, &bare), ["a:Get", "a:List", "a:All"]);
        assert_eq!(actions(Access::Create, &bare), ["a:Make"]);
        assert_eq!(actions(Access::Update, &bare), ["a:Attach", "a:Revive"], "an empty list detaches");
        let full = json!({ "tags": { "a": "b" }, "policies": ["p"], "kms_key": "k" });
        assert_eq!(actions(Access::Create, &full), ["a:Make", "a:Attach", "kms:Decrypt"]);
    }

    #[test]
    fn updates_carry_the_fields_that_need_them() {
        let realm = realm();
        let needed =
            of(TABLE, used(Access::Update, &realm), &json!({ "tags": {} }), |_| vec!["x".to_owned()]);
        let told: Vec<_> = needed.iter().map(|one| (one.any_of[0], one.fields)).collect();
        assert_eq!(told, [("a:Tag", &["tags"][..]), ("a:Revive", &["deleted"][..])]);
        let made =
            of(TABLE, used(Access::Create, &realm), &json!({ "kms_key": "k" }), |_| vec!["x".to_owned()]);
        let only = made[1].only.as_ref().expect("a condition");
        assert_eq!(only.values, ["s3.eu-west-1.amazonaws.com"]);
    }

    #[test]
    fn names_are_literal_and_unknown_parts_are_wild() {
        assert_eq!(in_iam(&realm(), "user", "/a/", "b"), "arn:aws:iam::123456789012:user/a/b");
        assert_eq!(in_iam(&Realm::UNKNOWN, "user", "/", "b"), "arn:aws:iam::*:user/b");
        assert_eq!(in_s3(&realm(), "b", Some("a*?$")), "arn:aws:s3:::b/a${*}${?}${$}");
        assert_eq!(in_s3(&realm(), &format!("{}-x", marker("a.b")), None), "arn:aws:s3:::*-x");
        let any = "arn:aws:kms:eu-west-1:123456789012:key/*";
        assert_eq!(kms_key(&realm(), &marker("key.arn")), any);
        assert_eq!(kms_key(&realm(), "alias/x"), any);
        assert_eq!(kms_key(&realm(), "1-2"), "arn:aws:kms:eu-west-1:123456789012:key/1-2");
        assert_eq!(kms_key(&realm(), "arn:aws:kms:r:a:key/k"), "arn:aws:kms:r:a:key/k");
    }
}
