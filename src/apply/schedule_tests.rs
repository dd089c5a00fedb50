//! The schedule with scripted work: order, room, the end of a run, and what a broken item affects.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::watch;

use super::queue::{Course, Item, Queue};
use super::schedule::{Work, run};
use super::{Options, Report};
use crate::changeset::Action;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Events};
use crate::run::Service;

/// Work that records what the schedule does with it.
#[derive(Default)]
struct Fake {
    items: Vec<Scripted>,
    log: Rc<Log>,
    /// Stops the run, as a signal does.
    stop: Option<Rc<watch::Sender<bool>>>,
}

/// An item and how it ends.
#[derive(Clone, Default)]
struct Scripted {
    needs: Vec<usize>,
    broken_by: Vec<usize>,
    service: &'static str,
    course: Option<Course>,
    end: End,
    /// How often it waits for others.
    turns: usize,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum End {
    #[default]
    Done,
    Fails,
    CannotBePrepared,
    LosesTheLock,
    StopsTheRun,
}

#[derive(Default)]
struct Log {
    words: RefCell<Vec<String>>,
    running: RefCell<Vec<&'static str>>,
    most: Cell<usize>,
    most_of_one: Cell<usize>,
}

impl Log {
    fn say(&self, word: &str, item: usize) {
        self.words.borrow_mut().push(format!("{word} {item}"));
    }

    fn begin(&self, service: &'static str) {
        let mut running = self.running.borrow_mut();
        running.push(service);
        self.most.set(self.most.get().max(running.len()));
        let same = running.iter().filter(|other| service == "one" && **other == service).count();
        self.most_of_one.set(self.most_of_one.get().max(same));
    }

    fn end(&self, service: &'static str) {
        let mut running = self.running.borrow_mut();
        if let Some(at) = running.iter().position(|other| *other == service) {
            running.swap_remove(at);
        }
    }
}

struct FakeJob {
    item: usize,
    scripted: Scripted,
    log: Rc<Log>,
    stop: Option<Rc<watch::Sender<bool>>>,
}

fn failed(message: &str) -> Error {
    Error::new(ErrorKind::Rejected, "test", message)
}

impl Work for Fake {
    type Job = FakeJob;

    fn id(&self, item: usize) -> String {
        item.to_string()
    }

    fn action(&self, _: usize) -> Action {
        Action::Create
    }

    fn place(&self, _: usize) -> Option<String> {
        None
    }

    fn why_skipped(&self, item: usize, broken: Option<usize>) -> Option<String> {
        match (broken, self.items[item].course) {
            (_, Some(Course::Unchanged)) => None,
            (Some(need), _) => Some(format!("{need} is broken")),
            (None, _) => Some("blocked".to_owned()),
        }
    }

    fn prepare(&mut self, item: usize) -> Result<FakeJob> {
        let scripted = self.items[item].clone();
        if scripted.end == End::CannotBePrepared {
            return Err(failed("not prepared"));
        }
        self.log.say("begin", item);
        Ok(FakeJob { item, scripted, log: Rc::clone(&self.log), stop: self.stop.clone() })
    }

    async fn confirm(job: &FakeJob) -> Result<()> {
        match job.scripted.end {
            End::LosesTheLock => Err(failed("the lock is lost")),
            _ => Ok(()),
        }
    }

    async fn carry_out(job: &mut FakeJob) -> Result<()> {
        job.log.begin(job.scripted.service);
        for _ in 0..job.scripted.turns {
            tokio::task::yield_now().await;
        }
        job.log.end(job.scripted.service);
        job.log.say("end", job.item);
        match job.scripted.end {
            End::Fails => return Err(failed("refused")),
            End::StopsTheRun => job.stop.as_ref().expect("a run that can be stopped").send_replace(true),
            _ => false,
        };
        Ok(())
    }

    fn take_back(&mut self, item: usize, job: FakeJob) {
        assert_eq!(item, job.item);
        self.log.say("back", item);
    }

    fn settle(&mut self, item: usize) {
        self.log.say("settle", item);
    }
}

/// An item with these needs.
fn item(needs: &[usize]) -> Scripted {
    Scripted { needs: needs.to_vec(), service: "many", turns: 1, ..Scripted::default() }
}

/// The same, which ends in this way.
fn ending(end: End, needs: &[usize]) -> Scripted {
    Scripted { end, ..item(needs) }
}

struct Outcome {
    report: Report,
    log: Rc<Log>,
    events: Vec<&'static str>,
}

impl Outcome {
    fn words(&self, word: &str) -> Vec<usize> {
        let words = self.log.words.borrow();
        words.iter().filter_map(|said| said.strip_prefix(word)?.trim().parse().ok()).collect()
    }

    fn skipped(&self) -> Vec<(&str, &str)> {
        self.report.skipped.iter().map(|(id, reason)| (id.as_str(), reason.as_str())).collect()
    }

    fn failed(&self) -> Vec<(&str, &str)> {
        self.report.failed.iter().map(|(id, error)| (id.as_str(), error.message.as_str())).collect()
    }
}

async fn outcome(items: Vec<Scripted>, parallelism: usize) -> Outcome {
    let (sender, stop) = watch::channel(false);
    let (events, mut receiver) = Events::channel();
    let queued = items.iter().map(|item| Item {
        service: Service { name: item.service, at_once: if item.service == "one" { 2 } else { usize::MAX } },
        course: item.course.unwrap_or(Course::Write),
        needs: item.needs.clone(),
        broken_by: item.broken_by.clone(),
    });
    let queue = Queue::new(queued.collect());
    let mut fake = Fake { items, stop: Some(Rc::new(sender)), ..Fake::default() };
    let mut report = Report::default();
    run(&mut fake, queue, &Options { parallelism, stop }, &events, &mut report).await;
    drop(events);
    let mut names = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        names.push(match event {
            Event::StepFinished { .. } => "finished",
            Event::StepFailed { .. } => "failed",
            Event::StepSkipped { .. } => "skipped",
            _ => "other",
        });
    }
    Outcome { report, log: fake.log, events: names }
}

