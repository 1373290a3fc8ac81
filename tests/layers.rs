//! What `src/lib.rs` says of the layers is so: a module names only those above it in the list, and the core is a plain value.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that are handed the time, dice and datagrams, and reach for none themselves, with the vocabulary that they share.
const CORE: [&str; 15] = [
    "instant",
    "msgpack",
    "peer",
    "keyring",
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

/// A file of a module, without its comments and its tests; those of the threads' model are in folders of their own.
struct Source {
    path: String,
    module: String,
    code: String,
    lines: usize,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn program_root() -> PathBuf {
    root().join("bin/grapevine")
}

/// Every file of every module of the library; `lib.rs` belongs to none.
fn sources() -> Vec<Source> {
    let mut sources = sources_in(&root());
    sources.retain(|source| source.module != "bin" && source.path != "lib.rs");
    sources
}

/// Every file of every module of the program; `main.rs` belongs to none.
fn program_sources() -> Vec<Source> {
    let mut sources = sources_in(&program_root());
    sources.retain(|source| source.path != "main.rs");
    sources
}

fn sources_in(root: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    collect(root, &mut files);
    let sources = files.into_iter().filter_map(|file| {
        let path = file.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
        let module = path.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let code = without_tests(&without_comments(&text));
        let tests = path.ends_with("/tests.rs") || path.contains("/model/");
        (!tests).then(|| Source { lines: text.lines().count(), path, module, code })
    });
    let sources: Vec<Source> = sources.collect();
    assert!(sources.len() > 10, "the source is where it was");
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Cuts every line where a comment begins. One that seems to begin inside a string is cut too; that hides no path.
fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Takes out every item behind `#[cfg(test)]`: up to the brace that closes it, or the semicolon or comma before any.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some((before, item)) = rest.split_once("#[cfg(test)]") {
        kept.push_str(before);
        let mut depth = 0usize;
        let end = item.char_indices().find(|(_, c)| {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth -= 1,
                _ => {}
            }
            depth == 0 && matches!(c, '}' | ';' | ',')
        });
        rest = end.map_or("", |(end, _)| &item[end + 1..]);
    }
    kept + rest
}

/// The modules in the order in which `lib.rs` declares them: from bottom to top.
fn declared(lib: &str) -> Vec<String> {
    let names = without_tests(&without_comments(lib));
    let names = names.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
    });
    names.collect()
}

/// What follows each `word::` in the code: names of items and modules, or an opening brace.
fn after<'a>(code: &'a str, word: &str) -> Vec<&'a str> {
    let path = format!("{word}::");
    let starts = code.match_indices(&path).filter(|(at, _)| !code[..*at].ends_with(is_part_of_a_name));
    let names = starts.map(|(at, _)| {
        let rest = &code[at + path.len()..];
        let end = rest.find(|c| !is_part_of_a_name(c)).unwrap_or(rest.len());
        &rest[..end.max(1)]
    });
    names.collect()
}

/// Whether the code names this, as a whole word.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part_of_a_name) && !code[at + word.len()..].starts_with(is_part_of_a_name)
    })
}

fn is_part_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Which of the modules that a module names are not declared before it.
fn upward<'a>(declared: &[String], module: &str, code: &'a str) -> Vec<&'a str> {
    let place = |name: &str| declared.iter().position(|other| other == name);
    let mine = place(module).unwrap_or_else(|| panic!("`{module}` is not declared in lib.rs"));
    let mut named = after(code, "crate");
    named.retain(|name| *name != module && place(name).is_none_or(|place| place > mine));
    named
}

/// Everything in the code that a core without clock, threads, sockets and dice of its own cannot name.
fn surroundings(code: &str) -> Vec<String> {
    let words = [
        "SystemTime",
        "UdpSocket",
        "TcpStream",
        "ToSocketAddrs",
        "thread",
        "spawn",
        "Mutex",
        "RwLock",
        "Condvar",
        "parking_lot",
        "crossbeam_channel",
        "RandomState",
        "HashMap",
        "HashSet",
        "println",
        "eprintln",
        "env",
        "fs",
    ];
    let mut found: Vec<String> = words.iter().filter(|word| names(code, word)).map(|word| (*word).to_owned()).collect();
    for (place, name) in [("time", "Instant"), ("fastrand", "{")] {
        found.extend(after(code, place).iter().filter(|other| **other == name).map(|_| format!("{place}::{name}")));
    }
    // A logger is somebody else's code: the core hands back lines for it.
    let loggers = ["error", "warn", "info", "debug", "trace", "log"];
    found.extend(after(code, "log").iter().filter(|name| loggers.contains(name)).map(|name| format!("log::{name}")));
    // `use std::time::{Duration, Instant}`, and an `Instant` that reads a clock.
    found.extend(braces_after(code, "std::time::").filter(|list| names(list, "Instant")).map(str::to_owned));
    found.extend(code.match_indices("Instant::now").map(|(_, text)| text.to_owned()));
    // Dice are handed in as `Rng`, with a seed; the functions of the crate itself share one that nobody seeds.
    found.extend(after(code, "fastrand").iter().filter(|name| **name != "Rng").map(|name| format!("fastrand::{name}")));
    found.extend(code.match_indices("Rng::new").map(|(_, text)| text.to_owned()));
    found
}

