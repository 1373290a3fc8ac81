//! Registering and calling: every form, every kind of result, here and across the network.

use grapevine::service::{ActError, Failure, Message, Pattern, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::harness::{by, caller_and_provider, echo, finds, first, server, with_others};

#[derive(Serialize, Deserialize)]
struct Numbers {
    left: i64,
    right: i64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sum {
    result: i64,
}

/// A provider of `cmd:add,role:api`, and somebody who has found it.
fn adder() -> (Service, Service) {
    let (caller, provider) = caller_and_provider(server());
    let add = |numbers: Numbers| Ok(Sum { result: numbers.left + numbers.right });
    provider.add("role:api,cmd:add", add).unwrap();
    finds(&caller, "role:api,cmd:add");
    (caller, provider)
}

#[test]
fn every_form_of_a_message_is_the_same_call() {
    let _others = with_others();
    let (caller, provider) = adder();
    let text = "role:api,cmd:add,left:2,right:3";
    let object = json!({"role": "api", "cmd": "add", "left": 2, "right": 3});
    let message: Message = object.as_object().unwrap().clone();
    let (numbers, owned) = (json!({"left": 2, "right": 3}), text.to_owned());
    for service in [&caller, &provider] {
        let sums: [Sum; 9] = [
            service.act(text).unwrap(),
            service.act(text.to_owned()).unwrap(),
            service.act(&owned).unwrap(),
            service.act(object.clone()).unwrap(),
            service.act(&object).unwrap(),
            service.act(message.clone()).unwrap(),
            service.act(&message).unwrap(),
            service.act(("role:api,cmd:add", &numbers)).unwrap(),
            service.act(("role:api,cmd:add", Numbers { left: 2, right: 3 })).unwrap(),
        ];
        assert!(sums.iter().all(|sum| *sum == Sum { result: 5 }), "{sums:?}");
        let pattern: Pattern = text.parse().unwrap();
        let found = service.act::<Value>(&pattern);
        assert!(matches!(found, Err(ActError::InvalidMessage(_))), "a pattern's values are texts: {found:?}");
        // Where both name a key the text has the last word.
        let sum: Sum = service.act(("role:api,cmd:add,left:40", &numbers)).unwrap();
        assert_eq!(sum, Sum { result: 43 });
    }
    for wrong in [json!([1]), json!("role:api"), json!(null)] {
        assert!(matches!(caller.act::<Value>(&wrong), Err(ActError::InvalidMessage(_))), "{wrong}");
        assert!(matches!(caller.act::<Value>(("role:api", &wrong)), Err(ActError::InvalidMessage(_))), "{wrong}");
    }
    assert!(matches!(caller.act::<Value>("role:api,,cmd:add"), Err(ActError::InvalidMessage(_))));
}

#[test]
fn every_form_of_a_pattern_is_the_same_action() {
    let _others = with_others();
    let service = first(server());
    let handler = |name: &'static str| move |_: Value| Ok(json!({"by": name}));
    let runs = || by(&service.act::<Value>("a:1,b:x").unwrap()).to_owned();
    service.add("b:x,a:1", handler("text")).unwrap();
    assert_eq!(runs(), "text");
    service.add("a:1,b:x".to_owned(), handler("string")).unwrap();
    assert_eq!(runs(), "string");
    service.add(json!({"a": 1, "b": "x"}), handler("object")).unwrap();
    assert_eq!(runs(), "object");
    service.add(("a:1", json!({"b": "x"})), handler("both")).unwrap();
    assert_eq!(runs(), "both");
    service.add(("a:1", json!({"a": 2, "b": "x"})), handler("text wins")).unwrap();
    assert_eq!(runs(), "text wins");
    service.add("a:1,b:x".parse::<Pattern>().unwrap(), handler("pattern")).unwrap();
    assert_eq!(runs(), "pattern");
    assert_eq!(service.services()[0].patterns, ["a:1,b:x".parse::<Pattern>().unwrap()], "each replaced the one before");
    assert!(service.add("a:1:2", handler("no pattern")).is_err());
    assert!(service.add(json!({"a": [1]}), handler("no pattern")).is_err());
}

/// What was observed in Seneca 3.38, over the network too.
#[test]
fn messages_find_their_action_by_senecas_rules() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    let patterns = ["a:1", "a:1,b:2", "a:1,b:2,c:3", "a:1,c:3", "b:2", "b:2,c:3", "x:1", "x:*", "y:ab*", "role:api"];
    for pattern in patterns.into_iter().chain(["cmd:add,role:api"]) {
        echo(&provider, pattern, pattern);
    }
    finds(&caller, "role:api,cmd:add");
    let observed = [
        ("a:1,d:9", "a:1"),
        ("b:2,a:1", "a:1,b:2"),
        ("a:1,b:2,c:9", "a:1,b:2"),
        ("a:2,b:2", "b:2"),
        ("a:2", ""),
        ("x:foo", "x:*"),
        ("x:1", "x:1"),
        ("x:", ""),
        ("y:abc", "y:ab*"),
        ("y:zz", ""),
        ("x:foo,a:1", "a:1"),
        ("role:api,cmd:zzz", "role:api"),
        ("role:api,cmd:add,left:1", "cmd:add,role:api"),
        ("A:1", ""),
        ("{a:null,b:2}", "b:2"),
        ("{a:'1',b:'2'}", "a:1,b:2"),
        ("{a:1.0}", "a:1"),
    ];
    for service in [&caller, &provider] {
        for (message, expected) in observed {
            match service.act::<Value>(message) {
                Ok(result) => assert_eq!(by(&result), expected, "{message}"),
                Err(ActError::NotFound { .. }) => assert_eq!("", expected, "{message}"),
                Err(error) => panic!("{message}: {error}"),
            }
        }
    }
}

/// With `a:1,b:2,c:9` and `a:1` the message `{a:1,b:2,c:3}` runs `a:1`; an earlier key beats a longer pattern.
#[test]
fn the_walk_goes_back_and_prefers_earlier_keys() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    for pattern in ["a:1", "a:1,b:2,c:9", "d:1", "e:2,f:3"] {
        echo(&provider, pattern, pattern);
    }
    finds(&caller, "e:2,f:3");
    for service in [&caller, &provider] {
        assert_eq!(by(&service.act::<Value>("a:1,b:2,c:3").unwrap()), "a:1");
        assert_eq!(by(&service.act::<Value>("d:1,e:2,f:3").unwrap()), "d:1");
    }
}

