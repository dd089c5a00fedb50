//! The Python that installs the servers' programs and runs the emulator.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use tokio::process::Command;

use super::Error;
use super::options::Host;

/// `python3` first; the others for systems whose own is too old.
const NAMES: [&str; 6] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];
const OLDEST: (u32, u32) = (3, 10);
const ASK: &str = "import sys; print(sys.executable); print('%d.%d' % sys.version_info[:2])";

/// An interpreter that is new enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    /// The interpreter itself, not a wrapper around it.
    pub program: PathBuf,
    /// Major and minor version.
    pub version: (u32, u32),
}

impl Python {
    /// The first on the search path that will do.
    pub async fn find(host: &Host) -> Result<Self, Error> {
        let mut old = None;
        for candidate in NAMES.iter().filter_map(|name| host.find(name)) {
            match ask(host, candidate).await {
                Some(python) if python.version >= OLDEST => return Ok(python),
                answer => old = old.or(answer),
            }
        }
        let found = old.map(|old| format!(" (only {}, {})", old.program.display(), dotted(old.version)));
        Err(Error::NoPython { found: found.unwrap_or_default() })
    }

    /// Names the Python version in an installation's folder, because wheels with machine code fit only
    /// one version.
    pub fn tag(&self) -> String {
        format!("py{}", dotted(self.version))
    }
}

fn dotted((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// `None` for a program that is only a wrapper without an interpreter.
async fn ask(host: &Host, program: PathBuf) -> Option<Python> {
    let output: Output = Command::new(program)
        // Without the packages of the machine, which it does not need and which may take longer to load.
        .args(["-S", "-c", ASK])
        .env("PATH", &host.path)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .ok()?;
    parse(&String::from_utf8(output.stdout).ok()?)
}

fn parse(answer: &str) -> Option<Python> {
    let mut lines = answer.lines();
    let program = PathBuf::from(lines.next().filter(|line| !line.is_empty())?);
    let (major, minor) = lines.next()?.split_once('.')?;
    Some(Python { program, version: (major.parse().ok()?, minor.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_probe_returns_path_and_version() {
        let python = parse("/usr/bin/python3\n3.9\n").unwrap();
        assert_eq!(python, Python { program: "/usr/bin/python3".into(), version: (3, 9) });
        assert!(python.version < OLDEST && python.tag() == "py3.9");
        assert_eq!(parse("\n3.11\n"), None);
        assert_eq!(parse("pyenv: command not found"), None);
    }

    #[tokio::test]
    async fn missing_python_error_names_a_remedy() {
        let host = Host { cache: None, path: "/nowhere".into() };
        let error = Python::find(&host).await.unwrap_err().to_string();
        assert!(error.contains("install Python with pip"), "{error}");
    }
}
