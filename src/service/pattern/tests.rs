use proptest::prelude::*;
use serde_json::json;

use super::*;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

fn refused(pattern: impl IntoPattern) -> String {
    pattern.into_pattern().unwrap_err().to_string()
}

#[test]
fn every_form_is_the_same() {
    let object = json!({ "role": "api", "cmd": "add" });
    let expected = pattern("role:api,cmd:add");
    assert_eq!(expected.to_string(), "cmd:add,role:api");
    assert_eq!("{cmd:add,role:'api'}".into_pattern().unwrap(), expected);
    assert_eq!("cmd:add,role:api".to_owned().into_pattern().unwrap(), expected);
    assert_eq!((&object).into_pattern().unwrap(), expected);
    assert_eq!(("cmd:add", json!({ "role": "api" })).into_pattern().unwrap(), expected);
    assert_eq!(
        ("cmd:add", &json!({ "role": "api", "cmd": "other" })).into_pattern().unwrap(),
        expected,
        "the text's value"
    );
    assert_eq!(object.into_pattern().unwrap(), expected);
    assert_eq!((&expected).into_pattern().unwrap(), expected);
}

#[test]
fn values_are_texts() {
    assert_eq!(
        json!({ "a": 1.0, "b": true, "c": "1.0", "d": 1e21 }).into_pattern().unwrap().to_string(),
        r#"a:1,b:true,c:"1.0",d:1e+21"#
    );
    assert_eq!(pattern("a:1.0"), pattern("a:'1'"));
    assert_ne!(pattern("a:1.0"), pattern("a:'1.0'"));
    assert!(pattern("a:1").matches(json!({ "a": "1" }).as_object().unwrap()));
    assert!(!pattern("a:1").matches(json!({ "a": "1.0" }).as_object().unwrap()));
}

#[test]
fn pairs_without_value_and_directives_are_left_out() {
    assert_eq!(json!({ "a": null, "b": 1, "default$": {}, "c$d": 2 }).into_pattern().unwrap(), pattern("b:1,c$d:2"));
    assert_eq!(pattern("a:,b:null,sync$:true").pairs().count(), 0);
    assert!(pattern("").matches(&Map::new()));
}

