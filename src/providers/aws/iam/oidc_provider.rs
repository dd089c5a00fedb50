//! `aws.iam_oidc_provider`: an identity provider outside AWS whose tokens roles can trust.

use std::collections::BTreeSet;

use aws_sdk_iam::types::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{NO_SUCH_ENTITY, W, arn, from_sdk, predicted, to_sdk};
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::aws::ACCOUNT;
use crate::providers::aws::client::AwsClient;
use crate::providers::aws::error::Answer;
use crate::providers::aws::needs::{self, Need, On, creates, deletes, reads, updates};
use crate::providers::aws::policy::Document;
use crate::providers::aws::tags;
use crate::resource::risk::Category::BroaderGrant;
use crate::resource::risk::{LABELS, Risks, added, identity, safe};
use crate::resource::{Attachment, Diff, Look, Partial, Resource, Tags, Writer, mentions};
use crate::run::{Permission, Use};

/// An OpenID Connect provider.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetOpenIDConnectProvider.html>
pub struct IamOidcProvider;

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IamOidcProvider")]
pub struct Desired {
    /// The issuer, as in its tokens: `https://token.actions.githubusercontent.com`.
    pub url: String,
    /// The audiences whose tokens are accepted; others are removed.
    #[serde(default = "sts")]
    pub client_ids: Vec<String>,
    /// SHA-1 fingerprints of the issuer's certificate authorities, 40 hexadecimal digits each. If not
    /// declared, AWS determines them or needs none, and the live ones stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbprints: Option<Vec<String>>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

fn sts() -> Vec<String> {
    vec!["sts.amazonaws.com".to_owned()]
}

/// The provider as IAM reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    issuer: String,
    arn: String,
    client_ids: Vec<String>,
    thumbprints: Vec<String>,
    tags: Tags,
}

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IamOidcProviderOutputs")]
pub struct Outputs {
    /// The provider's ARN, for the trust policies of roles.
    pub arn: String,
    /// The issuer without `https://`; condition keys begin with it.
    pub issuer: String,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["iam:GetOpenIDConnectProvider"]),
    creates(&["iam:CreateOpenIDConnectProvider", "iam:TagOpenIDConnectProvider"]),
    updates(&["iam:AddClientIDToOpenIDConnectProvider", "iam:RemoveClientIDFromOpenIDConnectProvider"])
        .with(&["client_ids"]),
    updates(&["iam:UpdateOpenIDConnectProviderThumbprint"]).with(&["thumbprints"]),
    updates(&["iam:TagOpenIDConnectProvider"]).with(&["tags"]),
    deletes(&["iam:DeleteOpenIDConnectProvider"]),
    deletes(&["iam:ListRoles"]).on(On::Everything),
];

impl Resource for IamOidcProvider {
    const KIND: &'static str = "aws.iam_oidc_provider";
    const GRANTS: Granting = Granting::Never("the trust of roles says which of its tokens count");
    const REALM: &'static [&'static str] = ACCOUNT;
    const ABOUT: &'static str =
        "An OpenID Connect provider whose tokens roles can trust: GitHub Actions, a Kubernetes cluster.";
    const EXAMPLE: &'static str = "\
github:
  kind: aws.iam_oidc_provider
  url: https://token.actions.githubusercontent.com
  client_ids: [ sts.amazonaws.com ]
  thumbprints: [ 6938fd4d98bab03faadb97b34396831e3780aea1 ]
  tags: { Team: platform }
