//! Every write of an apply goes wrong in every way; a clean run afterwards comes to the same.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::{KubeCluster, is_left_out};
use crate::support::{Ran, summary};

/// What goes wrong with a write.
#[derive(Clone, Copy, Debug)]
enum Fault {
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

const FAULTS: [Fault; 6] = [
    Fault::RequestLost,
    Fault::ResponseLost,
    Fault::ErrorBefore,
    Fault::ErrorAfter,
    Fault::Throttled,
    Fault::Truncated,
];

/// The n-th write that goes wrong, counted from 1, and how many there were.
#[derive(Default)]
struct Wire {
    planned: Option<(usize, Fault)>,
    writes: usize,
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
fn serve(cluster: &KubeCluster, wire: &Mutex<Wire>, stream: &TcpStream) -> io::Result<()> {
    let Some(request) = read(stream)? else { return Ok(()) };
    let is_write =
        request.method == "DELETE" || request.method == "PATCH" && !request.path.contains("dryRun=All");
    let fault = {
        let mut wire = wire.lock().unwrap_or_else(PoisonError::into_inner);
        wire.writes += usize::from(is_write);
        let writes = wire.writes;
        wire.planned.filter(|(nth, _)| is_write && *nth == writes).map(|(_, fault)| fault)
    };
    let forward = || {
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        cluster.ask(&request.method, request.path.trim_start_matches('/'), &request.media, &body)
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
    answer(stream, status, &body, half)
}

#[test]
fn any_lost_or_failed_write_is_made_good() {
    if is_left_out("faults of the API server") {
        return;
    }
    let cluster = Arc::new(KubeCluster::new());
    let wire = Arc::new(Mutex::new(Wire::default()));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    {
        let (cluster, wire) = (Arc::clone(&cluster), Arc::clone(&wire));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (cluster, wire) = (Arc::clone(&cluster), Arc::clone(&wire));
                // A client that went away is no failure of the proxy.
                std::thread::spawn(move || serve(&cluster, &wire, &stream).unwrap_or_default());
            }
        });
    }
    let mut config = cluster.config().clone();
    config["clusters"][0]["cluster"] = json!({ "server": url });
    config["users"][0]["user"] = json!({});
    let config = cluster.environment.write("proxied.json", &config.to_string());
    let run = |arguments: &[&str]| {
        let mut command = cluster.environment.command(arguments);
        command.env("KUBECONFIG", &config).env("GROUNDWORK_HASTE", "50").env("GROUNDWORK_TIMEOUT", "3");
        Ran::of(command.output().expect("it runs"))
    };
    let map = |data: &str| json!({ "a": data });
    cluster.declare("faulty", &json!({
        "map": { "kind": "kubernetes.config_map", "namespace": "default", "name": "f", "data": map("1"), "force": true },
        "secret": { "kind": "kubernetes.secret", "namespace": "default", "name": "f", "protect": false,
            "data": { "made": { "generate": {} } }, "needs": ["map"] },
        "set": { "kind": "kubernetes.manifest", "name": "f", "namespace": "default", "needs": ["secret"], "objects": [
            { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "g" }, "data": map("1") },
        ] },
    }));
    let plan = |fault: Option<(usize, Fault)>| {
        let mut wire = wire.lock().unwrap_or_else(PoisonError::into_inner);
        *wire = Wire { planned: fault, writes: 0 };
    };
    let is_there = |name: &str| cluster.exists(&format!("api/v1/namespaces/default/{name}"));
    let objects = ["configmaps/f", "secrets/f", "configmaps/g"];
    for nth in 1..=3 {
        for fault in FAULTS {
            let case = format!("{fault:?} at write {nth}");
            plan(Some((nth, fault)));
            let first = run(&["apply", "faulty.yaml", "--yes"]);
            assert!(!format!("{}{}", first.stdout, first.stderr).contains("panicked"), "{case}: {first:?}");
            plan(None);
            let second = run(&["apply", "faulty.yaml", "--yes"]);
            assert_eq!(second.code, 0, "{case}: {first:?}\n{second:?}");
            assert!(objects.iter().all(|name| is_there(name)), "{case}");
            let third = run(&["apply", "faulty.yaml", "--yes", "--format", "json"]);
            assert_eq!(summary(&third.events())["api_calls"]["write"], 0, "{case}: {third:?}");
            plan(Some((nth, fault)));
            run(&["destroy", "faulty.yaml", "--yes"]);
            plan(None);
            let gone = run(&["destroy", "faulty.yaml", "--yes"]);
            assert_eq!(gone.code, 0, "{case}: {gone:?}");
            assert!(!objects.iter().any(|name| is_there(name)), "{case}: something stays");
        }
    }
}
