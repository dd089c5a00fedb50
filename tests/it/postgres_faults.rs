//! Requests to PostgreSQL that get lost, or whose responses do: the next run ends with the same state.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::postgres_kinds::{PLAN, Scene};

/// How a request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It does not arrive, and the connection ends.
    RequestLost,
    /// It arrives and is answered, and the connection ends before the answer comes back.
    AnswerLost,
}

/// The requests that have passed, and the one that goes wrong.
#[derive(Default)]
struct Traffic {
    passed: AtomicUsize,
    fault: Mutex<Option<(usize, Fault)>>,
}

impl Traffic {
    /// The fault of the next request, if it is the one that goes wrong.
    fn next(&self) -> Option<Fault> {
        let number = self.passed.fetch_add(1, Ordering::SeqCst);
        let mut planned = self.fault.lock().unwrap();
        let (_, fault) = (*planned).filter(|(at, _)| *at == number)?;
        *planned = None;
        Some(fault)
    }

    fn reset(&self, fault: Option<(usize, Fault)>) -> usize {
        *self.fault.lock().unwrap() = fault;
        self.passed.swap(0, Ordering::SeqCst)
    }
}

/// Stands before a server, and cuts connections as planned. Returns its port.
fn proxy(server: u16, traffic: Arc<Traffic>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let traffic = Arc::clone(&traffic);
            std::thread::spawn(move || serve(client, server, &traffic));
        }
    });
    port
}

