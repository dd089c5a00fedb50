//! Shows backups and their proof to people and to scripts; never a value.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use crate::backup::{Check, Fate, ManifestCheck, State, Taken, Vouching};
use crate::session::{Preview, Restored, SecretRestore};
use crate::snapshot::{Contents, Frame, KvSecret, Mount, Table, Verdict, Vitals};

/// How many changes of one kind are listed.
const LISTED: usize = 50;

/// The result of a check as JSON.
pub fn check_json(name: &str, check: &Check, manifest: &ManifestCheck) -> Value {
    let flaw = check.flaw.as_ref().map(|flaw| json!({ "kind": flaw.word(), "message": flaw.to_string() }));
    json!({
        "backup": name,
        "state": check.state,
        "flaw": flaw,
        "snapshot": check.frame.as_ref().map(|(frame, vitals)| snapshot_json(frame, vitals)),
        "opened_with": check.opened.as_ref().map(|opened| &opened.with),
        "manifest": manifest_json(manifest),
        "shares": check.shares,
        "contents": check.opened.as_ref().map(|opened| contents_json(&opened.contents)),
    })
}

fn manifest_json(manifest: &ManifestCheck) -> Value {
    let read = manifest.read();
    json!({
        "state": manifest.word(),
        "vouching": read.map(|read| read.vouching),
        "plan": read.map(|read| &read.manifest.plan),
        "taken": read.map(|read| read.manifest.taken),
        "previous": read.and_then(|read| read.manifest.previous.as_ref()),
    })
}

/// A backup that was taken, as JSON.
pub fn taken_json(taken: &Taken, check: &Check) -> Value {
    json!({
        "backup": taken.manifest.snapshot.name,
        "taken": taken.manifest.taken,
        "state": check.state,
        "signed": taken.is_signed,
        "bytes": taken.manifest.bytes,
        "sha256": taken.manifest.snapshot.sha256,
        "index": taken.manifest.index,
        "generation": taken.manifest.generation,
        "stores": taken.stored,
    })
}

/// A backup that was taken, for people.
pub fn taken(taken: &Taken, check: &Check) -> String {
    let manifest = &taken.manifest;
    let mut text = format!(
        "{}  {}\n  {} bytes, {} entries, raft index {}",
        paint(STRONG, &manifest.snapshot.name),
        state(check.state),
        manifest.bytes,
        manifest.entries,
        manifest.index
    );
    if let Some(flaw) = &check.flaw {
        let _ = write!(text, "\n  {flaw}");
    }
    if let Some(opened) = &check.opened {
        let _ = write!(text, "\n  opened with {}", opened.with);
    }
    for one in &taken.stored {
        let how = match &one.error {
            None => paint(GOOD, "stored"),
            Some(_) => paint(BAD, "failed"),
        };
        let _ = write!(text, "\n  {how}  {}", one.place);
        if let Some(error) = &one.error {
            let _ = write!(text, ": {error}");
        }
        for gone in &one.removed {
            let _ = write!(text, "\n    {}", paint(FAINT, format!("removed {gone}")));
        }
        for left in &one.left {
            let _ = write!(text, "\n    {left}");
        }
    }
    text
}

/// A backup that is about to be restored, in a line.
pub fn subject(name: &str, check: &Check, manifest: &ManifestCheck) -> String {
    format!("{}  {}\n  {}", paint(STRONG, name), state(check.state), manifest_line(manifest))
}

/// The changes of a restore.
pub fn preview(preview: &Preview) -> String {
    let mut text = format!("restore into {}", preview.address);
    let comparison = &preview.comparison;
    for (fate, title, style) in [
        (Fate::Lost, "is lost", BAD),
        (Fate::Changes, "becomes what it was", CHANGE),
        (Fate::Returns, "comes back", GOOD),
    ] {
        let changes: Vec<_> = comparison.changes.iter().filter(|one| one.fate == fate).collect();
        for alike in changes.chunk_by(|one, other| one.kind == other.kind) {
            for change in alike.iter().take(LISTED) {
                let detail = change.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
                let _ = write!(text, "\n  {}  {} {}{detail}", paint(style, title), change.kind, change.name);
            }
            if let Some(more) = alike.len().checked_sub(LISTED).filter(|more| *more > 0) {
                let _ = write!(text, "\n  {}  {more} more of kind {}", paint(style, title), alike[0].kind);
            }
        }
    }
    if comparison.is_same() {
        text.push_str("\n  mounts, policies, audit devices and secrets are the same as in the backup");
    }
    for (count, what) in [
        (comparison.tokens_returning, "tokens that were revoked or have expired since are good again"),
        (comparison.tokens_lost, "tokens that were issued since are refused afterwards"),
        (comparison.secret_ids_returning, "secret-ids that were destroyed or used up since are good again"),
        (comparison.secret_ids_lost, "secret-ids that were issued since are refused afterwards"),
    ] {
        if count > 0 {
            let _ = write!(text, "\n  {count} {what}");
        }
    }
    for remark in &preview.remarks {
        let _ = write!(text, "\n  {remark}");
    }
    text
}

