//! `aws.iam_instance_profile`: gives a role to EC2 machines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    NO_SUCH_ENTITY, Outputs, W, check_name, check_named, folded, from_sdk, gone_is_fine, predicted,
    root_path, to_sdk,
};
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::aws::ACCOUNT;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::needs::{self, Need, On, creates, deletes, reads, updates, writes};
use crate::providers::aws::tags;
use crate::resource::risk::Category::BroaderGrant;
use crate::resource::risk::{LABELS, Risks, changed, fixed, identity, safe};
use crate::resource::{Attachment, Diff, Look, Partial, Requirement, Resource, Tags, Writer};
use crate::run::{Permission, Use};

const PATH_IS_FIXED: &str = "IAM cannot move an instance profile to another path; declare another name";

/// An instance profile.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_InstanceProfile.html>
pub struct IamInstanceProfile;

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamInstanceProfile")]
pub struct Desired {
    /// The name, unique in the account.
    pub name: String,
    /// The path in front of the name in the ARN. Fixed when the profile is created.
    #[serde(default = "root_path")]
    pub path: String,
    /// Name of the role of the machines with this profile.
    pub role: String,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// The profile as IAM reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    name: String,
    arn: String,
    path: String,
    role: Option<String>,
    tags: Tags,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["iam:GetInstanceProfile"]),
    creates(&["iam:CreateInstanceProfile", "iam:TagInstanceProfile"]),
    writes(&["iam:AddRoleToInstanceProfile"]).with(&["role"]),
    writes(&["iam:PassRole"]).with(&["role"]).on(On::Other("role")),
    updates(&["iam:RemoveRoleFromInstanceProfile"]).with(&["role"]),
    updates(&["iam:TagInstanceProfile"]).with(&["tags"]),
    deletes(&["iam:DeleteInstanceProfile", "iam:RemoveRoleFromInstanceProfile"]),
];

impl Resource for IamInstanceProfile {
    const KIND: &'static str = "aws.iam_instance_profile";
    const GRANTS: Granting = Granting::Never("a machine has the rights of the role in it");
    const REALM: &'static [&'static str] = ACCOUNT;
    const ABOUT: &'static str = "An instance profile, which gives a role to EC2 machines.";
    const EXAMPLE: &'static str = "\
vault_profile:
  kind: aws.iam_instance_profile
  name: candlefish-vault
  role: candlefish-vault
  tags: { Team: platform }
