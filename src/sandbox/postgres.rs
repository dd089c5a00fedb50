//! PostgreSQL in a sandbox: the machine's own server program, with data of the sandbox's.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rand::RngCore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::Error;
use super::error::Doing;
use super::home::{Home, write_private};
use super::options::Host;

/// The superuser of the sandbox's server.
pub const USER: &str = "groundwork";
/// The database that every server has.
pub const DATABASE: &str = "postgres";
/// Where Debian keeps the programs, in a folder for each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The words in its log once it listens.
pub const LISTENING: &str = "ready to accept connections";

/// The folder with `initdb` and `postgres`: on the search path, else the newest of Debian's.
///
/// # Errors
/// When there is none.
pub fn find(host: &Host) -> Result<PathBuf, Error> {
    let on_path = host.find("postgres").filter(|program| program.with_file_name("initdb").exists());
    if let Some(folder) = on_path.and_then(|program| Some(program.parent()?.to_owned())) {
        return Ok(folder);
    }
    let installed = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let folders = installed.map(|version| version.path().join("bin"));
    let found = folders.filter(|folder| folder.join("postgres").exists() && folder.join("initdb").exists());
    let version = |folder: &PathBuf| {
        let name = folder.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        name.and_then(|name| name.parse::<u32>().ok()).unwrap_or_default()
    };
    found.max_by_key(version).ok_or(Error::NoPostgres)
}

/// Makes the server's data, unless they exist, with a superuser who has a random password.
///
/// # Errors
/// When `initdb` fails.
pub async fn initialise(home: &Home, programs: &Path, server: &str) -> Result<(), Error> {
    let data = home.data(server)?;
    if data.join("PG_VERSION").exists() {
        return Ok(());
    }
    let mut bytes = [0; 24];
    rand::rng().fill_bytes(&mut bytes);
    write_private(&home.postgres_password(), hex::encode(bytes).as_bytes())?;
    let (program, arguments) = as_other_user(programs.join("initdb"));
    let mut command = Command::new(program);
    command.args(arguments).args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    command
        .arg(format!("--username={USER}"))
        .arg("--pwfile")
        .arg(home.postgres_password())
        .arg("-D")
        .arg(&data);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TMPDIR", home.tmp()).current_dir(home.tmp());
    let ran = command.stdin(Stdio::null()).output().await.doing(|| "start initdb".to_owned())?;
    if ran.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
    let lines: Vec<&str> = text.lines().collect();
    Err(Error::Initdb { detail: lines[lines.len().saturating_sub(6)..].join("\n") })
}

/// The server's command.
///
/// # Errors
/// When its folder cannot be made.
pub fn command(
    home: &Home,
    programs: &Path,
    server: &str,
    port: u16,
) -> Result<(PathBuf, Vec<OsString>), Error> {
    let (program, mut arguments) = as_other_user(programs.join("postgres"));
    arguments.extend([OsString::from("-D"), home.data(server)?.into()]);
    arguments.extend(["-p".into(), port.to_string().into(), "-h".into(), "127.0.0.1".into()]);
    // No socket in a folder of the machine, and nothing survives a power cut here anyway.
    for setting in ["unix_socket_directories=", "fsync=off"] {
        arguments.extend(["-c".into(), setting.into()]);
    }
    Ok((program, arguments))
}

/// PostgreSQL refuses to run as root. A namespace in which root has another number is enough, and the files stay
/// root's own.
fn as_other_user(program: PathBuf) -> (PathBuf, Vec<OsString>) {
    if !rustix::process::geteuid().is_root() {
        return (program, Vec::new());
    }
    let arguments = ["--user", "--map-user=1000", "--map-group=1000", "--"].map(OsString::from);
    (PathBuf::from("/usr/bin/unshare"), arguments.into_iter().chain([program.into()]).collect())
}

/// The superuser's password, once the data exist.
pub fn password(home: &Home) -> Option<String> {
    std::fs::read_to_string(home.postgres_password()).ok()
}

/// Whether a server of PostgreSQL answers: it says with one letter whether it speaks TLS.
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>, SSLRequest
pub async fn answers(port: u16) -> bool {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
    let ask = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        stream.write_all(&SSL_REQUEST).await.ok()?;
        stream.read_u8().await.ok()
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), ask).await;
    matches!(answer, Ok(Some(b'N' | b'S')))
}
