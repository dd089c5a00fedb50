//! Carries out a run's items side by side, each after those it needs. The same schedule brings steps
//! about and removes things; [`Work`] is what differs.

use std::time::Instant;

use futures::stream::{FuturesUnordered, StreamExt};

use super::queue::Queue;
use super::{Options, Report};
use crate::changeset::Action;
use crate::error::{Error, Result};
use crate::event::{Event, Events, millis};

/// What a schedule carries out. Items are positions in the [`Queue`].
pub trait Work {
    /// An item on its own, while it is carried out beside others.
    type Job;

    /// The id of the item's step.
    fn id(&self, item: usize) -> String;

    /// The item's action.
    fn action(&self, item: usize) -> Action;

    /// Where the item's step is declared: file, line and column.
    fn place(&self, item: usize) -> Option<String>;

    /// Why an item that ends without a write is skipped; `None` when it agrees with the plan.
    /// `broken` is an item that affects it and was not done.
    fn why_skipped(&self, item: usize, broken: Option<usize>) -> Option<String>;

    /// Gets an item ready whose needs are settled.
    ///
    /// # Errors
    /// Why it cannot be carried out.
    fn prepare(&mut self, item: usize) -> Result<Self::Job>;

    /// Checks that the run may still write.
    ///
    /// # Errors
    /// Why not; then nothing else begins.
    fn confirm(job: &Self::Job) -> impl Future<Output = Result<()>>;

    /// Carries the item out.
    ///
    /// # Errors
    /// Of the live system.
    fn carry_out(job: &mut Self::Job) -> impl Future<Output = Result<()>>;

    /// Takes back what [`Work::prepare`] has given to the job, however it ended.
    fn take_back(&mut self, item: usize, job: Self::Job);

    /// Takes note that the item is done.
    fn settle(&mut self, item: usize);
}

/// Carries out the queued items. A broken item stops only what it affects; the end of the run, or of its
/// permission to write, lets running items end and starts no others.
pub async fn run<W: Work>(
    work: &mut W,
    queue: Queue,
    options: &Options,
    events: &Events,
    report: &mut Report,
) {
    Schedule { work, queue, options, events, report, halted: None }.all().await;
}

struct Schedule<'a, W> {
    work: &'a mut W,
    queue: Queue,
    options: &'a Options,
    events: &'a Events,
    report: &'a mut Report,
    /// Why the run may not write anything further.
    halted: Option<String>,
}

/// A job that has ended.
struct Ended<J> {
    item: usize,
    job: J,
    result: Result<()>,
    ms: u64,
    /// The run may not write anything further.
    halts: bool,
}

async fn attempt<W: Work>(item: usize, mut job: W::Job) -> Ended<W::Job> {
    let started = Instant::now();
    // Confirms here, so that running items are polled in the meantime.
    let confirmed = W::confirm(&job).await;
    let halts = confirmed.is_err();
    let result = match confirmed {
        Ok(()) => W::carry_out(&mut job).await,
        Err(error) => Err(error),
    };
    Ended { item, job, result, ms: millis(started.elapsed()), halts }
}

impl<W: Work> Schedule<'_, W> {
    async fn all(mut self) {
        let mut running = FuturesUnordered::new();
        loop {
            self.end_idle();
            while running.len() < self.options.parallelism && !self.is_ending() {
                let Some(item) = self.queue.next_ready() else { break };
                // Do not await anything here: running items must be polled all the time.
                match self.work.prepare(item) {
                    Ok(job) => running.push(attempt::<W>(item, job)),
                    Err(error) => {
                        self.queue.leave(item);
                        self.fail(item, error, 0);
                    }
                }
                self.end_idle();
            }
            let Some(ended) = running.next().await else { break };
            self.take_back(ended);
        }
        self.skip_rest();
    }

    fn is_stopped(&self) -> bool {
        *self.options.stop.borrow()
    }

    fn is_ending(&self) -> bool {
        self.halted.is_some() || self.is_stopped()
    }

    fn end_idle(&mut self) {
        while let Some(item) = self.queue.next_idle() {
            match self.work.why_skipped(item, self.queue.breaker(item)) {
                None => self.queue.settle(item),
                Some(reason) => self.skip(item, reason),
            }
        }
    }

    fn take_back(&mut self, ended: Ended<W::Job>) {
        let Ended { item, job, result, ms, halts } = ended;
        self.queue.leave(item);
        self.work.take_back(item, job);
        match result {
            Ok(()) => self.finish(item, ms),
            Err(error) if halts => match self.halted.clone() {
                Some(reason) => self.skip(item, reason),
                None => {
                    self.halted = Some(error.message.clone());
                    self.fail(item, error, ms);
                }
            },
            Err(error) => self.fail(item, error, ms),
        }
    }

    fn finish(&mut self, item: usize, ms: u64) {
        self.work.settle(item);
        self.queue.settle(item);
        let (id, action) = (self.work.id(item), self.work.action(item).name());
        self.events.emit(Event::StepFinished { id: id.clone(), action, ms });
        self.report.done.push(id);
    }

    fn fail(&mut self, item: usize, error: Error, ms: u64) {
        self.queue.break_off(item);
        let (id, action) = (self.work.id(item), self.work.action(item).name());
        self.events.emit(Event::StepFailed {
            id: id.clone(),
            action,
            ms,
            place: self.work.place(item),
            error: error.report(),
            advice: error.advice.clone(),
        });
        self.report.failed.push((id, error));
    }

    fn skip(&mut self, item: usize, reason: String) {
        self.queue.break_off(item);
        let id = self.work.id(item);
        self.events.emit(Event::StepSkipped { id: id.clone(), reason: reason.clone() });
        // A replaced thing may have failed to go, which says more.
        if self.report.undone().all(|undone| undone != id) {
            self.report.skipped.push((id, reason));
        }
    }

    fn skip_rest(&mut self) {
        let why = match self.halted.take() {
            Some(why) => why,
            None if self.is_stopped() => "the run was stopped".to_owned(),
            // Old records of removed steps may need each other.
            None => "its dependencies form a cycle".to_owned(),
        };
        for item in self.queue.take_rest() {
            self.skip(item, why.clone());
        }
    }
}
