//! A relay before servers that puts other values in the place of those that they tell, and notes every
//! request.

use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use crate::sweep::http::Message;

/// What all relays of a test share. Their threads end with the test's process.
#[derive(Default)]
pub struct Relay {
    replaced: Mutex<Vec<(String, String)>>,
    seen: Mutex<Vec<String>>,
}

impl Relay {
    /// A relay to `server` (`http://…`). Gives its own URL.
    pub fn start(self: &Arc<Self>, server: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let server = server.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let relay = Arc::clone(self);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (relay, server) = (Arc::clone(&relay), server.clone());
                // A client that went away is no failure of the relay.
                std::thread::spawn(move || relay.pass(&client, &server).unwrap_or_default());
            }
        });
        url
    }

    /// From now on, answers have the second text of each pair where the server tells the first.
    pub fn replace(&self, pairs: Vec<(String, String)>) {
        *self.replaced.lock().expect("unpoisoned") = pairs;
    }

    /// The requests since the last call, sorted: what was asked, and the length and digest of the body.
    pub fn take(&self) -> Vec<String> {
        let mut seen = std::mem::take(&mut *self.seen.lock().expect("unpoisoned"));
        seen.sort();
        seen
    }

    fn pass(&self, client: &TcpStream, server: &str) -> io::Result<()> {
        let Some(request) = Message::request(client)? else { return Ok(()) };
        self.note(&request);
        let upstream = TcpStream::connect(server)?;
        (&upstream).write_all(&request.bytes())?;
        let mut answer = Message::answer(&upstream)?;
        if answer.header("transfer-encoding").is_some() {
            answer.body = whole(&answer.body);
        }
        for (from, to) in self.replaced.lock().expect("unpoisoned").iter() {
            answer.body = replaced(&answer.body, from.as_bytes(), to.as_bytes());
        }
        let drops = ["transfer-encoding", "content-length"];
        answer.headers.retain(|(name, _)| {
            let name = name.to_ascii_lowercase();
            !drops.contains(&name.as_str()) && !name.starts_with("x-amz-checksum")
        });
        answer.headers.push(("content-length".to_owned(), answer.body.len().to_string()));
        let mut client = client;
        client.write_all(&answer.bytes())?;
        client.shutdown(Shutdown::Write)
    }

    fn note(&self, request: &Message) {
        let target = request.header("x-amz-target").unwrap_or_default();
        let digest = hex::encode(&Sha256::digest(&request.body)[..8]);
        let line = format!("{} {target} {} {digest}", request.start, request.body.len());
        self.seen.lock().expect("unpoisoned").push(line);
    }
}

/// A body without the marks of its chunks.
fn whole(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&chunks[..end]).unwrap_or_default();
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        body.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 2 + size + 2..];
    }
    body
}

fn replaced(body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
        written.extend_from_slice(&rest[..at]);
        written.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    written.extend_from_slice(rest);
    written
}
