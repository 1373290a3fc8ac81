//! Catching up does not wait for rounds: who gets a cut delta asks on at once, with a bounded number of datagrams in
//! flight, and asks another peer if nothing comes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::instant::Instant;
use crate::peer::Peer;
use crate::wire::End;

/// Requests that may be under way at once.
const MAX_SESSIONS: usize = 8;
/// A request starts with so many datagrams and doubles while none is lost: on a path never tried, a burst as large as
/// the receive buffer could lose most of itself.
const FIRST_CREDIT: u8 = 8;
/// A request that nobody answered is repeated so often before the next round takes over.
const MAX_ATTEMPTS: u8 = 4;
/// Bounds of the time after which a request is repeated. On one host an answer takes a tenth of a millisecond, but a
/// loaded scheduler takes its time.
const MIN_PATIENCE: Duration = Duration::from_millis(20);
const MAX_PATIENCE: Duration = Duration::from_secs(1);
const FIRST_PATIENCE: Duration = Duration::from_millis(100);
/// What comes later than this after its request was delayed on purpose or by a pause, and is not waited for any more.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// Requests that were repeated and may still be answered: all of eight seconds, once it is known how slow the path is. Beyond that the
/// oldest gives way: what answers it is asked for again.
const MAX_OVERTAKEN: usize = 8 * MAX_SESSIONS;

/// One request and what has come of it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Returned by what comes.
    pub id: u32,
    /// Who was asked.
    pub server: SocketAddr,
    /// Whether it has proved its address.
    pub server_is_proved: bool,
    /// Owners of whose maps something was wanted and has not come.
    pub owners: Vec<Peer>,
    /// How many datagrams may come.
    pub credit: u8,
    /// How often it was repeated.
    pub attempts: u8,
    asked: Instant,
    deadline: Instant,
    next_sequence: u8,
    lossy: bool,
    moved: bool,
}

/// All requests under way: at most one for each owner.
#[derive(Clone, Debug)]
pub struct CatchUp {
    sessions: Vec<Session>,
    /// Ids of requests that were given up or asked again before they were answered, and when they were made.
    overtaken: VecDeque<(u32, Instant)>,
    last_id: u32,
    limit: u8,
    /// Smoothed time from a request to the first datagram of its answer.
    round_trip: Option<Duration>,
}

impl CatchUp {
    /// With at most `limit` datagrams in flight. The ids of requests count on from `last_id`, which should be drawn: who
    /// can guess them can answer in another's place.
    pub fn new(limit: usize, last_id: u32) -> Self {
        let limit = u8::try_from(limit).unwrap_or(u8::MAX);
        CatchUp { sessions: Vec::new(), overtaken: VecDeque::new(), last_id, limit, round_trip: None }
    }

    /// Whether something of this owner is under way.
    pub fn is_asking_for(&self, owner: Peer) -> bool {
        self.sessions.iter().any(|session| session.owners.contains(&owner))
    }

    /// Whether answers to this request are waited for, or may still be on their way although it was repeated since.
    pub fn is_awaited(&self, now: Instant, id: u32) -> bool {
        let is_recent = |(past, asked): &(u32, Instant)| *past == id && now - *asked < MAX_DELAY;
        self.sessions.iter().any(|session| session.id == id) || self.overtaken.iter().any(is_recent)
    }

    /// The credit that a request may have now; `None` if nothing more may be asked for.
    pub fn credit(&self, wish: Option<u8>) -> Option<u8> {
        if self.sessions.len() >= MAX_SESSIONS {
            return None;
        }
        let in_flight: u32 = self.sessions.iter().map(|session| u32::from(session.credit)).sum();
        let left = u32::from(self.limit).saturating_sub(in_flight);
        let credit = u32::from(wish.unwrap_or(FIRST_CREDIT)).min(left);
        u8::try_from(credit).ok().filter(|credit| *credit > 0)
    }

    /// The id that the next request will have.
    pub fn next_id(&self) -> u32 {
        self.last_id.wrapping_add(1)
    }

