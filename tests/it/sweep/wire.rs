//! What all proxies of a case share: the trace, the fault, the laws, and the secrets seen.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::call::{Call, Service};
use super::canary::secrets_in;
use super::fault::Fault;
use super::http::Message;
use super::proxy::AWAY;
use crate::support::Ran;

/// The n-th call of one label in a run; steadier than its place among all calls, since steps run
/// at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The call's label.
    pub label: String,
    /// Counts from 1.
    pub occurrence: usize,
}

/// The trace, the fault, the laws, and the secrets seen.
pub struct Wire {
    journal: PathBuf,
    state: Mutex<State>,
}

/// What begins with an answer.
struct Trigger {
    label: &'static str,
    refused: Vec<(String, Fault)>,
    action: Box<dyn FnOnce() + Send>,
}

#[derive(Default)]
struct State {
    trace: Vec<(Call, Place)>,
    counts: HashMap<String, usize>,
    /// The servers that anything that writes was handed to.
    touched: BTreeSet<Service>,
    /// How often a request whose answer comes only once was handed to its server.
    sent: HashMap<&'static str, usize>,
    /// The active access keys by user.
    keys: HashMap<String, BTreeSet<String>>,
    planned: Option<(Place, Fault)>,
    met: bool,
    tool: Option<Pid>,
    token: Option<String>,
    secrets: BTreeSet<Vec<u8>>,
    surroundings: BTreeSet<Vec<u8>>,
    unlawful: Vec<String>,
    stale: (&'static str, usize),
    key_date: Option<&'static str>,
    refused: Vec<(String, Fault)>,
    triggers: Vec<Trigger>,
    firsts: HashMap<String, Message>,
}

impl State {
    /// P4 at every moment: of the keys that were made, those that were neither deactivated nor
    /// deleted.
    fn count_keys(&mut self, call: &Call, request: &Message, answer: &Message) {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let made = text.split("<AccessKeyId>").nth(1).and_then(|rest| rest.split('<').next());
        let Some(user) = request.field("UserName") else { return };
        let keys = self.keys.entry(user.clone()).or_default();
        let active = request.field("Status").as_deref() == Some("Active");
        match (call.operation(), made, request.field("AccessKeyId")) {
            ("iam:CreateAccessKey", Some(key), _) => keys.insert(key.to_owned()),
            ("iam:UpdateAccessKey", _, Some(key)) if active => keys.insert(key),
            ("iam:UpdateAccessKey" | "iam:DeleteAccessKey", _, Some(key)) => keys.remove(&key),
            _ => false,
        };
        if keys.len() > 1 {
            let violation = format!("P4: {user} has {} active keys", keys.len());
            self.unlawful.push(violation);
        }
    }
}

impl Wire {
    /// `journal` is the file that the tool writes.
    pub fn new(journal: PathBuf) -> Self {
        Self { journal, state: Mutex::default() }
    }

    /// A new run of the tool, in which this is to go wrong.
    pub fn begin(&self, planned: Option<(Place, Fault)>) {
        let mut state = self.state();
        (state.trace, state.counts, state.met) = (Vec::new(), HashMap::new(), false);
        (state.planned, state.tool) = (planned, None);
    }

    /// The tool's process.
    pub fn watch(&self, tool: u32) {
        self.state().tool = i32::try_from(tool).ok().and_then(Pid::from_raw);
    }

    /// Runs `command` to its end, and this goes wrong on the way. A server that was away accepts connections again
    /// afterwards.
    pub fn run(&self, planned: Option<(Place, Fault)>, mut command: Command) -> Ran {
        let goes_away = matches!(planned, Some((_, Fault::Refused)));
        self.begin(planned);
        let child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        self.watch(child.id());
        let ran = Ran::of(child.wait_with_output().expect("its output"));
        if goes_away {
            // With waits of a twentieth, the next run would be over before.
            std::thread::sleep(AWAY);
        }
        ran
    }

