//! Seneca's relaxed JSON, in which patterns and messages are written by hand: `role:api,cmd:add,left:2`.
//!
//! What is accepted means what it means to Seneca 3.38; what that makes a guess of, or drops without a word, is refused: an unclosed
//! brace, two commas in a row, `a:b:1`, comments, text that begins with a backtick, a key that is named twice, lists at the top.

use std::fmt;

use serde_json::{Map, Number, Value};

use super::compare::as_text;

/// The longest text that is read: 1 MiB.
pub(crate) const MAX_TEXT_BYTES: usize = 1 << 20;
/// The most objects and lists within each other.
pub(crate) const MAX_DEPTH: usize = 64;

/// Reads an object, with or without the outer braces. Of white space alone it is empty, and a key without a value is null.
pub(crate) fn parse(text: &str) -> Result<Map<String, Value>, TextError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    if text.len() > MAX_TEXT_BYTES {
        return parser.fail(format!("it has {} bytes; {MAX_TEXT_BYTES} are the most", text.len()));
    }
    parser.skip_space();
    let object = if parser.takes('{') { parser.object()? } else { parser.pairs()? };
    parser.skip_space();
    match parser.peek() {
        None => Ok(object),
        Some(c) => parser.fail(format!("nothing may follow the end of the object, but here is `{}`", c.escape_debug())),
    }
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextError {
    problem: String,
    /// Counted from 1.
    character: usize,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.character, self.problem)
    }
}

impl std::error::Error for TextError {}

/// Writes a key so that [`parse`] gives it back.
pub(crate) fn write_key(f: &mut impl fmt::Write, key: &str) -> fmt::Result {
    if is_plain(key) { f.write_str(key) } else { write_quoted(f, key) }
}

/// Writes a value so that what [`parse`] gives is the same to [`as_text`].
pub(crate) fn write_value(f: &mut impl fmt::Write, text: &str) -> fmt::Result {
    let reads_as = |text: &str| typed(text).ok().and_then(|value| as_text(&value).map(|read| read == text));
    if is_plain(text) && reads_as(text) == Some(true) { f.write_str(text) } else { write_quoted(f, text) }
}

fn write_quoted(f: &mut impl fmt::Write, text: &str) -> fmt::Result {
    write!(f, "{}", Value::from(text))
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.starts_with(['"', '\'']) && !text.contains(ends_plain) && why_not_plain(text).is_none()
}

fn ends_plain(c: char) -> bool {
    is_space(c) || matches!(c, '{' | '}' | '[' | ']' | ':' | ',')
}

/// Other white space is text to Seneca, and not to the eye.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn why_not_plain(text: &str) -> Option<&'static str> {
    if text.starts_with('`') {
        Some("text in backticks is not read; put it in ' or \" quotes")
    } else if text.contains('#') || text.contains("//") || text.contains("/*") {
        Some("comments are not read; if it is none, put the text in quotes")
    } else if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        Some("control characters and unusual white space have to be in quotes")
    } else {
        None
    }
}

