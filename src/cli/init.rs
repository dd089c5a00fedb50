//! `groundwork init`

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Outcome;
use crate::console;
use crate::providers::PROVIDERS;
use crate::schema::plan_schema;

/// The files to write, with paths relative to the folder. The plan is the quickstart that the tests
/// run, so that a newcomer starts from something that works.
const FILES: [(&str, &str); 3] = [
    ("plan.yaml", include_str!("../../plans/quickstart.yaml")),
    ("templates/backend.hcl.j2", include_str!("../../templates/backend.hcl.j2")),
    (
        ".gitignore",
        "# Journal, custody and sandbox of Groundwork. Custody is encrypted, yet keep it elsewhere.\n.groundwork/\n",
    ),
];

/// The schema by which editors complete and check the plan; `groundwork schema` prints it again.
const SCHEMA: &str = "plan.schema.json";
/// Where the example's schema is, seen from its folder.
const SCHEMA_OF_EXAMPLE: &str = "../docs/plan.schema.json";

/// Write a commented starter plan and its templates.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder to write to
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Writes the files, none of which may exist.
pub fn run(args: &InitArgs) -> Outcome {
    let mut names = FILES.iter().map(|(name, _)| *name).chain([SCHEMA]);
    if let Some(name) = names.find(|name| args.folder.join(name).exists()) {
        let path = args.folder.join(name);
        console::note(format_args!("error: {} exists already; nothing was written", path.display()));
        return Outcome::Failed;
    }
    let schema = serde_json::to_string_pretty(&plan_schema(&PROVIDERS)).unwrap_or_default() + "\n";
    let files = FILES.map(|(name, text)| (name, text.replace(SCHEMA_OF_EXAMPLE, SCHEMA)));
    for (name, text) in files.iter().map(|(name, text)| (*name, text)).chain([(SCHEMA, &schema)]) {
        let path = args.folder.join(name);
        if let Err(error) = write_new(&path, text) {
            console::note(format_args!("error: cannot write {}: {error}", path.display()));
            return Outcome::Failed;
        }
        console::out(format_args!("wrote {}", path.display()));
    }
    let plan = args.folder.join(FILES[0].0);
    console::note(format_args!(
        "\nNext:\n  groundwork validate {0}\n  groundwork sandbox run -- groundwork apply {0}",
        plan.display()
    ));
    Outcome::Done
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::File::create_new(path)?.write_all(text.as_bytes())
}
