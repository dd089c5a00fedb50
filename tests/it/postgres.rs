//! A PostgreSQL server of the test's own, for the kinds that need a database.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A server on a free loopback port, gone with the value.
pub struct Postgres {
    /// Where it listens.
    pub port: u16,
    data: PathBuf,
    binaries: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Postgres {
    /// Starts one that has the users `vault`, a superuser with this password, and `manager`, another
    /// one, and `reports`, who may log in.
    pub fn start(password: &str) -> Self {
        let binaries = binaries();
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let data = temporary.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        let file = temporary.path().join("password");
        std::fs::write(&file, password).expect("written");
        give_away(temporary.path());
        let port = free_port();
        let server = Self { port, data, binaries, _temporary: temporary };
        server
            .run("initdb", &["-A", "scram-sha-256", "-U", "vault", &format!("--pwfile={}", file.display())]);
        let options = format!("-p {port} -h 127.0.0.1 -k '' -c fsync=off");
        let log = server.data.join("log");
        server.run("pg_ctl", &["-w", "-o", &options, "-l", &log.display().to_string(), "start"]);
        for statement in [
            format!("CREATE ROLE manager SUPERUSER LOGIN PASSWORD '{password}'"),
            "CREATE ROLE reports LOGIN".to_owned(),
        ] {
            assert_eq!(server.query("vault", password, &statement), Ok(String::new()), "{statement}");
        }
        server
    }

    /// What a statement gives, one row a line; `Err` when the server refuses it or the login.
    pub fn query(&self, user: &str, password: &str, statement: &str) -> Result<String, String> {
        let mut command = Command::new(self.binaries.join("psql"));
        command.args([
            "-h",
            "127.0.0.1",
            "-U",
            user,
            "-d",
            "postgres",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
        ]);
        command.args(["-p", &self.port.to_string(), "-c", statement]).env("PGPASSWORD", password);
        let ran = command.output().expect("psql runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(text(&ran.stderr)) }
    }

    /// The variables of libpq that lead a program to it.
    pub fn variables(&self, user: &str, password: &str) -> [(&'static str, String); 6] {
        [
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", user.to_owned()),
            ("PGPASSWORD", password.to_owned()),
            ("PGDATABASE", "postgres".to_owned()),
            ("PGSSLMODE", "disable".to_owned()),
        ]
    }

    /// Replaces a file in the server's folder.
    pub fn replace_file(&self, name: &Path, text: &str) {
        let path = self.data.join(name);
        std::fs::write(&path, text).expect("written");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("private");
        give_away(&path);
    }

    /// Everything that the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.join("log")).expect("a log")
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.binaries.join(program);
        // It refuses to run as root.
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("-D").arg(&self.data).args(arguments).current_dir("/").stdin(Stdio::null());
        let ran = command.stdout(Stdio::null()).status().expect("PostgreSQL's programs run");
        assert!(ran.success(), "{command:?} failed");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-m", "immediate", "stop"]);
    }
}

/// Debian keeps them out of the path, by version.
fn binaries() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(installed.map(|version| version.path().join("bin")));
    let found = folders.into_iter().rev().find(|folder| folder.join("initdb").exists());
    found.expect("PostgreSQL is needed; on Debian: apt-get install postgresql")
}

/// The server's user owns its folder; a temporary folder is closed to others.
fn give_away(folder: &Path) {
    if rustix::process::geteuid().is_root() {
        let done = Command::new("chown").args(["-R", "postgres"]).arg(folder).status().expect("chown runs");
        assert!(done.success(), "the folder cannot be given to the user `postgres`");
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}
