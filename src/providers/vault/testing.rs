//! A real OpenBao server for tests, whose binary `BAO_BIN` names.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::custodian::Custodian;
use super::init::Desired;
use super::{VaultClient, VaultInit};
use crate::permit::Permit;
use crate::place::Place;
use crate::resource::{Provided, Resource, Writer};
use crate::run::Run;

/// A server of its own, ended and removed with the value.
pub struct Server {
    process: Child,
    /// Where it listens.
    pub address: String,
}

impl Server {
    /// Starts one with its data below `folder`; `seal` goes into its configuration.
    pub fn start(folder: &Path, seal: &str) -> Self {
        let port = free_ports();
        let data = folder.join(format!("node-{port}"));
        std::fs::create_dir_all(&data).unwrap();
        let address = format!("http://127.0.0.1:{port}");
        let config = format!(
            "storage \"raft\" {{\n path = \"{}\"\n node_id = \"n{port}\"\n performance_multiplier = 1\n}}\n\
             listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n}}\n\
             api_addr = \"{address}\"\ncluster_addr = \"https://127.0.0.1:{}\"\n{seal}\n",
            data.display(),
            port + 1,
        );
        let file = data.join("server.hcl");
        std::fs::write(&file, config).unwrap();
        let binary = std::env::var("BAO_BIN").expect("BAO_BIN names the server's binary");
        let mut command = Command::new(binary);
        command.arg("server").arg("-config").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { process: command.spawn().unwrap(), address };
        Self::await_listening(port);
        server
    }

    fn await_listening(port: u16) {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "the server does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that is free, with the next one free as well.
fn free_ports() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

/// Passes requests on to a server, but can lose its answers to `sys/init`.
pub struct LossyProxy {
    /// Where it listens.
    pub address: String,
    /// How many initialisations were asked for.
    pub inits: Arc<AtomicUsize>,
}

impl LossyProxy {
    /// A proxy in front of `server`; it ends with the test's process.
    pub fn start(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let upstream = server.address.trim_start_matches("http://").to_owned();
        let inits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&inits);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, counted) = (TcpStream::connect(&upstream).unwrap(), Arc::clone(&counted));
                std::thread::spawn(move || relay(client, server, &counted));
            }
        });
        Self { address, inits }
    }
}

/// One request after the other: each direction is read until the other has something to say.
fn relay(mut client: TcpStream, mut server: TcpStream, inits: &AtomicUsize) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let init = buffer[..length].starts_with(b"POST /v1/sys/init ");
        if init {
            inits.fetch_add(1, Ordering::SeqCst);
        }
        server.write_all(&buffer[..length]).unwrap();
        // The rest of a long request follows before the answer.
        client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        while let Ok(more @ 1..) = client.read(&mut buffer) {
            server.write_all(&buffer[..more]).unwrap();
        }
        client.set_read_timeout(None).unwrap();
        let Ok(length @ 1..) = server.read(&mut buffer) else { return };
        if init || client.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Initialises the cluster and mounts KV version 2 at `secret/`.
pub async fn initialise(run: &Run) {
    let permit = Permit::mint();
    let client = Custodian::provide(run, &Place::OWN).await.unwrap();
    let desired = Desired { shares: 1, threshold: 1, holders: Vec::new(), keep_shares: true };
    VaultInit::create(&Writer::new(&*client, &permit, "vault"), &desired).await.unwrap();
    let vault = VaultClient::provide(run, &Place::OWN).await.unwrap();
    let mount = json!({ "type": "kv", "options": { "version": "2" } });
    let started = Instant::now();
    while let Err(error) = vault.post(&permit, "sys/mounts/secret", &mount).await {
        assert!(started.elapsed() < Duration::from_secs(10), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The mount upgrades itself for a moment.
    tokio::time::sleep(Duration::from_secs(1)).await;
}
