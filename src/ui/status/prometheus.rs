//! Metrics in Prometheus's text format, for the textfile collector of its node exporter:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write;

use jiff::Timestamp;

use crate::drill::Verdict;
use crate::health::NodeState;
use crate::status::{Report, Seen, Severity};

/// The labels of a sample.
type Labels<'a> = Vec<(&'a str, String)>;

/// A metric and its samples.
struct Family<'a> {
    name: &'static str,
    help: &'static str,
    samples: Vec<(Labels<'a>, i64)>,
}

/// The text.
pub fn prometheus(report: &Report) -> String {
    let mut page = Page { report, families: Vec::new() };
    page.whole();
    page.systems();
    page.custody();
    page.backups();
    page.rest();
    let mut text = String::new();
    for family in page.families.iter().filter(|family| !family.samples.is_empty()) {
        let name = format!("groundwork_{}", family.name);
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} gauge", family.help);
        for (labels, value) in &family.samples {
            let labels = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
            let _ = writeln!(text, "{name}{{{}}} {value}", labels.collect::<Vec<_>>().join(","));
        }
    }
    text
}

struct Page<'a> {
    report: &'a Report,
    families: Vec<Family<'a>>,
}

impl<'a> Page<'a> {
    /// Adds a metric; its samples get the labels of the plan.
    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels<'a>, i64)>,
    ) {
        let plan = &self.report.plan;
        let own = [("plan", Some(plan.name.clone())), ("stage", plan.stage.clone())];
        let own: Labels<'_> = own.into_iter().filter_map(|(label, value)| Some((label, value?))).collect();
        let samples =
            samples.into_iter().map(|(labels, value)| ([own.clone(), labels].concat(), value)).collect();
        self.families.push(Family { name, help, samples });
    }

    fn whole(&mut self) {
        let report = self.report;
        self.add(
            "status_timestamp_seconds",
            "When the status was asked for.",
            [(vec![], seconds(report.at))],
        );
        let is_healthy = truth(report.findings.is_empty());
        self.add("healthy", "Whether nothing needs a person.", [(vec![], is_healthy)]);
        let severities = [Severity::Attention, Severity::Broken, Severity::Unknown];
        let findings = severities.map(|severity| {
            let found = report.findings.iter().filter(|finding| finding.severity == severity);
            (vec![("severity", severity.word().to_owned())], count(found.count()))
        });
        self.add("findings", "How many things need a person.", findings);
        let parts = [
            ("custody", report.custody.why().is_none()),
            ("backups", report.backups.why().is_none()),
            ("due", report.due.why().is_none()),
            ("outcomes", report.outcomes.why().is_none()),
            ("drift", report.drift.why().is_none()),
        ];
        let parts = parts.map(|(part, seen)| (vec![("part", part.to_owned())], truth(seen)));
        self.add("part_seen", "Whether a part of the status could be asked.", parts);
    }

    fn systems(&mut self) {
        let systems = &self.report.systems;
        let nodes = || systems.iter().flat_map(|system| system.nodes.iter());
        let label = |address: &str| vec![("node", address.to_owned())];
        let states = nodes().flat_map(|node| {
            NodeState::ALL.map(|state| {
                let labels = [label(&node.address), vec![("state", state.word().to_owned())]].concat();
                (labels, truth(node.state == state))
            })
        });
        self.add("node_state", "Whether a server is in this state.", states);
        let versions = nodes().filter_map(|node| {
            Some(([label(&node.address), vec![("version", node.version.clone()?)]].concat(), 1))
        });
        self.add("node_version_info", "The version of a server.", versions);
        let ends = nodes().filter_map(|node| Some((label(&node.address), seconds(node.certificate_ends?))));
        self.add("node_certificate_expiry_timestamp_seconds", "When the certificate of a server ends.", ends);
        let lags = nodes().filter_map(|node| Some((label(&node.address), wide(node.lag?))));
        self.add("node_lag_entries", "How many entries of the log a server has not applied yet.", lags);
        let of = |system: &'a crate::health::System| vec![("system", system.provider.to_owned())];
        let storages =
            || systems.iter().filter_map(move |system| Some((of(system), system.storage.as_ref()?)));
        let voters = storages().map(|(labels, storage)| (labels, count(storage.voters())));
        self.add("storage_voters", "How many servers of the storage vote.", voters);
        let tolerance = storages().map(|(labels, storage)| (labels, wide(storage.failure_tolerance)));
        self.add("storage_failure_tolerance", "How many servers the storage may lose now.", tolerance);
        let keys = || systems.iter().filter_map(move |system| Some((of(system), system.keys.as_ref()?)));
        let shares = keys().map(|(labels, keys)| (labels, count(keys.shares)));
        self.add("key_shares_obtainable", "How many key shares custody gives here and now.", shares);
        let needed = keys().filter_map(|(labels, keys)| Some((labels, keys.threshold?.into())));
        self.add("key_shares_needed", "How many key shares are needed.", needed);
    }

    fn custody(&mut self) {
        let Some(custody) = self.report.custody.known() else { return };
        self.add("custody_objects", "How many objects custody has.", [(vec![], count(custody.objects))]);
        let obtainable = [(vec![], count(custody.obtainable))];
        self.add("custody_objects_obtainable", "How many objects of custody open here and now.", obtainable);
        let label = |store: &str| vec![("store", store.to_owned())];
        let answers = custody.stores.iter().map(|store| (label(&store.store), truth(store.silent.is_none())));
        self.add("custody_store_answers", "Whether a store of custody answers.", answers);
        let copies = custody.stores.iter().flat_map(|store| {
            let states = [("whole", store.whole), ("closed", store.closed), ("faulty", store.faults.len())];
            states.map(|(state, copies)| {
                ([label(&store.store), vec![("state", state.to_owned())]].concat(), count(copies))
            })
        });
        self.add("custody_copies", "How many copies of a store are in this state.", copies);
    }

    fn backups(&mut self) {
        let Some(backups) = self.report.backups.known() else { return };
        let label = |store: &str| vec![("store", store.to_owned())];
        let stores = &backups.stores;
        let answers = stores.iter().map(|store| (label(&store.store), truth(store.silent.is_none())));
        self.add("backup_store_answers", "Whether a store of backups answers.", answers);
        let counts = stores.iter().filter(|store| store.silent.is_none());
        let counts = counts.map(|store| (label(&store.store), count(store.count)));
        self.add("backups", "How many backups a store has.", counts);
        let newest = stores
            .iter()
            .filter_map(|store| Some((label(&store.store), seconds(store.newest.as_ref()?.taken))));
        self.add("backup_newest_timestamp_seconds", "When the newest backup of a store was taken.", newest);
        let proven = stores
            .iter()
            .filter_map(|store| Some((label(&store.store), seconds(store.newest_proven.as_ref()?.taken))));
        let help = "When the newest backup of a store was taken that was proven.";
        self.add("backup_newest_proven_timestamp_seconds", help, proven);
    }

    fn rest(&mut self) {
        let report = self.report;
        if let Some(Some(last)) = report.drill.known() {
            let at = [(vec![], seconds(last.started))];
            self.add("drill_timestamp_seconds", "When the last drill began.", at);
            let passed = [(vec![], truth(last.verdict == Verdict::Passed))];
            self.add("drill_passed", "Whether the last drill passed.", passed);
        }
        let due = report.due.known().into_iter().flatten().filter_map(|due| {
            Some((vec![("of", due.of.clone()), ("what", due.what.to_owned())], seconds(due.by?)))
        });
        self.add("due_timestamp_seconds", "By when something is to be replaced.", due);
        let locks = [("here", &report.locks.here), ("everywhere", &report.locks.everywhere)];
        let locks = locks.into_iter().filter_map(|(scope, lock)| match lock {
            Seen::Known(held) => Some((vec![("scope", scope.to_owned())], truth(held.is_some()))),
            Seen::Unseen(_) | Seen::Absent => None,
        });
        self.add("lock_held", "Whether a run holds the lock.", locks);
        let outcomes = report.outcomes.known().into_iter().flat_map(|open| {
            let lost = open.iter().filter(|one| one.is_lost).count();
            [("lost", lost), ("open", open.len() - lost)]
                .map(|(kind, number)| (vec![("kind", kind.to_owned())], count(number)))
        });
        self.add("outcomes", "How many requests have no known outcome.", outcomes);
        let steps = report.drift.known().into_iter().flat_map(|drift| {
            let counts = &drift.counts;
            [
                ("create", counts.create),
                ("update", counts.update),
                ("adopt", counts.adopt),
                ("replace", counts.replace),
                ("delete", counts.delete),
                ("none", counts.none),
                ("blocked", counts.blocked),
                ("deferred", counts.deferred),
            ]
            .map(|(action, steps)| (vec![("action", action.to_owned())], count(steps)))
        });
        self.add("steps", "How many steps of the plan need this action.", steps);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn truth(is: bool) -> i64 {
    i64::from(is)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn wide(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn seconds(time: Timestamp) -> i64 {
    time.as_second()
}

#[cfg(test)]
mod tests;