    /// A request with [`CatchUp::next_id`] goes out.
    pub fn begin(
        &mut self,
        now: Instant,
        server: SocketAddr,
        server_is_proved: bool,
        owners: Vec<Peer>,
        credit: u8,
        attempts: u8,
    ) {
        self.last_id = self.next_id();
        let patience = self.patience() * (1 << attempts.min(MAX_ATTEMPTS));
        self.sessions.push(Session {
            id: self.last_id,
            server,
            server_is_proved,
            owners,
            credit,
            attempts,
            asked: now,
            deadline: now + patience.min(MAX_PATIENCE),
            next_sequence: 0,
            lossy: false,
            moved: false,
        });
    }

    /// What was wanted of this owner has come as far as the sender could go.
    pub fn complete(&mut self, id: u32, owner: Peer) {
        if let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) {
            session.owners.retain(|other| *other != owner);
        }
    }

    /// Something of what came in answer to this request moved the copy of an owner's map forward.
    pub fn moved(&mut self, id: u32) {
        if let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) {
            session.moved = true;
        }
    }

    /// A datagram of the answer came. At the end of the answer the session is returned if there is more to ask for, with the
    /// credit that the next request should have.
    pub fn arrived(&mut self, now: Instant, id: u32, sequence: u8, end: End) -> Option<Session> {
        let Some(index) = self.sessions.iter().position(|session| session.id == id) else {
            self.arrived_late(now, id, sequence);
            return None;
        };
        let patience = self.patience();
        let session = &mut self.sessions[index];
        if session.next_sequence == 0 && !session.lossy {
            let sample = now - session.asked;
            self.round_trip = Some(match self.round_trip {
                Some(smoothed) => (smoothed * 7 + sample) / 8,
                None => sample,
            });
        }
        session.lossy |= sequence != session.next_sequence;
        session.next_sequence = sequence.saturating_add(1);
        session.deadline = now + patience;
        if end == End::No {
            return None;
        }
        let mut session = self.sessions.swap_remove(index);
        if session.lossy {
            self.overtake(&session);
        }
        let unsent = end == End::CreditUsed;
        if session.owners.is_empty() || !(unsent || session.lossy) {
            return None;
        }
        session.credit = if session.lossy {
            (session.credit / 2).max(FIRST_CREDIT)
        } else {
            session.credit.saturating_mul(2).min(self.limit)
        };
        // Without progress there is an end to it: what comes may be nothing that can be taken here.
        session.attempts = if session.moved { 0 } else { session.attempts + 1 };
        Some(session).filter(|session| session.attempts < MAX_ATTEMPTS)
    }

    /// Takes out a request whose deadline has passed and that is to be repeated, with another peer if there is one. Call it
    /// until it returns `None`.
    pub fn overdue(&mut self, now: Instant) -> Option<Session> {
        while let Some(index) = self.sessions.iter().position(|session| session.deadline <= now) {
            let mut session = self.sessions.swap_remove(index);
            self.overtake(&session);
            session.attempts += 1;
            if session.attempts < MAX_ATTEMPTS && !session.owners.is_empty() {
                session.credit = FIRST_CREDIT;
                return Some(session);
            }
        }
        None
    }

    /// An answer begins after its request was given up: the path is slower than it was thought to be.
    fn arrived_late(&mut self, now: Instant, id: u32, sequence: u8) {
        let asked = self.overtaken.iter().find(|(past, _)| *past == id).map(|(_, asked)| *asked);
        if let Some(asked) = asked.filter(|_| sequence == 0) {
            self.round_trip = self.round_trip.max(Some(now - asked));
        }
    }

    fn overtake(&mut self, session: &Session) {
        if self.overtaken.len() == MAX_OVERTAKEN {
            self.overtaken.pop_front();
        }
        self.overtaken.push_back((session.id, session.asked));
    }

    /// When the next request is overdue.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.sessions.iter().map(|session| session.deadline).min()
    }

    /// The node was paused: nobody is late because of it.
    pub fn shift(&mut self, gap: Duration) {
        for session in &mut self.sessions {
            session.deadline = session.deadline + gap;
        }
        for (_, asked) in &mut self.overtaken {
            *asked = *asked + gap;
        }
    }

    fn patience(&self) -> Duration {
        match self.round_trip {
            Some(round_trip) => (round_trip * 4).clamp(MIN_PATIENCE, MAX_PATIENCE),
            None => FIRST_PATIENCE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    fn peer(port: u16) -> Peer {
        Peer::from(addr(port))
    }

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn credit_doubles_without_loss_and_never_exceeds_the_limit() {
        let mut catch_up = CatchUp::new(64, 0);
        let mut credit = catch_up.credit(None).unwrap();
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(credit);
            catch_up.begin(at(0), addr(1), true, vec![peer(2)], credit, 0);
            let id = catch_up.last_id;
            catch_up.moved(id);
            for sequence in 0..credit - 1 {
                assert!(catch_up.arrived(at(0), id, sequence, End::No).is_none());
            }
            let session = catch_up.arrived(at(0), id, credit - 1, End::CreditUsed).unwrap();
            credit = catch_up.credit(Some(session.credit)).unwrap();
        }
        assert_eq!(seen, [8, 16, 32, 64, 64, 64]);
    }

    /// On a slow link what answers a request comes after it was repeated, and is taken; but not for ever.
    #[test]
    fn what_was_overtaken_is_awaited_for_a_while() {
        let mut catch_up = CatchUp::new(64, 0);
        for request in 1..=80 {
            catch_up.begin(at(0), addr(1), true, vec![peer(2)], 8, 0);
            assert!(catch_up.is_awaited(at(0), request));
            assert!(catch_up.overdue(at(100)).is_some());
            assert!(catch_up.is_awaited(at(9_999), request) && !catch_up.is_awaited(at(10_000), request));
        }
        assert!(!catch_up.is_awaited(at(100), 16) && catch_up.is_awaited(at(100), 17), "of 80 the latest 64");
        // What comes then tells how slow the path is, and the next request is given the time.
        assert!(catch_up.arrived(at(240), 80, 0, End::Complete).is_none());
        catch_up.begin(at(1_000), addr(1), true, vec![peer(2)], 8, 0);
        assert_eq!(catch_up.next_deadline(), Some(at(1_000 + 4 * 240)));
        assert!(catch_up.arrived(at(1_201), 81, 0, End::Complete).is_none());
        assert!(!catch_up.is_awaited(at(1_201), 81), "answered in full");
    }

    #[test]
    fn flight_is_bounded_over_all_requests() {
        let mut catch_up = CatchUp::new(20, 0);
        let mut total = 0;
        for port in 1..=10 {
            if let Some(credit) = catch_up.credit(None) {
                total += u32::from(credit);
                catch_up.begin(at(0), addr(port), true, vec![peer(port)], credit, 0);
            }
        }
        assert_eq!(total, 20);
        assert!(catch_up.is_asking_for(peer(1)) && !catch_up.is_asking_for(peer(9)));
    }

    #[test]
    fn a_lost_datagram_is_asked_for_again_and_the_credit_halved() {
        let mut catch_up = CatchUp::new(64, 0);
        catch_up.begin(at(0), addr(1), true, vec![peer(2)], 32, 0);
        assert!(catch_up.arrived(at(1), 1, 0, End::No).is_none());
        let again = catch_up.arrived(at(1), 1, 2, End::Complete).unwrap();
        assert_eq!((again.owners, again.credit), (vec![peer(2)], 16));
    }

    /// A sender who has more and more, none of which can be taken here, is not asked for ever.
    #[test]
    fn answers_that_move_nothing_are_followed_by_a_bounded_number_of_requests() {
        let mut catch_up = CatchUp::new(64, 0);
        let mut asked = 1;
        catch_up.begin(at(0), addr(1), true, vec![peer(2)], 8, 0);
        while let Some(session) = catch_up.arrived(at(0), asked, 0, End::CreditUsed) {
            asked += 1;
            catch_up.begin(at(0), session.server, true, session.owners, session.credit, session.attempts);
        }
        assert_eq!(asked, u32::from(MAX_ATTEMPTS));
    }

    #[test]
    fn silence_is_followed_by_a_bounded_number_of_repetitions() {
        let mut catch_up = CatchUp::new(64, 0);
        let mut now = at(0);
        let mut asked = 0;
        catch_up.begin(now, addr(1), true, vec![peer(2)], 8, 0);
        while let Some(deadline) = catch_up.next_deadline() {
            asked += 1;
            assert!(catch_up.overdue(deadline - Duration::from_micros(1)).is_none());
            now = deadline;
            if let Some(session) = catch_up.overdue(now) {
                catch_up.begin(now, session.server, true, session.owners, session.credit, session.attempts);
            }
        }
        assert_eq!(asked, usize::from(MAX_ATTEMPTS));
        assert!(now - at(0) < Duration::from_secs(4));
    }
}
