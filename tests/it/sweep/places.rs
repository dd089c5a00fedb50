//! Every store and every recipient of custody fails, before, while and after each response that comes
//! only once.
//!
//! What worked has to be enough to go on; a later run, in which all works again, completes the rest;
//! and nothing is asked for twice.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use groundwork::custody::pgp::KeyPair;
use groundwork::net::timeout::VARIABLE;
use groundwork::sandbox::Settings;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::fault::Fault;
use super::scene::{Scene, Subject};
use super::stage::Stage;
use super::{snapshot, subject};
use crate::stages::side_by_side;
use crate::support::{Ran, block_on};

/// How often the program is run again.
const RERUNS: usize = 3;
/// The variable with the age identity.
const IDENTITY: &str = "GROUNDWORK_AGE_IDENTITY";

/// A response that comes only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Once {
    Init,
    AccessKey,
    SecretId,
}

/// What does not work among the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    None,
    File,
    S3,
    SecretsManager,
    All,
}

/// Which recipient does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recipient {
    None,
    Age,
    Kms,
    Pgp,
}

/// When it begins not to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Before the run.
    Before,
    /// Once the response is there: what is written takes effect and is answered with an error; the
    /// folder is emptied.
    While,
    /// Once the response is there: nothing that is written takes effect.
    After,
}

#[derive(Clone, Copy, Debug)]
struct Case(Once, Store, Recipient, Moment);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(once, store, recipient, moment) = self;
        write!(f, "{once:?}: store {store:?}, recipient {recipient:?}, {moment:?}")
    }
}

impl Once {
    fn label(self) -> &'static str {
        match self {
            Self::Init => "POST sys/init",
            Self::AccessKey => "iam:CreateAccessKey",
            Self::SecretId => "POST auth/approle/role/admin/secret-id",
        }
    }
}

impl Case {
    /// Every store and recipient, together and each for itself, at every moment of every response.
    fn all() -> Vec<Self> {
        let stores = [Store::None, Store::File, Store::S3, Store::SecretsManager, Store::All];
        let recipients = [Recipient::None, Recipient::Age, Recipient::Kms, Recipient::Pgp];
        let mut cases = Vec::new();
        for once in [Once::Init, Once::AccessKey, Once::SecretId] {
            for moment in [Moment::Before, Moment::While, Moment::After] {
                for (store, recipient) in stores.iter().flat_map(|one| recipients.map(|two| (*one, two))) {
                    if (store, recipient) != (Store::None, Recipient::None) {
                        cases.push(Self(once, store, recipient, moment));
                    }
                }
            }
        }
        cases
    }

    fn hits(self, store: Store) -> bool {
        self.1 == store || self.1 == Store::All
    }

    /// Calls that go wrong, by a part of their label.
    fn calls(self) -> Vec<(String, Fault)> {
        let (mut calls, mut add) = (Vec::new(), Vec::new());
        if self.hits(Store::S3) {
            add.extend([
                "s3:PUT /places-custody/kept",
                "s3:GET /places-custody/kept",
                "/places-custody list-type",
            ]);
        }
        if self.hits(Store::SecretsManager) {
            add.extend([
                "secretsmanager:Create",
                "secretsmanager:Put",
                "secretsmanager:Get",
                "secretsmanager:List",
                "secretsmanager:Describe",
            ]);
        }
        if self.2 == Recipient::Kms {
            add.extend(["kms:Encrypt", "kms:Decrypt"]);
        }
        let writes =
            |label: &str| ["PUT", "Create", "Put", "Encrypt"].iter().any(|word| label.contains(word));
        for label in add {
            match self.3 {
                Moment::While if writes(label) => calls.push((label.to_owned(), Fault::ErrorAfter)),
                Moment::While => {}
                Moment::Before | Moment::After => calls.push((label.to_owned(), Fault::Denied)),
            }
        }
        calls
    }

    /// Whether the run has to come to its end all the same. It need not when no store works, and not
    /// when a key file is spoilt, which is a mistake in the plan.
    fn goes_on(self) -> bool {
        self.1 != Store::All && self.2 != Recipient::Pgp
    }
}

