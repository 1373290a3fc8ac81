//! The command line: every command and option, with its description and default.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{FalseyValueParser, Resettable};
use clap::{Arg, Args as Group, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use grapevine::Peer;

use crate::failure::Failure;
use crate::key_like;

/// Cluster membership, failure detection and shared state, by gossip over UDP; and services on top of it.
///
/// `grapevine agent` runs one node; the other commands ask and change the one that runs on this machine.
#[derive(Debug, Parser)]
#[command(name = "grapevine", version, propagate_version = true, max_term_width = 110)]
#[command(
    after_help = "Exit status: 0 done, 1 it failed, 2 bad usage. Logs go to standard error; RUST_LOG says how much, like RUST_LOG=warn."
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// The command line of this process, with what the environment sets; a wrong one ends it with status 2.
    pub fn of_process() -> Args {
        let mut command = without_empty_variables(Args::command());
        let matches = command.try_get_matches_from_mut(std::env::args_os());
        let args = matches.and_then(|matches| Args::from_arg_matches(&matches));
        args.unwrap_or_else(|error| {
            let error = error.format(&mut command);
            if error.use_stderr() && key_like::is_shown_in(&error.to_string()) {
                // Reported without it.
                Failure::Usage(error.to_string()).report();
                std::process::exit(error.exit_code());
            }
            error.exit()
        })
    }
}

/// Of a command and those below it.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.mut_args(without_empty_variable).mut_subcommands(without_empty_variables)
}

/// A variable that is set to nothing counts as not set: that is how compositions of containers pass on what nobody gave.
fn without_empty_variable(arg: Arg) -> Arg {
    let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if is_empty { arg.env(Resettable::Reset) } else { arg }
}

