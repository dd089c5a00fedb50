//! `aws.iam_role`: a role with its trust policy and its policies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bulk::Lookup;
use super::holder::{self, Grants, Holder, HolderId, LiveGrants, MANAGED};
use super::trust::{self, Trust};
use super::{
    IamInstanceProfile, NO_SUCH_ENTITY, PrincipalOutputs, check_named, delete_conflict, folded, from_sdk,
    predicted, root_path, to_sdk,
};
use crate::access::{Grant, Granting, Principal, Target};
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::{Proof, Prover};
use crate::providers::aws::ACCOUNT;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::in_order::InOrder;
use crate::providers::aws::needs::{self, Need, creates, deletes, proves, reads, updates, writes};
use crate::providers::aws::policy::iam_policy;
use crate::providers::aws::policy::{self, Document, PolicyType};
use crate::providers::aws::risk::{BOUNDARY_RISKS, GRANT_RISKS, of_principal_tags};
use crate::providers::aws::{prove, states, tags};
use crate::resource::risk::Category::BroaderGrant;
use crate::resource::risk::{LABELS, Risks, analysed, fixed, identity, raised, safe};
use crate::resource::{Attachment, Diff, Look, Partial, Requirement, Resource, Tags, Writer};
use crate::run::{Permission, Use};

const PATH_IS_FIXED: &str =
    "IAM cannot move a role to another path; destroy the role and create it again, or declare another name";

/// An IAM role. <https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html>
pub struct IamRole;

/// Its statement about access.
const ROLE: &str = "IAM role";

/// A role as a principal, and as what others may assume.
fn states(principal: Principal, facts: Tags, trust: Option<&Document>) -> Vec<Grant> {
    let policy = trust.map(|trust| trust.value().clone());
    let role = Target { policy, ..states::target(ROLE, &principal.name, states::ROLE) };
    vec![Grant::Principal(Principal { facts, ..principal }), Grant::Target(role)]
}

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamRole")]
pub struct Desired {
    /// The name, unique in the account.
    pub name: String,
    /// The path in front of the name in the ARN, e.g. `/apps/`. Fixed when the role is created.
    #[serde(default = "root_path")]
    pub path: String,
    /// The description.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The principals that may assume the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Vec<Trust>>,
    /// The trust policy as a document, instead of `trust`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role_policy: Option<Document>,
    /// The longest session, in seconds, 3600 to 43200.
    #[serde(default = "hour")]
    #[schemars(range(min = 3600, max = 43200))]
    pub max_session_duration: u32,
    /// ARN of the permissions boundary. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
    /// ARNs of attached policies; others are detached. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_policies: Option<Vec<String>>,
    /// Inline policies, name to document; others are removed. Not managed unless declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_policies: Option<BTreeMap<String, Document>>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

fn hour() -> u32 {
    3600
}

impl Desired {
    fn grants(&self) -> Grants<'_> {
        Grants {
            permissions_boundary: self.permissions_boundary.as_ref(),
            managed_policies: self.managed_policies.as_deref(),
            inline_policies: self.inline_policies.as_ref(),
        }
    }

    /// The field that declares the trust, and the policy that it makes. `check` ensures that one is
    /// declared.
    fn trust(&self) -> (&'static str, Document) {
        match (&self.trust, &self.assume_role_policy) {
            (Some(trusted), _) => ("trust", trust::policy(trusted)),
            (None, Some(document)) => ("assume_role_policy", document.clone()),
            (None, None) => ("trust", Document::of(Vec::new())),
        }
    }

    fn check_trust(&self) -> Vec<FieldError> {
        let one = "declare the principals that may assume the role in exactly one of `trust` and \
                   `assume_role_policy`";
        match (&self.trust, &self.assume_role_policy) {
            (Some(_), Some(_)) => {
                vec![FieldError::new("assume_role_policy", "`trust` is declared too").help(one)]
            }
            (None, None) => vec![FieldError::new("", "no principal may assume the role").help(one)],
            (None, Some(document)) => document.check("assume_role_policy", PolicyType::Trust),
            (Some(trusted), None) => trust::check(trusted),
        }
    }

    /// The longest session as the SDK wants it; `check` keeps it in range.
    fn session(&self) -> i32 {
        i32::try_from(self.max_session_duration).unwrap_or(i32::MAX)
    }
}

