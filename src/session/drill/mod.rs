//! Rehearses a recovery: the real backup, opened with the real keys, in a server that reaches nothing else.
//!
//! Production is only read: its stores, its custody, and of its Vault what any caller may ask without a token. A login
//! there would already be a write.

mod age;
mod recovered;
mod scope;
mod server;
mod stand_in;

use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;

use super::found::{self, Source, Subject};
use super::{Checked, Error};
use crate::backup::{self, Check, Keys, ManifestCheck, Opened, ShareSet};
use crate::drill::{self, Measure, Phase, PhaseEnd, PhaseName, Report};
use crate::error::{self, ErrorKind};
use crate::event::Events;
use crate::place::Place;
use crate::providers::vault::VaultClient;
use crate::resolve::recovery::Recovery;
use crate::resource::Provided;
use crate::run::Run;
use crate::sandbox::{self, Enclosing, Host, VaultServer};
use crate::secret::Secret;
use crate::snapshot::{Frame, Vitals};
use crate::workspace::Workspace;
use recovered::Recovered;

/// How a drill is done.
pub struct Options {
    /// Which backup is recovered.
    pub source: Source,
    /// Key shares that people give; those in custody without them.
    pub shares: Option<ShareSet>,
    /// The key of a `static` seal.
    pub seal_key: Option<Secret>,
    /// The server that plays Vault.
    pub server: VaultServer,
    /// The folder in which the server's own is made.
    pub folder: PathBuf,
    /// The paths to use on this machine.
    pub host: Host,
}

/// A drill that is going on.
struct Rehearsal<'a> {
    report: Report,
    told: &'a dyn Fn(&str),
}

/// A backup that is open, and what opened it.
struct Proven {
    keys: Keys,
    frame: Frame,
    vitals: Vitals,
    opened: Opened,
    /// The shares of the unseal key that open it, or of the recovery key.
    shares: Vec<Secret>,
}

/// The result of a look at what came back.
struct Seen {
    /// More about it, for a person.
    detail: Option<String>,
    /// What is not as it should be.
    wanting: Vec<String>,
}

/// Rehearses a recovery. A failure on the way is in the report.
///
/// # Errors
/// Mistakes in the plan; programs of the sandbox that are missing.
pub async fn rehearse(
    checked: &mut Checked,
    options: Options,
    events: &Events,
    told: &dyn Fn(&str),
) -> Result<Report, Error> {
    let document = &checked.resolved.document;
    let recovery = checked.recovery()?;
    let mut report = Report::begin(&document.name, document.stage_name(), &document.digest);
    report.rto = Measure::new(recovery.rto, None);
    report.rpo = Measure::new(recovery.rpo, None);
    // Installing does not count as recovery: a drill before that day has shown whether the programs are there.
    let enclosing = Enclosing::prepare(&options.server, options.host.clone(), events).await;
    let enclosing = enclosing.map_err(|error| of_sandbox(&error))?;
    report.started = Timestamp::now();
    let mut rehearsal = Rehearsal { report, told };
    let outcome = rehearsal.go(checked, options, &enclosing, &recovery).await;
    let mut report = rehearsal.report;
    let recovered = outcome.is_ok();
    match outcome {
        Ok(()) => {}
        Err(Error::Live(error)) => report.findings.push(in_words(&error)),
        // A plan that does not say where its backups are has a mistake; nothing failed to come back.
        Err(mistake) => return Err(mistake),
    }
    report.rehearsed = scope::rehearsed(&report.phases);
    report.end(recovered);
    Ok(report)
}

/// Keeps the report of a drill beside the plan, with its other forms by the ends of their names.
///
/// # Errors
/// When it cannot be written.
pub fn keep(checked: &Checked, report: &Report, others: &[(&str, String)]) -> error::Result<PathBuf> {
    let folder = &checked.resolved.document.folder;
    drill::keep(&Workspace::of(folder)?, report, others)
}

