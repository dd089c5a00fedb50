//! The proxy that stands before every server of a case and lets one thing go wrong.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::call::{Call, Service};
use super::fault::Fault;
use super::http::Message;
use super::wire::Wire;

/// How long a server that went away stays away.
pub const AWAY: Duration = Duration::from_secs(1);
/// How long a call hangs; longer than any client of the tests waits.
const HANG: Duration = Duration::from_mins(1);

/// Passes calls on to one server. It ends with the value.
pub struct Proxy {
    /// Its URL.
    pub url: String,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy before the server at `url`.
    pub fn start(service: Service, url: &str, wire: &Arc<Wire>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let server = url.trim_start_matches("http://").to_owned();
        let side = Side { service, address, server, wire: Arc::clone(wire), away: AtomicBool::new(false) };
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || serve(listener, &Arc::new(side), &stopped));
        Self { url: format!("http://{address}"), address, stop }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
    }
}

struct Side {
    service: Service,
    address: SocketAddr,
    server: String,
    wire: Arc<Wire>,
    away: AtomicBool,
}

fn serve(mut listener: TcpListener, side: &Arc<Side>, stop: &AtomicBool) {
    while let Ok((client, _)) = listener.accept() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        if side.away.swap(false, Ordering::SeqCst) {
            drop((client, listener));
            std::thread::sleep(AWAY);
            listener = TcpListener::bind(side.address).expect("the port that was ours");
            continue;
        }
        let side = Arc::clone(side);
        // A client that went away is no failure of the proxy.
        std::thread::spawn(move || side.call(&client).unwrap_or_default());
    }
}

impl Side {
    fn call(&self, client: &TcpStream) -> io::Result<()> {
        let Some(request) = Message::request(client)? else { return Ok(()) };
        let call = Call::of(self.service, &request);
        let fault = self.wire.arrived(&call, &request);
        let Some(fault) = fault else {
            let answer = self.forward(&call, &request)?;
            return send(client, &answer.bytes());
        };
        match fault {
            Fault::Refused => {
                self.away.store(true, Ordering::SeqCst);
                // Wakes the thread that waits for a connection.
                TcpStream::connect(self.address).map(drop)
            }
            Fault::RequestLost => Ok(()),
            Fault::ResponseLost => self.forward(&call, &request).map(drop),
            Fault::ErrorBefore => send(client, &call.error().bytes()),
            Fault::ErrorAfter => {
                self.forward(&call, &request)?;
                send(client, &call.error().bytes())
            }
            Fault::Throttled => send(client, &call.throttled().bytes()),
            Fault::Denied => send(client, &call.denied().bytes()),
            Fault::Disabled => send(client, &call.disabled().bytes()),
            Fault::Truncated => {
                let answer = self.forward(&call, &request)?;
                let (whole, body) = (answer.bytes(), answer.body.len());
                send(client, &whole[..whole.len() - body.div_ceil(2).max(1)])
            }
            Fault::Hung => {
                self.forward(&call, &request)?;
                std::thread::sleep(HANG);
                Ok(())
            }
            Fault::KilledBefore => {
                self.wire.kill();
                Ok(())
            }
            Fault::KilledAfter => {
                self.forward(&call, &request)?;
                self.wire.kill();
                Ok(())
            }
            Fault::Sealed => {
                self.seal(&request)?;
                let answer = self.forward(&call, &request)?;
                send(client, &answer.bytes())
            }
        }
    }

    fn forward(&self, call: &Call, request: &Message) -> io::Result<Message> {
        if let Some(stale) = self.wire.stale(call) {
            return Ok(stale);
        }
        self.wire.sending(call);
        let answer = self.ask(&request.bytes())?;
        self.wire.answered(call, request, &answer);
        Ok(self.wire.redated(call, answer))
    }

    /// Seals the node with the request's own token, if it may.
    fn seal(&self, request: &Message) -> io::Result<()> {
        let Some(token) = request.header("x-vault-token") else { return Ok(()) };
        let text = format!(
            "PUT /v1/sys/seal HTTP/1.1\r\nHost: {}\r\nX-Vault-Token: {token}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
            self.server
        );
        self.ask(text.as_bytes()).map(drop)
    }

    fn ask(&self, request: &[u8]) -> io::Result<Message> {
        let mut server = TcpStream::connect(&self.server)?;
        server.write_all(request)?;
        Message::answer(&server)
    }
}

fn send(mut client: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes)?;
    client.shutdown(Shutdown::Both)
}
