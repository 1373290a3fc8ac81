use proptest::prelude::*;
use serde_json::json;

use super::*;

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn reads_what_seneca_s_users_write() {
    let expected = json!({ "role": "api", "cmd": "add", "left": 2, "right": 3 });
    for text in [
        "role:api,cmd:add,left:2,right:3",
        "{role:api,cmd:add,left:2,right:3}",
        " { role : api , 'cmd':\"add\"\n, left: 2,\tright:3, } ",
        "role:api cmd:add\r\nleft:2 right:3",
        r#"{"role":"api","cmd":"add","left":2,"right":3}"#,
    ] {
        assert_eq!(Value::Object(parse(text).unwrap()), expected, "{text}");
    }
    for text in ["", " \n", "{}", "{ }"] {
        assert!(parse(text).unwrap().is_empty(), "{text}");
    }
}

#[test]
fn values_have_their_types() {
    let text = "a:true,b:false,c:null,d:,e:1.50,f:-2,g:x1,h:'1',i:{j:[1,[],{k:l}]},m:[1 'x y',],n:True,o:it's";
    let read = json!({
        "a": true, "b": false, "c": null, "d": null, "e": 1.5, "f": -2, "g": "x1", "h": "1",
        "i": { "j": [1, [], { "k": "l" }] }, "m": [1, "x y"], "n": "True", "o": "it's",
    });
    assert_eq!(Value::Object(parse(text).unwrap()), read);
}

#[test]
fn whole_numbers_are_whole() {
    let read = parse("a:1.0,b:1e3,c:-0,d:18446744073709551615,e:-9223372036854775808,f:9007199254740993").unwrap();
    let read = Value::Object(read).to_string();
    assert_eq!(
        read,
        r#"{"a":1,"b":1000,"c":0,"d":18446744073709551615,"e":-9223372036854775808,"f":9007199254740993}"#
    );
}

#[test]
fn errors_say_what_and_where() {
    for (text, problem) in [
        ("{a:1", "at character 1: this brace is never closed"),
        ("é:[1,2", "at character 3: this bracket is never closed"),
        ("a:'é", "at character 3: this quote is never closed"),
        ("a:1}", "at character 4: nothing may follow the end of the object, but here is `}`"),
        ("{a:1}x", "at character 6: nothing may follow the end of the object, but here is `x`"),
        ("foo", "at character 4: the key `foo` has to be followed by a colon and its value"),
        ("a:1,,b:2", "at character 5: a key is expected here, not `,`"),
        (":1", "at character 1: a key is expected here, not `:`"),
        ("a:[1,,2]", "at character 6: a value is expected here, not `,`"),
        ("a:[1,", "at character 3: this bracket is never closed"),
        ("a:]", "at character 3: a value is expected here, not `]`"),
        ("a:[1}", "at character 5: `}` closes nothing here"),
        ("a:x y", "at character 6: the key `y` has to be followed by a colon and its value"),
        ("a:127.0.0.1:80", "at character 12: a colon inside of a value has to be in quotes, as all of the value"),
        ("a:'x'y:1", "at character 6: before `y` there has to be a comma; or put the text in quotes"),
        ("a:x#y", "at character 3: comments are not read; if it is none, put the text in quotes"),
        ("a:`x`", "at character 3: text in backticks is not read; put it in ' or \" quotes"),
        ("a:x\u{a0}y", "at character 3: control characters and unusual white space have to be in quotes"),
        ("a:'\n'", "at character 4: a control character has to be written as an escape, like \\n"),
        ("a:'\\q'", "at character 4: there is no such escape; \\\\ is a backslash"),
        (
            "a:'\\u12g4'",
            "at character 4: \\u has to be followed by four hexadecimal digits, twice for a pair of surrogates",
        ),
        (
            "a:'\\ud83d'",
            "at character 4: \\u has to be followed by four hexadecimal digits, twice for a pair of surrogates",
        ),
        ("a:'\\", "at character 4: nothing follows this backslash"),
        ("a:1,b:1e999", "at character 7: this number is too large; put it in quotes"),
        ("a:0xffffffffffffffffff", "at character 3: this number is too large; put it in quotes"),
        ("a:1,a:2", "at character 5: the key `a` is named twice"),
        ("[1,2]", "at character 1: a key is expected here, not `[`"),
    ] {
        assert_eq!(refused(text), problem, "{text}");
    }
}

#[test]
fn limits_hold() {
    let nested = |depth: usize| format!("a:{}{}", "[".repeat(depth), "]".repeat(depth));
    parse(&nested(MAX_DEPTH)).unwrap();
    assert_eq!(
        refused(&nested(MAX_DEPTH + 1)),
        "at character 67: more than 64 objects and lists are within each other"
    );
    assert!(refused(&"{a:".repeat(100_000)).contains("within each other"));

    let long = |bytes: usize| format!("a:{}", "x".repeat(bytes - 2));
    parse(&long(MAX_TEXT_BYTES)).unwrap();
    assert!(refused(&long(MAX_TEXT_BYTES + 1)).contains("1048576 are the most"));
}

/// Numbers are compared as JavaScript's, which has no other ones.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let both = |(key, one)| other.get(key).is_some_and(|other| same(one, other));
            one.len() == other.len() && one.iter().all(both)
        }
        _ => one == other,
    }
}

/// What is accepted means what it means to Seneca 3.38; what both Senecas agree on is accepted.
#[test]
fn reads_what_the_real_packages_read() {
    let (mut accepted, mut agreed) = (0, 0);
    for line in include_str!("../../../tests/seneca/jsonic.jsonl").lines() {
        let (text, by_3, by_0): (String, Value, Value) = serde_json::from_str(line).unwrap();
        match parse(&text) {
            Ok(object) => {
                accepted += 1;
                assert!(same(&Value::Object(object), &by_3), "{text:?}: {:?}, not {by_3}", parse(&text));
            }
            Err(error) => {
                let agree = !by_3.is_null() && same(&by_3, &by_0);
                let on_purpose = ["named twice", "is expected here, not `,`", "comments are not read"];
                assert!(
                    !agree || on_purpose.iter().any(|reason| error.to_string().contains(reason)),
                    "{text:?}: {error}"
                );
            }
        }
        agreed += usize::from(same(&by_3, &by_0) && !by_3.is_null());
    }
    assert!(accepted > 300 && agreed > 50, "{accepted} accepted, {agreed} agreed on");
}

/// JSON of some depth, with whatever keys and texts.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn reads_all_json(value in json_value()) {
        let object = json!({ "a": value });
        for text in [object.to_string(), format!("{object:#}")] {
            prop_assert!(same(&Value::Object(parse(&text).unwrap()), &object));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_pieces_are_read_or_refused(text in r#"([a-c1é`#/\\ \n]|[:,{}\[\]"']|\\u[0-9a-fd]{0,5}|-?0[xob_.e+19]{0,5}){0,20}"#) {
        let _ = parse(&text);
    }

    #[test]
    fn what_is_written_is_read_again(key in ".{0,8}", text in ".{0,8}|-?[0-9.e_x+]{1,6}|true|false|null") {
        let mut written = String::new();
        write_key(&mut written, &key).unwrap();
        written.push(':');
        write_value(&mut written, &text).unwrap();
        let read = Value::Object(parse(&written).unwrap());
        let expected = json!({ &key: text });
        prop_assert_eq!(read.as_object().unwrap().len(), 1);
        prop_assert_eq!(as_text(&read[&key]), as_text(&expected[&key]), "{}", written);
    }
}