/// The role as IAM reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    name: String,
    arn: String,
    unique_id: String,
    path: String,
    description: String,
    assume_role_policy: Option<Document>,
    max_session_duration: i32,
    /// Its grants.
    pub grants: LiveGrants,
    tags: Tags,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["iam:GetRole", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"]),
    reads(&["iam:GetRolePolicy"]).with(&["inline_policies"]),
    writes(&["iam:AttachRolePolicy"]).with(&["managed_policies"]),
    writes(&["iam:PutRolePolicy"]).with(&["inline_policies"]),
    updates(&["iam:DetachRolePolicy"]).with(&["managed_policies"]),
    updates(&["iam:DeleteRolePolicy"]).with(&["inline_policies"]),
    creates(&["iam:CreateRole", "iam:TagRole"]),
    updates(&["iam:UpdateRole"]).with(&["max_session_duration"]),
    updates(&["iam:UpdateRoleDescription"]).live(&["description"]),
    updates(&["iam:UpdateAssumeRolePolicy"]).with(&["trust", "assume_role_policy"]),
    updates(&["iam:PutRolePermissionsBoundary"]).with(&["permissions_boundary"]),
    updates(&["iam:TagRole"]).with(&["tags"]),
    proves(&["iam:SimulatePrincipalPolicy"]),
    proves(&["iam:GetPolicy", "iam:GetPolicyVersion"]).on(MANAGED),
    deletes(&["iam:DeleteRole", "iam:ListInstanceProfilesForRole"]),
    deletes(&["iam:DetachRolePolicy"]).with(&["managed_policies"]),
    deletes(&["iam:DeleteRolePolicy"]).with(&["inline_policies"]),
];

impl Resource for IamRole {
    const KIND: &'static str = "aws.iam_role";
    const GRANTS: Granting = Granting::States;
    const REALM: &'static [&'static str] = ACCOUNT;
    const ABOUT: &'static str = "An IAM role with its trust policy, attached and inline policies.";
    const EXAMPLE: &'static str = r#"vault_server:
  kind: aws.iam_role
  name: candlefish-vault
  description: Lets the Vault servers unseal themselves
  trust:
    - service: ec2.amazonaws.com
  max_session_duration: 7200
  inline_policies:
    unseal:
      - { allow: [ "kms:Encrypt", "kms:Decrypt", "kms:DescribeKey" ], on: "*" }
deployer:
  kind: aws.iam_role
  name: candlefish-deployer
  trust:
    - github:
        provider: arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com
        repository: candlefish/infrastructure
        environment: production
    - account: { id: "210987654321", external_id: candlefish-production }
  managed_policies: [ "arn:aws:iam::aws:policy/PowerUserAccess" ]
payments:
  kind: aws.iam_role
  name: candlefish-payments
  trust:
    - irsa:
        provider: arn:aws:iam::123456789012:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE
        namespace: payments
        service_account: api
