//! The command line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

pub const USAGE: &str = "\
usage: cluster [--nodes N] [--ipv6]

  --nodes N   how many nodes, 3 to 200; 21 by default
  --ipv6      on [::1] instead of 127.0.0.1
  --help      this text

RUST_LOG=grapevine=debug has the nodes tell more, on standard error;
NO_COLOR=1 prints without colours.";

const NODES: RangeInclusive<usize> = 3..=200;

pub struct Options {
    pub nodes: usize,
    ipv6: bool,
}

impl Options {
    /// `None` if only help was asked for.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut options = Options { nodes: 21, ipv6: false };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--nodes" => options.nodes = parse_nodes(args.next())?,
                "--ipv6" => options.ipv6 = true,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("there is no argument `{arg}`")),
            }
        }
        Ok(Some(options))
    }

    pub fn ip(&self) -> IpAddr {
        if self.ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
    }
}

fn parse_nodes(text: Option<String>) -> Result<usize, String> {
    let text = text.ok_or("--nodes needs a number, as in `--nodes 50`")?;
    match text.parse() {
        Ok(nodes) if NODES.contains(&nodes) => Ok(nodes),
        _ => Err(format!("--nodes is {text}; it can be {} to {}", NODES.start(), NODES.end())),
    }
}
