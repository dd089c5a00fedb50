//! Shows the contents of custody to people.

use std::fmt::Write;

use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use crate::custody::examine::{Copy, CopyState, Object};
use crate::custody::people::CanOpen;
use crate::custody::{Misdirected, Unvouched};
use crate::providers::vault::{CustodyStatus, HeldShare};
use crate::visible::sanitize;

/// What to do when stores have different values.
pub const DIFFERENT: &str = "Stores have different values of an object, so one of them is wrong. Find out which \
                             one works; `groundwork custody check PLAN --repair --prefer STORE` puts its copy \
                             in the place of the others, which keep theirs aside.";

/// What to do when objects are sealed for others than the plan names.
pub const MISDIRECTED: &str = "Objects are sealed for other recipients than the plan names; `groundwork custody \
                               rewrap PLAN` seals them for the plan's recipients.";

/// Objects, their copies and recipients; never a value.
pub fn objects(objects: &[Object]) -> String {
    if objects.is_empty() {
        return "nothing is in custody".to_owned();
    }
    objects.iter().map(object).collect::<Vec<_>>().join("\n")
}

fn object(object: &Object) -> String {
    let mut text = format!("{}  version {}", paint(STRONG, &object.name), object.version);
    if let Some(signer) = object.signer {
        let _ = write!(text, "\n  {}", paint(FAINT, format!("signed with the key {signer}")));
    }
    for copy in &object.copies {
        let _ = write!(text, "\n  {}  {}", state(copy), copy.store);
        if let Some(created) = copy.created {
            let _ = write!(text, "  {}", paint(FAINT, created.strftime("%Y-%m-%d %H:%M:%S UTC")));
        }
        for recipient in &copy.recipients {
            let opens = match recipient.opens {
                Some(true) => paint(GOOD, "opens"),
                Some(false) => paint(BAD, "does not open"),
                None => paint(FAINT, "not tried"),
            };
            let _ = write!(text, "\n      {} {}  {opens}", recipient.kind, recipient.id);
        }
    }
    for aside in &object.aside {
        let _ = write!(
            text,
            "\n  {}  version {} in {} ({})",
            paint(BAD, "set aside"),
            aside.version,
            aside.store,
            aside.because
        );
    }
    for (who, what) in [(&object.lacks, "not sealed for"), (&object.former, "still sealed for")] {
        for one in who {
            let _ = write!(text, "\n  {} {one}", paint(BAD, what));
        }
    }
    text
}

/// What is sealed for others than the plan's recipients, and what stays as it is.
pub fn misdirected(objects: &[Misdirected], handed_out: &[String]) -> String {
    let mut text = String::new();
    for Misdirected { object, version, lacks, former } in objects {
        let _ = write!(text, "{}  version {version}", paint(STRONG, object));
        for (who, style, sign) in [(lacks, GOOD, "+"), (former, BAD, "-")] {
            for one in who {
                let _ = write!(text, "\n  {} {one}", paint(style, sign));
            }
        }
        text.push('\n');
    }
    if !handed_out.is_empty() {
        let _ = writeln!(
            text,
            "left as they are, because only their holders open them: {} shares; a holder's new key gets the share with \
             `groundwork custody holder replace PLAN NAME`",
            handed_out.len()
        );
    }
    text.trim_end().to_owned()
}

/// Who can open what today, and who holds which key share.
pub fn people(recipients: &[CanOpen], objects: usize, shares: &[HeldShare]) -> String {
    let mut text = match recipients.is_empty() {
        true => "nothing is in custody".to_owned(),
        false => format!("{objects} objects in custody open for"),
    };
    for one in recipients {
        can_open(&mut text, one, objects);
    }
    for HeldShare { holder, share, key, .. } in shares {
        let _ = write!(text, "\n  share {share}  {}  {key}", paint(STRONG, holder));
    }
    text
}

/// A recipient in one line.
pub(super) fn can_open(text: &mut String, one: &CanOpen, objects: usize) {
    let how_many = if one.objects == objects { "all".to_owned() } else { one.objects.to_string() };
    let _ = write!(text, "\n  {how_many:<4} {}", sanitize(&one.who));
    if !one.is_declared {
        let _ = write!(text, "  {}", paint(BAD, "no longer in the plan"));
    }
}

/// Shows the objects in custody that a person is asked to vouch for.
pub fn show_unvouched(objects: &[Unvouched]) {
    for object in objects {
        let signer =
            object.signer.map_or("not signed".to_owned(), |signer| format!("signed by the key {signer}"));
        let (name, version, store) = (sanitize(&object.name), object.version, &object.store);
        crate::console::out(format_args!("  {name} version {version} in {store}, {signer}"));
    }
}

fn state(copy: &Copy) -> String {
    match &copy.state {
        CopyState::Whole => paint(GOOD, "whole"),
        CopyState::Differs => paint(BAD, "differs"),
        CopyState::Closed => paint(FAINT, "closed"),
        CopyState::Missing => paint(BAD, "missing"),
        CopyState::Damaged(why) => format!("{} ({why})", paint(BAD, "damaged")),
        CopyState::Refused(why) => format!("{} ({why})", paint(BAD, "refused")),
        CopyState::Unreachable(why) => format!("{} ({why})", paint(CHANGE, "unreachable")),
    }
}

/// Whether custody is enough for the cluster.
pub fn standing(standing: &CustodyStatus) -> String {
    if standing.prefix.is_none() && standing.problems.is_empty() {
        return "Vault: nothing in custody yet, and no server is initialised".to_owned();
    }
    let needed = standing.threshold.map_or("an unknown number".to_owned(), |threshold| threshold.to_string());
    let mut text = format!("Vault: {} shares can be obtained, {needed} are needed", standing.shares);
    if standing.handed_out > 0 {
        let _ = write!(text, "; {} holders have theirs", standing.handed_out);
        if standing.shares == 0 {
            text.push_str(", and only they can prove it");
        }
    }
    let root = match (standing.root_revoked, standing.admin) {
        (true, true) => "; the root token is revoked, the admin's credential is here",
        (true, false) => "; the root token is revoked",
        (false, _) => "; the root token is here",
    };
    text.push_str(root);
    for problem in &standing.problems {
        let _ = write!(text, "\n  {}: {problem}", paint(BAD.bold(), "problem"));
    }
    text
}