/// What is left to do after a restore.
pub fn restored(restored: &Restored, preview: &Preview) -> String {
    let mut text = paint(GOOD, "restored");
    for address in &restored.reloaded {
        let _ = write!(text, "\n  {address} has read its tables again");
    }
    for address in &restored.joined {
        let _ = write!(text, "\n  {address} has joined, and has the same tables");
    }
    for healed in &restored.healed {
        let _ = write!(text, "\n  {healed}");
    }
    for open in &restored.open {
        let _ = write!(text, "\n  {}  {open}", paint(BAD, "to do"));
    }
    let comparison = &preview.comparison;
    if comparison.tokens_returning + comparison.secret_ids_returning > 0 {
        text.push_str(
            "\n  what had been revoked since the backup works again: revoke it, or rotate what it belongs to",
        );
    }
    text
}

/// One secret that is about to be restored; never a value.
pub fn secret(secret: &SecretRestore) -> String {
    if secret.is_same() {
        return format!("{} is the same as version {} of the backup", secret.path, secret.version);
    }
    let live = match secret.live_version {
        Some(version) => format!("version {version} is live"),
        None => "it is not live".to_owned(),
    };
    let fields = secret.fields.join(", ");
    format!("{}  version {} of the backup; {live}; fields that differ: {fields}", secret.path, secret.version)
}

fn snapshot_json(frame: &Frame, vitals: &Vitals) -> Value {
    let shares = vitals.share_config();
    json!({
        "bytes": frame.bytes,
        "sha256": frame.sha256,
        "entries": frame.entries,
        "index": frame.meta.index,
        "term": frame.meta.term,
        "servers": frame.meta.servers(),
        "seal": vitals.seal.to_string(),
        "key_id": Some(&vitals.root.key_id).filter(|id| !id.is_empty()),
        "shares": shares.shares,
        "threshold": shares.threshold,
        "generation": vitals.generation,
        "version": vitals.newest_version(),
    })
}

fn contents_json(contents: &Contents) -> Value {
    json!({
        "cluster_id": contents.cluster_id,
        "counts": contents.counts,
        "mounts": contents.mounts_of(Table::Secrets).collect::<Vec<_>>(),
        "auth": contents.mounts_of(Table::Auth).collect::<Vec<_>>(),
        "audit": contents.audit,
        "policies": contents.policies.keys().collect::<Vec<_>>(),
        "secrets": contents.secrets,
    })
}

/// The result of a check for people; ages are those at `now`.
pub fn check(name: &str, check: &Check, manifest: &ManifestCheck, now: Timestamp) -> String {
    let mut text = format!("{}  {}", paint(STRONG, name), state(check.state));
    if let Some(flaw) = &check.flaw {
        let _ = write!(text, "\n  {flaw}");
    }
    if let Some((frame, vitals)) = &check.frame {
        text.push_str(&outline(frame, vitals));
    }
    let _ = write!(text, "\n  {}", manifest_line(manifest));
    for share in &check.shares {
        let verdict = match share.verdict {
            Verdict::Good => paint(GOOD, "good"),
            Verdict::Wrong => paint(BAD, "opens nothing here"),
            Verdict::Repeated => paint(CHANGE, "the same as another one"),
            Verdict::Malformed => paint(BAD, "not a share"),
            Verdict::Unproven => paint(CHANGE, "not proven: too few shares"),
        };
        let _ = write!(text, "\n  share {} of {}  {verdict}", share.number, share.from);
    }
    if let Some(opened) = &check.opened {
        let _ = write!(text, "\n  opened with {}", opened.with);
        text.push_str(&contents(&opened.contents, now));
    }
    text
}

