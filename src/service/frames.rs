//! The bytes of a connection: as they are, or sealed in frames of `[length, two bytes][what was sealed]`.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;

use crate::service::keys::{MAGIC, Session, TAG_BYTES};

/// What is sealed in one frame, at most.
const FRAME: usize = 16 << 10;
const LENGTH_BYTES: usize = 2;
/// What is read at once. Between two lines no more than this is kept for what is sealed, either way; after a larger frame up to
/// [`FRAME`] until nothing comes for a second.
const CHUNK: usize = 4 << 10;

/// What comes in.
pub(super) struct Incoming {
    stream: Arc<TcpStream>,
    form: Form,
}

enum Form {
    /// These bytes were read already, from the first of the two numbers up to the second.
    Plain([u8; MAGIC.len()], usize, usize),
    Sealed(Opener),
}

/// What is read of frames.
struct Opener {
    session: Session,
    nonce: u64,
    /// What came and was not opened is `sealed[start..end]`.
    sealed: Vec<u8>,
    start: usize,
    end: usize,
    /// What was opened and did not fit, from `given` on.
    opened: Vec<u8>,
    given: usize,
}

impl Incoming {
    /// As it comes, after so much that was read already.
    pub(super) fn plain(stream: &Arc<TcpStream>, ahead: [u8; MAGIC.len()], len: usize) -> Incoming {
        Incoming { stream: stream.clone(), form: Form::Plain(ahead, 0, len) }
    }

    pub(super) fn sealed(stream: &Arc<TcpStream>, session: Session) -> Incoming {
        let opener = Opener { session, nonce: 0, sealed: Vec::new(), start: 0, end: 0, opened: Vec::new(), given: 0 };
        Incoming { stream: stream.clone(), form: Form::Sealed(opener) }
    }

    /// Reads what is there; waits no longer than the stream does. What is not authentic is `InvalidData`; where something came of which
    /// nothing can be given yet it is `Interrupted`.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.form {
            Form::Plain(ahead, given, len) if *given < *len => {
                let taken = (*len - *given).min(into.len());
                into[..taken].copy_from_slice(&ahead[*given..*given + taken]);
                *given += taken;
                Ok(taken)
            }
            Form::Plain(..) => (&*self.stream).read(into),
            Form::Sealed(opener) => opener.read(&self.stream, into),
        }
    }

    /// Whether a frame is there; reads what came if not, and waits no longer than the stream does. What is not authentic is
    /// `InvalidData`.
    pub(super) fn has_a_frame(&mut self) -> io::Result<bool> {
        match &mut self.form {
            Form::Plain(..) => Ok(false),
            Form::Sealed(opener) => opener.has_a_frame(&self.stream),
        }
    }

    /// Whether the beginning of a frame came, and not yet its end.
    pub(super) fn is_within_a_frame(&self) -> bool {
        matches!(&self.form, Form::Sealed(opener) if opener.start < opener.end)
    }
}