    /// Answers the next `count` calls of labels that begin so as the first one was.
    pub fn stale_answers(&self, label: &'static str, count: usize) {
        self.state().stale = (label, count);
    }

    /// How often a request whose answer comes only once was handed to its server, in all runs.
    pub fn sent(&self, operation: &str) -> usize {
        self.state().sent.get(operation).copied().unwrap_or_default()
    }

    /// From now on IAM says of every access key that it dates from then.
    pub fn redate_keys(&self, date: &'static str) {
        self.state().key_date = Some(date);
    }

    /// The answer with another date, when keys are to have one.
    pub fn redated(&self, call: &Call, answer: Message) -> Message {
        let Some(date) = self.state().key_date.filter(|_| call.operation() == "iam:ListAccessKeys") else {
            return answer;
        };
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let mut parts = text.split("<CreateDate>");
        let head = parts.next().unwrap_or_default().to_owned();
        let rest = parts.filter_map(|part| part.split_once("</CreateDate>"));
        let body = rest.fold(head, |body, (_, tail)| format!("{body}<CreateDate>{date}</CreateDate>{tail}"));
        Message::reply(200, "text/xml", &body)
    }

    /// The servers that anything that writes was handed to, in any run.
    pub fn touched(&self) -> BTreeSet<Service> {
        self.state().touched.clone()
    }

    /// Notes that a call is handed to its server.
    pub fn sending(&self, call: &Call) {
        let mut state = self.state();
        if call.writes {
            state.touched.insert(call.service);
        }
        let Some(operation) = call.once() else { return };
        let asked = state.sent.entry(operation).or_default();
        *asked += 1;
        let (asked, announced) = (*asked, self.intents(operation));
        if asked > announced {
            let times = format!("{asked} times with {announced} intents");
            state.unlawful.push(format!("P5: {} reached the server {times}", call.label));
        }
    }

