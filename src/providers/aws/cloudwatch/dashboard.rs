//! `aws.cloudwatch_dashboard`: a dashboard.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::refuse_existing;
use crate::access::Granting;
use crate::error::{FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::providers::aws::ACCOUNT;
use crate::providers::aws::arn::partition;
use crate::providers::aws::client::{AwsClient, missing};
use crate::providers::aws::error::Answer;
use crate::providers::aws::json::Json;
use crate::providers::aws::needs::{self, Need, deletes, reads, writes};
use crate::resource::risk::{Risks, identity, safe};
use crate::resource::{Diff, Look, Partial, Resource, Writer};
use crate::run::{Permission, Use};

const NOT_FOUND: &[&str] = &["ResourceNotFound", "DashboardNotFoundError"];
const GET: &str = "cloudwatch:GetDashboard";
const PUT: &str = "cloudwatch:PutDashboard";

type W<'a> = Writer<'a, AwsClient>;

/// A dashboard.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutDashboard.html>
pub struct CloudwatchDashboard;

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CloudwatchDashboard")]
pub struct Desired {
    /// The name, unique in the account.
    pub name: String,
    /// The widgets, as a map or as the JSON text that the console exports:
    /// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html>
    pub body: Json,
}

/// The dashboard as CloudWatch reports it.
#[derive(Clone, Debug)]
pub struct Observed {
    name: String,
    arn: String,
    body: Json,
}

/// The outputs for other steps.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CloudwatchDashboardOutputs")]
pub struct Outputs {
    /// The dashboard's name.
    pub name: String,
    /// The dashboard's ARN.
    pub arn: String,
}

/// The actions that it needs.
const NEEDS: &[Need] = &[
    reads(&["cloudwatch:GetDashboard"]),
    writes(&["cloudwatch:PutDashboard"]),
    deletes(&["cloudwatch:DeleteDashboards"]),
];

impl Resource for CloudwatchDashboard {
    const KIND: &'static str = "aws.cloudwatch_dashboard";
    const GRANTS: Granting = Granting::Never("a dashboard shows metrics; who may see it is not followed");
    /// Dashboards are global.
    const REALM: &'static [&'static str] = ACCOUNT;
    const ABOUT: &'static str = "A CloudWatch dashboard, compared by its content.";
    const EXAMPLE: &'static str = r"security_dashboard:
  kind: aws.cloudwatch_dashboard
  name: candlefish-security
  body:
    widgets:
      - type: metric
        width: 12
        height: 6
        properties:
          title: Failed logins
          region: us-east-1
          stat: Sum
          metrics: [ [ Candlefish/Vault, FailedLogins ] ]
";
    const RISKS: Risks =
        &[&[identity("name"), safe("body", "it shows metrics to those who may read them anyway")]];
    const PROOF: Proof = Proof::InSync("it only shows what is measured elsewhere");

    type Client = AwsClient;
    type Id = String;
    type Desired = Desired;
    type Observed = Observed;
    type Outputs = Outputs;

    /// Dashboards are global.
    fn permissions(desired: &Desired, used: Use<'_>) -> Vec<Permission> {
        let account = needs::known(used.realm.get("account"));
        let name = needs::literal(&desired.name);
        let arn = format!("arn:{}:cloudwatch::{account}:dashboard/{name}", partition(used.realm));
        needs::of(NEEDS, used, desired, |_| vec![arn.clone()])
    }

    fn id(desired: &Desired) -> String {
        desired.name.clone()
    }

    fn check(desired: &Desired) -> Vec<FieldError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let good = (1..=255).contains(&desired.name.len()) && desired.name.chars().all(allowed);
        let wrong = (!good).then(|| {
            FieldError::new("name", "not a valid name for a dashboard")
                .help("1 to 255 letters, digits, `-` and `_`")
        });
        wrong.into_iter().collect()
    }

    async fn observe(client: &AwsClient, id: &String, _: Look<'_, Self>) -> Result<Option<Observed>> {
        let answer = client.read().cloudwatch().get_dashboard().dashboard_name(id).send().await;
        let Some(live) = answer.found(GET, NOT_FOUND)? else { return Ok(None) };
        Ok(Some(Observed {
            name: id.clone(),
            arn: live.dashboard_arn.ok_or_else(|| missing(GET, "ARN"))?,
            body: Json::live(&live.dashboard_body.ok_or_else(|| missing(GET, "body"))?),
        }))
    }

    fn diff(desired: &Desired, observed: &Observed) -> Diff {
        let mut diff = Diff::none();
        if observed.body != desired.body {
            diff.push("body", json!(observed.body), json!(desired.body));
        }
        diff
    }

    async fn create(w: &W<'_>, desired: &Desired) -> Result<()> {
        let found = Self::observe(w, &desired.name, Look::BARE).await?.is_some();
        refuse_existing(PUT, found, &format!("the dashboard {}", desired.name))?;
        put(w, desired).await
    }

    async fn update(w: &W<'_>, desired: &Desired, _observed: &Observed) -> Result<()> {
        put(w, desired).await
    }

    async fn delete(w: &W<'_>, id: &String) -> Result<()> {
        let answer = w.write(w.permit()).cloudwatch().delete_dashboards().dashboard_names(id).send().await;
        answer.found("cloudwatch:DeleteDashboards", NOT_FOUND).map(drop)
    }

    fn outputs(observed: &Observed) -> Outputs {
        Outputs { name: observed.name.clone(), arn: observed.arn.clone() }
    }

    /// A dashboard's ARN does not contain a region.
    fn predicted_outputs(desired: &Desired, realm: &Realm) -> Partial {
        let arn = realm.get("account").map(|account| {
            format!("arn:{}:cloudwatch::{account}:dashboard/{}", partition(realm), desired.name)
        });
        Partial::default().with("name", &desired.name).with_some("arn", arn)
    }
}

/// Creates or replaces the dashboard.
async fn put(w: &W<'_>, desired: &Desired) -> Result<()> {
    let request = w.write(w.permit()).cloudwatch().put_dashboard().dashboard_name(&desired.name);
    request.dashboard_body(desired.body.text()).send().await.at(PUT).map(drop)
}
