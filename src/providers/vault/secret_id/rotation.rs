//! How a secret-id is rotated while it is in use: another one is made and delivered beside it; the old one is destroyed
//! once nothing has logged in with it for a while.
//!
//! The server says nothing of a secret-id's use, but tokens carry the metadata of the secret-id that they come from:
//! the tokens of the old one show who has not changed over yet.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::issued::Issued;
use super::place::Depository;
use super::{MARK, ROTATION, SecretIdId, SecretIdSpec};
use crate::error::{ErrorKind, Result};
use crate::journal::{Entry, PHASED, Record};
use crate::net::timeout::scaled_delay;
use crate::permit::Permit;
use crate::providers::vault::notation::Ttl;
use crate::resource::{Diff, Pending};

/// How long the old one stays where the plan does not say it.
const USUAL: u64 = 3_600;

/// The default of `overlap`.
pub(super) fn usual() -> Ttl {
    Ttl::Seconds(USUAL)
}

/// A rotation that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnderWay {
    /// The accessor of the one on its way out.
    pub(super) old: String,
    /// Whether it still exists.
    pub(super) exists: bool,
    /// Whether it is the one that stands where it is delivered to.
    pub(super) is_current: bool,
    /// Since when the new one is delivered.
    pub(super) delivered: Option<Timestamp>,
    /// The latest login with the old one; why it cannot be seen.
    pub(super) last_login: Result<Option<Timestamp>, String>,
    /// When all this was read.
    pub(super) now: Timestamp,
}

/// The next thing to do in a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Make another one, and deliver it.
    Make,
    /// Note that the new one is delivered.
    Note,
    /// Nothing yet: why, and when it may be different.
    Wait(String, Timestamp),
    /// Destroy the old one.
    Destroy,
    /// Note that the old one is gone.
    End,
}

impl UnderWay {
    /// The next phase; the old one stays at least for `overlap`.
    pub(super) fn phase(&self, overlap: &Ttl) -> Phase {
        match self.delivered {
            _ if self.is_current => Phase::Make,
            _ if !self.exists => Phase::End,
            None => Phase::Note,
            Some(delivered) => self.once_delivered(delivered, overlap),
        }
    }

    fn once_delivered(&self, delivered: Timestamp, overlap: &Ttl) -> Phase {
        let login = match &self.last_login {
            Ok(login) => *login,
            Err(why) => return Phase::Wait(format!("its logins cannot be seen: {why}"), self.now),
        };
        let last = login.map_or(delivered, |login| login.max(delivered));
        let until = last + length(overlap);
        if until <= self.now {
            return Phase::Destroy;
        }
        let why = match login.filter(|login| *login > delivered) {
            Some(login) => {
                format!("something logged in with it at {}", login.strftime("%Y-%m-%d %H:%M:%S UTC"))
            }
            None => "its users may not have the new one yet".to_owned(),
        };
        Phase::Wait(why, until)
    }

    /// Shows the next phase.
    pub(super) fn compare(&self, diff: &mut Diff, overlap: &Ttl) {
        match self.phase(overlap) {
            Phase::Make | Phase::Wait(..) => {}
            Phase::Note => {
                diff.push("proven", json!(false), json!(true));
                diff.note("the new one is delivered; the old one stays beside it");
            }
            Phase::Destroy => {
                diff.push(&format!("secret_ids[{}]", self.old), json!("exists"), Value::Null);
                diff.note("no login uses it");
            }
            Phase::End => {
                diff.push("rotated", json!(false), json!(true));
                diff.note("the old one is gone; that is noted");
            }
        }
    }