"#;
    const REBUILT: Option<&'static str> =
        Some("with another unique id: policies of others that name it have to be written again");
    const RISKS: Risks = &[
        &[
            identity("name"),
            fixed("path"),
            safe("description", LABELS),
            iam_policy("trust assume_role_policy"),
            raised("max_session_duration").low(BroaderGrant, "sessions last longer"),
            analysed("tags", of_principal_tags),
        ],
        BOUNDARY_RISKS,
        GRANT_RISKS,
    ];
    const PROOF: Proof = Proof::Tried("IAM simulates what its policies allow, and what lies beside");
    const TAGGED: bool = true;

    type Client = AwsClient;
    type Id = HolderId;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = PrincipalOutputs;

    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |on| match on {
            MANAGED => desired.grants().managed(),
            _ => vec![needs::in_iam(used.realm, "role", &desired.path, &desired.name)],
        })
    }

    fn id(desired: &Desired) -> HolderId {
        HolderId { name: desired.name.clone() }
    }

    fn same_name(id: &HolderId) -> String {
        folded(&id.name)
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found = check_named(&desired.name, 64, &desired.path);
        if !(3600..=43200).contains(&desired.max_session_duration) {
            found.push(FieldError::new("max_session_duration", "must be from 3600 to 43200 seconds"));
        }
        found.extend(desired.check_trust());
        found.extend(desired.grants().check());
        found.extend(tags::check(&desired.tags));
        found
    }

    fn grants(desired: &Desired, live: Option<&Observed>, _: &Realm) -> Vec<Grant> {
        let principal = desired.grants().principal(ROLE, &desired.name, live.map(|live| &live.grants));
        states(principal, desired.tags.clone(), Some(&desired.trust().1))
    }

    fn granted(observed: &Observed) -> Vec<Grant> {
        let principal = observed.grants.principal(ROLE, &observed.name);
        states(principal, observed.tags.clone(), observed.assume_role_policy.as_ref())
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        let providers = desired.trust.iter().flatten().filter_map(Trust::requirement);
        desired.grants().requires().into_iter().chain(providers).collect()
    }

    /// Sends three requests at once, and one for each inline policy; none in a large plan.
    async fn observe(client: &AwsClient, id: &HolderId, look: Look<'_, Self>) -> Result<Option<Observed>> {
        let bounded = look.declares(|desired| desired.permissions_boundary.is_some());
        match client.iam.role(client, &id.name, bounded).await? {
            Lookup::Absent => Ok(None),
            Lookup::Present(role) => Ok(Some(role)),
            Lookup::Unknown => read(client, &id.name).await,
        }
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.immutable("path", &observed.path, &desired.path, PATH_IS_FIXED);
        diff.field("description", &observed.description, &desired.description);
        let (field, trust) = desired.trust();
        policy::compare(&mut diff, field, observed.assume_role_policy.as_ref(), &trust);
        diff.field("max_session_duration", &observed.max_session_duration, &desired.session());
        desired.grants().diff(&mut diff, &observed.grants);
        diff.entries("tags", &observed.tags, &desired.tags);
        diff
    }

    /// One request that creates the role with its boundary and ownership tags, sent only once: the name
    /// is unique, so a second request could only fail.
    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        let request = w.write_once(w.permit()).iam.create_role().role_name(&desired.name).path(&desired.path);
        let request = request
            .description(&desired.description)
            .assume_role_policy_document(desired.trust().1.text())
            .max_session_duration(desired.session())
            .set_permissions_boundary(desired.permissions_boundary.clone())
            .set_tags(Some(to_sdk(&desired.tags)?));
        request.send().await.at("iam:CreateRole")?;
        let fresh = LiveGrants::with_boundary(desired.permissions_boundary.as_ref());
        desired.grants().apply(w, Holder::Role(&desired.name), &fresh).await
    }

    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        let diff = Self::diff(desired, observed);
        let iam = &w.write(w.permit()).iam;
        // Both fields in one request, because a request that omits one may reset it.
        if diff.touches("max_session_duration") {
            let request = iam.update_role().role_name(&desired.name).description(&desired.description);
            let request = request.max_session_duration(desired.session());
            request.send().await.at("iam:UpdateRole")?;
        }
        // UpdateRole does not remove a description.
        if diff.touches("description") {
            let request = iam.update_role_description().role_name(&desired.name);
            request.description(&desired.description).send().await.at("iam:UpdateRoleDescription")?;
        }
        let (field, trust) = desired.trust();
        if diff.touches(field) {
            let request = iam.update_assume_role_policy().role_name(&desired.name);
            let request = request.policy_document(trust.text());
            request.send().await.at("iam:UpdateAssumeRolePolicy")?;
        }
        let holder = Holder::Role(&desired.name);
        desired.grants().apply(w, holder, &observed.grants).await?;
        holder.tag(w, &tags::to_add(&desired.tags, &observed.tags)).await
    }

    async fn delete(w: &Writer<'_, AwsClient>, id: &HolderId) -> Result<()> {
        let delete = async {
            let answer = w.write(w.permit()).iam.delete_role().role_name(&id.name).send().await;
            let answer = answer.found("iam:DeleteRole", NO_SUCH_ENTITY).map(drop);
            answer.map_err(|error| delete_conflict(error, "instance profiles"))
        };
        Holder::Role(&id.name).delete_with(w, delete).await
    }

    /// Instance profiles that contain the role block its deletion.
    async fn attachments(client: &AwsClient, id: &HolderId, observed: &Observed) -> Result<Vec<Attachment>> {
        let request = client.read().iam.list_instance_profiles_for_role().role_name(&id.name);
        let profiles = request.into_paginator().items().send().try_collect().await;
        let profiles = profiles.found("iam:ListInstanceProfilesForRole", NO_SUCH_ENTITY)?.unwrap_or_default();
        let blocking = profiles.into_iter().map(|profile| {
            let name = profile.instance_profile_name;
            let clause = format!("the instance profile `{name}` contains the role");
            Attachment::blocks("instance_profiles", &name, clause)
                .held_by(IamInstanceProfile::KIND, name)
                .by_value(&id.name)
        });
        Ok(blocking.chain(holder::attachments(&observed.grants)).collect())
    }

    fn attaches(desired: &Desired) -> Option<Vec<String>> {
        Some(desired.grants().attaches())
    }

    async fn prove(prover: &Prover<'_, AwsClient>, desired: &Desired, observed: &Observed) {
        let grants = Self::grants(desired, Some(observed), &Realm::UNKNOWN);
        prove::principal::prove(prover, &observed.arn, grants).await;
    }

    fn outputs(observed: &Observed) -> PrincipalOutputs {
        let Observed { name, arn, unique_id, .. } = observed.clone();
        PrincipalOutputs { name, arn, unique_id }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        predicted(realm, "role", &desired.path, &desired.name)
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

async fn read(client: &AwsClient, name: &str) -> Result<Option<Observed>> {
    let role = async {
        let answer = client.read().iam.get_role().role_name(name).send().await;
        answer.found("iam:GetRole", NO_SUCH_ENTITY)
    };
    let (answer, grants) = tokio::join!(role, Holder::Role(name).grants(client)).in_order()?;
    let (Some(answer), Some(grants)) = (answer, grants) else { return Ok(None) };
    assemble(answer.role.ok_or_else(|| missing("iam:GetRole", "role"))?, grants).map(Some)
}

/// The role as IAM reports it, with its grants.
pub fn assemble(role: aws_sdk_iam::types::Role, grants: LiveGrants) -> Result<Observed> {
    let trust = role.assume_role_policy_document;
    let trust = trust.map(|text| Document::parse_encoded("iam:GetRole", &text)).transpose()?;
    let boundary = role.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
    Ok(Observed {
        name: role.role_name,
        arn: role.arn,
        unique_id: role.role_id,
        path: role.path,
        description: role.description.unwrap_or_default(),
        assume_role_policy: trust,
        // IAM's default.
        max_session_duration: role.max_session_duration.unwrap_or(3600),
        grants: LiveGrants { permissions_boundary: boundary, ..grants },
        tags: from_sdk(role.tags),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn trust() -> Value {
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": { "AWS": "123456789012" } }] })
    }

    fn observed() -> Observed {
        let live = trust().to_string().replace("\"123456789012\"", "[\"arn:aws:iam::123456789012:root\"]");
        Observed {
            name: "r".into(),
            arn: "arn:aws:iam::123456789012:role/r".into(),
            unique_id: "AROAEXAMPLE".into(),
            path: "/".into(),
            description: String::new(),
            assume_role_policy: Some(Document::parse("iam:GetRole", &live).expect("JSON")),
            max_session_duration: 3600,
            grants: LiveGrants::default(),
            tags: Tags::new(),
        }
    }

    #[test]
    fn notation_of_trust_policy_is_ignored() {
        let desired: Desired =
            serde_json::from_value(json!({ "name": "r", "assume_role_policy": trust() })).expect("valid");
        assert!(IamRole::check(&desired).is_empty());
        assert!(IamRole::diff(&desired, &observed()).is_empty());
    }

    #[test]
    fn short_trust_form_matches_equal_document() {
        let declared = |trust: Value| -> Desired {
            serde_json::from_value(json!({ "name": "r", "trust": trust })).expect("valid")
        };
        let same = declared(json!([{ "account": { "id": "123456789012" } }]));
        assert!(IamRole::check(&same).is_empty() && IamRole::diff(&same, &observed()).is_empty());
        let other = IamRole::diff(&declared(json!([{ "service": "ec2.amazonaws.com" }])), &observed());
        assert!(other.changes.len() == 1 && other.touches("trust"));
    }

    #[test]
    fn exactly_one_form_of_trust_is_required() {
        let checked = |fields: Value| {
            let desired: Desired = serde_json::from_value(fields).expect("valid");
            IamRole::check(&desired).into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        assert_eq!(checked(json!({ "name": "r" })), [""]);
        let both = json!({ "name": "r", "assume_role_policy": trust(), "trust": [{ "service": "a.amazonaws.com" }] });
        assert_eq!(checked(both), ["assume_role_policy"]);
    }

    #[test]
    fn every_field_is_compared() {
        let desired: Desired =
            serde_json::from_value(json!({ "name": "r", "path": "/x/", "description": "d",
            "max_session_duration": 7200, "tags": { "a": "b" }, "managed_policies": ["p"],
            "assume_role_policy": { "Statement": [] } }))
            .expect("valid");
        let diff = IamRole::diff(&desired, &observed());
        let paths: Vec<&str> = diff.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "path",
                "description",
                "assume_role_policy",
                "max_session_duration",
                "managed_policies",
                "tags.a"
            ]
        );
        assert_eq!(diff.blocked.len(), 1);
    }
}
