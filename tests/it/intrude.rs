//! Somebody who does something at exactly the wrong moment: a relay in front of a server that
//! acts just before a certain request gets there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

type Deed = Box<dyn FnOnce() + Send>;

/// A relay to `server` (`http://…`) that does `deed` once, before it passes on the first request
/// that contains `moment`. Gives its own URL.
pub fn intrude(server: &str, moment: &'static str, deed: impl FnOnce() + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let server = server.trim_start_matches("http://").to_owned();
    let deed: Arc<Mutex<Option<Deed>>> = Arc::new(Mutex::new(Some(Box::new(deed))));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let upstream = TcpStream::connect(&server).expect("the server is there");
            let (answers, back) =
                (upstream.try_clone().expect("a handle"), client.try_clone().expect("a handle"));
            let deed = deed.clone();
            std::thread::spawn(move || relay(answers, back, |_| {}));
            std::thread::spawn(move || {
                relay(client, upstream, |bytes| {
                    if bytes.windows(moment.len()).any(|window| window == moment.as_bytes())
                        && let Some(deed) = deed.lock().expect("unpoisoned").take()
                    {
                        deed();
                    }
                });
            });
        }
    });
    address
}

fn relay(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        look(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // The other side learns that nothing more comes; if it is gone, it knows.
    let _ = to.shutdown(std::net::Shutdown::Write);
}
