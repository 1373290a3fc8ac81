//! Bound, advertised and seed addresses.

use grapevine::Error;

use crate::common::forge::peer;
use crate::{all_alive, arrives, has_ipv6, join, quick, with_others};

#[test]
fn nodes_find_each_other_over_either_family() {
    let _others = with_others();
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        if addr.starts_with('[') && !has_ipv6() {
            continue;
        }
        let first = quick().bind(addr).start().unwrap();
        let second = quick().bind(addr).seed(first.peer().to_string()).start().unwrap();
        assert_eq!(first.peer().addr(), first.local_addr());
        all_alive(&[&first, &second]);
        first.set("greeting", "hello").unwrap();
        arrives(&second, &first, "greeting", "\"hello\"");
    }
}

#[test]
fn a_dual_stack_node_has_peers_of_both_families() {
    let _others = with_others();
    if !has_ipv6() {
        return;
    }
    let both = quick().bind("[::]:0").advertise("127.0.0.1:0").start().unwrap();
    let port = both.local_addr().port();
    assert_eq!(both.peer(), peer(&format!("127.0.0.1:{port}")), "port 0 stands for the bound one");
    let four = quick().bind("127.0.0.1:0").seed(format!("127.0.0.1:{port}")).start().unwrap();
    let six = quick().bind("[::1]:0").seed(format!("[::1]:{port}")).start().unwrap();
    all_alive(&[&both, &four, &six]);
    four.set("from", "four").unwrap();
    six.set("from", "six").unwrap();
    arrives(&six, &four, "from", "\"four\"");
    arrives(&four, &six, "from", "\"six\"");
    arrives(&both, &six, "from", "\"six\"");
}

#[test]
fn an_address_in_use_is_an_error_and_the_first_goes_on() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let error = quick().bind(first.local_addr()).start().unwrap_err();
    assert!(matches!(&error, Error::Bind { addr, .. } if *addr == first.local_addr()), "{error}");
    first.set("still", "here").unwrap();
    all_alive(&[&first, &join(&first)]);
}

#[test]
fn a_wildcard_needs_an_address_to_be_reached_at() {
    let _others = with_others();
    let error = quick().bind("0.0.0.0:0").start().unwrap_err().to_string();
    assert!(error.contains("advertise") && error.contains("0.0.0.0"), "{error}");
    let first = quick().bind("0.0.0.0:0").advertise("127.0.0.1:0").start().unwrap();
    all_alive(&[&first, &join(&first)]);
}

#[test]
fn a_seed_may_be_a_name() {
    let _others = with_others();
    let first = quick().start().unwrap();
    let seed = format!("localhost:{}", first.local_addr().port());
    let second = quick().seed(seed).seed("no-such-host.invalid:9000").start().unwrap();
    all_alive(&[&first, &second]);
    assert_eq!(second.peers().len(), 1, "the name is no peer");
}
