//! A backup of any size takes little memory. The server is one of our own that makes up a snapshot while it sends it:
//! `LARGE_BACKUP_MIB=1024 cargo test --test it large_backup -- --nocapture` shows times and memory.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::write::DeflateEncoder;
use serde_json::json;

use crate::support::program;
use crate::sweep::http::Message;

/// How long each entry is.
const ENTRY: usize = 1 << 20;
/// How many of these a test run has.
const ENTRIES: usize = 48;
/// How much memory the program may take, in MiB. It is the same for each size.
const MEMORY: u64 = 100;
const UNSEAL_KEY: [u8; 32] = [1; 32];
const ROOT_KEY: [u8; 32] = [2; 32];
const TERM_KEY: [u8; 32] = [3; 32];

/// Nonce, ciphertext and tag.
fn sealed(key: &[u8; 32], number: u64, name: &str, plain: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key"));
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    let mut text = plain.to_vec();
    let aad = Aad::from(name.as_bytes());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text).expect("sealed");
    [&nonce[..], &text].concat()
}

/// A field of a protocol buffer.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(bytes.len()), bytes].concat()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

fn entry(name: &str, value: &[u8]) -> Vec<u8> {
    let message = [field(1, name.as_bytes()), field(2, value)].concat();
    [varint(message.len()), message].concat()
}

/// What the seal has encrypted.
fn blob(plain: &[u8]) -> Vec<u8> {
    [field(1, &sealed(&UNSEAL_KEY, 1, "", plain)), field(5, &[])].concat()
}

/// An entry behind the barrier.
fn behind(number: u64, name: &str, plain: &[u8]) -> Vec<u8> {
    entry(name, &[&[0, 0, 0, 1, 2][..], &sealed(&TERM_KEY, number, name, plain)].concat())
}

/// The first entries, by which the others are opened.
fn head() -> Vec<u8> {
    let config = json!({ "type": "shamir", "secret_shares": 1, "secret_threshold": 1 }).to_string();
    let root = json!([BASE64_STANDARD.encode(ROOT_KEY)]).to_string();
    let term = json!({ "Term": 1, "Version": 1, "Value": BASE64_STANDARD.encode(TERM_KEY) });
    let keyring = json!({ "MasterKey": BASE64_STANDARD.encode(ROOT_KEY), "Keys": [term] }).to_string();
    let keyring = sealed(&ROOT_KEY, 1, "core/keyring", keyring.as_bytes());
    let cluster = json!({ "name": "large", "id": "large" }).to_string();
    [
        behind(1, "core/cluster/local/info", cluster.as_bytes()),
        entry("core/hsm/barrier-unseal-keys", &blob(root.as_bytes())),
        entry("core/keyring", &[&[0, 0, 0, 1, 2][..], &keyring].concat()),
        entry("core/seal-config", config.as_bytes()),
        behind(2, "core/shamir-kek", &UNSEAL_KEY),
        behind(3, "core/versions/2.7.2", b"{}"),
    ]
    .concat()
}

fn body(number: usize, plain: &[u8]) -> Vec<u8> {
    behind(number as u64 + 10, &format!("logical/large/{number:08}"), plain)
}

/// Everything that is compressed, and its checksum.
struct Packed<W: Write> {
    deflate: DeflateEncoder<W>,
    crc: flate2::Crc,
}

impl<W: Write> Packed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.deflate.write_all(bytes)
    }

    fn begin(&mut self, name: &str, size: usize) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_size(size as u64);
        header.set_mode(0o600);
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn end(&mut self, size: usize) -> io::Result<()> {
        self.write(&vec![0; size.next_multiple_of(512) - size])
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.begin(name, bytes.len())?;
        self.write(bytes)?;
        self.end(bytes.len())
    }
}

/// Writes a snapshot with so many entries, none of which is kept.
fn send_snapshot(to: &mut impl Write, entries: usize) -> io::Result<()> {
    let (head, plain) = (head(), vec![7; ENTRY]);
    let size = head.len() + entries * body(0, &plain).len();
    let meta = json!({
        "Version": 1, "ID": "bolt-snapshot", "Index": 7, "Term": 2, "Peers": null, "ConfigurationIndex": 1,
        "Configuration": { "Servers": [{ "Suffrage": 0, "ID": "n1", "Address": "127.0.0.1:8201" }] }, "Size": size,
    })
    .to_string();
    to.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])?;
    // What is encrypted does not become smaller.
    let deflate = DeflateEncoder::new(to, flate2::Compression::none());
    let mut packed = Packed { deflate, crc: flate2::Crc::new() };
    packed.member("meta.json", meta.as_bytes())?;
    let mut state = Context::new(&SHA256);
    packed.begin("state.bin", size)?;
    for part in std::iter::once(head).chain((0..entries).map(|number| body(number, &plain))) {
        state.update(&part);
        packed.write(&part)?;
    }
    packed.end(size)?;
    let sums = format!(
        "{}  meta.json\n{}  state.bin\n",
        hex::encode(digest(&SHA256, meta.as_bytes())),
        hex::encode(state.finish())
    );
    packed.member("SHA256SUMS", sums.as_bytes())?;
    packed.member("SHA256SUMS.sealed", &blob(sums.as_bytes()))?;
    packed.write(&[0; 1024])?;
    let Packed { deflate, crc } = packed;
    let to = deflate.finish()?;
    to.write_all(&crc.sum().to_le_bytes())?;
    to.write_all(&crc.amount().to_le_bytes())
}

