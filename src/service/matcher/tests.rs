use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::service::compare::agrees;
use crate::service::pattern::IntoPattern;
use crate::service::text;

fn message(text: &str) -> Map<String, Value> {
    text::parse(text).unwrap()
}

fn matcher(patterns: &[&str]) -> Matcher<String> {
    let mut matcher = Matcher::new();
    for pattern in patterns {
        assert_eq!(matcher.insert(pattern.parse().unwrap(), pattern.to_string()), None, "{pattern}");
    }
    matcher
}

fn found<'t>(matcher: &'t Matcher<String>, text: &str) -> Option<&'t str> {
    matcher.find(&message(text)).map(|(_, found)| &**found)
}

/// Everything that was observed with these patterns in Seneca 3.38.
#[test]
fn runs_what_seneca_runs() {
    let patterns = ["a:1", "a:1,b:2", "a:1,b:2,c:3", "a:1,c:3", "b:2", "b:2,c:3", "x:1", "x:*", "y:ab*", "role:api"];
    let mut matcher = matcher(&patterns);
    matcher.insert("role:api,cmd:add".parse().unwrap(), "role:api,cmd:add".to_owned());
    let observed = [
        ("a:1,d:9", Some("a:1")),
        ("b:2,a:1", Some("a:1,b:2")),
        ("a:1,b:2,c:9", Some("a:1,b:2")),
        ("a:2,b:2", Some("b:2")),
        ("a:2", None),
        ("x:foo", Some("x:*")),
        ("x:1", Some("x:1")),
        ("x:", None),
        ("y:abc", Some("y:ab*")),
        ("y:zz", None),
        ("x:foo,a:1", Some("a:1")),
        ("role:api,cmd:zzz", Some("role:api")),
        ("role:api,cmd:add,left:1", Some("role:api,cmd:add")),
        ("{}", None),
        ("A:1", None),
        ("{a:null,b:2}", Some("b:2")),
    ];
    for (message, expected) in observed {
        assert_eq!(found(&matcher, message), expected, "{message}");
    }
}

#[test]
fn the_answer_is_what_was_found_when_the_walk_ends() {
    // No going back once something was found: the answers of patrun 7.3, where a wider search would find more.
    assert_eq!(found(&matcher(&["a:1", "a:1,b:2,c:9", "a:1,c:3"]), "a:1,b:2,c:3"), Some("a:1"));
    assert_eq!(found(&matcher(&["", "a:1,b:2", "b:3"]), "a:1,b:3"), Some(""));
    // And going back as long as nothing was.
    assert_eq!(found(&matcher(&["a:1,b:2", "b:3"]), "a:1,b:3"), Some("b:3"));
    assert_eq!(found(&matcher(&["a:1,b:2,c:9", "a:1,c:3"]), "a:1,b:2,c:3"), Some("a:1,c:3"));
    assert_eq!(found(&matcher(&["x:1,y:1", "x:*,y:2", "y:2"]), "x:1,y:2"), Some("y:2"));
}

#[test]
fn globs_are_tried_in_the_order_of_insertion() {
    assert_eq!(found(&matcher(&["x:*", "x:ab*"]), "x:abc"), Some("x:*"));
    assert_eq!(found(&matcher(&["x:ab*", "x:*"]), "x:abc"), Some("x:ab*"));
    assert_eq!(found(&matcher(&["x:ab*", "x:*", "x:abc"]), "x:abc"), Some("x:abc"));
}

#[test]
fn globs_are_tried_in_an_order_that_everybody_has() {
    let globs = ["x:*", "x:a*", "x:ab*", "x:*b*", "x:a??", "x:a?*", "x:?b*"];
    let expected = ["x:ab*", "x:a??", "x:?b*", "x:a?*", "x:*b*", "x:a*", "x:*"];
    for turn in 0..globs.len() {
        let mut turned = globs;
        turned.rotate_left(turn);
        let mut matcher = Matcher::most_specific_globs_first();
        for glob in turned {
            matcher.insert(glob.parse().unwrap(), glob);
        }
        for (place, glob) in expected.into_iter().enumerate() {
            assert_eq!(matcher.iter().map(|(_, glob)| *glob).collect::<Vec<_>>(), expected[place..]);
            assert_eq!(matcher.find(&message("x:abc")).map(|(_, found)| *found), Some(glob));
            matcher.remove(&glob.parse().unwrap());
        }
    }
}

