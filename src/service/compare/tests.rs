use proptest::prelude::*;
use serde_json::json;

use super::*;

/// What Node.js 20 prints for `String(JSON.parse(…))`.
#[test]
fn numbers_are_texts_as_in_javascript() {
    let printed = [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1.0", "1"),
        ("-1.50", "-1.5"),
        ("0.1", "0.1"),
        ("123456789", "123456789"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("-1e21", "-1e+21"),
        ("1.5e21", "1.5e+21"),
        ("123456789012345678901234567890", "1.2345678901234568e+29"),
        ("1e-6", "0.000001"),
        ("1.5e-6", "0.0000015"),
        ("1e-7", "1e-7"),
        ("-1.25e-7", "-1.25e-7"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("9007199254740991", "9007199254740991"),
        ("9007199254740993", "9007199254740992"),
        ("18446744073709551615", "18446744073709552000"),
        ("-9223372036854775808", "-9223372036854776000"),
        ("12345678901234567890", "12345678901234567000"),
        ("100.25", "100.25"),
        ("4.35", "4.35"),
        ("1e2", "100"),
        ("123e-20", "1.23e-18"),
        ("123456.789e3", "123456789"),
    ];
    for (written, expected) in printed {
        let number: Value = serde_json::from_str(written).unwrap();
        assert_eq!(as_text(&number).unwrap(), expected, "{written}");
    }
}

#[test]
fn other_values_are_texts_as_in_javascript() {
    assert_eq!(as_text(&Value::Null), None);
    assert_eq!(as_text(&json!(true)).unwrap(), "true");
    assert_eq!(as_text(&json!(false)).unwrap(), "false");
    assert_eq!(as_text(&json!("")).unwrap(), "");
    assert_eq!(as_text(&json!([])).unwrap(), "");
    assert_eq!(as_text(&json!([null])).unwrap(), "");
    assert_eq!(as_text(&json!([1, [2, []], null, true, "x", {}])).unwrap(), "1,2,,,true,x,[object Object]");
    assert_eq!(as_text(&json!([[["y"]]])).unwrap(), "y");
    assert_eq!(as_text(&json!({ "a": 1 })).unwrap(), "[object Object]");
}

#[test]
fn text_is_borrowed_as_it_is() {
    let text = json!("x".repeat(100_000));
    assert!(matches!(as_compared(&text), Some(Cow::Borrowed(compared)) if compared.len() == 100_000));
}

#[test]
fn a_long_list_is_no_long_text_to_compare() {
    let list = json!(vec![json!([1, 2, 3]); 1_000_000]);
    assert!(as_compared(&list).unwrap().len() <= MAX_GLOBBED_BYTES + 8);
    assert!(agrees("*", &list) && !agrees("1*", &list));
    assert_eq!(as_text(&list).unwrap().len(), 5_999_999);
}

#[test]
fn a_deep_list_is_no_deep_recursion() {
    let mut list = json!("x");
    for _ in 0..1_000 {
        list = json!([list]);
    }
    assert_eq!(as_text(&list).unwrap(), "");
}

#[test]
fn stars_and_question_marks_escape_each_other() {
    let agreeing = [
        ("a**b", "a*b"),
        ("a*?b", "a?b"),
        ("a***b", "a*zzb"),
        ("a**?b", "a*zb"),
        ("a*?*b", "a?zzb"),
        ("a****b", "a**b"),
        ("a?*b", "azb"),
        ("*", ""),
        ("a*\nb", "a zz\nb"),
        ("a*", "a\n"),
        ("??", "\u{1f600}"),
        ("?*", "\u{1f600}"),
        ("*\u{1f600}?", "x\u{1f600}y"),
    ];
    for (glob, text) in agreeing {
        assert!(glob_agrees(glob, text), "{glob} {text}");
    }
    for (glob, text) in [("a**b", "azzb"), ("?", "\u{1f600}"), ("*a", "a\n"), ("?", ""), ("ab*", "Abc"), ("a?*b", "ab")]
    {
        assert!(!glob_agrees(glob, text), "{glob} {text}");
    }
}

#[test]
fn a_long_text_agrees_with_the_star_alone() {
    let text = "a".repeat(MAX_GLOBBED_BYTES + 1);
    assert!(glob_agrees("*", &text) && !glob_agrees("a*", &text) && glob_agrees("a*", &text[1..]));
}

/// What takes a back-tracking matcher longer than anybody has: 127 stars.
#[test]
fn many_stars_cost_no_more_than_both_lengths() {
    let glob = format!("{}b", "*a".repeat(127));
    assert!(!glob_agrees(&glob, &"a".repeat(MAX_GLOBBED_BYTES)));
    assert!(glob_agrees(&glob, &format!("{}b", "a".repeat(MAX_GLOBBED_BYTES - 1))));
    assert!(!covers(&glob, &"a?".repeat(127)));
}

#[test]
fn what_a_glob_includes() {
    for (outer, inner) in [
        ("*", "a*"),
        ("*", "x"),
        ("a*", "ab*"),
        ("a*", "a?"),
        ("a?", "ab"),
        ("a*c", "a*b*c"),
        ("a", "a"),
        ("a**", "a*?*"),
    ] {
        let expected = (outer, inner) != ("a**", "a*?*");
        assert_eq!(covers(outer, inner), expected, "{outer} {inner}");
    }
    for (outer, inner) in [("a*", "*"), ("a?", "a*"), ("?", "*"), ("a*", "*b"), ("a", "b"), ("a", "a*"), ("?", "??")] {
        assert!(!covers(outer, inner), "{outer} {inner}");
    }
}

fn glob() -> impl Strategy<Value = String> {
    "[ab*]{0,5}|[ab*?]{0,5}|[ab*?\u{1f600}]{0,7}"
}

fn text() -> impl Strategy<Value = String> {
    "[ab]{0,6}|[ab*?]{0,6}|[ab*?\u{1f600}]{0,9}"
}

/// Straight from the words of the rule.
fn stands_for_by_definition(glob: &[u16], text: &[u16]) -> bool {
    let (star, question) = (u16::from(b'*'), u16::from(b'?'));
    match glob {
        [] => text.is_empty(),
        [first, escaped, rest @ ..] if *first == star && (*escaped == star || *escaped == question) => {
            text.first() == Some(escaped) && stands_for_by_definition(rest, &text[1..])
        }
        [first, rest @ ..] if *first == star => (0..=text.len()).any(|at| stands_for_by_definition(rest, &text[at..])),
        [first, rest @ ..] => {
            !text.is_empty() && (*first == question || *first == text[0]) && stands_for_by_definition(rest, &text[1..])
        }
    }
}

proptest! {
    #[test]
    fn globs_follow_their_definition(glob in glob(), text in text()) {
        let units = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        let expected = stands_for_by_definition(&units(&glob), &units(&text));
        prop_assert_eq!(glob_agrees(&glob, &text), expected);
    }

    #[test]
    fn what_is_included_agrees_with_the_outer_glob(outer in glob(), inner in glob(), text in text()) {
        prop_assert!(covers(&inner, &inner));
        let agree = |glob: &str| agrees(glob, &json!(text));
        prop_assert!(!covers(&outer, &inner) || !agree(&inner) || agree(&outer));
    }
}
