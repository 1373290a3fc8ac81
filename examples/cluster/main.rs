//! A whole cluster in one process, for real: every node has its own UDP socket on the loopback interface.
//!
//! The nodes find each other through one seed. A late peer joins and sets a key, then one with a life. One node
//! restarts with another map, one leaves, and one is killed without a word. Each step is watched on every node until
//! the last one has seen it; the summary says how long that took. The exit status is 0 only if all of it happened.
//!
//! ```sh
//! cargo run --release --example cluster
//! cargo run --release --example cluster -- --nodes 50 --ipv6
//! RUST_LOG=grapevine=debug cargo run --release --example cluster -- --nodes 3 2>log
//! ```

mod cluster;
mod options;
mod screen;
mod sights;
mod summary;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use grapevine::{Event, Gossiper, Peer, PeerState};

use cluster::{Cluster, INTERVAL, Member, seconds};
use options::Options;
use screen::Screen;
use sights::{Map, sees_alive, sees_state, sees_value};
use summary::Step;

/// How long the key with a life lives.
const LIFE: Duration = Duration::from_secs(2);
/// Whatever happens, the program has ended by then.
const WATCHDOG: Duration = Duration::from_secs(29);

fn main() -> ExitCode {
    env_logger::init();
    let args = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    let options = match Options::parse(args) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("error: {problem}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    start_watchdog();
    let mut screen = Screen::new();
    match tell_story(&options, &mut screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            screen.fail(&problem);
            ExitCode::FAILURE
        }
    }
}

fn tell_story(options: &Options, screen: &mut Screen) -> Result<(), String> {
    let start = Instant::now();
    let nodes = options.nodes;
    let mut cluster = Cluster::new(options.ip());
    let mut steps = vec![
        start_cluster(&mut cluster, nodes, screen)?,
        join_late(&mut cluster, screen)?,
        set_key(&cluster, screen)?,
        set_key_with_a_life(&cluster, screen)?,
        restart_with_another_map(&mut cluster, screen)?,
    ];
    let (left, step) = leave(&mut cluster, screen)?;
    steps.push(step);
    let (killed, step) = kill(&mut cluster, screen)?;
    steps.push(step);
    summary::print_times(&steps, screen);
    summary::check_events(&mut cluster, nodes, left, killed, screen)?;
    summary::check_traffic(&cluster, screen)?;
    screen.say(&format!("All of it happened, in {:.1} s.", start.elapsed().as_secs_f64()));
    Ok(())
}

fn start_cluster(cluster: &mut Cluster, nodes: usize, screen: &mut Screen) -> Result<Step, String> {
    let start = Instant::now();
    let seed = cluster.start_next()?.node.peer();
    let interval = INTERVAL.as_millis();
    screen.say(&format!("{nodes} nodes, one seed ({seed}), gossip every {interval} ms\n"));
    // All but the seed and the late peer.
    for _ in 2..nodes {
        cluster.start_next()?;
    }
    let title = format!("the first {} nodes find each other through node 0", nodes - 1);
    let times = cluster.everywhere_since(screen, &title, start, |node| sees_alive(node, nodes - 2))?;
    screen.tick();
    Ok(Step::new("all alive", times))
}

fn join_late(cluster: &mut Cluster, screen: &mut Screen) -> Result<Step, String> {
    let start = Instant::now();
    let title = format!("{} joins late", cluster.start_next()?.name);
    let others = cluster.members.len() - 1;
    let times = cluster.everywhere_since(screen, &title, start, |node| sees_alive(node, others))?;
    screen.tick();
    Ok(Step::new("late alive", times))
}

fn set_key(cluster: &Cluster, screen: &mut Screen) -> Result<Step, String> {
    let Member { name, node: late, .. } = cluster.late();
    let title = format!("{name} sets greeting = \"hello\": all read it");
    let set = || late.set("greeting", "hello");
    let read = |node: &Gossiper| sees_value(node, late.peer(), "greeting", Some("hello"));
    let times = cluster.everywhere_after(screen, &title, set, read)?;
    screen.tick();
    Ok(Step::new("key set", times))
}

/// What travels is the time that is left, so every node has a deadline of its own, on its own clock.
fn set_key_with_a_life(cluster: &Cluster, screen: &mut Screen) -> Result<Step, String> {
    let Member { name, node: late, .. } = cluster.late();
    let (peer, deadline) = (late.peer(), Instant::now() + LIFE);
    let set = || late.set_until("offer", "today only", deadline);
    let read = |node: &Gossiper| sees_value(node, peer, "offer", Some("today only"));
    let gone = |node: &Gossiper| sees_value(node, peer, "offer", None);
    let title = format!("{name} sets a key with a life of {} s: all read it", LIFE.as_secs());
    cluster.everywhere_after(screen, &title, set, read)?;
    for Member { name, node, .. } in &cluster.members {
        let theirs = node.entry(peer, "offer").and_then(|entry| node.to_system(entry.deadline?));
        let off = seconds(theirs.ok_or(format!("{name} has no deadline for the key"))?, deadline);
        if off.abs() > INTERVAL.as_secs_f64() {
            return Err(format!("{name} has a deadline that is {off:+.3} s off"));
        }
    }
    let title = format!("{name} set a key with a life of {} s: gone everywhere", LIFE.as_secs());
    let times = cluster.everywhere_since(screen, &title, deadline, gone)?;
    let step = Step::new("key gone", times).note("after its deadline");
    if step.first() < -INTERVAL.as_secs_f64() {
        return Err(format!("it was gone {:.3} s before its deadline", -step.first()));
    }
    screen.tick();
    Ok(step)
}