#[test]
fn quotes_stand_where_they_are_needed() {
    for (text, canonical) in [
        ("a:'127.0.0.1:80'", r#"a:"127.0.0.1:80""#),
        ("'a b':'null'", r#""a b":"null""#),
        ("a:'',b:'\\''", r#"a:"",b:"'""#),
        ("a:'x#y',b:'//x',c:x/y", r#"a:"x#y",b:"//x",c:x/y"#),
        ("a:'007',b:7,c:'0x10',d:+7", r#"a:"007",b:7,c:"0x10",d:7"#),
        ("a:*,b:x?,c:it's,é:日本", "a:*,b:x?,c:it's,é:日本"),
    ] {
        assert_eq!(pattern(text).to_string(), canonical);
        assert_eq!(pattern(canonical), pattern(text));
    }
    assert_eq!(format!("{:?}", pattern("b:1,a:2")), "Pattern(a:2,b:1)");
}

#[test]
fn keys_are_in_javascript_s_order() {
    assert_eq!(pattern("\u{ff21}:1,\u{1f600}:2,a:3,B:4").to_string(), "B:4,a:3,\u{1f600}:2,\u{ff21}:1");
}

#[test]
fn what_is_no_pattern_is_refused_with_a_reason() {
    assert_eq!(
        refused("a"),
        "this is no pattern: at character 2: the key `a` has to be followed by a colon and its value"
    );
    let kind = "only text, numbers, true and false can be compared";
    assert_eq!(refused("a:[1]"), format!("this is no pattern: the value of the key `a` is a list; {kind}"));
    assert_eq!(
        refused(json!({ "a": {} })),
        format!("this is no pattern: the value of the key `a` is an object; {kind}")
    );
    assert!(refused(json!([1])).contains("a JSON object is expected"));
    assert!(refused(("a:1", json!("b:2"))).contains("a JSON object is expected"));
}

#[test]
fn limits_hold() {
    let pairs = |count: usize| -> Value { (0..count).map(|i| (format!("k{i}"), json!(i))).collect() };
    assert_eq!(pairs(MAX_PAIRS).into_pattern().unwrap().pairs().count(), MAX_PAIRS);
    assert_eq!(refused(pairs(MAX_PAIRS + 1)), "this is no pattern: it has 65 pairs; 64 are the most");

    let (most, more) = ("é".repeat(128), "é".repeat(129));
    json!({ &most: &most }).into_pattern().unwrap();
    assert_eq!(refused(json!({ &more: 1 })), "this is no pattern: a key has 258 bytes; 256 are the most");
    assert_eq!(
        refused(json!({ "k": &more })),
        "this is no pattern: the value of the key `k` has 258 bytes; 256 are the most"
    );

    let full = pairs(MAX_PAIRS).into_pattern().unwrap();
    assert_eq!(full.pinned_by(&pattern("k0:*")).unwrap(), full);
    assert_eq!(full.pinned_by(&pattern("zone:eu")), None);
}

#[test]
fn pins_narrow_what_is_offered() {
    let pinned = |mine: &str, pin: &str| pattern(mine).pinned_by(&pattern(pin)).map(|pinned| pinned.to_string());
    for (mine, pin, expected) in [
        ("role:api,cmd:add", "role:api", Some("cmd:add,role:api")),
        ("cmd:add", "role:api", Some("cmd:add,role:api")),
        ("role:api", "role:api,cmd:add", Some("cmd:add,role:api")),
        ("", "role:api", Some("role:api")),
        ("role:api", "", Some("role:api")),
        ("role:api", "role:a*", Some("role:api")),
        ("role:a*", "role:api", Some("role:api")),
        ("cmd:add", "role:a*", Some("cmd:add,role:a*")),
        ("role:ab*", "role:a*", Some("role:ab*")),
        ("role:*", "role:a*", Some("role:a*")),
        ("role:secret", "role:api", None),
        ("role:secret", "role:a*", None),
        ("role:b*", "role:api", None),
        ("role:*x", "role:a*", None),
        ("role:1", "role:1.0", Some("role:1")),
    ] {
        assert_eq!(pinned(mine, pin).as_deref(), expected, "{mine} inside {pin}");
    }
}

#[test]
fn travels_as_its_canonical_text() {
    let text = serde_json::to_string(&pattern("b:'x y',a:1")).unwrap();
    assert_eq!(text, r#""a:1,b:\"x y\"""#);
    assert_eq!(serde_json::from_str::<Pattern>(&text).unwrap(), pattern("b:'x y',a:1"));
    assert!(serde_json::from_str::<Pattern>(r#""a""#).unwrap_err().to_string().contains("followed by a colon"));
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    prop::collection::btree_map("[a-d]|.{0,4}", "[ab*?]{0,3}|.{0,4}", 0..5).prop_map(|pairs| {
        let pairs: Value = pairs.into_iter().map(|(key, value)| (key, json!(value))).collect();
        pairs.into_pattern().unwrap()
    })
}

fn small_pattern() -> impl Strategy<Value = Pattern> {
    let value = "a|b|ab|\\*|a\\*|\\*b|a\\?|\\?";
    prop::collection::btree_map("[a-c]", value, 0..3)
        .prop_map(|pairs| Pattern::sorted(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect()))
}

fn small_message() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("[a-c]", "a|b|ab|ba|aab", 0..4)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key, json!(value))).collect())
}

proptest! {
    #[test]
    fn the_canonical_text_gives_the_pattern_back(pattern in any_pattern()) {
        prop_assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
    }

    #[test]
    fn what_is_inside_a_pin_agrees_with_both(mine in small_pattern(), pin in small_pattern(), message in small_message()) {
        let both = mine.matches(&message) && pin.matches(&message);
        let globs = |pattern: &Pattern| pattern.pairs().any(|(_, value)| value.contains(['*', '?']));
        match mine.pinned_by(&pin) {
            Some(pinned) => prop_assert_eq!(pinned.matches(&message), both, "{}", pinned),
            None => prop_assert!(!both || globs(&mine) && globs(&pin)),
        }
    }
}
