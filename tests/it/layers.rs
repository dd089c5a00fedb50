//! The direction of dependencies, and where things may be printed, read from the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What may be named only below a folder.
const PLACES: [(&str, &[&str]); 15] = [
    ("aws_sdk_", &["providers/aws", "sandbox/kms.rs"]),
    // Not every build has these.
    ("aws_sdk_cloudwatch::", &["providers/aws/cloudwatch", "providers/aws/batch.rs"]),
    ("aws_sdk_cloudwatchlogs::", &["providers/aws/cloudwatch"]),
    ("aws_sdk_secretsmanager::", &["providers/aws/secret/", "providers/aws/secrets_store.rs"]),
    ("aws_sdk_sns::", &["providers/aws/sns"]),
    ("aws_sdk_ssm::", &["providers/aws/ssm_parameter", "providers/aws/batch.rs"]),
    ("aws_config::", &["providers/aws", "sandbox/kms.rs"]),
    ("vaultrs::", &["providers/vault"]),
    // Nor this one.
    ("tokio_postgres::", &["providers/postgres"]),
    ("tokio_rustls::", &["providers/postgres"]),
    ("rustify::", &["providers/vault"]),
    ("anstream::", &["ui", "console.rs"]),
    // All text passes the one place that makes it harmless; tests take colours away.
    ("anstream::std", &["console.rs"]),
    // Which requests go through a proxy is decided once.
    ("Client::builder", &["net/http.rs"]),
    ("aws_smithy_http_client", &["net/http.rs"]),
];

#[test]
fn restricted_names_stay_in_their_folders() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut strays = Vec::new();
    for path in sources(&src) {
        let text = std::fs::read_to_string(&path).expect("a source file");
        let inside = path.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
        for (name, folders) in PLACES {
            if text.contains(name) && !folders.iter().any(|folder| inside.starts_with(folder)) {
                strays.push(format!("{inside} names {name}, which belongs to {}", folders.join(", ")));
            }
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in folder.read_dir().expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// Where files are opened by their path. Everything else goes through `confined_path` or `workspace`,
/// because a plan may name what it must not reach.
const OPENERS: [&str; 14] = [
    "confined_path/",
    "workspace/",
    // What the caller names, or has in his own folders.
    "cli/",
    "custody/recipient.rs",
    "providers/vault/session.rs",
    "saved/",
    "trust/store.rs",
    "sandbox/",
    // Folders of files that are opened elsewhere.
    "durable.rs",
    // The process's own.
    "template/bounds.rs",
    "providers/vault/client/connection.rs",
    "providers/vault/client/cluster.rs",
    "providers/vault/testing.rs",
    // The load of the machine.
    "verify/machine.rs",
];

#[test]
fn files_are_opened_only_in_listed_places() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let opens = [
        "fs::read",
        "fs::write",
        "fs::copy",
        "fs::rename",
        "fs::remove",
        "File::open",
        "File::create",
        "OpenOptions",
    ];
    let mut strays = Vec::new();
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a source file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_test = inside.ends_with("tests.rs");
        if !is_test && !OPENERS.iter().any(|place| inside.starts_with(place)) {
            strays.extend(
                opens.iter().filter(|one| text.contains(**one)).map(|one| format!("{inside}: {one}")),
            );
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}

/// Where variables of the process are read, and why there. Everything else is given an `Environment`.
const READERS: [(&str, &str); 7] = [
    ("cli/mod.rs", "once"),
    ("environment.rs", "all of them, for everything else"),
    ("durable.rs", "a fault that a test of a debug build plans"),
    ("net/timeout.rs", "time limits are those of the process"),
    ("sandbox/", "the programs that it starts inherit the environment"),
    ("providers/vault/testing.rs", "the server that tests start"),
    ("snapshot/tests.rs", "how many bits a test flips"),
];

#[test]
fn environment_is_read_only_in_listed_places() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut readers = BTreeSet::new();
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a source file");
        if text.contains("env::var") || text.contains("Environment::of_process") {
            let listed = READERS.iter().find(|(place, _)| inside.starts_with(place));
            let (place, _) = listed.unwrap_or_else(|| panic!("{inside} reads the environment"));
            readers.insert(*place);
        }
    }
    let idle: Vec<_> = READERS.iter().filter(|(place, _)| !readers.contains(place)).collect();
    assert!(idle.is_empty(), "these read nothing any more: {idle:?}");
}

