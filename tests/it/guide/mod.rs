//! The guide is true: a reader who does what a chapter says sees what it shows.
//!
//! Each chapter is one shell that begins in an empty folder. `GUIDE_SHOW=1` prints every command with its output,
//! for those who write.

mod expect;
mod page;
mod shell;

use std::path::Path;

use page::{Block, Page, Role};
use shell::Shell;

/// A chapter that is being read.
struct Reader {
    page: Page,
    shell: Shell,
    shows: bool,
    differences: Vec<String>,
    commands: usize,
}

impl Reader {
    /// Does everything that the chapter says.
    fn follows(chapter: &str) -> usize {
        let shows = std::env::var_os("GUIDE_SHOW").is_some();
        let mut reader = Self {
            page: Page::of(chapter),
            shell: Shell::new(),
            shows,
            differences: Vec::new(),
            commands: 0,
        };
        for block in reader.page.blocks() {
            reader.does(&block);
        }
        assert!(reader.differences.is_empty(), "{}", reader.differences.join("\n\n"));
        reader.commands
    }

    fn does(&mut self, block: &Block) {
        let text = block.body.join("\n") + "\n";
        match &block.role {
            Role::Commands => self.types(block),
            Role::File(name) => self.write(name, &text),
            Role::Append(name) => self.write(name, &(self.read(name) + &text)),
            Role::Edit(name) => {
                let part = |skipped: char| {
                    let lines = block.body.iter().filter(|line| !line.starts_with(skipped));
                    lines.map(|line| line.get(1..).unwrap_or_default().to_owned() + "\n").collect::<String>()
                };
                let (before, after, whole) = (part('+'), part('-'), self.read(name));
                let found = whole.matches(&before).count();
                assert_eq!(
                    found,
                    1,
                    "{}: {name} has these lines {found} times:\n{before}",
                    self.at(block.line)
                );
                self.write(name, &whole.replace(&before, &after));
            }
            Role::Prose(_) => {}
        }
    }

    fn types(&mut self, block: &Block) {
        let starts: Vec<usize> =
            (0..block.body.len()).filter(|index| block.body[*index].starts_with("$ ")).collect();
        assert_eq!(starts.first(), Some(&0), "{}: it begins with a command", self.at(block.line));
        let mut failed = None;
        for (index, start) in starts.iter().enumerate() {
            let mut shown = &block.body[*start..starts.get(index + 1).copied().unwrap_or(block.body.len())];
            let mut command = shown[0][2..].to_owned();
            shown = &shown[1..];
            while let Some(more) = shown.first().and_then(|line| line.strip_prefix("> ")) {
                command.push('\n');
                command.push_str(more);
                shown = &shown[1..];
            }
            let at = self.at(block.line + start + 1);
            if let Some(code) = failed.take().filter(|_| !self.shows) {
                assert_eq!(command, "echo $?", "{at}: the command before ended with {code}");
            }
            let (code, printed) = self.shell.run(&command);
            self.commands += 1;
            if self.shows {
                println!("$ {command}\n{printed}");
            }
            failed = (code != 0).then_some(code);
            if let Err(difference) = expect::compare(shown, &printed) {
                let all =
                    format!("{at}: {difference}\n$ {command}\n{printed}({code}) {}", self.shell.errors());
                self.differences.push(all);
                assert!(self.shows, "{}", self.differences[0]);
            }
        }
        if let Some(code) = failed.filter(|_| !self.shows) {
            panic!("{}: the last command ended with {code}\n{}", self.at(block.line), self.shell.errors());
        }
    }

