//! As much of HTTP/1.1 as a proxy on the loopback needs: one message on a connection.

use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;

/// A request or an answer, its body as it was sent.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Name and value, as sent.
    pub headers: Vec<(String, String)>,
    /// The body, chunks and all.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads a request; `None` when the connection was opened in vain.
    pub fn request(stream: &TcpStream) -> io::Result<Option<Self>> {
        let mut reader = BufReader::new(stream);
        let Some(mut message) = head(&mut reader)? else { return Ok(None) };
        message.body = match message.header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => {
                let mut body = vec![0; length];
                reader.read_exact(&mut body)?;
                body
            }
            None if message.header("transfer-encoding").is_some() => chunks(&mut reader)?,
            None => Vec::new(),
        };
        Ok(Some(message))
    }

    /// Reads the answer of a server that was told to close the connection.
    pub fn answer(stream: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut message = head(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        reader.read_to_end(&mut message.body)?;
        Ok(message)
    }

    /// An answer of the proxy's own.
    pub fn reply(status: u16, kind: &str, body: &str) -> Self {
        let headers = [("content-type", kind.to_owned()), ("content-length", body.len().to_string())];
        let headers = headers.map(|(name, value)| (name.to_owned(), value));
        Self { start: format!("HTTP/1.1 {status} -"), headers: headers.into(), body: body.into() }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(one, _)| one.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Whether an answer says that it was done.
    pub fn is_success(&self) -> bool {
        self.start.split(' ').nth(1).is_some_and(|status| status.starts_with('2'))
    }

    /// A field of a form, whose value needs no unescaping.
    pub fn field(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.body);
        let fields = text.split('&').filter_map(|pair| pair.split_once('='));
        fields.into_iter().find(|(one, _)| *one == name).map(|(_, value)| value.to_owned())
    }

    /// The bytes to send, with which the connection ends. Nothing that a signature covers changes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            if !name.eq_ignore_ascii_case("connection") {
                text += &format!("{name}: {value}\r\n");
            }
        }
        let mut bytes = (text + "Connection: close\r\n\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

fn head(reader: &mut impl BufRead) -> io::Result<Option<Message>> {
    let mut message = Message::default();
    if reader.read_line(&mut message.start)? == 0 {
        return Ok(None);
    }
    message.start.truncate(message.start.trim_end().len());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) => message.headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok(Some(message)),
        }
    }
}

fn chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        body.extend_from_slice(line.as_bytes());
        let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16).unwrap_or(0);
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        body.extend_from_slice(&chunk);
        if size == 0 {
            return Ok(body);
        }
    }
}