/// A body in chunks.
struct Chunked<'a>(&'a TcpStream);

impl Write for Chunked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            write!(self.0, "{:x}\r\n", bytes.len())?;
            self.0.write_all(bytes)?;
            self.0.write_all(b"\r\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn answer(client: &TcpStream, entries: usize) -> io::Result<()> {
    let Some(request) = Message::request(client)? else { return Ok(()) };
    let path = request.start.split(' ').nth(1).unwrap_or_default();
    if path != "/v1/sys/storage/raft/snapshot" {
        let body = json!({
            "type": "shamir", "initialized": true, "sealed": false, "t": 1, "n": 1, "version": "2.7.2",
            "cluster_name": "large", "cluster_id": "large", "storage_type": "raft", "ha_enabled": true,
            "is_self": true, "leader_address": "http://127.0.0.1:1", "standby": false,
        });
        let mut client = client;
        return client.write_all(&Message::reply(200, "application/json", &body.to_string()).bytes());
    }
    let mut stream = client;
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/gzip\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    send_snapshot(&mut io::BufWriter::with_capacity(1 << 16, Chunked(client)), entries)?;
    stream.write_all(b"0\r\n\r\n")
}

fn serve(entries: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that went away is no failure of the server.
            std::thread::spawn(move || answer(&client, entries).unwrap_or_default());
        }
    });
    url
}

/// Runs the command; gives its exit code, what it printed, how long it took, and its peak of memory in MiB.
fn measured(command: &Command, folder: &Path, input: &str) -> (i32, String, f64, u64) {
    const MEASURE: &str = "import resource, subprocess, sys\n\
        code = subprocess.call(sys.argv[1:])\n\
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n\
        sys.exit(code)";
    let mut measuring = Command::new("python3");
    measuring.args(["-c", MEASURE]).arg(command.get_program()).args(command.get_args()).current_dir(folder);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => measuring.env(name, value),
            None => measuring.env_remove(name),
        };
    }
    measuring.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = measuring.spawn().expect("starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let ended = child.wait_with_output().expect("ended");
    let took = started.elapsed().as_secs_f64();
    let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
    let memory: u64 =
        errors.lines().last().and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("{errors}"));
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned() + &errors;
    (ended.status.code().unwrap_or(-1), printed, took, memory / 1024)
}

#[test]
fn backup_of_any_size_takes_little_memory() {
    let entries =
        std::env::var("LARGE_BACKUP_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(ENTRIES);
    let url = serve(entries);
    let folder = tempfile::tempdir().expect("a folder");
    let plan = json!({
        "version": 1, "name": "large", "vault": { "address": url },
        "backup": { "stores": [{ "file": "backups" }] },
        "steps": { "secret": { "kind": "vault.mount", "path": "secret", "type": "kv" } },
    });
    std::fs::write(folder.path().join("plan.yaml"), plan.to_string()).expect("written");
    let run = |arguments: &[&str], input: &str| {
        let mut command = program();
        command.args(arguments).env("VAULT_TOKEN", "a-token").env("GROUNDWORK_TRUST", format!("vault={url}"));
        command.env("GROUNDWORK_CONFIG_DIR", folder.path().join("config")).env("TMPDIR", folder.path());
        measured(&command, folder.path(), input)
    };
    let (code, printed, taking, memory) = run(&["backup", "plan.yaml"], "");
    // No key is at hand, so that it is whole and not proven.
    assert!(code == 3 && printed.contains("whole"), "{code}: {printed}");
    assert!(memory < MEMORY, "taking it takes {memory} MiB");
    let backups = crate::support::files(&folder.path().join("backups"));
    let snapshot =
        backups.iter().find(|file| file.extension().is_some_and(|end| end == "snap")).expect("taken");
    let bytes = std::fs::metadata(snapshot).expect("there").len();
    assert!(bytes > (entries * ENTRY) as u64, "{bytes}");

    let snapshot = snapshot.display().to_string();
    let arguments = ["backup", "check", snapshot.as_str(), "--share"];
    let (code, printed, checking, checked) = run(&arguments, &hex::encode(UNSEAL_KEY));
    assert!(code == 0 && printed.contains("proven"), "{code}: {printed}");
    assert!(checked < MEMORY, "checking it takes {checked} MiB");
    println!(
        "{entries} MiB: taken in {taking:.1} s with {memory} MiB, proven in {checking:.1} s with {checked} MiB"
    );
    if entries > ENTRIES {
        let started = Instant::now();
        let mut plain = TcpStream::connect(url.trim_start_matches("http://")).expect("connected");
        plain.write_all(b"GET /v1/sys/storage/raft/snapshot HTTP/1.1\r\n\r\n").expect("asked");
        let read = io::copy(&mut plain, &mut io::sink()).expect("read");
        println!("plain transfer of {read} bytes: {:.1} s", started.elapsed().as_secs_f64());
    }
}