    fn at(&self, line: usize) -> String {
        format!("docs/guide/src/{}:{line}", self.page.name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.shell.folder.join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.shell.folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }
}

/// One test for each chapter, so that they run side by side.
macro_rules! chapters {
    ($($name:ident: $page:literal,)*) => {
        const CHAPTERS: &[&str] = &[$($page),*];
        $(#[test]
        fn $name() {
            if $page == "kubernetes" && crate::kubernetes::is_left_out("the chapter about Kubernetes") {
                return;
            }
            assert!(Reader::follows($page) > 0, "nothing was done");
        })*
    };
}

chapters! {
    first_hour_is_as_shown: "first-hour",
    stages_are_as_shown: "stages",
    repeated_steps_are_as_shown: "repeating",
    policies_are_as_shown: "policies",
    access_is_as_shown: "access",
    custody_is_as_shown: "custody",
    databases_are_as_shown: "databases",
    people_come_and_go_as_shown: "people",
    rekeying_is_as_shown: "rekeying",
    seals_move_as_shown: "seal",
    backups_are_as_shown: "backup",
    drills_are_as_shown: "rehearsing",
    rebuilding_is_as_shown: "rebuilding",
    broken_glass_is_as_shown: "break-glass",
    standing_is_as_shown: "standing",
    runbook_is_as_shown: "runbook",
    journals_and_locks_are_as_shown: "journals-and-locks",
    trust_is_as_shown: "trust",
    reviews_in_ci_are_as_shown: "ci",
    changes_are_as_shown: "changing",
    new_values_are_made_as_shown: "new-values",
    rotation_is_as_shown: "rotating",
    kubernetes_is_as_shown: "kubernetes",
    proving_is_as_shown: "proving",
    teardown_is_as_shown: "teardown",
    admin_policy_suffices_as_shown: "admin-policy",
}

/// Pages without commands: prose, and what the program prints.
const PROSE: [&str; 5] = ["introduction", "troubleshooting", "kinds", "rules", "sections"];

#[test]
fn every_page_is_in_contents_and_read_by_a_test() {
    let contents = std::fs::read_to_string(page::folder().join("SUMMARY.md")).expect("the contents");
    for page in page::all() {
        assert!(contents.contains(&format!("]({})", page.name)), "SUMMARY.md lacks {}", page.name);
        let name = page.name.trim_end_matches(".md");
        let has_commands = page.blocks().iter().any(|block| block.role == Role::Commands);
        assert_eq!(
            CHAPTERS.contains(&name),
            has_commands,
            "{name} is not followed by a test, or has no commands"
        );
        assert_ne!(CHAPTERS.contains(&name), PROSE.contains(&name), "{name}");
        for block in page.blocks() {
            let Role::Prose(info) = &block.role else { continue };
            assert!(PROSE.contains(&name), "{}:{}: nothing follows a block {info:?}", page.name, block.line);
        }
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut seen = 0;
    for page in page::all() {
        for link in page.links() {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.name.clone() } else { file.to_owned() };
            assert!(page::folder().join(&target).exists(), "{}: {link}", page.name);
            let anchors = Page::of(target.trim_end_matches(".md")).anchors();
            let leads = anchor.is_empty() || anchors.iter().any(|known| known == anchor);
            assert!(leads, "{}: {link} leads to no heading; there are {anchors:?}", page.name);
            seen += 1;
        }
    }
    assert!(seen > 0, "no links");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/book.toml").exists());
}

/// The first column quotes messages, with `…` for what differs; each piece of them stands in the sources.
#[test]
fn troubleshooting_quotes_messages_of_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = String::new();
    for path in
        crate::support::files(&root).iter().filter(|path| path.extension().is_some_and(|end| end == "rs"))
    {
        let text = std::fs::read_to_string(path).expect("a source file");
        // A message may be broken over lines, and holds its values in braces.
        for line in text.lines() {
            let line = line.trim_start();
            sources.push_str(line.strip_suffix('\\').unwrap_or(line));
        }
    }
    let page = Page::of("troubleshooting");
    let rows = page.text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let mut seen = 0;
    for (message, _) in rows {
        for piece in message.split('…').map(str::trim).filter(|piece| piece.len() > 8) {
            assert!(sources.contains(piece), "no message has {piece:?}");
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn help_names_chapters_that_exist() {
    for command in
        ["", "init", "plan", "apply", "destroy", "verify", "journal", "unlock", "trust", "unseal", "custody"]
    {
        let mut program = crate::support::program();
        program.args(command.split_whitespace()).arg("--help");
        let ran = crate::support::Ran::of(program.output().expect("the program starts"));
        let named = ran.stdout.lines().find_map(|line| line.strip_prefix("Guide: "));
        let path = named.and_then(|text| text.split([',', ' ']).next()).unwrap_or_default();
        assert!(named.is_some(), "{command}: {}", ran.stdout);
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{command}: {path}");
    }
}