fn state(state: State) -> String {
    match state {
        State::Proven => paint(GOOD, "proven"),
        State::Whole => paint(CHANGE, "whole, and not opened: no key was at hand"),
        State::Locked => paint(BAD, "whole, and it does not open"),
        State::Flawed => paint(BAD, "not to be relied on"),
    }
}

fn manifest_line(manifest: &ManifestCheck) -> String {
    match manifest {
        ManifestCheck::Missing => paint(FAINT, "no manifest beside it"),
        ManifestCheck::Broken => paint(BAD, "the manifest beside it was changed, or is not one"),
        ManifestCheck::Contradicts(_) => paint(BAD, "the manifest beside it is of another file"),
        ManifestCheck::Agrees(read) => {
            let by = match read.vouching {
                Vouching::Signed => "signed with the plan's key",
                Vouching::UnknownSigner => "signed with a key that this machine does not know",
                Vouching::Unsigned => "not signed",
            };
            format!("manifest of {}: {by}", read.manifest.taken.strftime("%Y-%m-%d %H:%M:%S UTC"))
        }
    }
}

fn outline(frame: &Frame, vitals: &Vitals) -> String {
    let (config, meta) = (vitals.share_config(), &frame.meta);
    let servers: Vec<&str> = meta.servers().iter().map(|server| server.id.as_str()).collect();
    let mut text = format!(
        "\n  {} bytes, {} entries, raft index {} in term {}, of {}",
        frame.bytes,
        frame.entries,
        meta.index,
        meta.term,
        servers.join(", ")
    );
    let _ = write!(text, "\n  {}", paint(FAINT, format!("sha256 {}", frame.sha256)));
    let _ = write!(text, "\n  seal {}, {} of {} shares", vitals.seal, config.threshold, config.shares);
    if !vitals.root.key_id.is_empty() {
        let _ = write!(text, ", key {}", vitals.root.key_id);
    }
    if let Some(version) = vitals.newest_version() {
        let _ = write!(text, "; written by version {version}");
    }
    if let Some(generation) = &vitals.generation {
        let _ = write!(text, "\n  {}", paint(FAINT, format!("share generation {generation}")));
    }
    text
}

fn contents(contents: &Contents, now: Timestamp) -> String {
    let counts = contents.counts;
    let mut text = format!(
        "\n  {} of {} entries are encrypted, and every one of them is authentic; {} tokens, {} leases",
        counts.authenticated, counts.entries, counts.tokens, counts.leases
    );
    if let Some(id) = &contents.cluster_id {
        let _ = write!(text, "\n  cluster {id}");
    }
    for (title, table) in [("secrets engines", Table::Secrets), ("auth methods", Table::Auth)] {
        let mounts: Vec<String> = contents.mounts_of(table).map(mount).collect();
        let _ = write!(text, "\n  {title}: {}", mounts.join(", "));
    }
    let devices: Vec<String> =
        contents.audit.iter().map(|one| format!("{} ({})", one.path, one.kind)).collect();
    let _ = write!(text, "\n  audit devices: {}", or_none(&devices));
    let policies: Vec<String> = contents.policies.keys().cloned().collect();
    let _ = write!(text, "\n  policies: {}", or_none(&policies));
    let _ = write!(text, "\n  secrets: {}", contents.secrets.len());
    for one in &contents.secrets {
        let _ = write!(text, "\n    {}", listed(one, now));
    }
    text
}

fn or_none(list: &[String]) -> String {
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

fn mount(mount: &Mount) -> String {
    let version = mount.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    format!("{} ({}{version})", mount.path, mount.kind)
}

fn listed(secret: &KvSecret, now: Timestamp) -> String {
    let path = format!("{}{}", secret.mount, secret.path);
    let Some(newest) = secret.newest() else { return path };
    let older = secret.versions.len() - 1;
    let older = if older == 0 { String::new() } else { format!(", and {older} older") };
    let state = match (newest.destroyed, newest.deleted) {
        (true, _) => ", destroyed",
        (_, Some(when)) if when <= now => ", deleted",
        _ => "",
    };
    let age = newest.created.map(|created| age(created, now)).unwrap_or_default();
    format!("{path}  {}", paint(FAINT, format!("version {}{age}{state}{older}", newest.version)))
}

fn age(then: Timestamp, now: Timestamp) -> String {
    let minutes = (now.as_second() - then.as_second()).max(0) / 60;
    match minutes {
        0..120 => format!(", {minutes} min old"),
        120..2880 => format!(", {} h old", minutes / 60),
        _ => format!(", {} days old", minutes / 1440),
    }
}
