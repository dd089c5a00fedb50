//! Losing a server, as when a machine is lost.

use std::path::Path;

use super::Error;
use super::home::Home;
use super::lock::Lock;
use super::state::State;
use crate::event::Events;

/// Kills the server called `name` and deletes what it held. The others go on; `up` starts an empty one
/// in its place.
pub async fn lose(dir: &Path, name: &str, events: &Events) -> Result<(), Error> {
    let home = Home::at(dir)?;
    if !home.exists() {
        return Err(Error::Down { dir: home.root().to_owned() });
    }
    let _lock = Lock::acquire(&home.lock(), events).await?;
    let Some(mut state) = State::load(&home)?.filter(State::any_running) else {
        return Err(Error::Down { dir: home.root().to_owned() });
    };
    let Some(index) = state.servers.iter().position(|server| server.name == name) else {
        let known: Vec<&str> = state.servers.iter().map(|server| server.name.as_str()).collect();
        return Err(Error::NoServer { asked: name.to_owned(), known: known.join(", ") });
    };
    if let Some(process) = state.servers[index].process.take()
        && !process.kill().await
    {
        return Err(Error::Undying { server: name.to_owned(), pid: process.pid });
    }
    state.save(&home)?;
    home.clear_data(name)
}
