//! The smallest sensible chitchat node: joins and says how many are live.
//!
//! It exists to be weighed: see the README for its size and its dependencies.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use chitchat::transport::UdpTransport;
use chitchat::{spawn_chitchat, ChitchatConfig, ChitchatId, FailureDetectorConfig, ProtocolVersion};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("minimal: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (bind, seed) = match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(bind), seed, None) => (bind, seed),
        _ => anyhow::bail!("usage: minimal BIND [SEED]"),
    };
    let addr: SocketAddr = bind.parse().with_context(|| format!("'{bind}' is no address with a port"))?;
    // A restart is told by a greater generation.
    let generation = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();

    let config = ChitchatConfig {
        chitchat_id: ChitchatId::new(bind, generation, addr),
        cluster_id: "minimal".to_owned(),
        gossip_interval: Duration::from_secs(1),
        listen_addr: addr,
        seed_nodes: seed.into_iter().collect(),
        failure_detector_config: FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: Duration::from_secs(15 * 60),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V0,
    };
    let node = spawn_chitchat(config, Vec::new(), &UdpTransport).await?;
    let mut live = node.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;

    let mut last = 0;
    while live.changed().await.is_ok() {
        let count = live.borrow_and_update().len();
        if count != last {
            println!("live: {count}");
            last = count;
        }
    }
    node.termination_watcher().await
}
