//! The toy's live system: tenants with zones, in them lamps and notes. It answers requests in memory or as
//! a REST server on a port of its own, by the same rules.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::{Value, json};

/// Where a thing is: `KIND/TENANT/ZONE/SPACE/NAME`. Lamps are in a zone, notes in a space of a tenant; the
/// other parts are `-`.
pub type Key = String;

/// Everything that exists, and what was done.
#[derive(Default)]
pub struct World {
    pub things: BTreeMap<Key, Value>,
    /// Writes that took effect, by method and key.
    pub writes: Vec<(&'static str, Key)>,
    /// The number of requests.
    pub requests: usize,
}

static WORLDS: LazyLock<Mutex<HashMap<String, Arc<Mutex<World>>>>> = LazyLock::new(Mutex::default);

/// The world of this name in this process.
pub fn world(name: &str) -> Arc<Mutex<World>> {
    Arc::clone(WORLDS.lock().unwrap().entry(name.to_owned()).or_default())
}

impl World {
    /// Answers one request: a status, and a body.
    pub fn answer(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.requests += 1;
        if let Some(tenant) = path.strip_prefix("whoami/") {
            return (200, json!({ "uid": format!("uid-{tenant}") }));
        }
        // The names of notes are the same in any case.
        let key = if path.starts_with("note/") { path.to_lowercase() } else { path.to_owned() };
        match (method, self.things.contains_key(&key)) {
            ("GET", true) => (200, self.things[&key].clone()),
            ("POST", false) => self.put("POST", key, body),
            ("POST", true) => (409, json!({ "error": "it exists" })),
            ("PUT", true) => self.put("PUT", key, body),
            ("DELETE", true) => {
                self.things.remove(&key);
                self.writes.push(("DELETE", key));
                (204, Value::Null)
            }
            _ => (404, json!({ "error": "there is no such thing" })),
        }
    }

    fn put(&mut self, method: &'static str, key: Key, body: Value) -> (u16, Value) {
        self.things.insert(key.clone(), body);
        self.writes.push((method, key));
        (204, Value::Null)
    }
}

/// Serves a world over HTTP on loopback until the process ends; gives the address.
pub fn serve(world: Arc<Mutex<World>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let world = Arc::clone(&world);
            std::thread::spawn(move || while serve_one(&stream, &world).is_some() {});
        }
    });
    address
}

fn serve_one(stream: &TcpStream, world: &Mutex<World>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.trim_start_matches('/').to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (status, answer) =
        world.lock().unwrap().answer(&method, &path, serde_json::from_slice(&body).unwrap_or_default());
    let text = if answer.is_null() { String::new() } else { answer.to_string() };
    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", text.len());
    (&*stream).write_all(format!("{head}{text}").as_bytes()).ok()
}