/// Top-level modules from the bottom up, and which others each may use. An edge that is not here needs a
/// reason, and one that is not used is removed.
const EDGES: &[(&str, &str)] = &[
    ("visible", ""),
    ("error", "visible"),
    ("permit", ""),
    ("plan_shape", ""),
    ("confined_path", "plan_shape"),
    ("durable", ""),
    ("environment", ""),
    ("template", "confined_path"),
    ("place", "error template"),
    ("access", "place template"),
    ("workspace", "confined_path error"),
    ("trust", "confined_path durable environment error workspace"),
    ("secret", "confined_path template trust workspace"),
    ("snapshot", "secret"),
    ("signing", "confined_path durable environment error secret trust"),
    ("trace", ""),
    ("event", "trace"),
    ("stop", ""),
    ("suggest", ""),
    ("plan", "confined_path error plan_shape secret suggest visible"),
    ("proof", "error permit place secret"),
    ("health", ""),
    ("net", "confined_path environment error trace"),
    (
        "custody",
        "confined_path durable environment error event net permit plan secret signing template workspace",
    ),
    ("backup", "confined_path custody durable error permit plan secret signing snapshot"),
    ("drill", "confined_path durable error workspace"),
    ("destination", ""),
    ("journal", "confined_path destination durable environment error permit place secret signing workspace"),
    ("console", "secret visible"),
    ("prompt", "console secret"),
    ("lock", "confined_path error journal permit stop workspace"),
    (
        "run",
        "access backup custody destination environment error event health journal lock net permit place plan proof secret signing template trace trust",
    ),
    ("resource", "access error health permit place proof run secret suggest template"),
    ("provider", "error resource run"),
    (
        "providers",
        "access backup confined_path custody destination environment error event health journal lock net permit place plan plan_shape prompt proof provider resource run secret snapshot suggest template trace trust visible",
    ),
    ("changeset", "access destination plan resource run"),
    (
        "resolve",
        "confined_path custody error place plan provider resource run secret suggest template trust visible",
    ),
    ("graph", "changeset plan resolve resource suggest"),
    ("relay", "error secret"),
    ("removal", "changeset diff error journal observe place plan resource run"),
    ("observe", "changeset error event graph journal place removal resolve resource run template"),
    ("diff", "changeset error journal observe place plan removal resolve resource secret template"),
    (
        "apply",
        "changeset custody destination diff error event journal lock net observe permit place plan removal resolve resource run secret stop template",
    ),
    ("verify", "changeset custody error event observe permit proof resource run secret trace visible"),
    ("rebuild", "changeset observe plan snapshot"),
    ("review", "changeset destination plan provider providers resource secret visible"),
    (
        "saved",
        "access changeset confined_path destination environment error observe place plan removal resolve resource secret trust visible",
    ),
    ("sandbox", "environment event net secret trust"),
    (
        "session",
        "access apply backup changeset confined_path custody diff drill error event graph health journal lock observe place plan provider providers rebuild removal resolve resource run sandbox saved secret signing snapshot template trust workspace",
    ),
    (
        "status",
        "backup changeset custody drill error event health journal lock net plan proof run session signing workspace",
    ),
    ("runbook", "custody destination plan session template"),
    ("schema", "plan provider resource"),
    ("lint", "net plan provider providers resolve resource secret suggest template"),
    (
        "ui",
        "access backup changeset console custody destination drill error event graph health journal lint plan proof provider providers rebuild resolve resource review run saved schema secret session signing snapshot status suggest template trace verify visible",
    ),
    ("hygiene", ""),
    (
        "cli",
        "access apply backup changeset confined_path console custody drill durable environment error event hygiene lint lock net observe place plan prompt providers rebuild relay resolve resource review run runbook sandbox saved schema secret session signing snapshot status suggest trace trust ui verify visible workspace",
    ),
];

/// Modules that use each other, and why.
const KNOTS: [(&[&str], &str); 1] = [(
    &["removal", "observe", "diff"],
    "an observed world includes what is left over, whose changes are compared as any other",
)];