impl Opener {
    fn read(&mut self, mut stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
        let mut given = self.give(into)?;
        if given > 0 {
            return Ok(given);
        }
        self.make_room();
        match stream.read(&mut self.sealed[self.end..]) {
            Ok(0) if self.start < self.end => Err(unauthentic("it ended within a frame")),
            Ok(0) => Ok(0),
            Ok(read) => {
                self.end += read;
                given = self.give(into)?;
                if given == 0 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(given) }
            }
            Err(error) => {
                if self.start == self.end && self.sealed.len() > CHUNK {
                    // Who is idle keeps no long frame's memory.
                    (self.sealed, self.opened) = (Vec::new(), Vec::new());
                }
                Err(error)
            }
        }
    }

    fn has_a_frame(&mut self, mut stream: &TcpStream) -> io::Result<bool> {
        if self.given == self.opened.len() {
            self.make_room();
            match stream.read(&mut self.sealed[self.end..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.end += read,
            }
            let Some(frame) = self.frame()? else { return Ok(false) };
            let mut opened = vec![0; frame.len() - TAG_BYTES];
            self.open(frame, &mut opened)?;
            (self.opened, self.given) = (opened, 0);
        }
        Ok(true)
    }

    /// Opens whatever came whole and has room. What is wrong with a frame is told after everything before it was given.
    fn give(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut given = self.give_opened(into);
        while given < into.len() {
            match self.give_frame(&mut into[given..], given == 0) {
                Ok(0) => break,
                Ok(more) => given += more,
                Err(_) if given > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(given)
    }

    /// Opens the next frame, if it came whole and has room; as much as there is room for if it `must` be.
    fn give_frame(&mut self, into: &mut [u8], must: bool) -> io::Result<usize> {
        let Some(frame) = self.frame()? else { return Ok(0) };
        let len = frame.len() - TAG_BYTES;
        if len <= into.len() {
            self.open(frame, into)?;
            return Ok(len);
        }
        if !must {
            return Ok(0);
        }
        let mut opened = std::mem::take(&mut self.opened);
        opened.resize(len, 0);
        self.open(frame, &mut opened)?;
        (self.opened, self.given) = (opened, 0);
        Ok(self.give_opened(into))
    }

    fn give_opened(&mut self, into: &mut [u8]) -> usize {
        let taken = (self.opened.len() - self.given).min(into.len());
        into[..taken].copy_from_slice(&self.opened[self.given..self.given + taken]);
        self.given += taken;
        if self.given == self.opened.len() {
            self.opened.clear();
            self.given = 0;
        }
        taken
    }

    /// How long the next frame is, once its length is there.
    fn length(&self) -> Option<usize> {
        let length = self.sealed[self.start..self.end].first_chunk::<LENGTH_BYTES>()?;
        Some(usize::from(u16::from_be_bytes(*length)))
    }

    /// Where the next frame is, if it is whole.
    fn frame(&self) -> io::Result<Option<std::ops::Range<usize>>> {
        let Some(length) = self.length() else { return Ok(None) };
        if !(TAG_BYTES + 1..=FRAME + TAG_BYTES).contains(&length) {
            return Err(unauthentic("no frame has this length"));
        }
        let from = self.start + LENGTH_BYTES;
        Ok((from + length <= self.end).then_some(from..from + length))
    }

    fn open(&mut self, frame: std::ops::Range<usize>, into: &mut [u8]) -> io::Result<()> {
        let opened = self.session.open(self.nonce, &self.sealed[frame.clone()], into);
        opened.ok_or_else(|| unauthentic("a frame was changed on its way, left out or sent again"))?;
        self.nonce += 1;
        self.start = frame.end;
        Ok(())
    }

    /// Makes room for the rest of a frame.
    fn make_room(&mut self) {
        let needed = LENGTH_BYTES + self.length().unwrap_or(0);
        if self.start > 0 && (self.start == self.end || self.start + needed > self.sealed.len()) {
            self.sealed.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.sealed.len() < self.start + needed.max(CHUNK) {
            self.sealed.resize(self.start + needed.max(CHUNK), 0);
        }
    }
}

fn unauthentic(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Seals what goes out, a frame at a time.
pub(super) struct Sealer {
    session: Session,
    nonce: u64,
    /// Of the last frame there is to be sent what follows `sent`.
    frame: Vec<u8>,
    sent: usize,
}

impl Sealer {
    pub(super) fn new(session: Session) -> Sealer {
        Sealer { session, nonce: 0, frame: Vec::new(), sent: 0 }
    }

    /// What was sealed and is to be sent before anything else is.
    pub(super) fn rest(&self) -> &[u8] {
        &self.frame[self.sent..]
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// Seals the beginning of this, as much as one frame takes; how much that is. Nothing of an earlier frame is left.
    pub(super) fn seal(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = &bytes[..bytes.len().min(FRAME)];
        let length = taken.len() + TAG_BYTES;
        self.frame.resize(LENGTH_BYTES + length, 0);
        let (head, sealed) = self.frame.split_at_mut(LENGTH_BYTES);
        // It is 16,400 at most.
        head.copy_from_slice(&(length as u16).to_be_bytes());
        let made = self.session.seal(self.nonce, taken, sealed);
        made.ok_or_else(|| io::Error::other("there are no nonces left"))?;
        self.nonce += 1;
        self.sent = 0;
        Ok(taken.len())
    }

    /// Everything was sent: the memory for long frames is not kept.
    pub(super) fn rests(&mut self) {
        if self.frame.capacity() > CHUNK {
            (self.frame, self.sent) = (Vec::new(), 0);
        }
    }
}

#[cfg(test)]
#[cfg(feature = "encryption")]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::service::keys::sessions;

    /// What seals, the stream that it goes to, and what is at the other end of that.
    fn connection() -> (Sealer, TcpStream, Incoming) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = Arc::new(listener.accept().unwrap().0);
        far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (ours, theirs) = sessions();
        (Sealer::new(ours), near, Incoming::sealed(&far, theirs))
    }

    fn frames_of(sealer: &mut Sealer, mut bytes: &[u8]) -> Vec<u8> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let taken = sealer.seal(bytes).unwrap();
            frames.extend_from_slice(sealer.rest());
            sealer.sent(sealer.rest().len());
            bytes = &bytes[taken..];
        }
        sealer.rests();
        frames
    }

    fn read_all(incoming: &mut Incoming, size: usize, len: usize) -> Vec<u8> {
        let (mut came, mut buffer) = (Vec::new(), vec![0; size]);
        while came.len() < len {
            match incoming.read(&mut buffer) {
                Ok(0) => panic!("it ended"),
                Ok(read) => came.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => panic!("{error}"),
                Err(_) => {}
            }
        }
        came
    }

    #[test]
    fn whatever_goes_in_comes_out_in_any_portions() {
        let text: Vec<u8> = (0..FRAME * 2 + 77).map(|n| (n % 251) as u8).collect();
        for (portion, size) in
            [(usize::MAX, 1), (usize::MAX, 4_096), (1_000, 100), (7, 40_000), (1, 5), (16_401, 16_384)]
        {
            let (mut sealer, mut near, mut incoming) = connection();
            let text = if portion < 10 || size == 1 { &text[..FRAME + 500] } else { &text[..] };
            let mut frames = frames_of(&mut sealer, &text[..300]);
            frames.extend(frames_of(&mut sealer, &text[300..]));
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    frames.chunks(portion.min(frames.len())).for_each(|part| near.write_all(part).unwrap());
                    near
                });
                assert!(read_all(&mut incoming, size, text.len()) == text, "{portion} {size}");
            });
            assert!(!incoming.is_within_a_frame());
        }
    }

    #[test]
    fn what_was_authentic_is_given_before_what_is_wrong_is_told() {
        let (mut sealer, mut near, mut incoming) = connection();
        let mut frames = frames_of(&mut sealer, b"one");
        let second = frames_of(&mut sealer, b"two");
        let third = frames_of(&mut sealer, b"three");
        frames.extend(third);
        frames.extend(second);
        near.write_all(&frames).unwrap();
        assert_eq!(read_all(&mut incoming, 100, 3), b"one");
        // The second frame was left out.
        let error = incoming.read(&mut [0; 100]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn who_is_idle_keeps_little_memory() {
        let (mut sealer, mut near, mut incoming) = connection();
        let text = vec![b'x'; 3 * FRAME];
        let frames = frames_of(&mut sealer, &text);
        let writer = std::thread::spawn(move || {
            near.write_all(&frames).unwrap();
            near
        });
        assert!(read_all(&mut incoming, 1_000, text.len()) == text);
        let near = writer.join().unwrap();
        assert!(incoming.read(&mut [0; 100]).is_err(), "nothing comes");
        let Form::Sealed(opener) = &incoming.form else { panic!("it is sealed") };
        let kept = opener.sealed.capacity() + opener.opened.capacity() + sealer.frame.capacity();
        assert!(kept <= 2 * CHUNK, "{kept}");
        drop(near);
    }
}
