//! chitchat's UDP transport, with a count of what is sent and, if asked for,
//! a loss of what is received.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpTransport};
use chitchat::ChitchatEnvelope;

/// The UDP traffic of all nodes together.
#[derive(Default)]
pub struct Traffic {
    datagrams: AtomicU64,
    payload_bytes: AtomicU64,
}

impl Traffic {
    /// Datagrams and payload bytes sent so far.
    pub fn sent(&self) -> Sent {
        Sent {
            datagrams: self.datagrams.load(Ordering::Relaxed),
            payload_bytes: self.payload_bytes.load(Ordering::Relaxed),
        }
    }
}

/// A reading of [`Traffic`].
#[derive(Clone, Copy)]
pub struct Sent {
    pub datagrams: u64,
    pub payload_bytes: u64,
}

/// Opens chitchat's own UDP sockets and wraps each of them.
///
/// It delegates rather than speaks UDP itself because chitchat keeps the
/// encoding of its messages private, and because the socket a user would run
/// is the one to measure.
pub struct MeteredUdp {
    traffic: Arc<Traffic>,
    loss: f64,
}

impl MeteredUdp {
    /// A transport that drops `loss_percent` percent of what it receives.
    pub fn new(loss_percent: f64) -> Self {
        MeteredUdp { traffic: Arc::new(Traffic::default()), loss: loss_percent / 100.0 }
    }

    /// The traffic of every socket opened through this transport.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

#[async_trait]
impl Transport for MeteredUdp {
    async fn open(&self, listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(MeteredSocket {
            inner: UdpTransport.open(listen_addr).await?,
            traffic: Arc::clone(&self.traffic),
            loss: self.loss,
            rng: fastrand::Rng::new(),
        }))
    }
}

struct MeteredSocket {
    inner: Box<dyn Socket>,
    traffic: Arc<Traffic>,
    /// The probability that a received datagram is dropped.
    loss: f64,
    rng: fastrand::Rng,
}

#[async_trait]
impl Socket for MeteredSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.inner.local_addr()
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        let outcome = self.inner.send(to, envelope).await?;
        self.traffic.datagrams.fetch_add(1, Ordering::Relaxed);
        self.traffic.payload_bytes.fetch_add(outcome.num_bytes_sent as u64, Ordering::Relaxed);
        Ok(outcome)
    }

    /// Cancellable, as chitchat demands: the only await is the inner one.
    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let outcome = self.inner.recv().await?;
            // The draw is skipped when there is nothing to lose, so that an
            // ordinary run pays nothing for the option.
            if self.loss == 0.0 || self.rng.f64() >= self.loss {
                return Ok(outcome);
            }
        }
    }
}