    /// Its description while it lasts.
    pub(super) fn pending(&self, overlap: &Ttl) -> Pending {
        let (waits, until) = match self.phase(overlap) {
            Phase::Make => ("another one is made beside it next".to_owned(), None),
            Phase::Note => ("the new one is delivered; that is to be noted".to_owned(), None),
            Phase::Wait(why, until) => (why, Some(until)),
            Phase::Destroy => ("it is destroyed next".to_owned(), Some(self.now)),
            Phase::End => ("it is gone, and that is to be noted".to_owned(), Some(self.now)),
        };
        let old = format!("the secret-id with the accessor {}", self.old);
        // Nothing has kept it.
        Pending {
            old,
            waits,
            since: self.delivered,
            until,
            can_go_back: false,
            needs_person: self.last_login.is_err(),
        }
    }
}

fn length(overlap: &Ttl) -> SignedDuration {
    let seconds = match overlap {
        Ttl::Seconds(seconds) => *seconds,
        Ttl::Unknown(_) => USUAL,
    };
    SignedDuration::try_from(scaled_delay(Duration::from_secs(seconds))).unwrap_or(SignedDuration::MAX)
}

fn operation() -> String {
    format!("{PHASED} secret-id")
}

impl Depository {
    fn intent(&self, id: &SecretIdId) -> Option<(Record, String)> {
        let intent = self.journal.open_intent(&operation(), &id.to_string())?;
        let Entry::Intent { detail, .. } = &intent.entry else { return None };
        let old = detail.first()?.clone();
        Some((intent, old))
    }

    /// The rotation that is under way, of these secret-ids, of which this one is delivered.
    pub(super) async fn under_way(
        &self,
        id: &SecretIdId,
        issued: &[Issued],
        delivered: Option<&str>,
    ) -> Result<Option<UnderWay>> {
        let Some((intent, old)) = self.intent(id) else { return Ok(None) };
        let mut later = self.journal.believed().into_iter().filter(|record| record.seq > intent.seq);
        let (operation, target) = (operation(), id.to_string());
        let is_note = |entry: &Entry| {
            matches!(entry, Entry::Verified { .. }) && entry.subject() == Some((&operation, &target))
        };
        let noted = later.rfind(|record| is_note(&record.entry));
        let live = issued.iter().find(|issued| issued.accessor == old);
        let is_current = delivered == Some(old.as_str());
        let last_login = match live.filter(|_| noted.is_some() && !is_current) {
            Some(live) => self.last_login(id, live).await?,
            None => Ok(None),
        };
        Ok(Some(UnderWay {
            exists: live.is_some(),
            is_current: is_current && live.is_some(),
            delivered: noted.map(|record| record.time),
            last_login,
            now: Timestamp::now(),
            old,
        }))
    }

    /// When the latest token of a secret-id was made that still lives. Listing tokens takes `sudo`.
    async fn last_login(&self, id: &SecretIdId, of: &Issued) -> Result<Result<Option<Timestamp>, String>> {
        let listing = match self.vault().list("auth/token/accessors").await {
            Err(error) if error.kind == ErrorKind::Denied => return Ok(Err(error.to_string())),
            listing => listing?.unwrap_or_default(),
        };
        let mut last = None;
        for accessor in listing["keys"].as_array().into_iter().flatten() {
            let asked =
                self.vault().ask("auth/token/lookup-accessor", &json!({ "accessor": accessor })).await;
            let told = match asked {
                Ok(told) => told.unwrap_or_default(),
                Err(error) if error.kind == ErrorKind::Denied => return Ok(Err(error.to_string())),
                // It ended in the meantime.
                Err(error) if error.kind == ErrorKind::Rejected => continue,
                Err(error) => return Err(error),
            };
            if is_of(&told["meta"], id, of) {
                let made = told["creation_time"].as_i64().and_then(|made| Timestamp::from_second(made).ok());
                last = last.max(made);
            }
        }
        Ok(Ok(last))
    }

    /// Announces the rotation of the secret-id with this accessor.
    pub(super) async fn announce(
        &self,
        permit: &Permit,
        step: &str,
        id: &SecretIdId,
        old: &str,
    ) -> Result<()> {
        if self.intent(id).is_some_and(|(_, known)| known == old) {
            return Ok(());
        }
        let (step, target, detail) = (step.to_owned(), id.to_string(), vec![old.to_owned()]);
        self.journal.append(permit, Entry::Intent { step, operation: operation(), target, detail }).await
    }

