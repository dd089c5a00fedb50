//! Roles of the AWS method:
//! <https://developer.hashicorp.com/vault/api-docs/auth/aws#create-update-role>.

use serde_json::{Map, Value};

use super::super::fields::Fixed;
use super::super::notation::{LowerName, Names};
use super::super::role::{check_role, requirements, role_spec};
use super::super::server::Plugin;
use super::super::states::login_role;
use super::{Making, Object, PlainObject, check_one_of, yes};
use crate::access::{Grant, Granting};
use crate::error::FieldError;
use crate::proof::Proof;
use crate::providers::vault::risk::{LETS_IN, LOGIN_RISKS, TOKEN_RISKS};
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, ProtectionOff, Wildcard};
use crate::resource::risk::{
    Risks, changed, fixed, identity, includes, off, replaced, turned_off, turned_on, unbound, widened,
};

/// A role with which IAM principals and EC2 instances log in.
pub type AwsAuthRole = Object<AwsAuthRoleSpec>;

role_spec! {
    /// The declared fields of a role of the AWS method.
    pub struct AwsAuthRoleSpec {
        /// The method's path below `auth/`.
        #[serde(default = "mount")]
        pub mount: String,
        /// The role's name; Vault converts it to lowercase.
        pub name: LowerName,
        /// `iam` for principals, or `ec2` for instances. Fixed.
        #[serde(default = "iam")]
        pub auth_type: String,
        /// Principals that may log in, by ARN, with or without a trailing `*`; for `iam`.
        #[serde(default)]
        pub bound_iam_principal_arn: Names,
        /// The ids that AWS assigned to the principals, e.g. `{{ payments.unique_id }}` of an
        /// `aws.iam_role`. When the server has bound the role to other ids, because a principal was
        /// recreated, it looks them up again. Needs `resolve_aws_unique_ids`. Not managed when
        /// absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub bound_iam_principal_id: Option<Names>,
        /// Compare principals by the id that AWS assigned, so that a recreated principal with the
        /// same name is refused. The server must have access to IAM. It cannot be disabled again.
        #[serde(default = "yes")]
        pub resolve_aws_unique_ids: bool,
        /// Set it to `ec2_instance` to infer the instance from an `iam` login; empty disables
        /// inference.
        #[serde(default)]
        pub inferred_entity_type: String,
        /// The region of inferred instances.
        #[serde(default)]
        pub inferred_aws_region: String,
        /// Allowed accounts of instances.
        #[serde(default)]
        pub bound_account_id: Names,
        /// Allowed images (AMIs) of instances.
        #[serde(default)]
        pub bound_ami_id: Names,
        /// Allowed instance ids.
        #[serde(default)]
        pub bound_ec2_instance_id: Names,
        /// Allowed instance profiles, by ARN prefix.
        #[serde(default)]
        pub bound_iam_instance_profile_arn: Names,
        /// Allowed roles of instances, by ARN prefix.
        #[serde(default)]
        pub bound_iam_role_arn: Names,
        /// Allowed regions of instances; for `ec2`.
        #[serde(default)]
        pub bound_region: Names,
        /// Allowed subnets of instances.
        #[serde(default)]
        pub bound_subnet_id: Names,
        /// Allowed VPCs of instances.
        #[serde(default)]
        pub bound_vpc_id: Names,
        /// The key of the tag that restricts the permissions of an instance; for `ec2`.
        #[serde(default)]
        pub role_tag: String,
        /// An instance that was moved to another host may log in without its nonce; for `ec2`.
        #[serde(default)]
        pub allow_instance_migration: bool,
        /// An instance can get a token only once; for `ec2`.
        #[serde(default)]
        pub disallow_reauthentication: bool,
    }
}

fn mount() -> String {
    "aws".to_owned()
}

fn iam() -> String {
    "iam".to_owned()
}

/// Fields that the method refuses in roles of the type `iam`, even empty ones.
const EC2_ALONE: [&str; 3] = ["role_tag", "allow_instance_migration", "disallow_reauthentication"];

const FIXED_TYPE: Fixed =
    ("auth_type", "the type of login is decided at the role's creation; create a role with another name");