#[test]
fn modules_use_only_listed_modules() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let used = edges(&src);
    let listed: Vec<&str> = EDGES.iter().map(|(module, _)| *module).collect();
    let unlisted: Vec<&String> = used.keys().filter(|module| !listed.contains(&module.as_str())).collect();
    assert!(unlisted.is_empty(), "not in EDGES: {unlisted:?}");
    let wrong = EDGES.iter().filter_map(|(module, may_use)| {
        let uses: Vec<&str> = used.get(*module)?.iter().map(String::as_str).collect();
        (uses.join(" ") != *may_use).then(|| format!("(\"{module}\", \"{}\"),", uses.join(" ")))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "what these use is listed otherwise in EDGES:\n{}", wrong.join("\n"));
}

#[test]
fn modules_use_lower_modules_except_in_small_cycles() {
    let place = |module: &str| {
        EDGES
            .iter()
            .position(|(listed, _)| *listed == module)
            .unwrap_or_else(|| panic!("{module} is unlisted"))
    };
    let in_one_knot =
        |one: &str, other: &str| KNOTS.iter().any(|(knot, _)| knot.contains(&one) && knot.contains(&other));
    let mut upward = Vec::new();
    for (module, uses) in EDGES {
        let above = uses.split_whitespace().filter(|used| place(used) >= place(module));
        upward
            .extend(above.filter(|used| !in_one_knot(module, used)).map(|used| format!("{module} → {used}")));
    }
    assert!(upward.is_empty(), "these call back up: {upward:?}");
    for (knot, reason) in KNOTS {
        assert!(knot.len() <= 3, "{knot:?} is too large ({reason})");
        let lowest = knot.iter().map(|module| place(module)).min().expect("a module");
        let calls_up = (EDGES[lowest].1.split_whitespace()).any(|used| knot.contains(&used));
        assert!(calls_up, "{knot:?} is no knot any more");
    }
}

/// Which other top-level modules each of them names, outside of its tests.
fn edges(src: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let inside = |path: &Path| path.strip_prefix(src).expect("below src").with_extension("");
    let files: Vec<PathBuf> =
        sources(src).into_iter().filter(|path| !is_root_or_test(&inside(path))).collect();
    let names: BTreeSet<String> = files.iter().map(|path| parts(&inside(path))[0].clone()).collect();
    let mut edges: BTreeMap<String, BTreeSet<String>> =
        names.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for path in files {
        let module = parts(&inside(&path));
        let text = without_tests(&std::fs::read_to_string(&path).expect("a source file"));
        assert!(!text.contains("crate::{"), "{}: name each module in a line of its own", path.display());
        let to_root = "super::".repeat(module.len());
        let named = words_after(&text, "crate::").chain(words_after(&text, &to_root));
        let named = named.filter(|name| names.contains(*name) && *name != module[0]);
        let edges = edges.entry(module[0].clone()).or_default();
        edges.extend(named.map(str::to_owned));
    }
    edges
}

fn is_root_or_test(inside: &Path) -> bool {
    let name = inside.file_name().unwrap_or_default().to_string_lossy();
    let is_root = inside.components().count() == 1 && ["lib", "main"].contains(&&*name);
    is_root || name.ends_with("tests") || name == "testing"
}

/// The path of a file's module below the root.
fn parts(inside: &Path) -> Vec<String> {
    let all = inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    all.filter(|part| part != "mod").collect()
}

/// A source without comments and without modules that only tests have.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut in_tests = false;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let begins = line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.ends_with('{'));
        in_tests = (in_tests || begins) && line != "}";
        if !in_tests && !line.trim_start().starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The words that stand after this prefix, where it begins a path.
fn words_after<'a>(text: &'a str, prefix: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let starts: Vec<usize> = text.match_indices(prefix).map(|(start, _)| start).collect();
    let prefix = prefix.len();
    starts
        .into_iter()
        .filter(move |start| !text[..*start].ends_with(|c: char| is_word(c) || c == ':'))
        .map(move |start| text[start + prefix..].split(|c: char| !is_word(c)).next().unwrap_or_default())
}