fn braces_after<'a>(code: &'a str, path: &str) -> impl Iterator<Item = &'a str> {
    let starts: Vec<usize> = code.match_indices(path).map(|(at, path)| at + path.len()).collect();
    starts.into_iter().filter_map(|at| code[at..].strip_prefix('{')?.split('}').next())
}

#[test]
fn every_module_names_only_those_below_it() {
    check_layers(&root().join("lib.rs"), &sources(), 100);
    check_layers(&program_root().join("main.rs"), &program_sources(), 20);
}

/// The same within a module that lists its own in this way.
#[test]
fn every_module_of_services_names_only_those_below_it() {
    let folder = root().join("service");
    let declared = declared(&fs::read_to_string(folder.join("mod.rs")).unwrap());
    let mut seen = BTreeSet::new();
    for source in sources_in(&folder).iter().filter(|source| source.path != "mod.rs") {
        let place = |name: &str| declared.iter().position(|other| other == name);
        let mine = place(&source.module).unwrap_or_else(|| panic!("`{}` is not declared", source.module));
        let mut named = after(&source.code, "crate::service");
        named.extend(braces_after(&source.code, "crate::service::").flat_map(|list| list.split(", ")));
        named.retain(|name| *name != "{" && *name != source.module && place(name).is_none_or(|place| place > mine));
        assert!(named.is_empty(), "service/{}: paths that lead upwards: {named:?}", source.path);
        seen.insert(source.module.clone());
    }
    assert_eq!(seen.len(), declared.len(), "each is a file");
}

fn check_layers(root: &Path, sources: &[Source], least_paths: usize) {
    let declared = declared(&fs::read_to_string(root).unwrap());
    let mut wrong = BTreeMap::new();
    let paths: usize = sources.iter().map(|source| after(&source.code, "crate").len()).sum();
    assert!(paths > least_paths, "only {paths} paths were found: is the code still read?");
    for source in sources {
        let named = upward(&declared, &source.module, &source.code);
        if !named.is_empty() {
            wrong.insert(&source.path, named);
        }
    }
    assert!(wrong.is_empty(), "paths that lead upwards, or name something else than a module: {wrong:#?}");
    for module in &declared {
        assert!(sources.iter().any(|source| source.module == *module), "`{module}` has a file");
    }
}

#[test]
fn each_foreign_thing_has_its_one_place() {
    let places: [(&str, &[&str]); 10] = [
        ("rmp", &["msgpack.rs"]),
        ("rmp_serde", &["msgpack.rs"]),
        ("socket2", &["transport/udp.rs", "service/sockets.rs"]),
        ("snow", &["service/keys/noise.rs"]),
        ("parking_lot", &["sync/mod.rs"]),
        ("crossbeam_channel", &["sync/mod.rs"]),
        ("SystemTime", &["sync/mod.rs"]),
        ("RandomState", &["sync/mod.rs"]),
        ("catch_unwind", &["threads/mod.rs", "service/threads.rs"]),
        ("thread::Builder", &["threads/", "service/threads.rs", "key_file/watch.rs"]),
    ];
    let sources = sources();
    for (thing, allowed) in places {
        let named: Vec<&str> = sources.iter().filter(|s| names(&s.code, thing)).map(|s| &*s.path).collect();
        let at = |place: &&str| named.iter().any(|path| path.starts_with(place));
        assert!(allowed.iter().all(at), "{thing} is named in {named:?} only");
        let is_allowed = |path: &&str| allowed.iter().any(|place| path.starts_with(place));
        assert!(named.iter().all(is_allowed), "{thing} is named in {named:?}");
    }
    for source in sources {
        assert!(!names(&source.code, "env_logger"), "{}: it belongs to the program", source.path);
    }
}