const RESOLVED: Fixed = (
    "resolve_aws_unique_ids",
    "the method cannot disable it in an existing role; create a role with another name",
);

impl AwsAuthRoleSpec {
    fn instances(&self) -> [(&'static str, &Names); 8] {
        [
            ("bound_account_id", &self.bound_account_id),
            ("bound_ami_id", &self.bound_ami_id),
            ("bound_ec2_instance_id", &self.bound_ec2_instance_id),
            ("bound_iam_instance_profile_arn", &self.bound_iam_instance_profile_arn),
            ("bound_iam_role_arn", &self.bound_iam_role_arn),
            ("bound_region", &self.bound_region),
            ("bound_subnet_id", &self.bound_subnet_id),
            ("bound_vpc_id", &self.bound_vpc_id),
        ]
    }

    /// Bounds and options that this type of role does not support.
    fn misplaced(&self) -> Vec<FieldError> {
        let about_instances = |(name, bound): (&str, &Names)| {
            let why = format!(
                "applies to instances: it needs `auth_type: ec2`{}",
                match name {
                    "bound_region" => "",
                    _ => ", or `inferred_entity_type: ec2_instance`",
                }
            );
            let allowed = name != "bound_region" && !self.inferred_entity_type.is_empty();
            (!bound.is_empty() && !allowed).then(|| FieldError::new(name, why))
        };
        let is_set =
            [!self.role_tag.is_empty(), self.allow_instance_migration, self.disallow_reauthentication];
        match self.auth_type.as_str() {
            "iam" => {
                let options = EC2_ALONE.iter().zip(is_set).filter(|(_, set)| *set);
                let options = options.map(|(name, _)| FieldError::new(*name, "needs `auth_type: ec2`"));
                self.instances().into_iter().filter_map(about_instances).chain(options).collect()
            }
            "ec2" => {
                let principals = (!self.bound_iam_principal_arn.is_empty())
                    .then(|| FieldError::new("bound_iam_principal_arn", "needs `auth_type: iam`"));
                let inferred = (!self.inferred_entity_type.is_empty())
                    .then(|| FieldError::new("inferred_entity_type", "needs `auth_type: iam`"));
                principals.into_iter().chain(inferred).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Fields that limit who may log in.
const BOUND: &str = "bound_iam_principal_arn bound_iam_principal_id bound_account_id bound_ami_id \
                     bound_ec2_instance_id bound_iam_instance_profile_arn bound_iam_role_arn bound_region \
                     bound_subnet_id bound_vpc_id";

impl PlainObject for AwsAuthRoleSpec {
    const KIND: &'static str = "vault.aws_auth_role";
    const GRANTS: Granting = Granting::States;
    const ABOUT: &'static str =
        "A role of the AWS method, with which IAM principals and EC2 instances log in. HashiCorp Vault.";
    const EXAMPLE: &'static str = "\
aws_logins:
  kind: vault.auth_method
  type: aws
payments_task:
  kind: vault.aws_auth_role
  name: payments
  bound_iam_principal_arn: [\"arn:aws:iam::123456789012:role/payments\"]
  token_policies: [payments-app]
  token_ttl: 1h
";
    const RISKS: Risks = &[
        &[
            identity("mount name"),
            fixed("auth_type"),
            includes("bound_iam_principal_arn", "*").high(Wildcard, "lets in every principal (`*`)"),
            unbound(BOUND).medium(ProtectionOff, "`{field}` no longer limits who is let in"),
            widened(BOUND).low(BroaderGrant, LETS_IN),
            off("resolve_aws_unique_ids")
                .medium(ProtectionOff, "a principal that is created again under the same name is let in"),
            changed("inferred_entity_type inferred_aws_region")
                .low(BroaderGrant, "instances are found in another way (`{field}`)"),
            unbound("role_tag").medium(ProtectionOff, "a tag no longer limits an instance's policies"),
            replaced("role_tag").low(ProtectionOff, "another tag limits an instance's policies"),
            turned_on("allow_instance_migration")
                .low(BroaderGrant, "a moved instance logs in without its nonce"),
            turned_off("disallow_reauthentication")
                .low(BroaderGrant, "an instance can get a token more than once"),
        ],
        TOKEN_RISKS,
        LOGIN_RISKS,
    ];
    const PROOF: Proof = Proof::InSync("AWS itself checks a login; only a machine there can pass it");
    const IDENTITY: &'static [&'static str] = &["mount", "name"];
    const MAKING: Making = Making::Unknown;
    const FIXED: &'static [Fixed] = &[FIXED_TYPE];
    const OUTPUTS: &'static [(&'static str, &'static str)] = &[(
        "role_id",
        "The id in entity aliases of its logins, unless the method is configured differently.",
    )];
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Auth("aws"));

    fn path(&self) -> String {
        format!("auth/{}/role/{}", self.mount, self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn grants(&self) -> Vec<Grant> {
        login_role(&self.mount, &self.name, &self.path(), self)
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = check_role(&self.name, self);
        errors.extend(check_one_of("auth_type", &self.auth_type, &["iam", "ec2"]));
        errors.extend(check_one_of(
            "inferred_entity_type",
            &self.inferred_entity_type,
            &["", "ec2_instance"],
        ));
        if self.inferred_entity_type.is_empty() != self.inferred_aws_region.is_empty() {
            errors.push(FieldError::new(
                "inferred_aws_region",
                "must be given together with `inferred_entity_type`",
            ));
        }
        let bound = self.instances().iter().any(|(_, names)| !names.is_empty());
        if !bound && self.bound_iam_principal_arn.is_empty() {
            let help = "restrict who may log in, e.g. with `bound_iam_principal_arn`";
            errors.push(FieldError::new("", "the role is not bound to anyone").help(help));
        }
        if self.allow_instance_migration && self.disallow_reauthentication {
            let message = "cannot be combined with `allow_instance_migration`";
            errors.push(FieldError::new("disallow_reauthentication", message));
        }
        if self.bound_iam_principal_id.is_some() && !self.resolve_aws_unique_ids {
            let message = "needs `resolve_aws_unique_ids: true`";
            errors.push(FieldError::new("bound_iam_principal_id", message));
        }
        errors.extend(self.misplaced());
        errors
    }

    fn requires(&self) -> Vec<Requirement> {
        let mut required = requirements(&self.mount, self);
        required.push(Requirement::thing("vault.aws_auth", format!("auth/{}/config/client", self.mount)));
        required
    }

    fn fixed(&self, live: &Self) -> Vec<Fixed> {
        let resolved = (live.resolve_aws_unique_ids && !self.resolve_aws_unique_ids).then_some(RESOLVED);
        std::iter::once(FIXED_TYPE).chain(resolved).collect()
    }

    fn requests(&self, mut body: Map<String, Value>, _: Option<&Self>) -> Vec<(String, Map<String, Value>)> {
        // The server accepts the names, and looks up the ids at every write of the names.
        body.remove("bound_iam_principal_id");
        if self.auth_type != "ec2" {
            body.retain(|name, _| !EC2_ALONE.contains(&name.as_str()));
        }
        vec![(self.path(), body)]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::live_of;
    use super::*;
    use crate::resource::{Diff, Resource};

    fn spec(value: Value) -> AwsAuthRoleSpec {
        serde_json::from_value(value).expect("valid")
    }

    /// A response according to the method's source.
    fn told() -> Value {
        json!({
            "auth_type": "iam", "bound_ami_id": [], "bound_account_id": [], "bound_ec2_instance_id": null,
            "bound_iam_principal_arn": ["arn:aws:iam::123456789012:role/b", "arn:aws:iam::123456789012:role/a"],
            "bound_iam_principal_id": ["AROAEXAMPLEB", "AROAEXAMPLEA"], "bound_iam_role_arn": [],
            "bound_iam_instance_profile_arn": [], "bound_region": [], "bound_subnet_id": [], "bound_vpc_id": [],
            "inferred_entity_type": "", "inferred_aws_region": "", "resolve_aws_unique_ids": true,
            "role_id": "5a0e0c0b", "role_tag": "", "allow_instance_migration": false,
            "disallow_reauthentication": false, "token_bound_cidrs": ["10.0.0.1"], "token_explicit_max_ttl": 0,
            "token_max_ttl": 0, "token_no_default_policy": false, "token_num_uses": 0, "token_period": 0,
            "token_policies": ["B", "a"], "token_ttl": 3600, "token_type": "default",
        })
    }

    #[test]
    fn servers_notation_is_not_a_change() {
        let declared = spec(json!({
            "name": "Task", "token_ttl": "1h", "token_policies": ["a", "b"], "token_bound_cidrs": ["10.0.0.1/32"],
            "bound_iam_principal_arn": ["arn:aws:iam::123456789012:role/a", "arn:aws:iam::123456789012:role/b"],
        }));
        let live = live_of(&declared, &told());
        assert_eq!(AwsAuthRole::diff(&declared, &live), Diff::none());
        let outputs = json!(AwsAuthRole::outputs(&live));
        assert_eq!(outputs["role_id"], "5a0e0c0b");
        let unresolved = AwsAuthRoleSpec { resolve_aws_unique_ids: false, ..declared };
        assert_eq!(AwsAuthRole::diff(&unresolved, &live).blocked[0].path, "resolve_aws_unique_ids");
    }

    #[test]
    fn recreated_principal_is_looked_up_again() {
        let arns = ["arn:aws:iam::123456789012:role/a", "arn:aws:iam::123456789012:role/b"];
        let declared = |ids: [&str; 2]| {
            spec(json!({
                "name": "task", "token_ttl": "1h", "token_policies": ["a", "b"], "token_bound_cidrs": ["10.0.0.1"],
                "bound_iam_principal_arn": arns, "bound_iam_principal_id": ids,
            }))
        };
        let same = declared(["AROAEXAMPLEA", "AROAEXAMPLEB"]);
        assert!(AwsAuthRole::diff(&same, &live_of(&same, &told())).is_empty());
        let again = declared(["AROAEXAMPLEA", "AROAMADEAGAIN"]);
        let diff = AwsAuthRole::diff(&again, &live_of(&again, &told()));
        assert!(diff.touches("bound_iam_principal_id") && diff.blocked.is_empty());
        let body = again.requests(super::super::fields::fields(&again), None).remove(0).1;
        assert!(body.contains_key("bound_iam_principal_arn") && !body.contains_key("bound_iam_principal_id"));
        let unresolved = json!({
            "name": "a", "bound_iam_principal_arn": ["x"], "bound_iam_principal_id": ["AROAX"],
            "resolve_aws_unique_ids": false,
        });
        assert_eq!(AwsAuthRole::check(&spec(unresolved))[0].path, "bound_iam_principal_id");
    }

    #[test]
    fn instance_fields_are_not_sent_for_principals() {
        let all: Map<String, Value> = EC2_ALONE.iter().map(|name| ((*name).to_owned(), json!(""))).collect();
        let principals = spec(json!({ "name": "a", "bound_iam_principal_arn": ["*"] }));
        assert!(principals.requests(all.clone(), None)[0].1.is_empty());
        let instances = spec(json!({ "name": "a", "auth_type": "ec2", "bound_vpc_id": ["vpc-1"] }));
        assert_eq!(instances.requests(all, None)[0].1.len(), EC2_ALONE.len());
    }

    #[test]
    fn role_with_wrong_bounds_is_refused() {
        let paths = |value: Value| {
            let errors = AwsAuthRole::check(&spec(value));
            errors.into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(json!({ "name": "a" })), [""]);
        assert_eq!(paths(json!({ "name": "a", "bound_vpc_id": ["vpc-1"] })), ["bound_vpc_id"]);
        assert_eq!(
            paths(json!({
                "name": "a", "bound_vpc_id": ["vpc-1"], "bound_region": ["eu-west-1"], "role_tag": "t",
                "inferred_entity_type": "ec2_instance", "inferred_aws_region": "eu-west-1",
            })),
            ["bound_region", "role_tag"]
        );
        let principals = json!({ "name": "a", "auth_type": "ec2", "bound_iam_principal_arn": ["x"] });
        assert_eq!(paths(principals), ["bound_iam_principal_arn"]);
        assert!(paths(json!({ "name": "a", "bound_iam_principal_arn": ["x"] })).is_empty());
    }
}
