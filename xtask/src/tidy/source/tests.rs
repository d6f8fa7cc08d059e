//! Stories of the scanner: what it takes for code, and how it counts.

use super::{Function, Source};

fn code(source: &Source) -> String {
    source.code.iter().collect()
}

fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let functions = Source::split(text).functions();
    functions.into_iter().map(|Function { name, line, lines }| (name, line, lines)).collect()
}

fn check_functions(text: &str, expected: &[(&str, usize, usize)]) {
    let expected: Vec<_> =
        expected.iter().map(|(name, line, lines)| ((*name).to_owned(), *line, *lines)).collect();
    assert_eq!(functions(text), expected, "functions of:\n{text}");
}

#[test]
fn comments_and_literals_are_not_code() {
    let source = Source::split("a(\"b { c\"); // d }\n/* e /* f */ g */ h");
    let code = code(&source);
    assert!(code.starts_with("a(\"\" \" \"\");"), "the words of a string are hidden: {code}");
    assert!(code.ends_with(" h"), "after a nested comment there is code again: {code}");
    assert!(!code.contains('}') && !code.contains('g'), "comments are blank: {code}");
    assert!(source.comments().contains("// d }"), "comments are kept apart");
    assert!(!source.comments().contains('h'), "code is not among the comments");
}

#[test]
fn code_and_comments_keep_the_lines_and_columns_of_the_file() {
    let text = "let ä = r#\"x\ny\"#; // ö\nlet b;";
    let source = Source::split(text);
    for part in [code(&source), source.comments().to_owned()] {
        let shape = |text: &str| text.lines().map(|l| l.chars().count()).collect::<Vec<_>>();
        assert_eq!(shape(&part), shape(text), "same shape");
    }
}

#[test]
fn a_lifetime_does_not_open_a_character() {
    check_functions(
        "fn f<'a>(x: &'a str) -> char {\n    let c = '{';\n    let d = '\\'';\n    c\n}",
        &[("f", 1, 3)],
    );
}

#[test]
fn braces_in_strings_of_every_spelling_do_not_count() {
    let text = r##"fn f() {
    a("}\"}");
    b(r#"}"}"#);
    c(b"}");
    d(br"}\");
    e(b'}');
}
fn g() {}"##;
    check_functions(text, &[("f", 1, 5), ("g", 8, 0)]);
}

#[test]
fn a_function_is_as_long_as_its_code_not_as_its_comments() {
    let text = "fn f() {\n    // why\n\n    /* and\n       why */\n    x();\n}\n";
    check_functions(text, &[("f", 1, 1)]);
}

#[test]
fn a_signature_over_several_lines_is_not_its_body() {
    let text = "fn f<A, B>(
    a: [A; 4],
) -> impl Iterator<Item = B>
where
    A: Fn(u8) -> [u8; 2],
{
    x();
    y();
}
";
    check_functions(text, &[("f", 1, 2)]);
}

#[test]
fn declarations_and_types_are_no_functions() {
    let text = "trait T {
    fn declared(&self) -> [u8; 4];
    fn provided(&self) {
        x();
    }
}
struct S {
    callback: fn(u8) -> u8,
}
";
    check_functions(text, &[("provided", 3, 1)]);
}

#[test]
fn a_nested_function_is_counted_for_itself_and_for_its_parent() {
    let text = "fn outer() {\n    fn inner() {\n        x();\n    }\n    inner();\n}\n";
    check_functions(text, &[("outer", 1, 4), ("inner", 2, 1)]);
}

#[test]
fn the_word_fn_in_a_name_or_a_raw_name_begins_no_function() {
    check_functions("let my_fn = r#fn; confn();", &[]);
}

#[test]
fn a_string_over_three_lines_is_three_lines_of_code() {
    assert_eq!(Source::split("let a = \"x\ny\nz\";\n\n// no\n").lines_of_code(), 3);
}

#[test]
fn the_test_module_at_the_end_is_not_among_the_lines_of_code() {
    let text = "//! Doc.

fn f() {}

#[cfg(test)]
#[expect(x)]
mod tests {
    fn t() {}
}
";
    let source = Source::split(text);
    assert_eq!(source.lines_of_code(), 1);
    assert_eq!(source.test_module(), Some(5));
}

#[test]
fn a_test_module_followed_by_code_does_not_hide_that_code() {
    let source = Source::split("#[cfg(test)]\nmod tests {}\nfn f() {}\n");
    assert_eq!(source.test_module(), None);
    assert_eq!(source.lines_of_code(), 3);
}

#[test]
fn an_unfinished_file_is_read_to_its_end() {
    for text in ["fn f() {", "\"abc", "'", "/* a", "r#\"a", "fn", "'\\", "#[cfg(test)]", "b'"] {
        let source = Source::split(text);
        let _ = (source.functions(), source.lines_of_code(), source.test_module());
        assert_eq!(code(&source).chars().count(), text.chars().count(), "all of {text}");
    }
}