";
    const RISKS: Risks = &[&[
        identity("url"),
        added("client_ids").medium(BroaderGrant, "takes tokens that were issued for these"),
        added("thumbprints").medium(BroaderGrant, "takes tokens from servers with these authorities"),
        safe("tags", LABELS),
    ]];
    const PROOF: Proof = Proof::InSync("only a token of its issuer tries it");
    const TAGGED: bool = true;

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    /// The issuer without its scheme, as at the end of the ARN.
    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        needs::of(NEEDS, used, desired, |_| {
            vec![needs::in_iam(used.realm, "oidc-provider/", "", &issuer(&desired.url))]
        })
    }

    fn id(desired: &Desired) -> String {
        issuer(&desired.url)
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let mut found: Vec<FieldError> = check_url(&desired.url).into_iter().collect();
        for (index, thumbprint) in desired.thumbprints.iter().flatten().enumerate() {
            let fits = thumbprint.len() == 40 && thumbprint.chars().all(|c| c.is_ascii_hexdigit());
            if !fits {
                let path = format!("thumbprints[{index}]");
                found.push(FieldError::new(path, "a thumbprint has 40 hexadecimal digits"));
            }
        }
        found.extend(tags::check(&desired.tags));
        found
    }

    async fn observe(client: &AwsClient, id: &String, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let arn = arn(client, "oidc-provider/", "", id).await?;
        let request = client.read().iam.get_open_id_connect_provider().open_id_connect_provider_arn(&arn);
        let answer = request.send().await.found("iam:GetOpenIDConnectProvider", NO_SUCH_ENTITY)?;
        Ok(answer.map(|answer| Observed {
            issuer: answer.url.map_or_else(|| id.clone(), |url| issuer(&url)),
            arn,
            client_ids: answer.client_id_list.unwrap_or_default(),
            thumbprints: answer.thumbprint_list.unwrap_or_default(),
            tags: from_sdk(answer.tags),
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        diff.field("client_ids", &set(&observed.client_ids), &set(&desired.client_ids));
        if let Some(declared) = &desired.thumbprints {
            diff.field("thumbprints", &lowercase(&observed.thumbprints), &lowercase(declared));
        }
        diff.entries("tags", &observed.tags, &desired.tags);
        diff
    }

    /// Sent only once: an account has one provider for an issuer, so a second request could only fail.
    async fn create(w: &Writer<'_, AwsClient>, desired: &Desired) -> Result<()> {
        let request = w.write_once(w.permit()).iam.create_open_id_connect_provider().url(&desired.url);
        let request = request
            .set_client_id_list(Some(desired.client_ids.clone()))
            .set_thumbprint_list(desired.thumbprints.clone())
            .set_tags(Some(to_sdk(&desired.tags)?));
        request.send().await.at("iam:CreateOpenIDConnectProvider").map(drop)
    }

    async fn update(w: &Writer<'_, AwsClient>, desired: &Desired, observed: &Observed) -> Result<()> {
        let (diff, arn) = (Self::diff(desired, observed), &observed.arn);
        let iam = &w.write(w.permit()).iam;
        if diff.touches("client_ids") {
            change_client_ids(w, arn, &desired.client_ids, &observed.client_ids).await?;
        }
        if let Some(declared) = desired.thumbprints.as_ref().filter(|_| diff.touches("thumbprints")) {
            let request = iam.update_open_id_connect_provider_thumbprint().open_id_connect_provider_arn(arn);
            let request = request.set_thumbprint_list(Some(declared.clone()));
            request.send().await.at("iam:UpdateOpenIDConnectProviderThumbprint")?;
        }
        if diff.touches("tags") {
            let added = to_sdk(&tags::to_add(&desired.tags, &observed.tags))?;
            let request = iam.tag_open_id_connect_provider().open_id_connect_provider_arn(arn);
            request.set_tags(Some(added)).send().await.at("iam:TagOpenIDConnectProvider")?;
        }
        Ok(())
    }

    async fn delete(w: &Writer<'_, AwsClient>, id: &String) -> Result<()> {
        let arn = arn(w, "oidc-provider/", "", id).await?;
        let request = w.write(w.permit()).iam.delete_open_id_connect_provider();
        let answer = request.open_id_connect_provider_arn(arn).send().await;
        answer.found("iam:DeleteOpenIDConnectProvider", NO_SUCH_ENTITY).map(drop)
    }

    /// Roles that trust the provider can no longer be assumed through it.
    async fn attachments(client: &AwsClient, _: &String, observed: &Observed) -> Result<Vec<Attachment>> {
        let pages = client.read().iam.list_roles().into_paginator().items().send();
        let roles = pages.try_collect().await.at("iam:ListRoles")?.into_iter();
        let trusts = |text: &str| {
            let document = Document::parse_encoded("iam:ListRoles", text);
            document.is_ok_and(|document| mentions(document.value(), &observed.arn))
        };
        let trusting = roles.filter(|role| role.assume_role_policy_document.as_deref().is_some_and(trusts));
        let attachment = |role: Role| {
            Attachment::ends("trusting_roles", &role.role_name).held_by("aws.iam_role", role.role_name)
        };
        Ok(trusting.map(attachment).collect())
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { arn: observed.arn.clone(), issuer: observed.issuer.clone() }
    }

    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        let issuer = issuer(&desired.url);
        let named = predicted(realm, "oidc-provider/", "", &issuer).into_map();
        Partial::default().with("issuer", &issuer).with_some("arn", named.get("arn"))
    }

    fn tags(observed: &Observed) -> Option<&Tags> {
        Some(&observed.tags)
    }
}

/// Adds audiences before it removes any, so that existing logins keep working.
async fn change_client_ids(w: &W<'_>, arn: &str, declared: &[String], live: &[String]) -> Result<()> {
    let iam = &w.write(w.permit()).iam;
    for id in declared.iter().filter(|id| !live.contains(id)) {
        let request = iam.add_client_id_to_open_id_connect_provider().open_id_connect_provider_arn(arn);
        request.client_id(id).send().await.at("iam:AddClientIDToOpenIDConnectProvider")?;
    }
    for id in live.iter().filter(|id| !declared.contains(id)) {
        let request = iam.remove_client_id_from_open_id_connect_provider().open_id_connect_provider_arn(arn);
        request.client_id(id).send().await.at("iam:RemoveClientIDFromOpenIDConnectProvider")?;
    }
    Ok(())
}

/// AWS returns the issuer without its scheme. A slash at its end has the same meaning as none.
fn issuer(url: &str) -> String {
    url.trim_start_matches("https://").trim_end_matches('/').to_owned()
}

fn check_url(url: &str) -> Option<FieldError> {
    let fits =
        url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.contains(['?', ' ']));
    (!fits).then(|| {
        FieldError::new("url", "an issuer is an address with https, without a query").help(
            "write it exactly as the tokens' `iss` claim, e.g. `https://token.actions.githubusercontent.com`",
        )
    })
}