struct Parser<'t> {
    text: &'t str,
    /// In bytes.
    at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    /// What follows an opening brace.
    fn object(&mut self) -> Result<Map<String, Value>, TextError> {
        let opening = self.at - 1;
        let pairs = self.pairs()?;
        if self.takes('}') { Ok(pairs) } else { self.fail_at(opening, "this brace is never closed") }
    }

    /// Pairs up to a closing brace or the end.
    fn pairs(&mut self) -> Result<Map<String, Value>, TextError> {
        let mut pairs = Map::new();
        loop {
            self.skip_space();
            let start = self.at;
            if matches!(self.peek(), None | Some('}')) {
                return Ok(pairs);
            }
            let key = self.key()?;
            self.skip_space();
            if !self.takes(':') {
                return self
                    .fail(format!("the key `{}` has to be followed by a colon and its value", key.escape_debug()));
            }
            self.skip_space();
            let value = if matches!(self.peek(), None | Some(',' | '}')) { Value::Null } else { self.value()? };
            if pairs.contains_key(&key) {
                return self.fail_at(start, format!("the key `{}` is named twice", key.escape_debug()));
            }
            pairs.insert(key, value);
            self.separator('}')?;
        }
    }

    /// What follows an opening bracket.
    fn list(&mut self) -> Result<Vec<Value>, TextError> {
        let opening = self.at - 1;
        let mut list = Vec::new();
        loop {
            self.skip_space();
            if self.takes(']') {
                return Ok(list);
            }
            if self.peek().is_none() {
                return self.fail_at(opening, "this bracket is never closed");
            }
            list.push(self.value()?);
            self.separator(']')?;
        }
    }

    /// Passes the comma or white space after a pair or an element.
    fn separator(&mut self, closing: char) -> Result<(), TextError> {
        let end = self.at;
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(c) if c == closing || self.takes(',') => Ok(()),
            Some(':') => self.fail("a colon inside of a value has to be in quotes, as all of the value"),
            Some(c) if c == '}' || c == ']' => self.fail(format!("`{c}` closes nothing here")),
            Some(_) if self.at > end => Ok(()),
            Some(c) => {
                self.fail(format!("before `{}` there has to be a comma; or put the text in quotes", c.escape_debug()))
            }
        }
    }

    fn key(&mut self) -> Result<String, TextError> {
        match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            _ => self.plain("a key").map(str::to_owned),
        }
    }

    fn value(&mut self) -> Result<Value, TextError> {
        match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote).map(Value::String),
            Some('{') => self.nested(|parser| parser.object().map(Value::Object)),
            Some('[') => self.nested(|parser| parser.list().map(Value::Array)),
            _ => {
                let start = self.at;
                let text = self.plain("a value")?;
                typed(text).or_else(|problem| self.fail_at(start, problem))
            }
        }
    }

    fn nested(&mut self, read: impl Fn(&mut Self) -> Result<Value, TextError>) -> Result<Value, TextError> {
        if self.depth == MAX_DEPTH {
            return self.fail(format!("more than {MAX_DEPTH} objects and lists are within each other"));
        }
        self.at += 1;
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn plain(&mut self, what: &str) -> Result<&'t str, TextError> {
        let rest = self.rest();
        let text = &rest[..rest.find(ends_plain).unwrap_or(rest.len())];
        if let Some(problem) = why_not_plain(text) {
            return self.fail(problem);
        }
        match self.peek() {
            Some(c) if text.is_empty() => self.fail(format!("{what} is expected here, not `{c}`")),
            None => self.fail(format!("{what} is expected here, not the end")),
            Some(_) => {
                self.at += text.len();
                Ok(text)
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, TextError> {
        let opening = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return self.fail_at(opening, "this quote is never closed"),
                Some('\\') => text.push(self.escaped()?),
                Some(c) if c < ' ' => return self.fail("a control character has to be written as an escape, like \\n"),
                Some(c) => {
                    self.at += c.len_utf8();
                    if c == quote {
                        return Ok(text);
                    }
                    text.push(c);
                }
            }
        }
    }

    fn escaped(&mut self) -> Result<char, TextError> {
        let start = self.at;
        self.at += 1;
        let Some(escape) = self.peek() else { return self.fail_at(start, "nothing follows this backslash") };
        self.at += escape.len_utf8();
        match escape {
            '"' | '\'' | '\\' | '/' => Ok(escape),
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'u' => match self.unicode() {
                Some(c) => Ok(c),
                None => self.fail_at(
                    start,
                    "\\u has to be followed by four hexadecimal digits, twice for a pair of surrogates",
                ),
            },
            _ => self.fail_at(start, "there is no such escape; \\\\ is a backslash"),
        }
    }

    /// What follows `\u`: four digits, or of a pair of surrogates `dddd\udddd`.
    fn unicode(&mut self) -> Option<char> {
        let first = self.four_digits()?;
        let second = match first {
            0xd800..0xdc00 => {
                self.at += self.rest().strip_prefix("\\u").map(|_| 2)?;
                Some(self.four_digits()?)
            }
            _ => None,
        };
        char::decode_utf16([first].into_iter().chain(second)).next()?.ok()
    }

    fn four_digits(&mut self) -> Option<u16> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        self.at += 4;
        u16::from_str_radix(digits, 16).ok()
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches(is_space).len();
    }

    fn takes(&mut self, wanted: char) -> bool {
        let takes = self.rest().starts_with(wanted);
        self.at += if takes { wanted.len_utf8() } else { 0 };
        takes
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fail<T>(&self, problem: impl Into<String>) -> Result<T, TextError> {
        self.fail_at(self.at, problem)
    }

    fn fail_at<T>(&self, at: usize, problem: impl Into<String>) -> Result<T, TextError> {
        let before = self.text.get(..at).unwrap_or(self.text);
        Err(TextError { problem: problem.into(), character: before.chars().count() + 1 })
    }
}