/// What patrun finds nothing for, or something that does not agree.
#[test]
fn the_differences_are_these() {
    assert_eq!(found(&matcher(&["x:1,y:1", "x:*,y:2"]), "x:1,y:2"), Some("x:*,y:2"));
    assert_eq!(found(&matcher(&["x:a*,y:1", "x:*,y:2"]), "x:abc,y:2"), Some("x:*,y:2"));
    for value in ["[]", "[1]", "{}", "{ab:1}"] {
        assert_eq!(found(&matcher(&["x:ab*"]), &format!("x:{value}")), None, "{value}");
        assert_eq!(found(&matcher(&["x:*"]), &format!("x:{value}")), Some("x:*"), "{value}");
    }
    assert_eq!(found(&matcher(&["x:'null'"]), "x:null"), None);
    assert_eq!(found(&matcher(&["x:undefined"]), "y:1"), None);
    assert_eq!(found(&matcher(&["x:*"]), "x:constructor"), Some("x:*"));
    assert_eq!(found(&matcher(&["toString:*"]), "x:1"), None);
    assert_eq!(found(&matcher(&["'':1", "'':1,a:2"]), "'':1,a:2"), Some("'':1,a:2"));
}

#[test]
fn what_is_removed_is_not_in_the_way() {
    let mut matcher = matcher(&["a:1", "a:1,b:2", "a:1,c:3", "x:1", "x:*", "x:*,y:1"]);
    let pattern = |text: &str| text.parse::<Pattern>().unwrap();
    assert_eq!(matcher.remove(&pattern("a:1,b:2")).as_deref(), Some("a:1,b:2"));
    assert_eq!(matcher.remove(&pattern("x:1")).as_deref(), Some("x:1"));
    for absent in ["a:1,b:2", "x:1", "c:3", "", "x:1,y:1", "x:**"] {
        assert_eq!(matcher.remove(&pattern(absent)), None, "{absent}");
    }
    assert_eq!(found(&matcher, "a:1,b:2,c:3"), Some("a:1,c:3"));
    assert_eq!(found(&matcher, "x:1"), Some("x:*"));
    assert_eq!(matcher.remove(&pattern("x:*")).as_deref(), Some("x:*"));
    assert_eq!((found(&matcher, "x:1"), found(&matcher, "x:1,y:1")), (None, Some("x:*,y:1")));
    assert_eq!(matcher.len(), 3);
    for text in ["a:1", "a:1,c:3", "x:*,y:1"] {
        assert_eq!(matcher.remove(&pattern(text)).as_deref(), Some(text));
    }
    assert!(matcher.len() == 0 && matcher.root.is_empty(), "nothing is left");
}

#[test]
fn inserting_again_replaces() {
    let mut matcher = Matcher::default();
    let pattern: Pattern = "a:1,b:x*".parse().unwrap();
    assert_eq!((matcher.insert(pattern.clone(), 1), matcher.insert(pattern.clone(), 2)), (None, Some(1)));
    assert_eq!((matcher.len(), matcher.get_mut(&pattern)), (1, Some(&mut 2)));
    *matcher.get_mut(&pattern).unwrap() = 3;
    assert_eq!(matcher.iter().collect::<Vec<_>>(), [(&pattern, &3)]);
    let longer: Pattern = "a:1,b:x*,c:1".parse().unwrap();
    assert_eq!((matcher.get_mut(&"a:1".parse().unwrap()).is_none(), matcher.get_mut(&longer)), (true, None));
    assert_eq!(matcher.get_mut(&longer), None);
}

/// Every branch of 4,000 patterns of 64 pairs is walked to its end, for nothing: the worst that a message can do.
#[test]
fn the_worst_message_walks_each_branch_once() {
    let mut matcher = Matcher::new();
    for number in 0..4_000 {
        let bits = (0..63).map(|key| format!("k{key:02}{}", if key < 12 { number >> key & 1 } else { number % 2 }));
        let pairs = bits.map(|key| (key, Value::from("*"))).chain([(format!("z{number}"), Value::from("never"))]);
        matcher.insert(pairs.collect::<Value>().into_pattern().unwrap(), number);
    }
    let message: Map<String, Value> = matcher
        .iter()
        .flat_map(|(pattern, _)| pattern.pairs().map(|(key, _)| (key.to_owned(), Value::from("x".repeat(1_000)))))
        .collect();
    assert_eq!(matcher.find(&message), None);
}

/// The cases that `tests/seneca/record_patterns.js` records of the real patrun 7.3.
#[test]
fn finds_what_the_real_patrun_finds() {
    let (mut same, mut more) = (0, 0);
    for line in include_str!("../../../tests/seneca/patrun.jsonl").lines() {
        let line: Vec<Value> = serde_json::from_str(line).unwrap();
        let (patterns, cases) = line.split_first().unwrap();
        let mut matcher = Matcher::new();
        for (place, pattern) in patterns.as_array().unwrap().iter().enumerate() {
            matcher.insert(pattern.into_pattern().unwrap(), place as i64);
        }
        for case in cases {
            let (message, expected) = (case[0].as_object().unwrap(), case[1].as_i64().unwrap());
            match matcher.find(message) {
                Some((pattern, _)) if expected == -2 => {
                    assert!(pattern.matches(message), "{patterns} {case}: {pattern}");
                    more += 1;
                }
                found => {
                    assert_eq!(found.map_or(-1, |(_, place)| *place), expected, "{patterns} {case}");
                    same += 1;
                }
            }
        }
    }
    assert!(same > 3_500 && more > 30, "{same} the same, {more} found besides");
}

