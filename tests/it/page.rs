//! A page in a browser on the same machine, against the sandbox: nothing that it sends takes effect.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use groundwork::sandbox::Settings;

use crate::aws::{create_user, s3, users};
use crate::browser::{browse, browser};
use crate::support::{TestEnvironment, block_on};

/// A server that takes anything from anybody, and answers with `page`.
struct Open {
    address: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Open {
    fn serving(page: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (ears, page) = (Arc::clone(&heard), page.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (ears, page) = (Arc::clone(&ears), page.clone());
                std::thread::spawn(move || serve(client, &page, &ears));
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("unharmed").clone()
    }
}

/// Answers one request.
fn serve(client: TcpStream, page: &str, ears: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(client.try_clone().expect("a handle"));
    let mut head = Vec::new();
    for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        head.push(line.to_ascii_lowercase());
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if head.is_empty() || reader.read_exact(&mut body).is_err() {
        return;
    }
    ears.lock().expect("unharmed").push(format!("{} {}", head[0], String::from_utf8_lossy(&body)));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close";
    // A browser that has gone needs no answer.
    let _ = write!(&client, "{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
}

#[test]
fn browser_page_changes_nothing_in_the_sandbox() {
    let Some(browser) = browser() else { return };
    // As `groundwork sandbox` starts it.
    let environment = TestEnvironment::with(Settings { tls: true, ..Settings::default() });
    let plain = TestEnvironment::new();
    create_user(&environment.sandbox, "kept");
    let open = Open::serving("");
    let targets = [
        environment.sandbox.aws_url(),
        environment.sandbox.vault_addrs()[0].clone(),
        plain.sandbox.vault_addrs()[0].clone(),
        open.address.clone(),
    ];
    let targets = serde_json::to_string(&targets).expect("JSON");
    let page = Open::serving(&include_str!("page.html").replace("TARGETS", &targets));

    let (dom, log) = browse(&browser, &page.address, &["--dump-dom"]);

    assert!(dom.contains("<title>tried 52 read 0</title>"), "{dom}\n{log}");
    // What the page sends does arrive where a server lets it in.
    let heard = open.heard();
    for request in [
        "get /?action=createuser",
        "post / http/1.1 Action=CreateUser",
        "options /page-bucket",
        "post /_ministack/reset",
        "post /v1/sys/init http/1.1 {\"secret_shares\"",
        "post /v1/sys/storage/raft/join",
        "get / http/1.1",
    ] {
        assert!(heard.iter().any(|line| line.starts_with(request)), "{request}: {heard:#?}");
    }
    assert!(plain.vault_is_initialised(), "OpenBao over plain HTTP takes a page's request; TLS is the guard");

    assert_eq!(users(&environment), ["kept"]);
    let buckets = block_on(s3(&environment).list_buckets().send()).expect("buckets");
    assert!(buckets.buckets().is_empty(), "{buckets:?}");
    assert!(!environment.vault_is_initialised());
}
