//! How a connection begins: with a handshake, or in plain.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::service::frames::Incoming;
use crate::service::keys::{Keys, MAGIC, MESSAGE_BYTES, Protection, Refused, Session};
use crate::service::sockets;
use crate::sync;

/// How long a handshake may take that others begin, up to the first frame: from its first byte on, or where nothing else is taken from
/// when they connected.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// A connection on which there can be lines now.
pub(super) struct Greeted {
    pub(super) incoming: Incoming,
    /// What seals the lines that are sent, if anything does.
    pub(super) session: Option<Session>,
    pub(super) protection: Protection,
    /// The version of the keys by which it was so.
    pub(super) version: u64,
}

/// What was so when a connection was taken in.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub(super) at: Instant,
    pub(super) version: u64,
    pub(super) takes_plain: bool,
}

/// Why there will be no lines.
pub(super) enum NotGreeted {
    /// It ended, or broke, without having begun.
    Gone,
    /// It is not answered.
    Refused(Refused),
}

impl Greeted {
    pub(super) fn plain(stream: &Arc<TcpStream>) -> Greeted {
        Greeted::plain_after(stream, 0, [0; MAGIC.len()], 0)
    }

    fn plain_after(stream: &Arc<TcpStream>, version: u64, ahead: [u8; MAGIC.len()], len: usize) -> Greeted {
        let incoming = Incoming::plain(stream, ahead, len);
        Greeted { incoming, session: None, protection: Protection::Plain, version }
    }

    fn sealed(stream: &Arc<TcpStream>, version: u64, session: Session, protection: Protection) -> Greeted {
        let incoming = Incoming::sealed(stream, session.clone());
        Greeted { incoming, session: Some(session), protection, version }
    }
}

impl Taken {
    pub(super) fn now(keys: &Keys) -> Taken {
        // In this order: what changes in between is noticed.
        let version = keys.version();
        Taken { at: sync::now(), version, takes_plain: keys.take(Protection::Plain) }
    }
}

/// Begins a connection to a provider, as the keys say. It is in plain without any: to whom is outside of the cluster.
pub(super) fn greet(stream: &Arc<TcpStream>, keys: Option<&Keys>, time: Duration) -> io::Result<Greeted> {
    let Some(keys) = keys else { return Ok(Greeted::plain(stream)) };
    let version = keys.version();
    let Some((initiator, hello)) = keys.initiate()? else {
        return Ok(Greeted::plain_after(stream, version, [0; MAGIC.len()], 0));
    };
    let deadline = sync::now() + time;
    sockets::write_by(stream, &hello, deadline)?;
    let mut answer = [0; MESSAGE_BYTES];
    sockets::read_by(stream, &mut answer, deadline).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            io::Error::new(error.kind(), "it refused the handshake; both need the same keys and the same cluster")
        }
        io::ErrorKind::TimedOut => io::Error::new(error.kind(), "it does not answer the handshake"),
        _ => error,
    })?;
    let Some((session, protection)) = initiator.finish(&answer) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer to the handshake is not authentic"));
    };
    Ok(Greeted::sealed(stream, version, session, protection))
}

/// Finds out how somebody begins, and answers a handshake. Whatever fails is answered with nothing.
pub(super) fn answer(stream: &Arc<TcpStream>, keys: &Keys, taken: Taken) -> Result<Greeted, NotGreeted> {
    let (ahead, len, deadline) = first_bytes(stream, keys, taken)?;
    if ahead[..len] != MAGIC {
        let version = keys.version();
        if keys.take(Protection::Plain) {
            return Ok(Greeted::plain_after(stream, version, ahead, len));
        }
        if taken.takes_plain {
            // It was opened when it might be: whoever did so is told that it may not any more, for a call must not be lost by that.
            return Ok(Greeted::plain_after(stream, taken.version, ahead, len));
        }
        let problem = "it calls in plain, and encryption is required; give it the keys, or a port by `listen_plain`";
        return Err(NotGreeted::Refused(Refused("plain_connection", problem)));
    }
    let mut preamble = [ahead[0], ahead[1], 0, 0];
    read(stream, &mut preamble[len..], deadline)?;
    keys.check(preamble).map_err(NotGreeted::Refused)?;
    let mut message = [0; MESSAGE_BYTES];
    read(stream, &mut message, deadline)?;
    let version = keys.version();
    let (answer, session, protection) = keys.respond(preamble, &message).map_err(NotGreeted::Refused)?;
    sockets::write_by(stream, &answer, deadline).map_err(|_| NotGreeted::Gone)?;
    let mut greeted = Greeted::sealed(stream, version, session, protection);
    wait_for_a_frame(&mut greeted.incoming, deadline)?;
    Ok(greeted)
}

/// Whoever only repeats a first message that it recorded is answered, and can say nothing: it has the connection no longer than a
/// handshake may take.
fn wait_for_a_frame(incoming: &mut Incoming, deadline: Instant) -> Result<(), NotGreeted> {
    loop {
        match incoming.has_a_frame() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if sockets::is_patient(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(NotGreeted::Refused(Refused(UNAUTHENTIC, "what follows its handshake is not authentic")));
            }
            Err(_) => return Err(NotGreeted::Refused(CUT_OFF)),
        }
        if sync::now() > deadline {
            return Err(NotGreeted::Refused(TOO_SLOW));
        }
    }
}

/// The bytes that tell a handshake from a line, or the first of them that cannot be a handshake's; and until when a handshake may take.
fn first_bytes(
    stream: &TcpStream,
    keys: &Keys,
    taken: Taken,
) -> Result<([u8; MAGIC.len()], usize, Instant), NotGreeted> {
    let (mut bytes, mut len, mut since) = ([0; MAGIC.len()], 0, None);
    loop {
        let read = { stream }.read(&mut bytes[len..]);
        let now = sync::now();
        match read {
            Ok(0) if len == 0 => return Err(NotGreeted::Gone),
            Ok(0) => return Err(NotGreeted::Refused(CUT_OFF)),
            Ok(read) => len += read,
            Err(error) if sockets::is_patient(&error) => {}
            Err(_) => return Err(NotGreeted::Gone),
        }
        if since.is_none() && !keys.take(Protection::Plain) {
            since = Some(if taken.takes_plain { now } else { taken.at });
        } else if len > 0 {
            since.get_or_insert(now);
        }
        let deadline = since.unwrap_or(now) + HANDSHAKE_TIME;
        if bytes[..len] != MAGIC[..len] || len == MAGIC.len() {
            return Ok((bytes, len, deadline));
        }
        if now > deadline {
            return Err(NotGreeted::Refused(TOO_SLOW));
        }
    }
}

/// Frames that are not what was sent.
pub(super) const UNAUTHENTIC: &str = "unauthentic_frame";
const CUT_OFF: Refused = Refused("handshake_cut_off", "it ended within the handshake");
const TOO_SLOW: Refused = Refused("handshake_too_slow", "it takes longer than 5 s");

fn read(stream: &TcpStream, into: &mut [u8], deadline: Instant) -> Result<(), NotGreeted> {
    sockets::read_by(stream, into, deadline)
        .map_err(|error| NotGreeted::Refused(if error.kind() == io::ErrorKind::TimedOut { TOO_SLOW } else { CUT_OFF }))
}