#[test]
fn results_are_objects_arrays_or_nothing() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    for (cmd, result) in [
        ("object", json!({"a": {"b": [1, null, "ä\n\u{1f600}"]}})),
        ("empty", json!({})),
        ("array", json!([{"a": 1}, 2])),
        ("null", json!(null)),
        ("number", json!(5)),
        ("zero", json!(0)),
        ("text", json!("{}")),
        ("true", json!(true)),
        ("false", json!(false)),
    ] {
        provider.add(("a:1", json!({"cmd": cmd})), move |_: Value| Ok(result.clone())).unwrap();
    }
    provider.add("a:1,cmd:unit", |_: AnyMessage| Ok(())).unwrap();
    finds(&caller, "a:1,cmd:unit");
    for service in [&caller, &provider] {
        let act = |cmd: &str| service.act::<Value>(("a:1", json!({"cmd": cmd})));
        assert_eq!(act("object"), Ok(json!({"a": {"b": [1, null, "ä\n\u{1f600}"]}})));
        assert_eq!(act("empty"), Ok(json!({})));
        assert_eq!(act("array"), Ok(json!([{"a": 1}, 2])));
        assert_eq!(act("null"), Ok(json!(null)));
        for cmd in ["number", "zero", "text", "true", "false"] {
            let error = act(cmd).unwrap_err();
            assert!(matches!(error, ActError::InvalidResult(_)), "{cmd}: {error}");
            assert_eq!(error.code(), "result_not_objarr");
        }
        // What came is not what the caller takes.
        assert!(matches!(service.act::<Sum>("a:1,cmd:object"), Err(ActError::InvalidResult(_))));
        assert_eq!(service.act::<Vec<Value>>("a:1,cmd:array").unwrap().len(), 2);
        assert_eq!(service.act::<()>("a:1,cmd:'null'"), Ok(()));
    }
}

/// A message of which nothing is read.
#[derive(Deserialize)]
#[serde(from = "Value")]
struct AnyMessage;

impl From<Value> for AnyMessage {
    fn from(_: Value) -> AnyMessage {
        AnyMessage
    }
}