";
    const RISKS: Risks = &[&[
        identity("name"),
        fixed("path"),
        changed("role").medium(BroaderGrant, "machines get the permissions of another role"),
        safe("tags", LABELS),
    ]];
    const PROOF: Proof = Proof::InSync("a machine that starts with it gets its role");
    const TAGGED: bool = true;
    const REMOVAL: Option<&'static str> = Some("machines with this profile lose the permissions of its role");

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    /// The path of the role is not part of its name, so it may be at any.
    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |on| match on {
            On::Other(_) => {
                ["role/", "role/*/"].map(|noun| needs::in_iam(used.realm, noun, "", &desired.role)).into()
            }
            _ => vec![needs::in_iam(used.realm, "instance-profile", &desired.path, &desired.name)],
        })
    }

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn same_name(id: &String) -> String {
        folded(id)
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found = check_named(&desired.name, 128, &desired.path);
        found.extend(check_name("role", &desired.role, 64));
        found.extend(tags::check(&desired.tags));
        found
    }

    fn requires(desired: &Desired) -> Vec<Requirement> {
        vec![Requirement::thing("aws.iam_role", &desired.role)]
    }

    async fn observe(client: &AwsClient, id: &String, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let answer = client.read().iam.get_instance_profile().instance_profile_name(id).send().await;
        let Some(answer) = answer.found("iam:GetInstanceProfile", NO_SUCH_ENTITY)? else { return Ok(None) };
        let profile = answer.instance_profile;
        let profile = profile.ok_or_else(|| missing("iam:GetInstanceProfile", "instance profile"))?;
        Ok(Some(Observed {
            name: profile.instance_profile_name,
            arn: profile.arn,
            path: profile.path,
            // IAM allows at most one role.
            role: profile.roles.into_iter().next().map(|role| role.role_name),
            tags: from_sdk(profile.tags),
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.immutable("path", &observed.path, &desired.path, PATH_IS_FIXED);
        diff.field("role", &observed.role, &desired.role);
        diff.entries("tags", &observed.tags, &desired.tags);
        diff
    }

    /// Sent only once: the name is unique, so a second request could only fail.
    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        let request = w.write_once(w.permit()).iam.create_instance_profile();
        let request = request.instance_profile_name(&desired.name).path(&desired.path);
        let request = request.set_tags(Some(to_sdk(&desired.tags)?));
        request.send().await.at("iam:CreateInstanceProfile")?;
        add_role(w, &desired.name, &desired.role).await
    }

    /// A profile that changes its role has none for a moment, because IAM allows only one at a time.
    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        if observed.role.as_ref() != Some(&desired.role) {
            if let Some(old) = &observed.role {
                remove_role(w, &desired.name, old).await?;
            }
            add_role(w, &desired.name, &desired.role).await?;
        }
        let added = tags::to_add(&desired.tags, &observed.tags);
        if added.is_empty() {
            return Ok(());
        }
        let request = w.write(w.permit()).iam.tag_instance_profile().instance_profile_name(&desired.name);
        request.set_tags(Some(to_sdk(&added)?)).send().await.at("iam:TagInstanceProfile").map(drop)
    }

    async fn delete(w: &Writer<'_, AwsClient>, id: &String) -> Result<()> {
        let Some(live) = Self::observe(w, id, Look::BARE).await? else { return Ok(()) };
        if let Some(role) = &live.role {
            remove_role(w, id, role).await?;
        }
        let answer = w.write(w.permit()).iam.delete_instance_profile().instance_profile_name(id).send().await;
        match (answer.found("iam:DeleteInstanceProfile", NO_SUCH_ENTITY), &live.role) {
            (Ok(_), _) => Ok(()),
            (Err(error), None) => Err(error),
            (Err(error), Some(role)) => {
                let restored = gone_is_fine(add_role(w, id, role).await);
                Err(error.after_restoring("role", restored))
            }
        }
    }

    async fn attachments(_: &AwsClient, _: &String, observed: &Observed) -> Result<Vec<Attachment>> {
        Ok(observed.role.iter().map(|role| Attachment::ends("role", role)).collect())
    }

    fn attaches(desired: &Desired) -> Option<Vec<String>> {
        Some(vec![Attachment::ends("role", &desired.role).path()])
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), arn: observed.arn.clone() }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        predicted(realm, "instance-profile", &desired.path, &desired.name)
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

async fn add_role(w: &W<'_>, profile: &str, role: &str) -> Result<()> {
    let request = w.write(w.permit()).iam.add_role_to_instance_profile();
    let request = request.instance_profile_name(profile).role_name(role);
    request.send().await.at("iam:AddRoleToInstanceProfile").map(drop)
}

async fn remove_role(w: &W<'_>, profile: &str, role: &str) -> Result<()> {
    let request = w.write(w.permit()).iam.remove_role_from_instance_profile();
    let request = request.instance_profile_name(profile).role_name(role);
    gone_is_fine(request.send().await.at("iam:RemoveRoleFromInstanceProfile").map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_field_is_compared() {
        let desired: Desired =
            serde_json::from_value(json!({ "name": "p", "path": "/x/", "role": "r", "tags": { "a": "1" } }))
                .expect("valid");
        let observed =
            Observed { name: "p".into(), arn: "arn".into(), path: "/".into(), role: None, tags: Tags::new() };
        let diff = IamInstanceProfile::diff(&desired, &observed);
        let paths: Vec<&str> = diff.changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!((paths, diff.blocked.len()), (vec!["path", "role", "tags.a"], 1));
    }
}