/// One connection. Each message of the client after the first is a letter, a length and a body; those that want an
/// answer are `Q` and `S` (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
fn serve(mut client: TcpStream, server: u16, traffic: &Traffic) -> Option<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).ok()?;
    let muted = Arc::new(Mutex::new(false));
    let back = {
        let (mut from, mut to, muted) =
            (server.try_clone().ok()?, client.try_clone().ok()?, Arc::clone(&muted));
        std::thread::spawn(move || {
            let mut buffer = [0; 16384];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if *muted.lock().unwrap() {
                    // The server has answered.
                    break;
                }
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        })
    };
    let mut first = true;
    while let Some((kind, message)) = message(&mut client, first) {
        first = false;
        let fault = if matches!(kind, b'Q' | b'S') { traffic.next() } else { None };
        match fault {
            Some(Fault::RequestLost) => break,
            Some(Fault::AnswerLost) => {
                *muted.lock().unwrap() = true;
                server.write_all(&message).ok()?;
                // It ends once the answer has come to the proxy.
                let _ = back.join();
                let _ = client.shutdown(Shutdown::Both);
                return server.shutdown(Shutdown::Both).ok();
            }
            None => server.write_all(&message).ok()?,
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    server.shutdown(Shutdown::Both).ok()
}

fn message(from: &mut TcpStream, first: bool) -> Option<(u8, Vec<u8>)> {
    let mut head = vec![0; if first { 4 } else { 5 }];
    from.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes(head[head.len() - 4..].try_into().ok()?) as usize;
    let kind = if first { 0 } else { head[0] };
    let start = head.len();
    head.resize(start + length.checked_sub(4)?, 0);
    from.read_exact(&mut head[start..]).ok()?;
    Some((kind, head))
}

const STATE: &str = "SELECT string_agg(rolname || rolcanlogin || coalesce(rolvaliduntil::text, '-'), ' ' ORDER BY rolname) \
     FROM pg_roles WHERE rolname LIKE 'fault%'; \
     SELECT count(*) FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.member WHERE rolname = 'fault_app'; \
     SELECT datname, datconnlimit FROM pg_database WHERE datname = 'fault_orders'; \
     SELECT nspname, nspowner::regrole, nspacl FROM pg_namespace WHERE nspname = 'fault_schema'; \
     SELECT extname, extversion FROM pg_extension WHERE extname = 'pg_trgm'; \
     SELECT relacl FROM pg_class WHERE relname = 'sources'; SELECT config FROM sources ORDER BY name";

#[test]
fn lost_requests_and_answers_lead_to_the_same_state() {
    let scene = Scene::new();
    scene.sql("CREATE TABLE sources (name text, config jsonb)");
    scene.sql("INSERT INTO sources VALUES ('imaging', '{\"kept\": 1}'), ('other', NULL)");
    let row = |more: serde_json::Value| {
        let mut row = json!({ "kind": "postgres.row", "table": "sources", "where": { "name": "imaging" }, "column": "config" });
        row.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        row
    };
    scene.declare(&json!({
        "group": { "kind": "postgres.role", "name": "fault_group" },
        "app": { "kind": "postgres.role", "name": "fault_app", "login": true, "member_of": ["fault_group"],
                 "password": { "file": "password" }, "valid_until": "2030-01-01T00:00:00Z" },
        "orders": { "kind": "postgres.database", "name": "fault_orders", "connection_limit": 7, "protect": false },
        "schema": { "kind": "postgres.schema", "name": "fault_schema", "owner": "fault_app" },
        "extension": { "kind": "postgres.extension", "name": "pg_trgm" },
        "grant": { "kind": "postgres.grant", "role": "fault_group", "on": "table", "name": "sources", "privileges": ["SELECT"] },
        "bucket": row(json!({ "path": ["bucket"], "value": "a" })),
        "secret": row(json!({ "path": ["deep", "secret"], "secret": { "file": "password" } })),
    }));
    scene.file("password", "a-password");
    let traffic = Arc::new(Traffic::default());
    let port = proxy(scene.server.port, Arc::clone(&traffic)).to_string();
    let before = scene.sql(STATE);
    let through = |arguments: &[&str], fault: Option<(usize, Fault)>| {
        traffic.reset(fault);
        let mut command = scene.command(arguments);
        let ran = command.env("PGPORT", &port).env("GROUNDWORK_HASTE", "50").output().expect("runs");
        (ran, traffic.reset(None))
    };
    let (clean, requests) = through(&["apply", PLAN, "--yes"], None);
    assert!(clean.status.success() && requests > 40, "{requests}: {clean:?}");
    let expected = scene.sql(STATE);
    let gone = |how: &str| {
        let ran = scene.run(&["destroy", PLAN, "--yes"]);
        assert_eq!(ran.code, 0, "{how}: {ran:?}");
        scene.forget();
        let left = scene.sql(STATE).replace("\"deep\": {}, ", "");
        // An access list that was once written does not become NULL again.
        assert_eq!(lines_without_lists(&left), lines_without_lists(&before), "{how}");
        scene.sql("UPDATE sources SET config = config - 'deep'");
    };
    gone("the clean run");
    let step: usize = std::env::var("POSTGRES_FAULTS").map_or(13, |text| text.parse().expect("a number"));
    let mut tried = 0;
    for fault in [Fault::RequestLost, Fault::AnswerLost] {
        for number in (tried % step..requests).step_by(step) {
            let how = format!("request {number} of {requests}, {fault:?}");
            let (first, _) = through(&["apply", PLAN, "--yes"], Some((number, fault)));
            let said = String::from_utf8_lossy(&first.stderr).into_owned();
            assert!(first.status.code().is_some_and(|code| code <= 4), "{how}: {first:?}");
            let again = scene.run(&["apply", PLAN, "--yes"]);
            assert_eq!(again.code, 0, "{how}: {said}\n{again:?}");
            assert_eq!(scene.sql(STATE), expected, "{how}");
            assert_eq!(scene.apply(&[])["api_calls"]["write"], 0, "{how}");
            gone(&how);
            tried += 1;
        }
    }
    println!("{tried} faults in {requests} requests");
    assert!(tried > 5, "{tried}");
}

fn lines_without_lists(state: &str) -> Vec<&str> {
    state.lines().filter(|line| !line.is_empty() && (!line.starts_with('{') || line.contains(':'))).collect()
}
