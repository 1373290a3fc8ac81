//! Faults planted into a copy of the source: the model of the threads finds each, or its silence would mean nothing.
//!
//! Built anew for each fault, which takes minutes: `cargo test --test faults -- --ignored`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is changed, and the test of the model that finds it.
struct Fault {
    what: &'static str,
    file: &'static str,
    /// What is right, and what is wrong.
    changes: &'static [(&'static str, &'static str)],
    found_by: &'static str,
}

const FAULTS: [Fault; 13] = [
    Fault {
        what: "waiting without a look at the counter of changes",
        file: "src/threads/shared.rs",
        changes: &[("if *changes == seen {", "if *changes == seen || true {")],
        found_by: "a_change_is_seen_under_every_schedule",
    },
    Fault {
        what: "who waits notified before the change is made",
        file: "src/threads/shared.rs",
        changes: &[
            ("        out.clear();\n", "        out.clear();\n        self.notify();\n"),
            ("        if !out.events.is_empty() {\n            self.notify();\n        }\n", ""),
        ],
        found_by: "waiting_ends_with_the_condition",
    },
    Fault {
        what: "an end of which nobody who waits is told",
        file: "src/threads/shared.rs",
        changes: &[(
            "        *self.changes.lock() += 1;\n        self.changed.notify_all();\n    }\n}\n",
            "    }\n}\n",
        )],
        found_by: "the_end_is_seen_by_who_waits",
    },
    Fault {
        what: "the promise until when a thread sleeps made after its look at the deadline",
        file: "src/threads/mod.rs",
        changes: &[("        alarm.sleeps_until.store(u64::MAX, Ordering::SeqCst);\n", "")],
        found_by: "work_is_done_at_its_deadline",
    },
    Fault {
        what: "a bell that forgets that it rang",
        file: "src/threads/shared.rs",
        changes: &[("        *self.rung.lock() = true;\n", "")],
        found_by: "an_alarm_that_rings_is_heard_under_every_schedule",
    },
    Fault {
        what: "a bell that rings before it is said that it did",
        file: "src/threads/shared.rs",
        changes: &[(
            "        *self.rung.lock() = true;\n        self.bell.notify_one();",
            "        self.bell.notify_one();\n        *self.rung.lock() = true;",
        )],
        found_by: "an_alarm_that_rings_is_heard_under_every_schedule",
    },
    Fault {
        what: "Stopped published by everyone who stops the node",
        file: "src/threads/shared.rs",
        changes: &[(
            "        if self.stop.swap(true, Ordering::SeqCst) {\n            return;\n        }\n",
            "        self.stop.store(true, Ordering::SeqCst);\n",
        )],
        found_by: "one_reason_for_the_end_is_told",
    },
    Fault {
        what: "Stopped published twice",
        file: "src/threads/shared.rs",
        changes: &[(
            "        subscribers.close();\n",
            "        subscribers.publish(&Event::Stopped { panicked });\n        subscribers.close();\n",
        )],
        found_by: "a_node_ends_once_whoever_ends_it_and_however_often",
    },
    Fault {
        what: "threads that are not joined",
        file: "src/gossiper/mod.rs",
        changes: &[("            let _ = thread.join();\n", "            drop(thread);\n")],
        found_by: "start_returns_with_three_threads_and_drop_with_none",
    },
    Fault {
        what: "a receiver that is not interrupted",
        file: "src/threads/shared.rs",
        changes: &[(
            "        self.drain.answer(u64::MAX);\n        self.transport.interrupt();\n",
            "        self.drain.answer(u64::MAX);\n",
        )],
        found_by: "start_returns_with_three_threads_and_drop_with_none",
    },
    Fault {
        what: "an event pushed out and not counted",
        file: "src/subscription.rs",
        changes: &[("                    subscriber.missed.fetch_add(1, Ordering::Relaxed);\n", "")],
        found_by: "nothing_is_lost_without_being_counted",
    },
    Fault {
        what: "an answer to no question",
        file: "src/threads/mod.rs",
        changes: &[(
            "            Ok(None) if shared.drain.asked() != asked => shared.transport.interrupt(),\n            Ok(None) => shared.drain.answer(asked),\n",
            "            Ok(None) => shared.drain.answer(shared.drain.asked()),\n",
        )],
        found_by: "what_waits_is_worked_off_before_anybody_is_suspected",
    },
    Fault {
        what: "two locks taken in two orders",
        file: "src/threads/shared.rs",
        changes: &[(
            "        stats.events_missed = self.subscribers.lock().missed();",
            "        let subscribers = self.subscribers.lock();\n        let _node = self.node.lock();\n        stats.events_missed = subscribers.missed();",
        )],
        found_by: "subscriptions_come_and_go_while_events_are_published",
    },
];

#[test]
#[ignore = "builds the library once for each fault"]
fn the_model_finds_every_fault_that_is_planted() {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    copy_source(&copy);
    assert_eq!(found(&copy, "threads::model"), None, "without a fault it finds none");
    let mut missed = Vec::new();
    for fault in &FAULTS {
        let file = copy.join(fault.file);
        let source = fs::read_to_string(&file).unwrap();
        let mut faulty = source.clone();
        for (right, wrong) in fault.changes {
            assert_eq!(faulty.matches(right).count(), 1, "{}: what is to be wrong is not there", fault.what);
            faulty = faulty.replace(right, wrong);
        }
        fs::write(&file, faulty).unwrap();
        let by = found(&copy, fault.found_by);
        fs::write(&file, source).unwrap();
        println!("{}: {}", fault.what, by.as_deref().unwrap_or("NOT FOUND"));
        if by.is_none() {
            missed.push(fault.what);
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Runs the tests whose names contain `filter`; how the first one that fails says so.
fn found(folder: &Path, filter: &str) -> Option<String> {
    let run = Command::new(env!("CARGO"))
        .current_dir(folder)
        .args(["test", "--quiet", "--lib", filter])
        .env("RUSTFLAGS", "--cfg shuttle -Awarnings")
        .env("CARGO_TARGET_DIR", folder.join("target"))
        // Built often and run for moments.
        .env("CARGO_PROFILE_TEST_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env("RUST_BACKTRACE", "0")
        .env_remove("SCHEDULES")
        .output()
        .unwrap();
    if run.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(text.contains("test result: FAILED"), "it does not build: {text}");
    let mut lines = text.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
    Some(lines.next().unwrap_or_default().chars().take(120).collect())
}

fn copy_source(to: &Path) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(to).unwrap();
    let _ = fs::remove_dir_all(to.join("src"));
    copy_folder(&root.join("src"), &to.join("src"));
    fs::copy(root.join("Cargo.lock"), to.join("Cargo.lock")).unwrap();
    fs::copy(root.join("README.md"), to.join("README.md")).unwrap();
    // Only the library is built there.
    let mut manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    while let Some(start) = ["[[bench]]", "[[example]]", "[[test]]"].iter().find_map(|section| manifest.find(section)) {
        let end = manifest[start + 1..].find("\n[").map_or(manifest.len(), |end| start + 1 + end);
        manifest.replace_range(start..end, "");
    }
    fs::write(to.join("Cargo.toml"), manifest).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