#[test]
fn an_error_reaches_the_caller_as_the_handler_gave_it() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    let empty = |_: AnyMessage| -> Result<(), Failure> {
        Err(Failure::new("shelf_empty", "the shelf \"7\" is empty\n").with_details(json!({"shelf": 7})))
    };
    provider.add("cmd:code", empty).unwrap();
    provider.add("cmd:text", |_: AnyMessage| Ok(json!({"n": "x".parse::<i64>()?}))).unwrap();
    // Codes of this library, of a handler's own making, are a handler's.
    for code in ["act_not_found", "action_timeout", "overloaded", "act_execute", ""] {
        let failing = move |_: AnyMessage| -> Result<(), Failure> { Err(Failure::new(code, "mine")) };
        provider.add(("cmd:own", json!({"code": code})), failing).unwrap();
    }
    finds(&caller, "cmd:own,code:overloaded");
    for service in [&caller, &provider] {
        let failure = |message: &str| match service.act::<Value>(message) {
            Err(ActError::Failed(failure)) => failure,
            other => panic!("{message}: {other:?}"),
        };
        let failed = failure("cmd:code");
        assert_eq!((failed.code(), failed.message()), ("shelf_empty", "the shelf \"7\" is empty\n"));
        assert_eq!(failed.details(), Some(&json!({"shelf": 7})));
        let failed = failure("cmd:text");
        assert_eq!((failed.code(), failed.message()), ("act_execute", "invalid digit found in string"));
        for code in ["act_not_found", "action_timeout", "overloaded", "act_execute", ""] {
            let failed = failure(&format!("cmd:own,code:'{code}'"));
            assert_eq!((failed.code(), failed.message()), (code, "mine"));
        }
    }
}

#[test]
fn a_message_that_the_handler_cannot_read_is_the_callers_error() {
    let _others = with_others();
    let (caller, provider) = adder();
    for service in [&caller, &provider] {
        let error = service.act::<Sum>("role:api,cmd:add,left:2").unwrap_err();
        assert!(matches!(&error, ActError::InvalidMessage(problem) if problem.contains("right")), "{error}");
        assert!(service.act::<Sum>("role:api,cmd:add,left:2,right:x").is_err());
        assert_eq!(service.act::<Sum>("role:api,cmd:add,left:2,right:3").unwrap(), Sum { result: 5 });
    }
}

#[test]
fn a_panic_is_the_callers_error_and_nobody_elses() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server().workers(1));
    provider.add("cmd:text", |_: Value| -> Result<(), Failure> { panic!("a text") }).unwrap();
    provider.add("cmd:number", |_: Value| -> Result<(), Failure> { std::panic::panic_any(7) }).unwrap();
    provider.add("cmd:words", |message: Value| -> Result<(), Failure> { panic!("{}", message["x"]) }).unwrap();
    provider.add("cmd:drop", |_: Value| -> Result<(), Failure> { std::panic::panic_any(PanicsAgain) }).unwrap();
    echo(&provider, "cmd:fine", "fine");
    finds(&caller, "cmd:fine");
    for service in [&caller, &provider] {
        for (message, text) in
            [("cmd:text", "a text"), ("cmd:words,x:5", "5"), ("cmd:number", "without a text"), ("cmd:drop", "without")]
        {
            let error = service.act::<Value>(message).unwrap_err();
            assert_eq!(error.code(), "handler_panicked", "{message}: {error}");
            assert!(error.to_string().contains(text), "{error}");
        }
        // The only thread is still there.
        assert_eq!(by(&service.act::<Value>("cmd:fine").unwrap()), "fine");
    }
}

/// What a panic carries may panic itself when it is dropped.
struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("again");
    }
}

#[test]
fn a_default_stands_in_where_nobody_offers_the_action() {
    let _others = with_others();
    let (caller, _provider) = adder();
    for service in [&caller, &_provider] {
        let act = |message: &str| service.act::<Value>(message);
        assert_eq!(act("role:none,default$:{a:1}"), Ok(json!({"a": 1})));
        assert_eq!(act("role:none,default$:[1]"), Ok(json!([1])));
        assert_eq!(service.call("role:none").default(json!({"b": 2})).send(), Ok(json!({"b": 2})));
        assert_eq!(act("role:api,cmd:add,left:1,right:1,default$:{a:1}"), Ok(json!({"result": 2})));
        for wrong in ["role:none,default$:x", "role:none,default$:1", "role:api,cmd:add,left:1,right:1,default$:x"] {
            assert!(matches!(act(wrong), Err(ActError::InvalidMessage(_))), "{wrong}");
        }
        // Of an action that fails there is no default.
        assert!(act("role:api,cmd:add,default$:{a:1}").is_err());
    }
}

#[test]
fn keys_that_end_in_a_dollar_reach_no_handler() {
    let _others = with_others();
    let (caller, provider) = caller_and_provider(server());
    echo(&provider, "a:1", "a");
    finds(&caller, "a:1");
    let message = json!({"a": 1, "gate$": true, "fatal$": true, "unknown$": 1, "$x": 2, "in": {"kept$": 3}});
    let seen = json!({"a": 1, "$x": 2, "in": {"kept$": 3}});
    for service in [&caller, &provider] {
        assert_eq!(service.act::<Value>(&message).unwrap()["message"], seen);
    }
}