/// A peer as it is named everywhere.
fn peer(text: &str) -> Result<Peer, String> {
    text.parse().map_err(|_| "it is no ADDRESS:PORT like 127.0.0.1:9001 or [::1]:9001".to_owned())
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one node until SIGINT, SIGTERM, SIGHUP or `grapevine leave`; all of them tell the others that it leaves.
    Agent(Box<AgentArgs>),
    /// List the node and its peers.
    Members(ClientArgs),
    /// Print the value of a key: of the agent's own map, or of a peer's.
    #[command(override_usage = "grapevine get [OPTIONS] [PEER] KEY")]
    Get {
        /// The key, with the peer before it if it is a peer's, as ADDRESS:PORT.
        #[arg(value_names = ["PEER", "KEY"], num_args = 1..=2, required = true)]
        what: Vec<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List the keys of the agent's own map, or of a peer's.
    Keys {
        /// The peer, as ADDRESS:PORT.
        #[arg(value_parser = peer)]
        peer: Option<Peer>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Set a key of the agent's own map, for every node to read.
    Set {
        key: String,
        /// JSON where it is JSON, else a string; JSON that is nested more than 127 deep, or has a number beyond 64 bits of floating point, is
        /// a string too. After -- it may begin with a dash.
        #[arg(allow_negative_numbers = true)]
        value: String,
        /// How long it lives, like 10s or 500ms; for good if not given.
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        ttl: Option<Duration>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Delete a key of the agent's own map.
    Delete {
        key: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Print every event of the cluster as it happens, until interrupted.
    Watch {
        /// Of the events about keys, only those whose key starts so.
        #[arg(long, value_name = "P")]
        prefix: Option<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List who offers which actions.
    Services(ClientArgs),
    /// Call an action, wherever it is offered, and print its result as JSON.
    Act {
        /// What the message has, like role:api,cmd:add,left:2; where JSON has the same key, this wins.
        pattern: String,
        /// The message as a JSON object, or the rest of it.
        #[arg(value_name = "JSON")]
        message: Option<String>,
        /// How long it may take [default: 22222ms].
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
        /// Running it twice does no harm: it goes to another one that offers it when a connection breaks or a node fails.
        #[arg(long)]
        idempotent: bool,
        /// Calls with the same key go to the same one of all that offer it.
        #[arg(long, value_name = "KEY")]
        shard: Option<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Print the node's counters, and those of its services.
    Stats(ClientArgs),
    /// A live view of the members, in the whole terminal; q ends it.
    Top(TopArgs),
    /// Drop a peer that has failed or left and will never be back, with its map.
    Forget {
        /// The peer, as ADDRESS:PORT.
        #[arg(value_parser = peer)]
        peer: Peer,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Have the agent leave the cluster and end.
    Leave(ClientArgs),
    /// Make a pre-shared key of the system's randomness, and print it.
    Keygen {
        /// Put it into this new key file, for you alone, instead of printing it.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// List the agent's pre-shared keys by their ids, or change them; of every cluster on all nodes, one step after the other.
    ///
    /// To replace a key: `add` the new one on all nodes, `use` it on all nodes, `remove` the old one on all nodes. To encrypt a cluster
    /// that runs without keys: `add` a key on all nodes, `encryption send` on all nodes, `encryption require` on all nodes. To go
    /// back: `encryption send`, `encryption accept`, `off`, each on all nodes.
    Keyring(KeyringArgs),
    /// Print the completions for a shell.
    Completions { shell: Shell },
}

#[derive(Debug, Group)]
#[command(args_conflicts_with_subcommands = true)]
pub struct KeyringArgs {
    #[command(subcommand)]
    pub change: Option<KeyringCommand>,
    #[command(flatten)]
    pub client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub enum KeyringCommand {
    /// Add the keys in a key file: they decrypt from here on. An agent without keys goes on to send and take what is plain.
    Add {
        /// A key file, as `keygen --output` makes one, or - for standard input.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Have a key encrypt, which all nodes have to hold.
    Use {
        /// Its id.
        #[arg(value_name = "KEY_ID")]
        id: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Take a key away, which no node may use any more.
    Remove {
        /// Its id.
        #[arg(value_name = "KEY_ID")]
        id: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Say what is sent and taken: accept (plain is sent, both are taken), send (encrypted is sent, both are taken) or require
    /// (encrypted is sent and taken).
    Encryption {
        #[arg(value_parser = ["accept", "send", "require"])]
        step: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Take all keys away, once every node is at `encryption accept`.
    Off(ClientArgs),
}

/// Which agent is talked to.
#[derive(Debug, Group)]
pub struct ControlArgs {
    /// The agent's control socket [default: that of the agent on port 9000, or of GRAPEVINE_BIND or GRAPEVINE_LISTEN].
    #[arg(long, env = "GRAPEVINE_CONTROL", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub control: Option<PathBuf>,
}

/// What every command that talks to an agent takes.
#[derive(Debug, Group)]
pub struct ClientArgs {
    #[command(flatten)]
    pub agent: ControlArgs,
    /// Print JSON, as in the line protocol.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Group)]
pub struct TopArgs {
    #[command(flatten)]
    pub agent: ControlArgs,
    /// The time between two looks, 100ms to 1h.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1s")]
    pub every: Duration,
}

#[derive(Debug, Group)]
pub struct AgentArgs {
    /// The address of the socket; port 0 for one that the system gives [default: 127.0.0.1:9000, or the port above --listen].
    #[arg(long, env = "GRAPEVINE_BIND", value_name = "ADDR")]
    pub bind: Option<String>,
    /// The address under which the others reach this node, if it is another: behind NAT, in a container, with a bind to all addresses.
    #[arg(long, env = "GRAPEVINE_ADVERTISE", value_name = "ADDR")]
    pub advertise: Option<String>,
    /// Any node of the cluster; a name is resolved again whenever it is tried. May be repeated; in the variable with commas between.
    #[arg(long, env = "GRAPEVINE_SEED", value_name = "HOST:PORT", value_delimiter = ',')]
    pub seed: Vec<String>,
    /// The cluster's name. Nodes of clusters with different names never exchange anything.
    #[arg(long, env = "GRAPEVINE_CLUSTER", value_name = "NAME", default_value = "grapevine")]
    pub cluster: String,
    /// The time between two gossip rounds, 10ms to 1h, better the same on every node.
    #[arg(long, env = "GRAPEVINE_INTERVAL", value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1s")]
    pub interval: Duration,
    /// How many peers each round is told, 1 to 16.
    #[arg(long, env = "GRAPEVINE_FANOUT", value_name = "N", default_value_t = 3)]
    pub fanout: usize,
    /// The suspicion level at which a peer counts as failed, 0.5 to 100.
    #[arg(long, env = "GRAPEVINE_PHI", value_name = "LEVEL", default_value_t = 8.0)]
    pub phi: f64,
    /// Slack for every time-out, in intervals: 1 on a network that loses 10 % and more.
    #[arg(long, env = "GRAPEVINE_PAUSE", value_name = "INTERVALS", default_value_t = 0.1)]
    pub pause: f64,
    /// How long a peer that is not alive is remembered: 10 intervals to 30 days.
    #[arg(long, env = "GRAPEVINE_GRACE", value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1h")]
    pub grace: Duration,
    /// How long the others are told that this node leaves, if they do not confirm it, up to 1h [default: an interval, from 5s to 30s].
    #[arg(long, env = "GRAPEVINE_LEAVE_TIME", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub leave_time: Option<Duration>,
    /// A key that the map has from the start; JSON where it is JSON, else a string. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The control socket [default: grapevine-PORT.sock in XDG_RUNTIME_DIR, or in a folder of your own in TMPDIR; none with --stdio or
    /// with port 0].
    #[arg(long, env = "GRAPEVINE_CONTROL", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub control: Option<PathBuf>,
    /// Print events as JSON, a line each.
    #[arg(long, env = "GRAPEVINE_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// Speak the line protocol over standard input and output; the end of the input means leave.
    #[arg(long)]
    pub stdio: bool,
    /// Keep the last known peers in this file, and try them when no seed answers.
    #[arg(long, env = "GRAPEVINE_REMEMBER", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub remember: Option<PathBuf>,
    /// The cluster's pre-shared keys, in a file that nobody else may read. It is read again when it was changed, and what `grapevine
    /// keyring` changes is saved in it. Without keys everything is plain.
    #[arg(long, env = "GRAPEVINE_KEY_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key_file: Option<PathBuf>,
    /// Take calls from others here, over TCP; port 0 for one that the system gives. Without --bind, gossip is on the port above.
    #[arg(long, env = "GRAPEVINE_LISTEN", value_name = "ADDR")]
    pub listen: Option<String>,
    /// The address under which the others reach --listen, if it is another [default: with a bind to all addresses, that of --advertise].
    #[arg(long, env = "GRAPEVINE_ADVERTISE_SERVICE", value_name = "ADDR")]
    pub advertise_service: Option<String>,
    /// Take plain calls here, whatever the keys say: for programs outside of the cluster, such as Seneca's. Best an address that only this
    /// host reaches.
    #[arg(long, env = "GRAPEVINE_LISTEN_PLAIN", value_name = "ADDR")]
    pub listen_plain: Option<String>,
    /// Others may only call with messages that match this, like role:api. May be repeated; in the variable with semicolons between.
    #[arg(long, env = "GRAPEVINE_PIN", value_name = "PATTERN", value_delimiter = ';')]
    pub pin: Vec<String>,
    /// An outside service, such as Seneca's, and the messages that it is sent. May be repeated; in the variable with
    /// semicolons between.
    #[arg(long, env = "GRAPEVINE_CLIENT", value_name = "HOST:PORT=PATTERN", value_delimiter = ';')]
    pub client: Vec<String>,
    /// Answer calls that match the pattern by a command that the shell runs, with the message as JSON on its standard input: the JSON
    /// object or array that it prints is the result. May be repeated; the variable holds one.
    #[arg(long, env = "GRAPEVINE_SERVE", value_name = "PATTERN=COMMAND")]
    pub serve: Vec<String>,
    /// At most so many of these commands run at once, 1 to 64; other calls wait.
    #[arg(long, env = "GRAPEVINE_SERVE_JOBS", value_name = "N", default_value_t = 4)]
    pub serve_jobs: usize,
    /// A command that takes longer is killed, 1 ms to 1 h.
    #[arg(long, env = "GRAPEVINE_SERVE_LIMIT", value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "10s")]
    pub serve_limit: Duration,
    /// A command that the shell runs for each event, with the event as JSON on its standard input.
    #[arg(long, env = "GRAPEVINE_ON_EVENT", value_name = "COMMAND")]
    pub on_event: Option<String>,
    /// For which events; `all` for every one. `missed` is told when commands took so long that others were not run.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        requires = "on_event",
        default_value = "new_peer,peer_alive,peer_failed,peer_left,peer_forgotten,address_conflict,wrong_cluster,missed"
    )]
    pub on_event_names: Vec<String>,
    /// At most so many of these commands run at once, 1 to 64. With 1 they run in the order of the events.
    #[arg(long, value_name = "N", requires = "on_event", default_value_t = 4)]
    pub on_event_jobs: usize,
    /// A command that takes longer is killed, 1 ms to 1 h.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "on_event", default_value = "30s")]
    pub on_event_limit: Duration,
}