/// The files of one machine, and what happens to them.
#[derive(Clone)]
struct Files {
    kept: PathBuf,
    key: PathBuf,
    identity: PathBuf,
}

impl Files {
    fn spoil(&self, case: Case) {
        if case.hits(Store::File) && case.3 == Moment::While {
            let _ = std::fs::remove_dir_all(&self.kept);
        } else if case.hits(Store::File) {
            let _ = std::fs::rename(&self.kept, Self::aside(&self.kept));
            std::fs::write(&self.kept, "not a folder").expect("written");
        }
        let victim = match case.2 {
            Recipient::Age => &self.identity,
            Recipient::Pgp => &self.key,
            Recipient::None | Recipient::Kms => return,
        };
        std::fs::rename(victim, Self::aside(victim)).expect("moved");
        if case.2 == Recipient::Pgp {
            std::fs::write(victim, "not a key").expect("written");
        }
    }

    fn mend(&self) {
        for path in [&self.kept, &self.key, &self.identity] {
            if path.is_file() && (path == &self.kept || Self::aside(path).exists()) {
                std::fs::remove_file(path).expect("removed");
            }
            let _ = std::fs::rename(Self::aside(path), path);
        }
    }

    fn aside(path: &Path) -> PathBuf {
        path.with_extension("aside")
    }
}

fn places() -> Subject {
    subject("places", "tests/plans/places.yaml", Settings::default())
}

/// A fresh machine on the servers of an earlier one.
fn set_up(stage: Option<Stage>) -> (Scene, Files) {
    set_up_with(places(), stage)
}

fn set_up_with(mut subject: Subject, stage: Option<Stage>) -> (Scene, Files) {
    let identity = age::x25519::Identity::generate();
    subject.plan = subject.plan.replace("AGE", &identity.to_public().to_string());
    let mut scene = match stage {
        Some(stage) => Scene::after(stage, &subject),
        None => Scene::new(&subject),
    };
    let plans = scene.home().join("plans");
    let files = Files {
        kept: plans.join("kept"),
        key: plans.join("keys/bob.asc"),
        identity: scene.home().parent().expect("a folder").join("identity.txt"),
    };
    std::fs::create_dir_all(plans.join("keys")).expect("a folder");
    let public = KeyPair::generate().and_then(|pair| pair.public()).expect("a key pair");
    std::fs::write(&files.key, STANDARD.decode(public).expect("base64")).expect("written");
    std::fs::write(&files.identity, identity.to_string().expose_secret()).expect("written");
    std::fs::set_permissions(&files.identity, PermissionsExt::from_mode(0o600)).expect("private");
    scene.set(IDENTITY, &files.identity.display().to_string());
    (scene, files)
}

/// What undisturbed runs leave.
fn reference() -> Value {
    let (mut scene, _) = set_up(None);
    let ran = scene.apply(None);
    assert_eq!(ran.code, 0, "a clean run fails: {ran:?}");
    assert_eq!(scene.leaks(), Vec::<String>::new());
    scene.apply(None);
    assert_eq!(scene.wire.writes(), Vec::<String>::new(), "P2");
    block_on(snapshot::take(&scene))
}

