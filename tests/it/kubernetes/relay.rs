//! A proxy before an API server: it lets a write go wrong, or makes each request take longer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ApiServer;
use crate::support::TestEnvironment;

/// What goes wrong with a write.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The request never reaches the server.
    RequestLost,
    /// It takes effect, and the answer is lost.
    ResponseLost,
    /// The server answers 500 and has done nothing.
    ErrorBefore,
    /// The server has done it and answers 500.
    ErrorAfter,
    /// Too many requests.
    Throttled,
    /// The answer stops half-way.
    Truncated,
}

pub const FAULTS: [Fault; 6] = [
    Fault::RequestLost,
    Fault::ResponseLost,
    Fault::ErrorBefore,
    Fault::ErrorAfter,
    Fault::Throttled,
    Fault::Truncated,
];

/// A request that passed, and when.
struct Passed {
    request: String,
    begun: Instant,
    ended: Instant,
}

/// The n-th write that goes wrong, counted from 1, how many there were, and what passed.
#[derive(Default)]
struct Wire {
    planned: Option<(usize, Fault)>,
    writes: usize,
    delay: Duration,
    passed: Vec<Passed>,
}

/// The proxy.
pub struct Relay {
    server: Arc<ApiServer>,
    wire: Arc<Mutex<Wire>>,
    url: String,
}

impl Relay {
    /// Before this server.
    pub fn start(server: ApiServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let relay = Self { server: Arc::new(server), wire: Arc::default(), url };
        let (server, wire) = (Arc::clone(&relay.server), Arc::clone(&relay.wire));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (server, wire) = (Arc::clone(&server), Arc::clone(&wire));
                // A client that went away is no failure of the proxy.
                std::thread::spawn(move || serve(&server, &wire, &stream).unwrap_or_default());
            }
        });
        relay
    }

    /// A kubeconfig beside the plan that leads here.
    pub fn config(&self, environment: &TestEnvironment) -> PathBuf {
        let mut config = self.server.config().clone();
        config["clusters"][0]["cluster"]["server"] = json!(self.url);
        config["users"][0]["user"] = json!({});
        environment.write("proxied.json", &config.to_string())
    }

    /// From now on this write goes wrong, or none.
    pub fn plan(&self, fault: Option<(usize, Fault)>) {
        *wire(&self.wire) = Wire { planned: fault, ..Wire::default() };
    }

    /// From now on each request takes so much longer.
    pub fn delay(&self, delay: Duration) {
        *wire(&self.wire) = Wire { delay, ..Wire::default() };
    }

    /// The longest chain of requests since then, each begun when the one before had ended.
    pub fn longest_chain(&self) -> Vec<String> {
        let mut passed = std::mem::take(&mut wire(&self.wire).passed);
        passed.sort_by_key(|one| one.begun);
        let mut chains: Vec<Vec<usize>> = Vec::new();
        for (index, one) in passed.iter().enumerate() {
            let before = (0..index).filter(|earlier| passed[*earlier].ended <= one.begun);
            let mut chain =
                before.map(|earlier| chains[earlier].clone()).max_by_key(Vec::len).unwrap_or_default();
            chain.push(index);
            chains.push(chain);
        }
        let longest = chains.into_iter().max_by_key(Vec::len).unwrap_or_default();
        longest.into_iter().map(|index| passed[index].request.clone()).collect()
    }
}

fn wire(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Request {
    method: String,
    path: String,
    media: String,
    body: Vec<u8>,
}

fn read(stream: &TcpStream) -> io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut media) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "content-type" => value.trim().clone_into(&mut media),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, media, body }))
}

fn answer(mut stream: &TcpStream, status: u16, body: &Value, half: bool) -> io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body.as_bytes()[..if half { body.len() / 2 } else { body.len() }])
}

/// Passes a call on, or lets it go wrong.
fn serve(server: &ApiServer, shared: &Mutex<Wire>, stream: &TcpStream) -> io::Result<()> {
    let Some(request) = read(stream)? else { return Ok(()) };
    let begun = Instant::now();
    let is_write =
        request.method == "DELETE" || request.method == "PATCH" && !request.path.contains("dryRun=All");
    let (fault, delay) = {
        let mut wire = wire(shared);
        wire.writes += usize::from(is_write);
        let writes = wire.writes;
        let fault = wire.planned.filter(|(nth, _)| is_write && *nth == writes).map(|(_, fault)| fault);
        (fault, wire.delay)
    };
    std::thread::sleep(delay);
    let forward = || {
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        server.ask(&request.method, request.path.trim_start_matches('/'), &request.media, &body)
    };
    let failed = |code: u16, reason: &str| {
        (
            code,
            json!({ "kind": "Status", "status": "Failure", "message": "made to fail", "reason": reason, "code": code }),
        )
    };
    let ((status, body), half) = match fault {
        None => (forward(), false),
        Some(Fault::RequestLost) => return Ok(()),
        Some(Fault::ResponseLost) => {
            forward();
            return Ok(());
        }
        Some(Fault::ErrorBefore) => (failed(500, "InternalError"), false),
        Some(Fault::ErrorAfter) => {
            forward();
            (failed(500, "InternalError"), false)
        }
        Some(Fault::Throttled) => (failed(429, "TooManyRequests"), false),
        Some(Fault::Truncated) => (forward(), true),
    };
    let passed =
        Passed { request: format!("{} {}", request.method, request.path), begun, ended: Instant::now() };
    wire(shared).passed.push(passed);
    answer(stream, status, &body, half)
}