/// Whatever decides who runs when, and reads a clock, is taken from `sync`: or the model would not see it.
#[test]
fn what_the_model_replaces_comes_from_one_place() {
    let words =
        ["std::thread", "std::sync::atomic", "std::sync::Mutex", "std::sync::Condvar", "Instant::now", "Clock::now"];
    for source in sources() {
        let mut found: Vec<&str> = words.into_iter().filter(|word| names(&source.code, word)).collect();
        found.extend(source.code.matches(".elapsed()"));
        let may = ["sync/mod.rs", "service/lock.rs"].contains(&&*source.path);
        assert!(found.is_empty() || may, "{}: {found:?}", source.path);
    }
}

#[test]
fn the_core_has_no_surroundings() {
    let mut seen = 0;
    for source in sources().iter().filter(|source| CORE.contains(&&*source.module)) {
        let found = surroundings(&source.code);
        assert!(found.is_empty(), "{}: {found:?}", source.path);
        seen += 1;
    }
    assert!(seen > CORE.len());
}

#[test]
fn nothing_is_left_to_do_and_nothing_panics_on_purpose() {
    let macros = ["todo", "unimplemented", "dbg", "panic", "unreachable", "assert", "assert_eq"];
    // `println` panics when nobody reads any more.
    let printing = ["print", "println", "eprintln"];
    for source in sources().iter().chain(&program_sources()) {
        for macro_name in macros.iter().chain(&printing) {
            let called = format!("{macro_name}!");
            let found =
                source.code.match_indices(&called).any(|(at, _)| !source.code[..at].ends_with(is_part_of_a_name));
            assert!(!found, "{called} in {}", source.path);
        }
        for call in [".unwrap()", ".expect(", ".unwrap_err()"] {
            assert!(!source.code.contains(call), "{call} in {}", source.path);
        }
    }
}

#[test]
fn no_file_is_too_long() {
    for source in sources().iter().chain(&program_sources()) {
        assert!(source.lines <= 500, "{} has {} lines", source.path, source.lines);
        if source.lines > 400 {
            println!("{} has {} lines", source.path, source.lines);
        }
    }
}

/// The checks find what is planted, or they would be worth nothing.
#[test]
fn the_checks_find_what_they_look_for() {
    let lib = "pub mod low;\n// mod not;\nmod mid;\npub(crate) mod high;\n#[cfg(test)]\nmod tests;";
    let list = declared(lib);
    assert_eq!(list, ["low", "mid", "high"]);
    assert_eq!(upward(&list, "mid", "use crate::low::A; use crate::mid::b; fn f() { crate::high::c() }"), ["high"]);
    assert_eq!(upward(&list, "high", "use crate::{low, mid}; use crate::Item; my_crate::high"), ["{", "Item"]);

    let code = without_tests(&without_comments(
        "a(); // x.unwrap()\n/// [`crate::high`]\n#[cfg(test)]\nmod tests { fn f() { g().unwrap(); } }\nb();",
    ));
    assert!(names(&code, "a") && names(&code, "b") && !code.contains("unwrap") && !names(&code, "high"));
    assert!(!without_tests("#[cfg(test)]\nmod tests;\nc();").contains("tests"));
    let field = without_tests("struct A {\n#[cfg(test)]\nb: Vec<C>,\nd: D }\n#[cfg(test)]\nfn e(f: F, g: G) { h() }");
    assert!(!names(&field, "b") && names(&field, "d") && !names(&field, "h"), "{field}");

    for bad in [
        "use std::time::Instant;",
        "use std::time::{Duration, Instant};",
        "time::Instant::now()",
        "let t = Instant::now();",
        "use std::{thread, time::Duration};",
        "std::net::UdpSocket::bind(a)",
        "SystemTime::now()",
        "fastrand::u32(..)",
        "log::warn!()",
        "use fastrand::{Rng, shuffle};",
        "Rng::new()",
        "use std::collections::HashMap;",
        "std::thread::sleep(d)",
    ] {
        assert!(!surroundings(bad).is_empty(), "{bad}");
    }
    for good in ["use std::time::Duration;", "use crate::instant::Instant;", "use fastrand::Rng;", "Rng::with_seed(1)"]
    {
        assert!(surroundings(good).is_empty(), "{good}: {:?}", surroundings(good));
    }
}
