//! The layers: `src/lib.rs` lists the modules from bottom to top, and a module names only those above it in that list. A total
//! order, so no cycle can exist. And what else the architecture promises about who names what.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file: the module of `lib.rs` that it belongs to, its path, and its code without comments and tests.
struct Source {
    module: String,
    path: PathBuf,
    code: String,
    lines: usize,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules in the order of `lib.rs`.
fn modules() -> Vec<String> {
    let text = fs::read_to_string(root().join("lib.rs")).unwrap();
    let declared = text.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
    declared.filter_map(|rest| rest.strip_suffix(';')).map(str::to_owned).collect()
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    let sources = files.into_iter().filter(|path| !path.ends_with("lib.rs")).map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let first = path.strip_prefix(root()).unwrap().components().next().unwrap();
        let module = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        Source { module, code: code_of(&text), lines: text.lines().count(), path }
    });
    sources.collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

/// Without comments, and without the tests, which stand last.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that code names by `crate::`, in a list in braces too.
fn named(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => names.extend(list.split('}').next().unwrap().split(',').map(|item| word(item.trim()))),
            None => names.push(word(rest)),
        }
    }
    names
}

#[test]
fn modules_name_only_those_above_them() {
    let modules = modules();
    let place = |name: &str| modules.iter().position(|module| module == name);
    let mut checked = 0;
    for source in sources() {
        let own = place(&source.module).unwrap_or_else(|| panic!("lib.rs does not list {}", source.path.display()));
        for name in named(&source.code) {
            let other = place(&name).unwrap_or_else(|| panic!("{}: crate::{name} is no module", source.path.display()));
            assert!(other <= own, "{} names crate::{name}, which stands below it in lib.rs", source.path.display());
            checked += usize::from(other < own);
        }
    }
    assert!(checked > 100, "only {checked} names were found: does this test still read the code?");
}

/// The only files that may name a thing.
fn only_in(name: &str, files: &[&str]) {
    let found: Vec<PathBuf> =
        sources().into_iter().filter(|source| source.code.contains(name)).map(|source| source.path).collect();
    for path in &found {
        assert!(files.iter().any(|file| path.ends_with(file)), "{} names {name}", path.display());
    }
    assert_eq!(found.len(), files.len(), "{name} is expected in {files:?}");
}

#[test]
fn each_foreign_thing_has_its_place() {
    only_in("rmp_serde::", &["msgpack.rs"]);
    only_in("rmp::", &["msgpack.rs"]);
    only_in("socket2::", &["transport/udp.rs"]);
    only_in("thread::Builder", &["threads.rs"]);
    only_in("SystemTime", &["gossiper.rs"]);
    only_in("catch_unwind", &["threads.rs"]);
}

/// No clock, socket, thread or dice of its own.
#[test]
fn the_core_is_handed_everything() {
    let core = [
        "instant",
        "msgpack",
        "peer",
        "value",
        "event",
        "stats",
        "detector",
        "config",
        "state",
        "wire",
        "flow",
        "reconcile",
        "select",
        "node",
    ];
    let foreign = [
        "std::time::Instant",
        "time::SystemTime",
        "Instant::now",
        "std::thread",
        "UdpSocket",
        "ToSocketAddrs",
        "fastrand::Rng::new",
        "Rng::new()",
        "parking_lot",
        "crossbeam",
        "log::info",
        "log::warn",
        "log::debug",
        "log::error",
        "println!",
    ];
    for source in sources().iter().filter(|source| core.contains(&source.module.as_str())) {
        for name in foreign {
            assert!(!source.code.contains(name), "{} names {name}", source.path.display());
        }
    }
}

#[test]
fn nothing_is_put_off_and_nothing_panics() {
    for source in sources() {
        for name in ["todo!", "unimplemented!", "dbg!", ".unwrap()", ".expect(", "panic!", "unreachable!", "assert!"] {
            assert!(!source.code.contains(name), "{} has {name}", source.path.display());
        }
    }
}

#[test]
fn files_have_one_job() {
    for source in sources() {
        assert!(source.lines <= 500, "{} has {} lines", source.path.display(), source.lines);
    }
}
