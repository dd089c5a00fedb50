//! The proof of a backup: that the file is whole, that the keys at hand open it, and that every entry in it
//! is authentic.

use std::fs::File;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::FromStart;
use crate::custody::{Context, KeyService};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::snapshot::{Contents, Flaw, Frame, Seal, ShareReport, Unlocked, Verdict, Vitals, outline, read};

/// Key shares from one place.
pub struct ShareSet {
    /// Where they are from.
    pub from: String,
    /// The shares.
    pub shares: Vec<Secret>,
}

/// Everything at hand that may open a backup.
#[derive(Default)]
pub struct Keys {
    /// Key shares, by where they are from.
    pub sets: Vec<ShareSet>,
    /// The key of a seal in the server's configuration.
    pub seal_key: Option<Secret>,
    /// The key management service.
    pub service: Option<Arc<dyn KeyService>>,
}

/// How much of a backup is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The keys at hand open it, and every entry is authentic.
    Proven,
    /// The file is whole, and no key was at hand.
    Whole,
    /// The file is whole, and the keys at hand do not open it.
    Locked,
    /// The file must not be relied on.
    Flawed,
}

/// The verdict on one share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShareCheck {
    /// Where it is from.
    pub from: String,
    /// Its number there, counted from 1.
    pub number: usize,
    /// Its verdict.
    pub verdict: Verdict,
}

/// The result of a check.
pub struct Check {
    /// How much is proven.
    pub state: State,
    /// Why the file must not be relied on, or does not open.
    pub flaw: Option<Flaw>,
    /// The file, if it is whole.
    pub frame: Option<(Frame, Vitals)>,
    /// The verdict on each share.
    pub shares: Vec<ShareCheck>,
    /// The key that opened it.
    pub opened: Option<Opened>,
}

impl Check {
    /// The shares among these keys that open the backup, or prove its recovery key.
    pub fn good_shares<'k>(&self, keys: &'k Keys) -> Vec<&'k Secret> {
        let mut good = Vec::new();
        for set in &keys.sets {
            let shares = set.shares.iter().zip(1..).filter(|(_, number)| self.is_good(&set.from, *number));
            good.extend(shares.map(|(share, _)| share));
        }
        good
    }

    fn is_good(&self, from: &str, number: usize) -> bool {
        let is_it = |one: &&ShareCheck| one.from == from && one.number == number;
        self.shares.iter().find(is_it).is_some_and(|one| one.verdict == Verdict::Good)
    }
}

/// An open backup.
pub struct Opened {
    /// The key that opened it.
    pub with: String,
    /// Its contents.
    pub contents: Contents,
    /// Its keys, for one secret out of it.
    pub unlocked: Unlocked,
}

/// Checks a file as far as the keys at hand allow.
///
/// # Errors
/// When the file, or the key service, cannot be used at all.
pub async fn check(file: &File, keys: &Keys) -> Result<Check> {
    let mut check = Check { state: State::Flawed, flaw: None, frame: None, shares: Vec::new(), opened: None };
    let (frame, vitals) = match outline(&mut FromStart::of(file)?) {
        Ok(outline) => outline,
        Err(flaw) => return Ok(Check { flaw: Some(flaw), ..check }),
    };
    let found = find_key(&frame, &vitals, keys, &mut check.shares).await;
    let checked = match found {
        Ok(Some(found)) => open(file, &frame, &vitals, found),
        Ok(None) => {
            check.state = State::Whole;
            check.frame = Some((frame, vitals));
            return Ok(check);
        }
        Err(flaw) => Err(flaw),
    };
    match checked {
        Ok(opened) => (check.state, check.opened) = (State::Proven, Some(opened)),
        Err(flaw) => {
            let is_locked = matches!(flaw, Flaw::Foreign(_));
            check.state = if is_locked { State::Locked } else { State::Flawed };
            check.flaw = Some(flaw);
        }
    }
    check.frame = Some((frame, vitals));
    Ok(check)
}

/// The keys of a backup's seal.
struct SealKeys {
    /// Their source.
    with: String,
    /// For the root key.
    root: Secret,
    /// For the checksums.
    sums: Secret,
}

/// The key of the seal, from what is at hand; `None` when nothing is at hand that could have it.
async fn find_key(
    frame: &Frame,
    vitals: &Vitals,
    keys: &Keys,
    shares: &mut Vec<ShareCheck>,
) -> Result<Option<SealKeys>, Flaw> {
    let found = match (&vitals.seal, &keys.seal_key, &keys.service) {
        (Seal::Shamir, _, _) => return from_shares(vitals, keys, shares),
        (Seal::AwsKms, _, Some(service)) => Some(from_service(frame, vitals, service.as_ref()).await?),
        (_, Some(key), _) => {
            let with = format!("the seal's key {}", vitals.root.key_id);
            Some(SealKeys { with, root: key.clone(), sums: key.clone() })
        }
        _ => None,
    };
    if let Some(found) = &found
        && let Some(recovery) = recovery_key(vitals, keys, found).await
    {
        for set in &keys.sets {
            let report = vitals.try_recovery_shares(&recovery, &set.shares);
            if let Some(report) = report {
                note(shares, set, &report);
            }
        }
    }
    Ok(found)
}