/// Runs a case; gives its violations, and the servers for the next.
fn judge(case: Case, reference: &Value, stage: Option<Stage>) -> (Vec<String>, Stage) {
    let (mut scene, files) = set_up(stage);
    let mut violations = Vec::new();
    let ran = strike(case, &mut scene, &files);
    if case.goes_on() && ran.code != 0 {
        violations.push(format!("it does not go on: {}", last_lines(&ran)));
    }
    if case.1 == Store::All && case.3 == Moment::Before && scene.wire.sent("sys/init") > 0 {
        violations.push("the shares are asked for while no store works".to_owned());
    }
    scene.wire.refuse(None);
    files.mend();
    scene.set(IDENTITY, &files.identity.display().to_string());
    violations.extend(heal(&mut scene));
    let state = block_on(snapshot::take(&scene));
    let differences = snapshot::differences(reference, &state);
    violations.extend(differences.into_iter().map(|difference| format!("P1: {difference}")));
    for operation in ["sys/init", "iam:CreateAccessKey"] {
        let sent = scene.wire.sent(operation);
        if sent != 1 {
            violations.push(format!("{operation} was sent {sent} times"));
        }
    }
    let mut check = scene.run(&["custody", "check"], None, &[]);
    // What was sealed while the key service failed is not sealed for it, which the check says.
    if check.code == 3 && case.2 == Recipient::Kms && check.stdout.contains("not sealed for kms") {
        let rewrapped = scene.run(&["custody", "rewrap", "--yes"], None, &[]);
        if rewrapped.code != 0 {
            violations.push(format!("custody cannot be sealed again: {}", last_lines(&rewrapped)));
        }
        check = scene.run(&["custody", "check"], None, &[]);
    }
    if check.code != 0 {
        violations.push(format!("custody is not whole in the end: {}", check.stdout));
    }
    if let Some((left, _)) = scene.files().into_iter().find(|(name, _)| name.contains(".rescued/")) {
        violations.push(format!("{left} is left behind"));
    }
    violations.extend(scene.wire.unlawful());
    violations.extend(scene.leaks());
    (violations, scene.into_stage())
}

/// One run in which the case's store and recipient fail.
fn strike(case: Case, scene: &mut Scene, files: &Files) -> Ran {
    if case.3 == Moment::Before {
        scene.wire.refuse_all(case.calls());
        files.spoil(case);
        if case.2 == Recipient::Age {
            // A variable that names no file would be the operator's mistake.
            scene.set(IDENTITY, "");
        }
    } else {
        let files = files.clone();
        scene.wire.on_answer(case.0.label(), case.calls(), Box::new(move || files.spoil(case)));
    }
    scene.apply(None)
}

/// Runs the program until all is well, and once more, which must write nothing.
fn heal(scene: &mut Scene) -> Vec<String> {
    let mut last = None;
    for _ in 0..RERUNS {
        let ran = scene.apply(None);
        if ran.code == 0 {
            let ran = scene.apply(None);
            let writes = scene.wire.writes();
            return match (ran.code, writes.is_empty()) {
                (0, true) => Vec::new(),
                (code, _) => vec![format!("P2: exit {code}, {writes:?}")],
            };
        }
        last = Some(ran);
    }
    vec![format!("P1: it does not heal: {}", last.as_ref().map(last_lines).unwrap_or_default())]
}

fn last_lines(ran: &Ran) -> String {
    let said: Vec<&str> = ran.stdout.lines().chain(ran.stderr.lines()).collect();
    said[said.len().saturating_sub(8)..].join(" | ")
}

/// Judges all cases, a few at a time, and says how many there were.
fn sweep(cases: Vec<Case>, jobs: usize) {
    let reference = reference();
    let count = cases.len();
    let judge_one = |stage: &mut Option<Stage>, case: Case| {
        let used = stage.take();
        let violations = match catch_unwind(AssertUnwindSafe(|| judge(case, &reference, used))) {
            Ok((violations, servers)) => {
                *stage = Some(servers);
                violations
            }
            Err(_) => vec!["the harness itself failed".to_owned()],
        };
        println!("{case}: {}", if violations.is_empty() { "well" } else { "VIOLATED" });
        if !violations.is_empty() {
            println!("  {}", violations.join("\n  "));
        }
        (case.to_string(), violations)
    };
    let judged = side_by_side(cases, jobs, || None, judge_one);
    let broken: BTreeMap<String, Vec<String>> =
        judged.into_iter().filter(|(_, violations)| !violations.is_empty()).collect();
    println!("{count} cases, {} violated", broken.len());
    let mut text = String::new();
    for (case, violations) in &broken {
        let _ = writeln!(text, "{case}: {}", violations.join("; "));
    }
    assert!(broken.is_empty(), "{} of {count} cases are violated:\n{text}", broken.len());
}

