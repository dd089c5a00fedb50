//! `groundwork trust`

use clap::Args;

use super::plan_args::PlanArgs;
use super::{Outcome, failed, permission};
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::plan::Document;
use crate::session::{self, Checked, Purpose, Wanted};
use crate::trust::Grant;

/// Show what a plan wants to use of yours, ask, and remember the answers outside of its folder.
///
/// A plan may come from a stranger. Where your credentials go, which of them are used and which
/// variables are read is yours to allow: `vault=ORIGIN`, a server that may get Vault credentials;
/// `node=ORIGIN`, one that may get key shares; `ca=SHA256`, an authority of the plan's that says who
/// servers are; `server=postgres://HOST:PORT`, a database server that may get a login;
/// `aws-profile=NAME`, `aws-role=ARN`, `env=NAME`, `signer=FINGERPRINT`.
///
/// Answers hold for the plan of this name in this folder, and for exactly what was shown: another
/// address is asked for again. What is named with --trust or --env is remembered without a question.
#[derive(Debug, Args)]
pub struct TrustArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Only show what is remembered
    #[arg(long, conflicts_with = "revoke")]
    list: bool,
    /// Forget this permission; may be repeated
    #[arg(long, value_name = "SUBJECT=VALUE")]
    revoke: Vec<Grant>,
}

/// Lists, revokes, or shows, asks and remembers.
pub async fn run(args: TrustArgs) -> Outcome {
    decide(&args).await.unwrap_or_else(|error| failed(&error))
}

async fn decide(args: &TrustArgs) -> Result<Outcome, session::Error> {
    let checked = args.plan.check()?;
    let document = &checked.resolved.document;
    if args.list {
        return list(document);
    }
    if !args.revoke.is_empty() {
        return revoke(document, &args.revoke);
    }
    let named: Vec<Grant> = args.plan.granted().cloned().collect();
    permission::remember(document, &named)?;
    // Read the plan again, so that the permissions remembered just now are shown as remembered.
    let checked = if named.is_empty() { checked } else { args.plan.check()? }.with_signer();
    show(&checked);
    let checked = args.plan.asked(checked, Purpose::Everything).await?;
    checked.with_signer().require_allowed(Purpose::Everything)?;
    Ok(Outcome::Done)
}

fn show(checked: &Checked) {
    let document = &checked.resolved.document;
    if checked.wanted.is_empty() {
        console::out(format_args!("{} wants nothing that you have to allow", document.name));
        return;
    }
    console::out(format_args!("{} wants:", document.name));
    for wanted in &checked.wanted {
        console::out(line(checked, wanted));
    }
}

fn line(checked: &Checked, wanted: &Wanted) -> String {
    let allowed = match checked.resolved.trust.allowed_by(&wanted.grant) {
        Some(source) => format!("allowed by {source}"),
        None => "not allowed".to_owned(),
    };
    let place = wanted.span.and_then(|span| checked.resolved.document.sources.locate(span));
    let place = place.map(|(path, line, _)| format!("  {}:{line}", path.display())).unwrap_or_default();
    format!("  {}  {allowed}{place}", wanted.grant)
}

fn list(document: &Document) -> Result<Outcome, session::Error> {
    let store = permission::store(document)?;
    let remembered = store.load()?;
    if remembered.is_empty() {
        console::note(format_args!("nothing is remembered for {}", document.name));
    }
    for (grant, when) in remembered {
        console::out(format_args!("{grant}  since {}", when.strftime("%Y-%m-%d %H:%M UTC")));
    }
    Ok(Outcome::Done)
}

fn revoke(document: &Document, grants: &[Grant]) -> Result<Outcome, session::Error> {
    let store = permission::store(document)?;
    let mut remembered = store.load()?;
    for grant in grants {
        if remembered.remove(grant).is_none() {
            let message = format!("{grant} is not remembered for {}", document.name);
            return Err(Error::new(ErrorKind::Rejected, "trust", message)
                .advice("`groundwork trust PLAN --list` shows what is")
                .into());
        }
    }
    store.save(remembered)?;
    for grant in grants {
        console::out(format_args!("forgot {grant}"));
    }
    Ok(Outcome::Done)
}
