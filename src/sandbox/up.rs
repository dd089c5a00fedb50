//! Brings a sandbox up, a new one or an existing one.

use super::aws_key::AwsKey;
use super::gate::Tie;
use super::home::Home;
use super::lock::Lock;
use super::options::{Options, Settings};
use super::programs::Programs;
use super::running::Running;
use super::start::Starter;
use super::state::{Role, Server, State};
use super::{Error, certificate, kubernetes, port};
use crate::event::Events;

/// How often `up` tries other ports when another program has taken one.
const ATTEMPTS: usize = 4;

/// Brings the sandbox up.
///
/// Keeps servers that run already, and starts dead ones among them again on their ports. If none
/// lives, deletes their data and starts a new sandbox, unless the old one persists.
pub async fn up(options: &Options, events: &Events) -> Result<Running, Error> {
    options.settings.check()?;
    let mut options = options.clone();
    let home = Home::create(&options.dir)?;
    let _lock = Lock::acquire(&home.lock(), events).await?;
    let kept = State::load(&home)?.filter(|state| state.settings.persist || state.any_running());
    if let Some(state) = &kept {
        // A sandbox that has more than was asked for will do.
        options.settings.with.extend(&state.settings.with);
        agree(&home, &state.settings, &options.settings)?;
        if AwsKey::load(&home)?.is_none() {
            return Err(Error::Unguarded { dir: home.root().to_owned() });
        }
    }
    let programs = Programs::prepare(&options, events).await?;
    let starter = Starter { home: &home, programs: &programs, tied: options.tied, events };
    let was_running = kept.as_ref().is_some_and(State::any_running);
    let (state, ties) = match kept {
        Some(state) => resume(&starter, state).await?,
        None => begin(&starter, &options.settings).await?,
    };
    let key = AwsKey::load(&home)?.ok_or_else(|| Error::Unguarded { dir: home.root().to_owned() })?;
    Ok(Running::new(home, state, key, programs.tools(), ties, !was_running))
}

fn agree(home: &Home, is: &Settings, asked: &Settings) -> Result<(), Error> {
    if is == asked {
        return Ok(());
    }
    let purge = if is.persist { " --purge" } else { "" };
    Err(Error::Different { dir: home.root().to_owned(), differences: differences(is, asked), purge })
}

fn differences(is: &Settings, asked: &Settings) -> String {
    let fields = |settings: &Settings| serde_json::to_value(settings).unwrap_or_default();
    let (is, asked) = (fields(is), fields(asked));
    let each = is.as_object().into_iter().flatten().filter(|&(name, value)| asked[name] != *value);
    each.map(|(name, value)| format!("{name} is {value}, asked was {}", asked[name]))
        .collect::<Vec<_>>()
        .join("; ")
}

/// Starts the dead servers of a record where they were.
async fn resume(starter: &Starter<'_>, mut state: State) -> Result<(State, Vec<Tie>), Error> {
    let dead: Vec<&Server> = state.servers.iter().filter(|server| !server.is_running()).collect();
    for server in &dead {
        for port in server.ports() {
            if !port::becomes_free(port).await {
                return Err(Error::PortTaken { server: server.name.clone(), port });
            }
        }
    }
    if !state.settings.persist && dead.iter().any(|server| server.role == Role::Aws) {
        starter.events.warn("the AWS emulator had died; it is started again, and empty");
    }
    let ties = starter.start(&mut state).await?;
    Ok((state, ties))
}

/// Starts new servers on free ports, without any data of earlier ones.
async fn begin(starter: &Starter<'_>, settings: &Settings) -> Result<(State, Vec<Tie>), Error> {
    let mut attempt = 1;
    loop {
        starter.home.renew()?;
        if settings.tls {
            certificate::ensure(starter.home)?;
        }
        AwsKey::make(starter.home)?;
        let ports = port::pick(State::ports_needed(settings))?;
        let mut state = State::new(settings.clone(), starter.programs.declares_audit(), &ports);
        if let Some(server) = state.kubernetes() {
            kubernetes::ensure(starter.home, server.port)?;
        }
        match starter.start(&mut state).await {
            Ok(ties) => return Ok((state, ties)),
            Err(error) => {
                // The logs stay, because the error names them.
                state.stop().await?;
                starter.home.clear()?;
                if !error.is_lost_port() || attempt == ATTEMPTS {
                    return Err(error);
                }
            }
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_both_sides() {
        let asked = Settings { nodes: 3, tls: true, ..Settings::default() };
        let text = differences(&Settings::default(), &asked);
        assert_eq!(text, "nodes is 1, asked was 3; tls is false, asked was true");
    }
}
