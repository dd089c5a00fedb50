//! A shell in which a reader of the guide works: its own home and folder, the program on `PATH`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What ends an answer of the shell.
const END: &str = "-- end of the command --";

/// A shell that is typed into. A sandbox that was started in it ends with it, whatever becomes of the test.
pub struct Shell {
    /// The folder in which it began.
    pub folder: PathBuf,
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    temporary: tempfile::TempDir,
    last: String,
}

impl Shell {
    /// In an empty folder.
    pub fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = temporary.path().join("work");
        let home = temporary.path().join("home");
        for folder in [&folder, &home] {
            std::fs::create_dir(folder).expect("a folder");
        }
        let program = Path::new(crate::support::BINARY).parent().expect("a folder");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(program.to_owned()).chain(std::env::split_paths(&path));
        let errors = std::fs::File::create(temporary.path().join("errors")).expect("a file");
        let mut command = Command::new("bash");
        // The servers' programs are installed once for all tests.
        let cache = groundwork::sandbox::Host::from_env().cache.expect("a cache folder");
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["AWS_", "VAULT_", "BAO_", "GROUNDWORK_"].iter().any(|start| name.starts_with(start)) {
                command.env_remove(&*name);
            }
        }
        command
            .args(["--noprofile", "--norc"])
            .current_dir(&folder)
            .env("PATH", std::env::join_paths(folders).expect("a path"))
            .env("HOME", &home)
            .env("GROUNDWORK_CACHE", cache)
            .env("NO_COLOR", "1")
            .env_remove("CI")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut process = command.spawn().expect("bash starts");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("its output"));
        Self { folder, process, input, output, temporary, last: "0".to_owned() }
    }

    /// Runs a command: its exit code, and what it printed. `sandbox run -- bash` begins a shell within this one,
    /// and `exit` ends that.
    pub fn run(&mut self, command: &str) -> (i32, String) {
        let (script, printed) =
            (self.temporary.path().join("command"), self.temporary.path().join("printed"));
        std::fs::write(&script, command).expect("written");
        let (script, file) = (script.display(), printed.display());
        let line = match command {
            "exit" => "exit 0".to_owned(),
            shell if shell.ends_with("-- bash") => shell.to_owned(),
            _ => format!("(exit {}); . {script} </dev/null >{file} 2>&1; last=$?", self.last),
        };
        std::fs::write(&printed, "").expect("written");
        self.send(&format!("export last=0\n{line}\necho; echo \"$last {END}\"\n"));
        let mut code = String::new();
        while !code.ends_with(END) {
            code.clear();
            let read = self.output.read_line(&mut code).expect("readable");
            assert!(read > 0, "the shell ended with {command}: {}", self.errors());
            code.truncate(code.trim_end().len());
        }
        self.last = code.trim_end_matches(END).trim().to_owned();
        let text = String::from_utf8_lossy(&std::fs::read(&printed).expect("readable")).into_owned();
        (self.last.parse().unwrap_or(-1), text)
    }

    fn send(&mut self, text: &str) {
        let sent = self.input.as_mut().expect("it is open").write_all(text.as_bytes());
        sent.unwrap_or_else(|error| panic!("{error}: {}", self.errors()));
    }

    /// What the shells themselves and the sandbox reported.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.temporary.path().join("errors")).unwrap_or_default()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Without input the shells end, and the sandbox with them.
        drop(self.input.take());
        let _ = self.process.wait();
    }
}