#[tokio::test]
async fn items_run_in_order_after_their_needs() {
    let longer = Scripted { turns: 3, ..item(&[]) };
    let outcome = outcome(vec![item(&[]), item(&[2]), longer, item(&[0, 1])], 16).await;
    assert_eq!(outcome.words("begin"), [0, 2, 1, 3]);
    assert_eq!(outcome.report.done, ["0", "2", "1", "3"]);
    assert_eq!((outcome.words("back"), outcome.words("settle")), (vec![0, 2, 1, 3], vec![0, 2, 1, 3]));
    assert_eq!(outcome.events, ["finished"; 4]);
}

#[tokio::test]
async fn parallelism_limits_running_items() {
    let long = Scripted { turns: 9, ..item(&[]) };
    let outcome = outcome(vec![long; 8], 3).await;
    assert_eq!((outcome.log.most.get(), outcome.report.done.len()), (3, 8));
}

#[tokio::test]
async fn full_service_leaves_room_to_others() {
    let one = Scripted { service: "one", turns: 9, ..item(&[]) };
    let items = [vec![one; 4], vec![Scripted { turns: 9, ..item(&[]) }; 2]].concat();
    let outcome = outcome(items, 16).await;
    assert_eq!(outcome.words("begin")[..4], [0, 1, 4, 5]);
    assert_eq!((outcome.log.most.get(), outcome.log.most_of_one.get()), (4, 2));
    assert_eq!(outcome.report.done.len(), 6);
}

#[tokio::test]
async fn failed_item_skips_only_its_dependents() {
    let beside = Scripted { turns: 9, ..item(&[]) };
    let spoiled = Scripted { broken_by: vec![0], needs: vec![1], ..item(&[]) };
    let items = vec![ending(End::Fails, &[]), beside, item(&[0]), item(&[2]), spoiled, item(&[1])];
    let outcome = outcome(items, 16).await;
    assert_eq!(outcome.failed(), [("0", "refused")]);
    assert_eq!(outcome.skipped(), [("2", "0 is broken"), ("3", "2 is broken"), ("4", "0 is broken")]);
    assert_eq!(outcome.report.done, ["1", "5"]);
    assert_eq!(outcome.words("back"), [0, 1, 5], "a failed job is taken back too");
}

#[tokio::test]
async fn unchanged_item_settles_despite_a_broken_need() {
    let course = |course, needs: &[usize]| Scripted { course: Some(course), ..item(needs) };
    let items = vec![
        course(Course::Skip, &[]),
        course(Course::Unchanged, &[0]),
        item(&[1]),
        course(Course::Skip, &[0]),
    ];
    let outcome = outcome(items, 16).await;
    assert_eq!(outcome.skipped(), [("0", "blocked"), ("3", "0 is broken")]);
    assert_eq!(outcome.report.done, ["2"], "an unchanged item is not reported");
}

#[tokio::test]
async fn item_that_cannot_be_prepared_fails_and_frees_its_room() {
    let one = |end| Scripted { service: "one", ..ending(end, &[]) };
    let items = vec![one(End::CannotBePrepared), one(End::CannotBePrepared), one(End::Done), item(&[0])];
    let outcome = outcome(items, 16).await;
    assert_eq!(outcome.failed(), [("0", "not prepared"), ("1", "not prepared")]);
    assert_eq!(outcome.skipped(), [("3", "0 is broken")]);
    assert_eq!((outcome.report.done, outcome.log.most_of_one.get()), (vec!["2".to_owned()], 1));
}

#[tokio::test]
async fn stopped_run_lets_running_items_end() {
    let running = Scripted { turns: 9, ..item(&[]) };
    let items = vec![ending(End::StopsTheRun, &[]), running, item(&[]), item(&[0])];
    let outcome = outcome(items, 2).await;
    assert_eq!(outcome.report.done, ["0", "1"]);
    assert_eq!(outcome.skipped(), [("2", "the run was stopped"), ("3", "the run was stopped")]);
}

#[tokio::test]
async fn lost_lock_halts_the_run_with_one_failure() {
    let running = Scripted { turns: 9, ..item(&[]) };
    let lost = || ending(End::LosesTheLock, &[]);
    let items = vec![running, lost(), lost(), item(&[2]), item(&[])];
    let outcome = outcome(items, 3).await;
    assert_eq!(outcome.failed(), [("1", "the lock is lost")]);
    assert_eq!(
        outcome.skipped(),
        [("2", "the lock is lost"), ("3", "2 is broken"), ("4", "the lock is lost")]
    );
    assert_eq!(outcome.report.done, ["0"], "what runs may end");
    assert_eq!(outcome.words("end"), [0], "nothing was carried out without the lock");
}

#[tokio::test]
async fn cycle_of_needs_is_skipped() {
    let outcome = outcome(vec![item(&[1]), item(&[0]), item(&[])], 16).await;
    let why = "its dependencies form a cycle";
    assert_eq!(outcome.skipped(), [("0", why), ("1", why)]);
    assert_eq!(outcome.report.done, ["2"]);
}
