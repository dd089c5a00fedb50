//! Running many cases at once, and what is said at the end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::case::{Ending, Reference, Trouble, Verdict, judge};
use super::fault::Fault;
use super::record::Record;
use super::scene::{Scene, Subject};
use super::stage::Stage;

/// Cases, each with what goes wrong run after run, and their verdicts.
pub type Results = Vec<(Vec<Trouble>, Verdict)>;

/// Runs every case, a few at a time, with a progress bar; those that `record` has a verdict of
/// count without being run again.
pub fn run(subject: &Subject, reference: &Reference, cases: Vec<Vec<Trouble>>, record: &Record) -> Results {
    let started = Instant::now();
    let style =
        ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {eta} {msg}").expect("a template");
    let bar = ProgressBar::new(cases.len() as u64).with_style(style).with_prefix(subject.name);
    let (known, open): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| record.verdict(case).is_some());
    let known = known.into_iter().filter_map(|case| record.verdict(&case).map(|verdict| (case, verdict)));
    let results: Mutex<Results> = Mutex::new(known.collect());
    bar.inc(results.lock().unwrap_or_else(PoisonError::into_inner).len() as u64);
    println!(
        "{}: {} cases, {} of them judged before",
        subject.name,
        bar.length().unwrap_or(0),
        bar.position()
    );
    let (queue, broken) = (Mutex::new(VecDeque::from(open)), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..jobs() {
            scope.spawn(|| {
                let mut stage = None;
                while let Some(troubles) = next(&queue) {
                    let name = name(&troubles);
                    bar.set_message(format!("violations: {}; {name}", broken.load(Ordering::Relaxed)));
                    let verdict = on_stage(&mut stage, subject, reference, &troubles);
                    for violation in &verdict.violations {
                        bar.suspend(|| println!("{}: {name}: {violation}", subject.name));
                        broken.fetch_add(1, Ordering::Relaxed);
                    }
                    record.add(&troubles, &verdict);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((troubles, verdict));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{}: {} cases in {:.0} s\n{}",
        subject.name,
        results.len(),
        started.elapsed().as_secs_f32(),
        closing(&results)
    );
    results
}

/// Judges a case on the servers of the one before it. A harness that fails spoils its servers, and
/// its case counts as violated.
fn on_stage(
    stage: &mut Option<Stage>,
    subject: &Subject,
    reference: &Reference,
    troubles: &[Trouble],
) -> Verdict {
    let used = stage.take();
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let mut scene = used.map_or_else(|| Scene::new(subject), |stage| Scene::after(stage, subject));
        let verdict = judge(&mut scene, reference, troubles);
        (verdict, scene.into_stage())
    }));
    match judged {
        Ok((verdict, used)) => {
            *stage = Some(used);
            verdict
        }
        Err(_) => Verdict { ending: Ending::Stuck, violations: vec!["the harness itself failed".to_owned()] },
    }
}

fn next(queue: &Mutex<VecDeque<Vec<Trouble>>>) -> Option<Vec<Trouble>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// What goes wrong in a case.
pub fn name(troubles: &[Trouble]) -> String {
    troubles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", then ")
}

/// How many cases run at the same time: `SWEEP_JOBS`, else one for each processor.
pub fn jobs() -> usize {
    let asked = std::env::var("SWEEP_JOBS").ok().and_then(|jobs| jobs.parse().ok());
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from))
}

/// Faults and how their cases ended.
fn closing(results: &Results) -> String {
    let mut rows: BTreeMap<String, [usize; 6]> = BTreeMap::new();
    for (troubles, verdict) in results {
        let name = match troubles.as_slice() {
            [Trouble::Call(_, fault)] => fault.to_string(),
            [Trouble::Disk(what, _)] => format!("disk {what}"),
            [Trouble::Call(..), Trouble::Stale] => "then stale".to_owned(),
            _ => "several".to_owned(),
        };
        for row in [name, "~ all".to_owned()] {
            let row = rows.entry(row).or_default();
            row[0] += 1;
            row[match verdict.ending {
                Ending::Converged(0) => 1,
                Ending::Converged(_) => 2,
                Ending::Unknown => 3,
                Ending::NotReached => 4,
                Ending::Stuck => 0,
            }] += usize::from(verdict.ending != Ending::Stuck);
            row[5] += usize::from(!verdict.violations.is_empty());
        }
    }
    let mut text = format!(
        "{:<15}{:>7}{:>14}{:>13}{:>10}{:>13}{:>12}\n",
        "fault", "cases", "healed itself", "by re-runs", "unknown", "not reached", "violations"
    );
    for (name, [cases, itself, rerun, unknown, missed, violations]) in rows {
        let name = name.trim_start_matches("~ ");
        let _ = writeln!(
            text,
            "{name:<15}{cases:>7}{itself:>14}{rerun:>13}{unknown:>10}{missed:>13}{violations:>12}"
        );
    }
    text
}

/// Every call and every fault: `.` healed by itself, a number of re-runs, `?` unknown, `-` not
/// reached, `X` violated.
pub fn matrix(results: &Results) -> String {
    let mut rows: BTreeMap<String, BTreeMap<Fault, String>> = BTreeMap::new();
    for (troubles, verdict) in results {
        let [Trouble::Call(place, fault)] = troubles.as_slice() else { continue };
        let mark = match verdict.ending {
            _ if !verdict.violations.is_empty() => "X".to_owned(),
            Ending::Converged(0) => ".".to_owned(),
            Ending::Converged(runs) => runs.to_string(),
            Ending::Unknown => "?".to_owned(),
            Ending::NotReached => "-".to_owned(),
            Ending::Stuck => "X".to_owned(),
        };
        rows.entry(format!("{} #{}", place.label, place.occurrence)).or_default().insert(*fault, mark);
    }
    let mut text = String::new();
    for (column, fault) in Fault::ALL.iter().enumerate() {
        let _ = writeln!(text, "{:>60}{}{fault}", "", "| ".repeat(column));
    }
    for (label, marks) in rows {
        let mark = |fault: &Fault| marks.get(fault).map_or(" ", String::as_str);
        let marks: Vec<&str> = Fault::ALL.iter().map(mark).collect();
        let _ = writeln!(text, "{label:<60}{}", marks.join(" "));
    }
    text
}
