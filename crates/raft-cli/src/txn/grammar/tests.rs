//! The language of transactions, line by line and as a whole.

use super::*;

fn parse(text: &str) -> Result<TxnRequest, InputError> {
    read(&mut text.as_bytes(), Ending::Input, |_| {})
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn compared(result: CompareResult, key: &'static str, value: TargetUnion) -> Compare {
    let target = match value {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        range_end: Bytes::new(),
        target_union: Some(value),
    }
}

fn put(key: &'static str, value: &'static [u8]) -> Request {
    let (key, value) = (key.into(), Bytes::from_static(value));
    Request::RequestPut(raft_api::etcdserverpb::PutRequest { key, value, ..Default::default() })
}

fn get(key: &'static str) -> Request {
    let key = key.into();
    Request::RequestRange(raft_api::etcdserverpb::RangeRequest { key, ..Default::default() })
}

fn del(key: &'static str, range_end: &'static str, prev_kv: bool) -> Request {
    let (key, range_end) = (key.into(), range_end.into());
    let request = raft_api::etcdserverpb::DeleteRangeRequest { key, range_end, prev_kv };
    Request::RequestDeleteRange(request)
}

fn requests(ops: Vec<RequestOp>) -> Vec<Request> {
    ops.into_iter().map(|op| op.request.unwrap()).collect()
}

#[test]
fn a_transaction_is_compares_then_success_then_failure() {
    let text = "mod(\"a\") > \"0\"\nvalue(\"b\") = \"x y\"\n\nput a 1\nget b\n\ndel c\n\n";
    for text in [text, text.trim_end(), &text.replace('\n', "\r\n"), &format!("{text}\n \n")] {
        let request = parse(text).unwrap();
        assert_eq!(
            request.compare,
            [
                compared(CompareResult::Greater, "a", TargetUnion::ModRevision(0)),
                compared(CompareResult::Equal, "b", TargetUnion::Value(Bytes::from_static(b"x y"))),
            ]
        );
        assert_eq!(requests(request.success), [put("a", b"1"), get("b")]);
        assert_eq!(requests(request.failure), [del("c", "", false)]);
    }
}

#[test]
fn every_section_may_be_empty() {
    let request = parse("\n\nget a\n").unwrap();
    assert_eq!((request.compare.len(), request.success.len()), (0, 0));
    assert_eq!(requests(request.failure), [get("a")]);
    assert_eq!(parse("").unwrap(), TxnRequest::default());
}

#[test]
fn compares_know_five_targets_and_four_relations() {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    let check = |line: &str, expected| assert_eq!(compare(line.as_bytes()), Ok(expected), "{line}");
    check(r#"ver("k") = "1""#, compared(Equal, "k", TargetUnion::Version(1)));
    check(r#"version("k") != "1""#, compared(NotEqual, "k", TargetUnion::Version(1)));
    check(r#"c("k") < "-2""#, compared(Less, "k", TargetUnion::CreateRevision(-2)));
    check(r#"create("k") > "2""#, compared(Greater, "k", TargetUnion::CreateRevision(2)));
    check(r#"m("k") = "3""#, compared(Equal, "k", TargetUnion::ModRevision(3)));
    check(r#"mod("k") = "3""#, compared(Equal, "k", TargetUnion::ModRevision(3)));
    check(r#"val("k") = """#, compared(Equal, "k", TargetUnion::Value(Bytes::new())));
    check(r#"value("k") < "v""#, compared(Less, "k", TargetUnion::Value("v".into())));
    check(r#"lease("k") = "1f""#, compared(Equal, "k", TargetUnion::Lease(0x1f)));
}

#[test]
fn compares_do_not_depend_on_blanks_or_on_the_kind_of_quotes() {
    let expected = compared(CompareResult::NotEqual, "k", TargetUnion::ModRevision(7));
    for line in [
        "mod(\"k\")!=\"7\"",
        "mod( \"k\" )  !=  \"7\"  ",
        "  mod('k') != '7'",
        "mod(k) != 7",
        "mod(k)!=7\r\n",
        "mod (k) != 7",
    ] {
        assert_eq!(compare(line.as_bytes()), Ok(expected.clone()), "{line}");
    }
    // A quoted key may hold what would end a bare one.
    let key = compared(CompareResult::Equal, "a) b", TargetUnion::Version(0));
    assert_eq!(compare(b"ver(\"a) b\") = 0"), Ok(key));
}

#[test]
fn a_wrong_compare_is_named() {
    let check = |line: &str, error| assert_eq!(compare(line.as_bytes()), Err(error), "{line}");
    check("size(\"k\") > 0", LineError::Target("size".to_owned()));
    check("put k v", LineError::Target("put".to_owned()));
    check("mod \"k\" > 0", LineError::Symbol('('));
    check("mod(\"k\" > 0", LineError::Symbol(')'));
    check("mod() > 0", LineError::NoKey);
    check("mod(\"k\") >= 0", LineError::Relation(">=".to_owned()));
    check("mod(\"k\") 0", LineError::Relation(String::new()));
    check("mod(\"k\") =", LineError::NoValue);
    check("mod(\"k\") = 0 1", LineError::Extra("1".to_owned()));
    check("mod(\"k\") = \"0x1\"", LineError::Decimal("0x1".to_owned()));
    check("mod(\"k\") = 9223372036854775808", LineError::Decimal("9223372036854775808".to_owned()));
    check("lease(\"k\") = \"xyz\"", LineError::Hexadecimal("xyz".to_owned()));
    check("value(\"k\") = \"open", LineError::Unclosed('"'));
    check("value('k) = 'v'", LineError::Unclosed('\''));
    check("value('k", LineError::Unclosed('\''));
}

#[test]
fn quotes_are_those_of_go() {
    let check = |word: &str, expected: &[u8]| {
        let next = Words(word.as_bytes()).next(|_| false);
        assert_eq!(next, Ok(Some(expected.to_vec())), "{word}");
    };
    check("bare", b"bare");
    check(r"back\slash", br"back\slash");
    check(r#""a b""#, b"a b");
    check(r#""a\"b\\c\'d""#, br#"a"b\c'd"#);
    check(r#""\a\b\f\n\r\t\v""#, b"\x07\x08\x0c\n\r\t\x0b");
    check(r#""\xff\x00A""#, b"\xff\0A");
    check(r#""\101\377\000""#, b"A\xff\0");
    check(r#""\u00e9\U0001F600""#, "\u{e9}\u{1f600}".as_bytes());
    check(r#"'no \n escape, no "" end'"#, br#"no \n escape, no "" end"#);
    check(r#"a"b c"'d e'f"#, b"ab cd ef");
    check(r#""""#, b"");
    check("''", b"");
}

#[test]
fn a_wrong_escape_is_named_and_not_guessed() {
    let check = |word: &str, escape: &str| {
        let next = Words(word.as_bytes()).next(|_| false);
        assert_eq!(next, Err(LineError::Escape(escape.to_owned())), "{word}");
    };
    check(r#""\q""#, "q");
    check(r#""\xf""#, "xf\"");
    check(r#""\xzz""#, "xzz");
    check(r#""\x+1""#, "x+1");
    check(r#""\u12"#, "u12");
    check(r#""\ud800""#, "ud800");
    check(r#""\U00110000""#, "U00110000");
    check(r#""\400""#, "400");
    check(r#""\19x""#, "19x");
    assert_eq!(Words(b"\"\\").next(|_| false), Err(LineError::Unclosed('"')));
}

#[test]
fn what_is_printed_quoted_is_read_back_as_it_was() {
    let all: Vec<u8> = (0..=255).collect();
    let text = crate::quote::quoted(&all);
    assert_eq!(Words(text.as_bytes()).next(|_| false), Ok(Some(all)));
}

#[test]
fn operations_take_the_options_of_their_commands() {
    let request = parse("\n\nput 'a b' \"c\\nd\"\ndel k --prefix --prev-kv\nput n -5\n").unwrap();
    assert_eq!(
        requests(request.failure),
        [put("a b", b"c\nd"), del("k", "l", true), put("n", b"-5")]
    );
    let text = "\nget a c --limit 3 --keys-only\nput k --ignore-value --lease 1f\n";
    let request = parse(text).unwrap();
    let [Request::RequestRange(range), Request::RequestPut(put)] = &requests(request.success)[..]
    else {
        panic!("a range and a put")
    };
    assert_eq!((&range.range_end[..], range.limit, range.keys_only), (&b"c"[..], 3, true));
    assert_eq!((put.ignore_value, put.lease), (true, 0x1f));
}

#[test]
fn keys_and_values_may_be_any_bytes() {
    let request = read(&mut &b"\nput \xff \"\\xfe\"\n"[..], Ending::Input, |_| {}).unwrap();
    let [Request::RequestPut(put)] = &requests(request.success)[..] else { panic!("a put") };
    assert_eq!((&put.key[..], &put.value[..]), (&b"\xff"[..], &b"\xfe"[..]));
}

#[test]
fn a_wrong_line_is_named_by_its_number() {
    assert_eq!(
        refused("mod(\"k\") > 0\nfoo\n"),
        "line 2: `foo` cannot be compared, expected version, create, mod, value or lease"
    );
    assert_eq!(refused("\nput k\n"), "line 2: no value");
    assert_eq!(refused("\n\nget 'a\n"), "line 3: no closing '");
    assert_eq!(
        refused("\nget a\n\n\nput b c\n"),
        "line 5: text after the third section, sections end at empty lines"
    );
    let error = refused("\nfrobnicate k\n");
    assert!(error.starts_with("line 2: unrecognized subcommand"), "{error}");
    let error = refused("\nget k --print-value-only\n");
    assert!(error.starts_with("line 2: unexpected argument"), "{error}");
    let error = refused("\nget --help\n");
    assert!(error.starts_with("line 2: "), "{error}");
    let error = refused("\nget\n");
    assert!(error.starts_with("line 2: "), "{error}");
}

#[test]
fn a_user_at_a_terminal_is_asked_for_each_section_and_then_left_alone() {
    let mut asked = Vec::new();
    let mut input = &b"\nput a b\n\n\nnot looked at"[..];
    let request = read(&mut input, Ending::Line, |section| asked.push(section)).unwrap();
    assert_eq!(asked, [Section::Compares, Section::Success, Section::Failure]);
    assert_eq!(requests(request.success), [put("a", b"b")]);
    assert_eq!(input, b"not looked at");
}

#[test]
fn endless_input_is_refused() {
    let mut endless = std::io::BufReader::new(std::io::repeat(b'x'));
    let error = read(&mut endless, Ending::Input, |_| {}).unwrap_err();
    assert!(matches!(error, InputError::TooLong), "{error}");
}
