//! Stops a sandbox.

use std::path::Path;

use super::Error;
use super::home::Home;
use super::lock::Lock;
use super::state::State;
use crate::event::Events;

/// Stops the servers and deletes their data; a second call does nothing. The logs stay until the
/// next `up`, and the data of a persisting sandbox stays for it; `purge` leaves only the empty
/// folder.
///
/// Returns whether a server ran.
pub async fn down(dir: &Path, purge: bool, events: &Events) -> Result<bool, Error> {
    let home = Home::at(dir)?;
    if !home.exists() {
        return Ok(false);
    }
    let _lock = Lock::acquire(&home.lock(), events).await?;
    let mut ran = false;
    let mut persist = false;
    if let Some(mut state) = State::load(&home)? {
        ran = state.any_running();
        persist = state.settings.persist;
        if ran {
            events.progress("stopping the servers");
        }
        state.stop().await?;
        state.save(&home)?;
    }
    if purge || !persist {
        home.clear()?;
    }
    if purge {
        home.clear_logs()?;
    }
    Ok(ran)
}