impl Rehearsal<'_> {
    async fn go(
        &mut self,
        checked: &mut Checked,
        options: Options,
        enclosing: &Enclosing,
        recovery: &Recovery,
    ) -> Result<(), Error> {
        let Options { source, shares, seal_key, folder, .. } = options;
        let by_people = shares.is_some();
        let (run, subject) = self.fetch(checked, source).await?;
        self.report.rpo.measured_ms = age::measure(&run, &subject, &mut self.report.findings).await;
        let proven = self.phase(PhaseName::Prove, prove(&run, &subject, shares, seal_key)).await;
        self.report.findings.extend(run.take_warnings());
        let mut proven = proven?;
        self.describe(&run, &subject, &proven);
        let nodes = nodes(&run).await;
        if by_people {
            self.report.not_rehearsed.push("the time until the holders have entered their shares".to_owned());
        }

        let starting = server::start(enclosing, &folder, &proven, nodes);
        let started = self.phase(PhaseName::Start, starting).await;
        let missing = nodes.saturating_sub(1 + started.as_ref().map_or(0, |started| started.others.len()));
        self.report.not_rehearsed.extend(scope::left_out(checked, missing, &proven));
        let started = started?;
        self.report.server = Some(started.facts());
        self.phase(PhaseName::Initialise, started.initialise(&proven.vitals)).await?;
        let sealed = self.phase(PhaseName::Restore, started.restore(&subject.file)).await?;
        self.phase(PhaseName::Unseal, started.unseal(sealed, &proven.shares)).await?;

        let mut recovered = Recovered::new(&started, &run, &mut proven, &subject.file);
        self.look(PhaseName::LogIn, recovered.log_in()).await?;
        if !started.others.is_empty() {
            self.look(PhaseName::Join, recovered.join()).await?;
        }
        self.look(PhaseName::Compare, recovered.compare()).await?;
        if !recovery.canaries.is_empty() {
            self.look(PhaseName::Canaries, recovered.read_canaries(&recovery.canaries)).await?;
        }
        self.look(PhaseName::Roles, recovered.log_in_as_roles()).await?;
        let Recovered { canaries, logins, untried, .. } = recovered;
        (self.report.canaries, self.report.logins) = (canaries, logins);
        self.report.not_rehearsed.extend(untried);
        Ok(())
    }

    async fn fetch(&mut self, checked: &mut Checked, source: Source) -> Result<(Run, Subject), Error> {
        (self.told)(PhaseName::Fetch.words());
        let started = Instant::now();
        let found = found::find(checked, source).await;
        let end = if found.is_ok() { PhaseEnd::Done } else { PhaseEnd::Failed };
        self.note(PhaseName::Fetch, started, end, None);
        let (run, subject) = found?;
        self.report.findings.extend(subject.remarks.iter().cloned());
        Ok((run, subject))
    }

    /// Goes through a phase, without which there is no further one.
    async fn phase<T>(
        &mut self,
        name: PhaseName,
        work: impl Future<Output = error::Result<T>>,
    ) -> error::Result<T> {
        (self.told)(name.words());
        let started = Instant::now();
        let done = work.await;
        let end = if done.is_ok() { PhaseEnd::Done } else { PhaseEnd::Failed };
        self.note(name, started, end, None);
        done
    }

    /// Goes through a phase that looks at what came back. A thing that it finds wanting does not end the drill.
    async fn look(
        &mut self,
        name: PhaseName,
        work: impl Future<Output = error::Result<Seen>>,
    ) -> error::Result<()> {
        (self.told)(name.words());
        let started = Instant::now();
        let seen = work.await;
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => Seen { detail: None, wanting: vec![in_words(&error)] },
        };
        let end = if seen.wanting.is_empty() { PhaseEnd::Done } else { PhaseEnd::Wanting };
        self.note(name, started, end, seen.detail);
        self.report.findings.extend(seen.wanting);
        Ok(())
    }

    fn note(&mut self, name: PhaseName, started: Instant, end: PhaseEnd, detail: Option<String>) {
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.report.phases.push(Phase { name, end, ms, detail });
    }

    /// Notes which backup it is.
    fn describe(&mut self, run: &Run, subject: &Subject, proven: &Proven) {
        let read = subject.read(run);
        self.report.backup = Some(drill::Subject {
            name: subject.name.clone(),
            place: subject.place.clone(),
            taken: read.as_ref().map(|read| read.manifest.taken),
            sha256: Some(proven.frame.sha256.clone()),
            bytes: proven.frame.bytes,
            index: proven.frame.meta.index,
            cluster_id: proven.opened.contents.cluster_id.clone(),
            generation: proven.vitals.generation.clone(),
            opened_with: Some(proven.opened.with.clone()),
            vouching: read.map(|read| read.vouching.word().to_owned()),
        });
    }
}

/// Proves a backup with the keys at hand.
async fn prove(
    run: &Run,
    subject: &Subject,
    shares: Option<ShareSet>,
    seal_key: Option<Secret>,
) -> error::Result<Proven> {
    let keys = found::keys(run, shares, seal_key).await?;
    let check = backup::check(&subject.file, &keys).await?;
    let refused = |message: String| error::Error::new(ErrorKind::Rejected, "prove the backup", message);
    let manifest = ManifestCheck::of(subject.manifest.as_deref(), &check, run.journal.authority());
    if manifest.is_contradicted() {
        return Err(refused("the backup is not the one that its manifest names".to_owned())
            .advice("look at the store: one of the two was replaced"));
    }
    let shares = check.good_shares(&keys).into_iter().cloned().collect();
    match check {
        Check { frame: Some((frame, vitals)), opened: Some(opened), .. } => {
            Ok(Proven { keys, frame, vitals, opened, shares })
        }
        Check { flaw, .. } => {
            let why = flaw.map_or("no key was at hand to open it".to_owned(), |flaw| flaw.to_string());
            Err(refused(why).advice("`groundwork backup check` shows more; give key shares with `--share`"))
        }
    }
}

/// How many nodes the plan's cluster has.
async fn nodes(run: &Run) -> usize {
    VaultClient::provide(run, &Place::OWN).await.map_or(1, |vault| vault.nodes().len())
}

fn of_sandbox(error: &sandbox::Error) -> error::Error {
    error::Error::new(ErrorKind::Local, "start the drill's server", error.to_string())
}

fn in_words(error: &error::Error) -> String {
    match &error.advice {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}