fn set(items: &[String]) -> BTreeSet<&String> {
    items.iter().collect()
}

fn lowercase(items: &[String]) -> BTreeSet<String> {
    items.iter().map(|item| item.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn desired(extra: Value) -> Desired {
        let mut fields = json!({ "url": "https://oidc.example.com/id/1" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        serde_json::from_value(fields).expect("valid")
    }

    #[test]
    fn order_case_and_undeclared_thumbprints_are_ignored() {
        let observed = Observed {
            issuer: "oidc.example.com/id/1".into(),
            arn: "arn".into(),
            client_ids: vec!["b".into(), "a".into()],
            thumbprints: vec!["ab".repeat(20)],
            tags: Tags::new(),
        };
        let paths = |extra: Value| -> Vec<String> {
            let diff = IamOidcProvider::diff(&desired(extra), &observed);
            diff.changes.into_iter().map(|change| change.path).collect()
        };
        assert!(paths(json!({ "client_ids": ["a", "b"] })).is_empty());
        assert!(paths(json!({ "client_ids": ["a", "b"], "thumbprints": ["AB".repeat(20)] })).is_empty());
        assert_eq!(paths(json!({ "thumbprints": ["cd".repeat(20)] })), ["client_ids", "thumbprints"]);
    }

    #[test]
    fn arn_is_predicted() {
        let realm = Realm::default().with("account", "123456789012");
        let outputs = IamOidcProvider::predicted_outputs(&desired(json!({})), &realm).into_map();
        assert_eq!(outputs["arn"], "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1");
        assert_eq!(outputs["issuer"], "oidc.example.com/id/1");
    }

    #[test]
    fn addresses_and_thumbprints_are_checked() {
        assert!(check_url("http://a.example").is_some() && check_url("https://").is_some());
        assert_eq!(
            IamOidcProvider::check(&desired(json!({ "thumbprints": ["abc"] })))[0].path,
            "thumbprints[0]"
        );
    }
}
