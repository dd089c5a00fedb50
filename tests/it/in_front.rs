//! A stand-in in front of a server of the sandbox, for what that lacks or does not show: it answers some requests itself,
//! and hands on all others.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crate::sweep::http::Message;

/// What becomes of a request.
pub enum Played {
    /// It is answered here.
    Reply(Message),
    /// Its response is lost.
    Lost,
    /// The server answers it.
    Forward,
    /// The server answers this in its place, and its answer is changed where it is a success.
    Other(Message, fn(Message) -> Message),
    /// The same, and its answer is changed where it is a success.
    Changed(Box<dyn FnOnce(Message) -> Message>),
}

type Plays = dyn Fn(&Message) -> Played + Send + Sync;

/// The stand-in, which lasts as long as the test.
pub struct InFront {
    /// Its URL.
    pub url: String,
}

impl InFront {
    /// In front of the server at `url`.
    pub fn of(url: &str, plays: impl Fn(&Message) -> Played + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = format!("http://{}", listener.local_addr().expect("an address"));
        let server = url.trim_start_matches("http://").to_owned();
        let plays: Arc<Plays> = Arc::new(plays);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (plays, server) = (Arc::clone(&plays), server.clone());
                // A client that went away is no failure of the stand-in.
                std::thread::spawn(move || serve(&client, &server, &*plays).unwrap_or_default());
            }
        });
        Self { url: own }
    }
}

fn serve(mut client: &TcpStream, server: &str, plays: &Plays) -> io::Result<()> {
    let Some(request) = Message::request(client)? else { return Ok(()) };
    let answer = match plays(&request) {
        Played::Reply(answer) => answer,
        Played::Lost => return Ok(()),
        Played::Forward => forward(request, server)?,
        Played::Other(other, change) => {
            let answer = forward(other, server)?;
            if answer.is_success() { change(answer) } else { answer }
        }
        Played::Changed(change) => {
            let answer = forward(request, server)?;
            if answer.is_success() { change(answer) } else { answer }
        }
    };
    client.write_all(&answer.bytes())
}

fn forward(mut request: Message, server: &str) -> io::Result<Message> {
    // An answer to HTTP/1.0 comes in one piece.
    request.start = request.start.replace("HTTP/1.1", "HTTP/1.0");
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(&request.bytes())?;
    Message::answer(&stream)
}
