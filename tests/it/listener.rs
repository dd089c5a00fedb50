//! A server of a test's own, which keeps what it hears.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Listens on a port of this machine until the test's process ends.
#[derive(Clone)]
pub struct Listener {
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    /// Takes one request a connection. `answer` makes the response; without one it hangs up.
    pub fn start(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = vec![0; 65536];
                let read = stream.read(&mut request).unwrap_or_default();
                let text = String::from_utf8_lossy(&request[..read]).into_owned();
                let response = answer(&text);
                kept.lock().expect("unharmed").push(text);
                if let Some(response) = response {
                    let _ = stream.write_all(response.as_bytes());
                }
            }
        });
        Self { address, requests }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("unharmed").clone()
    }

    /// All that was heard so far, as one text.
    pub fn heard(&self) -> String {
        self.requests().concat()
    }
}

/// A whole response with a body in JSON, after which the connection ends.
pub fn json(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}