fn from_shares(vitals: &Vitals, keys: &Keys, shares: &mut Vec<ShareCheck>) -> Result<Option<SealKeys>, Flaw> {
    let mut found = None;
    for set in keys.sets.iter().filter(|set| !set.shares.is_empty()) {
        let report = vitals.try_shares(&set.shares);
        note(shares, set, &report);
        let good = report.good();
        let with = format!("{good} good shares of {}, of which {} suffice", set.from, report.threshold);
        found = found.or(report.key.map(|key| SealKeys { with, root: key.clone(), sums: key }));
    }
    let is_tried = shares.iter().any(|share| share.verdict != Verdict::Unproven);
    match found {
        None if is_tried => Err(Flaw::Foreign(
            "the shares are those of another cluster, or of another time; shares of before a rekey open the \
             backups of before it"
                .to_owned(),
        )),
        None if !shares.is_empty() => {
            let needed = vitals.config.threshold;
            Err(Flaw::Foreign(format!("{needed} shares are needed and {} were given", shares.len())))
        }
        found => Ok(found),
    }
}

fn note(shares: &mut Vec<ShareCheck>, set: &ShareSet, report: &ShareReport) {
    shares.extend(report.verdicts.iter().zip(1..).map(|(verdict, number)| ShareCheck {
        from: set.from.clone(),
        number,
        verdict: *verdict,
    }));
}

/// Each of these was encrypted with a key of its own, which the service decrypts.
async fn from_service(frame: &Frame, vitals: &Vitals, service: &dyn KeyService) -> Result<SealKeys, Flaw> {
    let refused = |error: Error| Flaw::Foreign(format!("{} cannot decrypt it: {error}", vitals.root.key_id));
    let context = Context::new();
    let root = service.decrypt(&vitals.root.wrapped_key, &context).await.map_err(refused)?;
    let sums = match frame.sealed_sums() {
        Some(blob) => service.decrypt(&blob.wrapped_key, &context).await.map_err(refused)?,
        None => return Err(Flaw::Damaged("SHA256SUMS.sealed cannot be understood".to_owned())),
    };
    Ok(SealKeys { with: format!("the KMS key {}", vitals.root.key_id), root, sums })
}

/// The key that opens the recovery key, where there are shares of it to try.
async fn recovery_key(vitals: &Vitals, keys: &Keys, found: &SealKeys) -> Option<Secret> {
    let blob = vitals.recovery_blob().filter(|_| !keys.sets.is_empty())?;
    match (&keys.service, vitals.seal == Seal::AwsKms) {
        (Some(service), true) => service.decrypt(&blob.wrapped_key, &Context::new()).await.ok(),
        _ => Some(found.root.clone()),
    }
}

fn open(file: &File, frame: &Frame, vitals: &Vitals, keys: SealKeys) -> Result<Opened, Flaw> {
    let mut unlocked = Unlocked::with_seal_key(vitals, &keys.root)?;
    frame.check_sealed_sums(&keys.sums)?;
    let mut file = FromStart::of(file).map_err(|error| Flaw::Unreadable(error.message))?;
    let (_, contents) = read(&mut file, &mut unlocked)?;
    Ok(Opened { with: keys.with, contents, unlocked })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("writes");
        file
    }

    fn set(from: &str, texts: &[&str]) -> ShareSet {
        ShareSet {
            from: from.to_owned(),
            shares: texts.iter().map(|text| Secret::from((*text).to_owned())).collect(),
        }
    }

    const SNAPSHOT: &[u8] = include_bytes!("../snapshot/testdata/shamir.snapshot");
    const SHARES: &str = include_str!("../snapshot/testdata/shares.txt");

    #[tokio::test]
    async fn backup_is_proven_by_the_shares_that_open_it() {
        let good: Vec<&str> = SHARES.lines().collect();
        let other = "ab".repeat(33);
        let sets = vec![set("one", &[&other, &other]), set("two", &good[1..])];
        let check = check(&file(SNAPSHOT), &Keys { sets, ..Keys::default() }).await.expect("checked");
        assert_eq!((check.state, check.flaw), (State::Proven, None));
        let verdicts: Vec<Verdict> = check.shares.iter().map(|share| share.verdict).collect();
        assert_eq!(verdicts, [Verdict::Unproven, Verdict::Repeated, Verdict::Good, Verdict::Good]);
        let opened = check.opened.expect("open");
        assert!(opened.with.contains("2 good shares of two"), "{}", opened.with);
        assert_eq!(opened.contents.secrets.len(), 4);
    }

    #[tokio::test]
    async fn backup_without_its_keys_is_whole_or_locked() {
        let none = check(&file(SNAPSHOT), &Keys::default()).await.expect("checked");
        assert_eq!((none.state, none.shares.len()), (State::Whole, 0));
        let texts = ["11", "22", "33"].map(|byte| byte.repeat(33));
        let sets = vec![set("others", &[&texts[0], &texts[1], &texts[2]])];
        let others = check(&file(SNAPSHOT), &Keys { sets, ..Keys::default() }).await.expect("checked");
        assert_eq!(others.state, State::Locked);
        assert!(others.frame.is_some() && others.opened.is_none());
        let one = vec![set("one", &[SHARES.lines().next().expect("a share")])];
        let few = check(&file(SNAPSHOT), &Keys { sets: one, ..Keys::default() }).await.expect("checked");
        assert!(few.flaw.expect("too few").to_string().contains("2 shares are needed and 1 were given"));
    }

    #[tokio::test]
    async fn cut_backup_is_flawed_whatever_the_keys() {
        let cut = check(&file(&SNAPSHOT[..5000]), &Keys::default()).await.expect("checked");
        assert_eq!((cut.state, cut.flaw.expect("cut").word()), (State::Flawed, "cut"));
    }
}
