//! Batches lookups: steps that are observed at the same time share a request if the service answers for
//! many names at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::Result;

/// How long the first lookup waits for others; negligible compared with a request.
const GATHERING: Duration = Duration::from_millis(5);

/// Lookups that wait for a batch, which has as many names as the service accepts.
#[derive(Debug)]
pub struct Batch<T, const SIZE: usize> {
    waiting: Mutex<Vec<Question<T>>>,
}

/// The batches of one client.
#[derive(Debug, Default)]
pub struct Batches {
    /// [`DescribeAlarms`](https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html)
    #[cfg(feature = "aws-cloudwatch")]
    pub alarms: Batch<aws_sdk_cloudwatch::types::MetricAlarm, 100>,
    /// [`DescribeParameters`](https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeParameters.html)
    #[cfg(feature = "aws-ssm")]
    pub parameters: Batch<aws_sdk_ssm::types::ParameterMetadata, 50>,
    /// [`GetParameters`](https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html)
    #[cfg(feature = "aws-ssm")]
    pub parameter_values: Batch<crate::secret::Secret, 10>,
    /// [`BatchGetSecretValue`](https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html)
    #[cfg(feature = "aws-secretsmanager")]
    pub secrets: Batch<super::secret::ValueResponse, 20>,
}

impl<T, const SIZE: usize> Default for Batch<T, SIZE> {
    fn default() -> Self {
        Self { waiting: Mutex::default() }
    }
}

#[derive(Debug)]
struct Question<T> {
    name: String,
    answer: oneshot::Sender<Option<T>>,
}

impl<T: Clone + Send, const SIZE: usize> Batch<T, SIZE> {
    /// The answer of `fetch` for `name`. `fetch` gets all names that are requested at the moment. If it
    /// fails for several names, each is requested separately, so that one denied name does not hide the
    /// others.
    pub async fn ask<F>(&self, name: &str, fetch: impl Fn(Vec<String>) -> F) -> Result<Option<T>>
    where
        F: Future<Output = Result<HashMap<String, T>>>,
    {
        let (answer, answered) = oneshot::channel();
        if let Some(gathering) = self.join(Question { name: name.to_owned(), answer }) {
            tokio::time::sleep(GATHERING).await;
            self.ask_all(gathering.end(), &fetch).await;
        }
        match answered.await {
            Ok(answer) => Ok(answer),
            Err(_) => Ok(fetch(vec![name.to_owned()]).await?.remove(name)),
        }
    }

    /// The first caller sends the batched request for all.
    fn join(&self, question: Question<T>) -> Option<Gathering<'_, T>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(question);
        (waiting.len() == 1).then(|| Gathering(Some(&self.waiting)))
    }

    async fn ask_all<F>(&self, mut questions: Vec<Question<T>>, fetch: &impl Fn(Vec<String>) -> F)
    where
        F: Future<Output = Result<HashMap<String, T>>>,
    {
        let names: BTreeSet<String> = questions.iter().map(|question| question.name.clone()).collect();
        let names: Vec<String> = names.into_iter().collect();
        for some in names.chunks(SIZE) {
            let found = fetch(some.to_vec()).await;
            let asked = questions.extract_if(.., |question| some.contains(&question.name));
            for Question { name, answer } in asked {
                if let Ok(found) = &found {
                    // The receiver may have been cancelled.
                    let _ = answer.send(found.get(&name).cloned());
                }
            }
        }
    }
}

/// The time in which lookups are gathered. If it is cancelled, the waiting callers are released, and
/// each sends its own request.
struct Gathering<'a, T>(Option<&'a Mutex<Vec<Question<T>>>>);

impl<T> Gathering<'_, T> {
    /// The gathered lookups.
    fn end(mut self) -> Vec<Question<T>> {
        self.0.take().map(take).unwrap_or_default()
    }
}

impl<T> Drop for Gathering<'_, T> {
    fn drop(&mut self) {
        drop(self.0.take().map(take));
    }
}

fn take<T>(waiting: &Mutex<Vec<Question<T>>>) -> Vec<Question<T>> {
    std::mem::take(&mut *waiting.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::{Error, ErrorKind};

    type Fetched<T> = std::future::Ready<Result<HashMap<String, T>>>;

    #[tokio::test]
    async fn concurrent_lookups_share_requests() {
        let (batch, requests) = (Batch::<String, 2>::default(), AtomicUsize::new(0));
        let fetch = |names: Vec<String>| -> Fetched<String> {
            requests.fetch_add(1, Ordering::Relaxed);
            let known = names.into_iter().filter(|name| name != "c");
            std::future::ready(Ok(known.map(|name| (name.clone(), name)).collect()))
        };
        let ask = |name: &'static str| batch.ask(name, &fetch);
        let (a, b, again, c) = tokio::join!(ask("a"), ask("b"), ask("a"), ask("c"));
        let found = [a, b, again, c].map(|answer| answer.expect("answered"));
        assert_eq!(found.each_ref().map(Option::as_deref), [Some("a"), Some("b"), Some("a"), None]);
        assert_eq!(requests.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn denied_name_does_not_hide_the_others() {
        let batch = Batch::<i32, 10>::default();
        let fetch = |names: Vec<String>| -> Fetched<i32> {
            std::future::ready(match names.iter().any(|name| name == "closed") {
                true => Err(Error::new(ErrorKind::Denied, "test", "no")),
                false => Ok(names.into_iter().map(|name| (name, 1)).collect()),
            })
        };
        let (open, closed) = tokio::join!(batch.ask("open", &fetch), batch.ask("closed", &fetch));
        assert_eq!(open.expect("answered"), Some(1));
        assert_eq!(closed.expect_err("refused").kind, ErrorKind::Denied);
    }

    #[tokio::test]
    async fn waiters_of_a_cancelled_batch_send_own_requests() {
        let batch = Batch::<i32, 10>::default();
        let fetch = |names: Vec<String>| -> Fetched<i32> {
            std::future::ready(Ok(names.into_iter().map(|name| (name, 1)).collect()))
        };
        // Polled by hand: on a busy machine a timeout and the time of gathering can end in one moment.
        let (mut first, mut second) =
            (Box::pin(batch.ask("first", &fetch)), Box::pin(batch.ask("second", &fetch)));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await.expect("answered"), Some(1));
    }
}