/// A pattern's number, and what is left of its pairs.
type Candidate = (usize, Vec<(String, String)>);

/// The rules of the module's documentation, over lists of patterns instead of a trie.
struct Rules<'m> {
    message: &'m Map<String, Value>,
    most_specific_first: bool,
    thorough: bool,
}

impl Rules<'_> {
    fn walk(&self, candidates: &[Candidate], found: Option<usize>) -> Option<usize> {
        let found = candidates.iter().find(|(_, pairs)| pairs.is_empty()).map(|(number, _)| *number).or(found);
        let mut keys: Vec<&str> =
            candidates.iter().filter_map(|(_, pairs)| pairs.first()).map(|(key, _)| &**key).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let of_key = || candidates.iter().filter(|(_, pairs)| pairs.first().is_some_and(|(first, _)| first == key));
            let mut values: Vec<&str> = Vec::new();
            for (_, pairs) in of_key() {
                if !values.contains(&&*pairs[0].1) {
                    values.push(&pairs[0].1);
                }
            }
            values.retain(|value| self.message.get(key).is_some_and(|text| agrees(value, text)));
            if self.most_specific_first {
                values.sort_by_key(|value| (Reverse(specificity(value)), *value));
            }
            values.sort_by_key(|value| is_glob(value));
            for value in values.into_iter().take(if self.thorough { usize::MAX } else { 1 }) {
                let tails = of_key().filter(|(_, pairs)| pairs[0].1 == value);
                let tails: Vec<Candidate> = tails.map(|(number, pairs)| (*number, pairs[1..].to_vec())).collect();
                let further = self.walk(&tails, found);
                if further.is_some() {
                    return further;
                }
            }
        }
        found
    }
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let value = "[12]|[12]|\\*|1\\*|\\?|12";
    prop::collection::btree_map("[a-e]", value, 0..4).prop_map(|pairs| {
        let pairs: Value = pairs.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
        pairs.into_pattern().unwrap()
    })
}

fn asked() -> impl Strategy<Value = Map<String, Value>> {
    let text = "[12]|[12]|12".prop_map(Value::from);
    let value =
        prop_oneof![8 => text, 1 => Just(Value::Null), 1 => Just(Value::from(1)), 1 => Just(Value::from(vec![1]))];
    prop::collection::btree_map("[a-e]", value, 0..6).prop_map(|pairs| pairs.into_iter().collect())
}

proptest! {
    #[test]
    fn follows_the_rules(
        patterns in prop::collection::vec(pattern(), 0..12),
        removed in prop::option::of(any::<u16>()),
        asked in prop::collection::vec(asked(), 1..6),
    ) {
        // Once a pattern is gone, the order of insertion is not that of those that are left.
        let most_specific_first = removed.is_some();
        let mut matcher = if most_specific_first { Matcher::most_specific_globs_first() } else { Matcher::new() };
        let mut kept: Vec<(usize, &Pattern)> = Vec::new();
        for (number, pattern) in patterns.iter().enumerate() {
            let before = matcher.insert(pattern.clone(), number);
            match kept.iter_mut().find(|(_, other)| *other == pattern) {
                Some((other, _)) => prop_assert_eq!(Some(std::mem::replace(other, number)), before),
                None => kept.push((number, pattern)),
            }
        }
        kept.retain(|(number, pattern)| {
            let goes = removed.unwrap_or_default() >> number & 1 == 1;
            assert!(!goes || matcher.remove(pattern) == Some(*number));
            !goes
        });
        prop_assert_eq!(matcher.len(), kept.len());
        prop_assert_eq!(matcher.iter().count(), kept.len());
        for (number, pattern) in &kept {
            prop_assert_eq!(matcher.get_mut(pattern).copied(), Some(*number));
        }

        let owned = |pattern: &Pattern| pattern.pairs().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let candidates: Vec<Candidate> = kept.iter().map(|(number, pattern)| (*number, owned(pattern))).collect();
        for message in &asked {
            let walk = |thorough| Rules { message, most_specific_first, thorough }.walk(&candidates, None);
            let found = matcher.find(message);
            prop_assert_eq!(found.map(|(_, number)| *number), walk(false).or_else(|| walk(true)));
            prop_assert!(found.is_none_or(|(pattern, _)| pattern.matches(message)));
            prop_assert_eq!(found.is_some(), kept.iter().any(|(_, pattern)| pattern.matches(message)));
        }
    }
}