/// What plain text stands for. Only a number can be wrong: one that no JSON could hold.
fn typed(text: &str) -> Result<Value, &'static str> {
    match text {
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        "null" => Ok(Value::Null),
        _ => Ok(number(text)?.map_or_else(|| text.into(), Value::Number)),
    }
}

/// The numbers of Seneca 3.38: also `+1`, `.5`, `1.`, `017` (which is 17), `1_000`, `0xff`, `0o17` and `0b11`.
fn number(text: &str) -> Result<Option<Number>, &'static str> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    let radix = match unsigned.get(..2) {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => return decimal(unsigned, negative),
    };
    let digits = &unsigned[2..];
    if !digits.chars().all(|c| c == '_' || c.is_digit(radix)) || digits.chars().all(|c| c == '_') {
        return Ok(None);
    }
    let magnitude = u64::from_str_radix(&digits.replace('_', ""), radix).map_err(|_| TOO_LARGE)?;
    exact(magnitude, negative).ok_or(TOO_LARGE).map(Some)
}

const TOO_LARGE: &str = "this number is too large; put it in quotes";

fn decimal(unsigned: &str, negative: bool) -> Result<Option<Number>, &'static str> {
    let (mantissa, exponent) = unsigned.split_at(unsigned.find(['e', 'E']).unwrap_or(unsigned.len()));
    let (whole, fraction) = mantissa.split_at(mantissa.find('.').unwrap_or(mantissa.len()));
    let power = exponent.get(1..).map(|power| power.strip_prefix(['+', '-']).unwrap_or(power));
    // `.5` needs a digit after its point, `1.` none, and there `1._5` is right.
    let whole_is_right =
        if whole.is_empty() { are_digits(fraction.get(1..).unwrap_or_default()) } else { are_digits(whole) };
    let fraction_is_right = fraction.len() < 2 || are_digits(fraction.trim_start_matches(['.', '_']));
    if !whole_is_right || !fraction_is_right || !power.is_none_or(are_digits) {
        return Ok(None);
    }
    let plain = unsigned.replace('_', "");
    if let Some(number) = plain.parse().ok().and_then(|magnitude| exact(magnitude, negative)) {
        return Ok(Some(number));
    }
    let Ok(magnitude) = plain.parse::<f64>() else { return Ok(None) };
    // JavaScript has one kind of number: 1.0 and 1e3 are whole ones.
    if magnitude.fract() == 0.0 && magnitude <= (1u64 << 53) as f64 {
        return Ok(exact(magnitude as u64, negative));
    }
    Number::from_f64(if negative { -magnitude } else { magnitude }).ok_or(TOO_LARGE).map(Some)
}

/// Digits, with `_` between them.
fn are_digits(text: &str) -> bool {
    let ends = text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(|c: char| c.is_ascii_digit());
    ends && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_digit())
}

fn exact(magnitude: u64, negative: bool) -> Option<Number> {
    if negative { 0i64.checked_sub_unsigned(magnitude).map(Number::from) } else { Some(magnitude.into()) }
}

#[cfg(test)]
mod tests;