    /// Notes that the new one is delivered.
    pub(super) async fn note_delivery(&self, permit: &Permit, id: &SecretIdId) -> Result<()> {
        let (operation, target) = (operation(), id.to_string());
        self.journal.append(permit, Entry::Verified { operation, target }).await
    }

    /// Notes the end of the rotation, if one was under way.
    pub(super) async fn end_rotation(&self, permit: &Permit, id: &SecretIdId) -> Result<()> {
        let Some((_, old)) = self.intent(id) else { return Ok(()) };
        let (operation, target, detail) = (operation(), id.to_string(), vec![old]);
        self.journal.append(permit, Entry::Committed { operation, target, detail }).await
    }
}

/// Whether a token with this metadata comes from a login with the secret-id.
fn is_of(meta: &Value, id: &SecretIdId, of: &Issued) -> bool {
    meta[MARK] == id.name
        && meta["role_name"] == id.role.to_string()
        && meta[ROTATION].as_str() == of.rotation.as_deref()
}

/// The secret-ids that have no use: not delivered, and not on their way out of a rotation.
pub(super) fn left_over<'a>(
    issued: &'a [Issued],
    delivered: Option<&'a str>,
    rotation: Option<&'a UnderWay>,
) -> impl Iterator<Item = &'a Issued> {
    let kept = rotation.filter(|rotation| !rotation.is_current).map(|rotation| rotation.old.as_str());
    issued.iter().filter(move |issued| {
        let accessor = Some(issued.accessor.as_str());
        accessor != delivered && accessor != kept
    })
}

/// Whether it is that of a plan which says nothing.
pub(super) fn is_usual(overlap: &Ttl) -> bool {
    *overlap == usual()
}

/// The differences of a rotation that is asked for.
pub(super) fn compare(diff: &mut Diff, desired: &SecretIdSpec, rotation: Option<&UnderWay>) {
    match rotation.filter(|rotation| !rotation.is_current) {
        Some(rotation) => rotation.compare(diff, &desired.overlap),
        None => {
            diff.secret(super::SECRET_ID, crate::secret::SecretChange::Changed, None);
            diff.note("another one is made and delivered; this one works until its users have changed over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).expect("a time")
    }

    fn under_way(now: i64, last_login: Result<Option<Timestamp>, String>) -> UnderWay {
        UnderWay {
            old: "old".to_owned(),
            exists: true,
            is_current: false,
            delivered: Some(at(0)),
            last_login,
            now: at(now),
        }
    }

    #[test]
    fn old_one_stays_until_nothing_logs_in_with_it() {
        let phase = |now, login| under_way(now, login).phase(&usual());
        assert!(matches!(phase(59, Ok(None)), Phase::Wait(_, until) if until == at(60)));
        assert_eq!(phase(60, Ok(None)), Phase::Destroy);
        assert_eq!(phase(60, Ok(Some(at(-30)))), Phase::Destroy, "a login before the delivery is no matter");
        assert!(matches!(phase(89, Ok(Some(at(30)))), Phase::Wait(_, until) if until == at(90)));
        assert_eq!(phase(90, Ok(Some(at(30)))), Phase::Destroy);
        assert!(
            matches!(phase(900, Err("denied".to_owned())), Phase::Wait(why, _) if why.contains("denied"))
        );
    }

    #[test]
    fn cut_rotation_goes_on_where_it_stands() {
        let fresh = || under_way(0, Ok(None));
        assert_eq!(UnderWay { is_current: true, delivered: None, ..fresh() }.phase(&usual()), Phase::Make);
        assert_eq!(UnderWay { delivered: None, ..fresh() }.phase(&usual()), Phase::Note);
        assert_eq!(UnderWay { exists: false, ..fresh() }.phase(&usual()), Phase::End);
    }
}