/// The second run knows nothing of the first: its versions are lower, and still it wins. In the end everyone holds its
/// map and nothing of the first one, and what was deleted in that is never seen again.
fn restart_with_another_map(cluster: &mut Cluster, screen: &mut Screen) -> Result<Step, String> {
    let place = 1;
    let others = cluster.members.len() - 1;
    write_first_map(cluster, place, screen)?;
    let Member { name, node, .. } = &cluster.members[place];
    let (name, peer, old) = (name.clone(), node.peer(), Map::seen_by(node, node.peer()));

    let start = Instant::now();
    cluster.restart(place, |builder| builder.initial("name", "second run").initial("colour", "green"))?;
    let new = Map::seen_by(&cluster.members[place].node, peer);
    if new.generation <= old.generation || new.version >= old.version {
        return Err(format!("not a higher generation with lower versions: {new:?} after {old:?}"));
    }
    let undead = AtomicBool::new(false);
    let sees_second_run = |node: &Gossiper| {
        let seen = Map::seen_by(node, peer);
        undead.fetch_or(seen.entries.contains_key("draft"), Ordering::Relaxed);
        if seen != new {
            return Err(format!("sees {seen:?}"));
        }
        sees_alive(node, others)
    };
    let title = format!("{name} restarts with another map: all see only that");
    let times = cluster.everywhere_since(screen, &title, start, sees_second_run)?;
    if undead.into_inner() {
        return Err("a deleted key of the first map was back for a while".to_owned());
    }
    screen.tick();
    Ok(Step::new("restart seen", times).note(&format!("version {} after {}", new.version, old.version)))
}

/// Many versions, and a key that is deleted once everyone has it.
fn write_first_map(cluster: &Cluster, place: usize, screen: &mut Screen) -> Result<(), String> {
    let Member { name, node: writer, .. } = &cluster.members[place];
    let title = format!("{name} is to restart; before that it fills its map");
    let fill = || {
        (1..=10).try_for_each(|load| writer.set("load", &load).map(drop))?;
        writer.set("draft", "to be deleted")
    };
    let full = |node: &Gossiper| sees_value(node, writer.peer(), "draft", Some("to be deleted"));
    cluster.everywhere_after(screen, &title, fill, full)?;
    let deleted = |node: &Gossiper| sees_value(node, writer.peer(), "draft", None);
    cluster.everywhere_after(screen, &title, || writer.delete("draft"), deleted)?;
    Ok(())
}

fn leave(cluster: &mut Cluster, screen: &mut Screen) -> Result<(Peer, Step), String> {
    let Member { name, node: leaver, .. } = cluster.take(cluster.members.len() - 2);
    let title = format!("{name} leaves: all list it as left");
    let goodbye = || leaver.leave(Duration::from_secs(5));
    let left = |node: &Gossiper| sees_state(node, leaver.peer(), PeerState::Left);
    let times = cluster.everywhere_after(screen, &title, goodbye, left)?;
    screen.tick();
    Ok((leaver.peer(), Step::new("leave seen", times)))
}

fn kill(cluster: &mut Cluster, screen: &mut Screen) -> Result<(Peer, Step), String> {
    let Member { name, node: killed, .. } = cluster.take(cluster.members.len() - 1);
    let title = format!("{name} is killed without a word: all list it as failed");
    let kill = || {
        killed.stop();
        Ok(())
    };
    let failed = |node: &Gossiper| sees_state(node, killed.peer(), PeerState::Failed);
    let times = cluster.everywhere_after(screen, &title, kill, failed)?;
    screen.tick();
    let step = Step::new("failure seen", times);
    cluster.gather_events();
    let intervals = step.last() / INTERVAL.as_secs_f64();
    let note = format!("{intervals:.1} intervals, at phi {:.1}", highest_phi(killed.peer(), cluster));
    Ok((killed.peer(), step.note(&note)))
}

/// The highest suspicion at which a peer was said to have failed.
fn highest_phi(failed: Peer, cluster: &Cluster) -> f64 {
    let phis = cluster.log.iter().filter_map(|(_, event)| match event {
        Event::PeerFailed { peer, phi, .. } if *peer == failed => Some(*phi),
        _ => None,
    });
    phis.fold(0.0, f64::max)
}

fn start_watchdog() {
    thread::spawn(|| {
        thread::sleep(WATCHDOG);
        eprintln!("\nerror: it has not ended in {WATCHDOG:?}; this is a bug");
        process::exit(1);
    });
}
