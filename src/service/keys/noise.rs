//! The Noise protocol: two messages, after which both sides have keys that nobody can find out later, not even whoever gets hold of
//! the pre-shared key then. The only file that names `snow`.

use std::io;
use std::sync::Arc;

use snow::{Builder, HandshakeState, StatelessTransportState};

use crate::keyring::overwrite_the_stack;
use crate::service::keys::{Answer, MESSAGE_BYTES};

/// Nobody has a key of its own: whoever has the pre-shared one is a member. It is mixed in first, so that already the first message
/// proves it.
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";

/// What stands in the key's place while there is none.
const NO_KEY: [u8; 32] = [0; 32];

/// A handshake of which the first message was made.
pub(super) struct Initiator(HandshakeState);

/// Seals what goes one way and opens what comes the other. Clones are the same one; each way has a nonce that counts up from 0.
#[derive(Clone)]
pub(in crate::service) struct Session(Arc<StatelessTransportState>);

pub(super) fn initiate(key: &[u8; 32], prologue: &[u8]) -> io::Result<(Initiator, Answer)> {
    let begun = builder(prologue).and_then(Builder::build_initiator).and_then(|handshake| begin(handshake, key));
    // The system has no randomness, for one.
    begun.map_err(|error| io::Error::other(format!("the handshake cannot begin: {error}")))
}

fn begin(mut handshake: HandshakeState, key: &[u8; 32]) -> Result<(Initiator, Answer), snow::Error> {
    let mut message = [0; MESSAGE_BYTES];
    with_key(&mut handshake, key, |handshake| handshake.write_message(&[], &mut message))?;
    Ok((Initiator(handshake), message))
}

/// `None` if the message was not made with this key and this prologue.
pub(super) fn respond(key: &[u8; 32], prologue: &[u8], message: &Answer) -> Option<(Answer, Session)> {
    let handshake = builder(prologue).and_then(Builder::build_responder);
    handshake.and_then(|handshake| answer(handshake, key, message)).ok()
}

fn answer(mut handshake: HandshakeState, key: &[u8; 32], message: &Answer) -> Result<(Answer, Session), snow::Error> {
    with_key(&mut handshake, key, |handshake| handshake.read_message(message, &mut []))?;
    let mut answer = [0; MESSAGE_BYTES];
    handshake.write_message(&[], &mut answer)?;
    Ok((answer, Session(Arc::new(handshake.into_stateless_transport_mode()?))))
}

fn builder(prologue: &[u8]) -> Result<Builder<'_>, snow::Error> {
    Builder::new(PATTERN.parse()?).psk(0, &NO_KEY)?.prologue(prologue)
}

/// Has a handshake do what takes the key, which is the first message alone: it is there no longer than that, for what `snow` drops it
/// does not overwrite.
fn with_key(
    handshake: &mut HandshakeState,
    key: &[u8; 32],
    first_message: impl FnOnce(&mut HandshakeState) -> Result<usize, snow::Error>,
) -> Result<(), snow::Error> {
    handshake.set_psk(0, key)?;
    let result = first_message(handshake);
    handshake.set_psk(0, &NO_KEY)?;
    overwrite_the_stack();
    result.map(drop)
}

impl Initiator {
    /// `None` if the answer was not made with the same key and the same prologue.
    pub(super) fn finish(mut self, answer: &Answer) -> Option<Session> {
        self.0.read_message(answer, &mut []).ok()?;
        Some(Session(Arc::new(self.0.into_stateless_transport_mode().ok()?)))
    }
}

impl Session {
    /// Seals what is sent with this nonce, which must not come twice. `None` if nonces have run out.
    pub(in crate::service) fn seal(&self, nonce: u64, plain: &[u8], sealed: &mut [u8]) -> Option<usize> {
        self.0.write_message(nonce, plain, sealed).ok()
    }

    /// Opens what came. `None` if it is not what was sealed with this nonce.
    pub(in crate::service) fn open(&self, nonce: u64, sealed: &[u8], plain: &mut [u8]) -> Option<usize> {
        self.0.read_message(nonce, sealed, plain).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::keyring::SecretKey;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A session of two: who calls, and who answers.
    pub(in crate::service) fn sessions() -> (Session, Session) {
        let (initiator, message) = initiate(&[1; 32], b"prologue").unwrap();
        let (answer, responder) = respond(&[1; 32], b"prologue", &message).unwrap();
        (initiator.finish(&answer).unwrap(), responder)
    }

    /// The vector of docs/PROTOCOL.md.
    #[test]
    fn the_wire_is_as_documented() {
        let key = SecretKey::from_bytes(&std::array::from_fn(|n| n as u8));
        let preamble = [b'G', b'V', 1, key.id().on_the_wire()];
        let prologue = [&preamble[..], b"grapevine"].concat();
        let psk = key.for_services();
        let with =
            |ephemeral: &'static [u8; 32]| builder(&prologue).unwrap().fixed_ephemeral_key_for_testing_only(ephemeral);
        let (initiator, message) = begin(with(&[0x11; 32]).build_initiator().unwrap(), psk).unwrap();
        let (answer, responder) = answer(with(&[0x22; 32]).build_responder().unwrap(), psk, &message).unwrap();
        let session = initiator.finish(&answer).unwrap();
        let (mut there, mut back) = ([0; 22], [0; 19]);
        assert_eq!(session.seal(0, b"hello\n", &mut there), Some(22));
        assert_eq!(responder.seal(0, b"hi\n", &mut back), Some(19));
        let document = include_str!("../../../docs/PROTOCOL.md").replace(char::is_whitespace, "");
        for bytes in [&preamble[..], &psk[..], &message[..], &answer[..], &there[..], &back[..]] {
            assert!(document.contains(&hex(bytes)), "{}", hex(bytes));
        }
    }

    #[test]
    fn who_has_another_key_or_prologue_is_not_answered() {
        let (initiator, message) = initiate(&[1; 32], b"one").unwrap();
        assert!(respond(&[2; 32], b"one", &message).is_none());
        assert!(respond(&[1; 32], b"other", &message).is_none());
        let (mut answer, _) = respond(&[1; 32], b"one", &message).unwrap();
        answer[40] ^= 1;
        assert!(initiator.finish(&answer).is_none());
    }

    /// Each handshake has keys of its own, and each way.
    #[test]
    fn what_is_sealed_is_opened_once_in_its_place() {
        let (ours, theirs) = sessions();
        let (mut sealed, mut plain) = ([0; 21], [0; 5]);
        assert_eq!(ours.seal(7, b"hello", &mut sealed), Some(21));
        assert_eq!(theirs.open(7, &sealed, &mut plain), Some(5));
        assert_eq!(&plain, b"hello");
        assert_eq!(theirs.open(8, &sealed, &mut plain), None, "another nonce");
        assert_eq!(ours.open(7, &sealed, &mut plain), None, "the other way");
        assert_eq!(sessions().1.open(7, &sealed, &mut plain), None, "another session");
        sealed[3] ^= 1;
        assert_eq!(theirs.open(7, &sealed, &mut plain), None, "changed");
    }
}
