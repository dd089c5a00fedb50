//! Free ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rand::Rng;

use super::Error;

/// Below the ports that Linux and macOS hand to outgoing connections, so that none of those takes
/// a port between the choice and the server's start.
const RANGE: RangeInclusive<u16> = 20_000..=32_000;
const ATTEMPTS: usize = 500;
/// How long a port may still be held by a server that was killed: its program is gone before the system has
/// closed its sockets.
const LINGER: Duration = Duration::from_secs(3);

/// `count` different ports that nothing listens on.
pub fn pick(count: usize) -> Result<Vec<u16>, Error> {
    pick_from(&RANGE, count)
}

/// Whether a server could listen there.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether a server could listen there, as soon as one that is ending has let go of the port.
pub async fn becomes_free(port: u16) -> bool {
    let deadline = Instant::now() + LINGER;
    loop {
        if is_free(port) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn pick_from(range: &RangeInclusive<u16>, count: usize) -> Result<Vec<u16>, Error> {
    let mut ports = Vec::with_capacity(count);
    // At random, so that two sandboxes that start at once hardly ever choose the same.
    for _ in 0..ATTEMPTS {
        if ports.len() == count {
            break;
        }
        let port = rand::rng().random_range(range.clone());
        if !ports.contains(&port) && is_free(port) {
            ports.push(port);
        }
    }
    if ports.len() < count {
        return Err(Error::NoFreePort { first: *range.start(), last: *range.end() });
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_different() {
        let mut ports = pick(15).unwrap();
        assert!(ports.iter().all(|port| RANGE.contains(port)));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 15);
    }

    #[tokio::test]
    async fn released_port_becomes_free() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let release = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(holder);
        };
        let (free, ()) = tokio::join!(becomes_free(port), release);
        assert!(free);
    }

    #[test]
    fn missing_free_port_is_reported() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        assert!(!is_free(port));
        let error = pick_from(&(port..=port), 1).unwrap_err();
        assert!(error.to_string().contains("no free port"), "{error}");
    }
}