    /// From now on this happens to every call whose label contains this.
    pub fn refuse(&self, label: Option<(&'static str, Fault)>) {
        self.refuse_all(label.map(|(label, fault)| (label.to_owned(), fault)).into_iter().collect());
    }

    /// As [`Wire::refuse`] for several.
    pub fn refuse_all(&self, labels: Vec<(String, Fault)>) {
        let mut state = self.state();
        state.refused = labels;
        state.triggers.clear();
    }

    /// Once a call whose label begins so has succeeded, and before its caller knows, these calls begin
    /// to fail and this happens.
    pub fn on_answer(
        &self,
        label: &'static str,
        refused: Vec<(String, Fault)>,
        action: Box<dyn FnOnce() + Send>,
    ) {
        self.state().triggers.push(Trigger { label, refused, action });
    }

    /// Whether the fault has happened in this run.
    pub fn met(&self) -> bool {
        self.state().met
    }

    /// The calls of this run.
    pub fn trace(&self) -> Vec<(Call, Place)> {
        self.state().trace.clone()
    }

    /// The writing calls of this run.
    pub fn writes(&self) -> Vec<String> {
        let state = self.state();
        state.trace.iter().filter(|(call, _)| call.writes).map(|(call, _)| call.label.clone()).collect()
    }

    /// What was done without being announced, in all runs.
    pub fn unlawful(&self) -> Vec<String> {
        let mut told = self.state().unlawful.clone();
        told.dedup();
        told
    }

    /// Every secret that passed by in all runs.
    pub fn secrets(&self) -> BTreeSet<Vec<u8>> {
        self.state().secrets.clone()
    }

    /// The command lines and environments of the tool in all runs.
    pub fn surroundings(&self) -> BTreeSet<Vec<u8>> {
        self.state().surroundings.clone()
    }

    /// The ids of a user's active keys.
    pub fn active_keys(&self, user: &str) -> Vec<String> {
        self.state().keys.get(user).into_iter().flatten().cloned().collect()
    }

    /// The latest Vault token that was accepted.
    pub fn token(&self) -> Option<String> {
        self.state().token.clone()
    }

    /// Notes a call; gives what is to go wrong with it.
    pub fn arrived(&self, call: &Call, request: &Message) -> Option<Fault> {
        let mut state = self.state();
        let occurrence = state.counts.entry(call.label.clone()).or_default();
        *occurrence += 1;
        let place = Place { label: call.label.clone(), occurrence: *occurrence };
        state.trace.push((call.clone(), place.clone()));
        self.judge(&mut state, call);
        state.secrets.extend(secrets_in(call, request));
        if let Some(tool) = state.tool {
            for file in ["cmdline", "environ"] {
                let text = std::fs::read(format!("/proc/{}/{file}", tool.as_raw_nonzero()));
                state.surroundings.extend(text);
            }
        }
        if let Some((_, fault)) = state.refused.iter().find(|(label, _)| call.label.contains(label)) {
            return Some(*fault);
        }
        let due = state.planned.as_ref().is_some_and(|(planned, _)| *planned == place) && !state.met;
        state.met |= due;
        state.planned.as_ref().filter(|_| due).map(|(_, fault)| *fault)
    }

    /// Notes an answer.
    pub fn answered(&self, call: &Call, request: &Message, answer: &Message) {
        let mut state = self.state();
        state.secrets.extend(secrets_in(call, answer));
        // Of users also that there is none; of keys what there is.
        let keeps = match call.operation() {
            "iam:GetUser" => true,
            "iam:ListAccessKeys" | "kms:ListKeys" => answer.is_success(),
            _ => false,
        };
        if keeps {
            state.firsts.entry(call.label.clone()).or_insert_with(|| answer.clone());
        }
        if !answer.is_success() {
            return;
        }
        if let Some(at) = state.triggers.iter().position(|one| call.label.starts_with(one.label)) {
            let Trigger { refused, action, .. } = state.triggers.remove(at);
            state.refused.extend(refused);
            action();
        }
        if let Some(token) = request.header("x-vault-token") {
            state.token = Some(token.to_owned());
        }
        state.count_keys(call, request, answer);
    }

    /// An old answer, while what IAM tells is stale.
    pub fn stale(&self, call: &Call) -> Option<Message> {
        let mut state = self.state();
        if state.stale.1 == 0 || !call.label.starts_with(state.stale.0) {
            return None;
        }
        let first = state.firsts.get(&call.label).cloned()?;
        state.stale.1 -= 1;
        Some(first)
    }

    /// Ends the tool as `kill -9` does.
    pub fn kill(&self) {
        if let Some(tool) = self.state().tool {
            // It may have ended by itself in this moment.
            let _ = kill_process(tool, Signal::KILL);
        }
    }

    /// P6: what writes has been announced on the disk.
    fn judge(&self, state: &mut State, call: &Call) {
        if call.writes && !self.is_writing() {
            state.unlawful.push(format!("P6: {} without a run in the journal", call.label));
        }
        if let Some(operation) = call.once()
            && self.intents(operation) <= state.sent.get(operation).copied().unwrap_or_default()
        {
            state.unlawful.push(format!("P6: {} without an intent in the journal", call.label));
        }
    }

    fn is_writing(&self) -> bool {
        let entries = self.entries();
        let last = entries.iter().rev().find_map(|entry| match entry["entry"].as_str() {
            Some(word @ ("run_started" | "run_finished")) => Some(word == "run_started"),
            _ => None,
        });
        last.unwrap_or_default()
    }

    fn intents(&self, operation: &str) -> usize {
        let of = |entry: &&Value| entry["entry"] == "intent" && entry["operation"] == operation;
        self.entries().iter().filter(of).count()
    }

    /// The journal's entries, as a reader who knows nothing of the tool sees them.
    pub fn entries(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.journal).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
