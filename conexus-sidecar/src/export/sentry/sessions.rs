//! Sessions: how healthy are the lives of conexusd?
//!
//! A session is one life of a serving core: it begins when the core first connects, and ends well (`exited`), with a crash
//! (`crashed`), or stays open. Its first error is told at once, the number of all of them at the end.

use std::collections::HashMap;
use std::time::SystemTime;

use sentry::protocol::{SessionAttributes, SessionStatus, SessionUpdate};
use sentry::types::Uuid;

use super::Origin;
use crate::export::Life;
use crate::export::logs::time_of;

/// Sessions that are open at most.
const OPEN_MAX: usize = 256;

/// The open sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: HashMap<u64, Session>,
}

#[derive(Clone, Debug)]
struct Session {
    started: SystemTime,
    errors: u64,
}

/// What is to be told of a session.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Update {
    epoch: u64,
    init: bool,
    started: SystemTime,
    at: SystemTime,
    status: SessionStatus,
    errors: u64,
}

impl Sessions {
    /// Something happened to a core.
    pub(super) fn life(&mut self, epoch: u64, life: &Life, at: SystemTime) -> Option<Update> {
        let update = |session: &Session, init, status| Update {
            epoch,
            init,
            started: session.started,
            at: at.max(session.started),
            status,
            errors: session.errors,
        };
        match life {
            Life::Connected(start) if start.serving && !self.open.contains_key(&epoch) => {
                if self.open.len() >= OPEN_MAX {
                    return None;
                }
                let session = Session { started: time_of(start.started_unix_nanos), errors: 0 };
                // One that an earlier life of the sidecar has begun goes on.
                let begins = !start.known;
                let told = begins.then(|| update(&session, true, SessionStatus::Ok));
                self.open.insert(epoch, session);
                told
            }
            Life::Connected(_) => None,
            Life::Ended => self.open.remove(&epoch).map(|session| update(&session, false, SessionStatus::Exited)),
            Life::Crashed { known } => {
                let open = self.open.remove(&epoch);
                // One that no sidecar has met begins and ends at once.
                let begins = open.is_none() && !known;
                let session = open.unwrap_or(Session { started: at, errors: 0 });
                let session = Session { errors: session.errors.max(1), ..session };
                Some(update(&session, begins, SessionStatus::Crashed))
            }
        }
    }

    /// An error of a core. The first of a session is to be told.
    pub(super) fn error(&mut self, epoch: u64) -> Option<Update> {
        let session = self.open.get_mut(&epoch)?;
        session.errors += 1;
        (session.errors == 1).then(|| Update {
            epoch,
            init: false,
            started: session.started,
            at: SystemTime::now().max(session.started),
            status: SessionStatus::Ok,
            errors: 1,
        })
    }
}

/// An update as it is sent.
pub(super) fn item(update: &Update, origin: &Origin) -> SessionUpdate<'static> {
    SessionUpdate {
        session_id: Uuid::from_u64_pair(0x636f_6e65_7875_7364, update.epoch),
        distinct_id: None,
        sequence: None,
        timestamp: Some(update.at),
        started: update.started,
        init: update.init,
        duration: update.at.duration_since(update.started).ok().map(|length| length.as_secs_f64()),
        status: update.status,
        errors: update.errors,
        attributes: SessionAttributes {
            release: origin.release.clone().into(),
            environment: Some(origin.environment.clone().into()),
            ip_address: None,
            user_agent: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::CoreStart;

    fn connected(known: bool) -> Life {
        Life::Connected(CoreStart { serving: true, known, started_unix_nanos: 5_000_000_000, ..CoreStart::default() })
    }

    #[test]
    fn a_life_is_one_session_whatever_its_connections_do() {
        let (mut sessions, at) = (Sessions::default(), time_of(9_000_000_000));
        let begun = sessions.life(1, &connected(false), at).unwrap();
        assert_eq!((begun.init, begun.started, begun.status), (true, time_of(5_000_000_000), SessionStatus::Ok));
        assert_eq!(sessions.life(1, &connected(true), at), None);
        assert_eq!(sessions.error(1).map(|update| update.errors), Some(1));
        assert_eq!(sessions.error(1), None);
        let ended = sessions.life(1, &Life::Ended, at).unwrap();
        assert_eq!((ended.init, ended.errors, ended.status), (false, 2, SessionStatus::Exited));
        assert_eq!(sessions.life(1, &Life::Ended, at), None);
    }

    #[test]
    fn a_crash_ends_it_even_when_another_sidecar_began_it() {
        let (mut sessions, at) = (Sessions::default(), time_of(9_000_000_000));
        assert_eq!(sessions.life(1, &connected(true), at), None);
        let crashed = sessions.life(1, &Life::Crashed { known: true }, at).unwrap();
        assert_eq!((crashed.init, crashed.errors, crashed.status), (false, 1, SessionStatus::Crashed));
        let mut init = |epoch, known| sessions.life(epoch, &Life::Crashed { known }, at).unwrap().init;
        assert_eq!([(2, true), (3, false)].map(|(epoch, known)| init(epoch, known)), [false, true]);
    }
}