/// A few of them: each store, each recipient and each moment at least once, and no store at all.
#[test]
fn custody_survives_sampled_store_and_recipient_failures() {
    let cases = vec![
        Case(Once::Init, Store::S3, Recipient::Kms, Moment::After),
        Case(Once::AccessKey, Store::SecretsManager, Recipient::Kms, Moment::While),
        Case(Once::SecretId, Store::File, Recipient::Age, Moment::After),
        Case(Once::Init, Store::All, Recipient::Pgp, Moment::After),
    ];
    sweep(cases, 2);
}

/// A store that accepts requests and never answers them costs one wait in a run, not one for each
/// request. A short time limit of the caller shortens it.
#[test]
fn hanging_store_delays_a_run_once() {
    for (once, seconds) in [(Once::Init, "20"), (Once::AccessKey, "2")] {
        let (mut scene, files) = set_up(None);
        let hanging = Case(once, Store::S3, Recipient::None, Moment::After);
        let calls = hanging.calls().into_iter().map(|(label, _)| (label, Fault::Hung)).collect();
        scene.wire.on_answer(once.label(), calls, Box::new(|| ()));
        let begun = Instant::now();
        let ran = scene.run(&["apply", "--yes"], None, &[(VARIABLE, seconds.to_owned())]);
        let took = begun.elapsed();
        assert_eq!(ran.code, 0, "{once:?}: {ran:?}");
        assert!(took < Duration::from_secs(90), "{once:?}: {took:?}: {ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("is not on s3://places-custody/kept"), "{once:?}: {said}");
        assert!(files.kept.join("vault").is_dir(), "{once:?}: the folder has the shares");
        scene.wire.refuse(None);
        assert_eq!(heal(&mut scene), Vec::<String>::new(), "{once:?}");
        assert_eq!(scene.wire.sent(once.label().trim_start_matches("POST ")), 1, "{once:?}");
        let check = scene.run(&["custody", "check"], None, &[]);
        assert_eq!(check.code, 0, "{once:?}: {check:?}");
    }
}

const LOCKED: &str = "lock: { dynamodb: \"{{ table.name }}\", key: places }\nsteps:\n  \
                      table: { kind: aws.dynamodb_table, name: places-lock, preset: terraform_lock }\n";

/// The shares are on their way while the lock's table stops answering.
#[test]
fn hanging_lock_ends_run_and_keeps_shares() {
    let mut subject = places();
    subject.plan = subject.plan.replacen("steps:\n", LOCKED, 1);
    let (mut scene, files) = set_up_with(subject, None);
    let hangs =
        vec![("dynamodb:GetItem".to_owned(), Fault::Hung), ("dynamodb:PutItem".to_owned(), Fault::Hung)];
    scene.wire.on_answer("POST sys/init", hangs, Box::new(|| ()));
    let begun = Instant::now();
    let ran = scene.run(&["apply", "--yes"], None, &[(VARIABLE, "2".to_owned())]);
    let took = begun.elapsed();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(took < Duration::from_secs(90), "{took:?}: {ran:?}");
    assert!(files.kept.join("vault").is_dir(), "the folder has the shares: {ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("the lock table places-lock"), "{said}");
    scene.wire.refuse(None);
    let (_, id) = said.split_once("--id ").expect("how to unlock");
    let id: String = id.chars().take_while(|one| one.is_ascii_hexdigit() || *one == '-').collect();
    let unlocked = scene.run(&["unlock", "--id", &id], None, &[]);
    assert_eq!(unlocked.code, 0, "{unlocked:?}");
    assert_eq!(heal(&mut scene), Vec::<String>::new());
    assert_eq!(scene.wire.sent("sys/init"), 1);
}

#[test]
#[ignore = "takes ten minutes; `make sweep`"]
fn custody_survives_every_store_and_recipient_failure() {
    let only = std::env::var("SWEEP_ONLY").unwrap_or_default();
    let every = std::env::var("SWEEP_EVERY").ok().and_then(|every| every.parse().ok()).unwrap_or(1);
    let cases = Case::all().into_iter();
    let cases = cases.filter(|case| only.split(',').any(|words| case.to_string().contains(words)));
    sweep(cases.step_by(every).collect(), super::table::jobs());
}
