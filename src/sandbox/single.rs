//! Events of a single server: losing it with its machine, or restarting it.

use std::path::Path;

use super::Error;
use super::home::Home;
use super::lock::Lock;
use super::options::Options;
use super::process::Process;
use super::state::State;
use super::up::up;
use crate::event::Events;

/// Kills the server called `name` and deletes its data. The others go on; `up` starts an empty one in
/// its place.
pub async fn lose(dir: &Path, name: &str, events: &Events) -> Result<(), Error> {
    let home = opened(dir)?;
    let _lock = Lock::acquire(&home.lock(), events).await?;
    end(&home, name, Process::kill).await.and_then(|(_, name)| home.clear_data(&name))
}

/// Stops a server, given by name or address, and starts it again with its data, like a restart of its
/// service. A Vault that does not unseal itself is sealed afterwards.
pub async fn restart(dir: &Path, server: &str, events: &Events) -> Result<(), Error> {
    let home = opened(dir)?;
    let state = {
        let _lock = Lock::acquire(&home.lock(), events).await?;
        end(&home, server, Process::stop).await?.0
    };
    up(&Options { settings: state.settings, ..Options::new(dir) }, events).await.map(drop)
}

fn opened(dir: &Path) -> Result<Home, Error> {
    let home = Home::at(dir)?;
    if home.exists() { Ok(home) } else { Err(Error::Down { dir: home.root().to_owned() }) }
}

/// Stops a server, given by name or address, and records that. Returns its name.
async fn end(
    home: &Home,
    asked: &str,
    how: impl AsyncFn(&Process) -> bool,
) -> Result<(State, String), Error> {
    let Some(mut state) = State::load(home)?.filter(State::any_running) else {
        return Err(Error::Down { dir: home.root().to_owned() });
    };
    let address = asked.trim_end_matches('/');
    let wanted = state.servers.iter().position(|server| server.name == asked || state.url(server) == address);
    let Some(index) = wanted else {
        let known: Vec<&str> = state.servers.iter().map(|server| server.name.as_str()).collect();
        return Err(Error::NoServer { asked: asked.to_owned(), known: known.join(", ") });
    };
    let name = state.servers[index].name.clone();
    if let Some(process) = state.servers[index].process.take()
        && !how(&process).await
    {
        return Err(Error::Undying { server: name, pid: process.pid });
    }
    state.save(home)?;
    Ok((state, name))
}
