//! How Seneca compares a message's value with a pattern's: as text, letter for letter or by glob.

use std::borrow::Cow;
use std::str::EncodeUtf16;

use serde_json::{Number, Value};

/// A longer value agrees with no glob but `*`, so that a message costs no more than this for each glob: 1,024 bytes, four times what
/// a pattern's own value may have.
pub(crate) const MAX_GLOBBED_BYTES: usize = 1024;

/// Deeper lists count as empty. `serde_json` reads no deeper ones.
const MAX_LIST_DEPTH: usize = 128;

/// From here on numbers are rounded, as JavaScript rounds them when it reads them: 2^53.
const MAX_EXACT: u64 = 1 << 53;

/// What JavaScript's `String(value)` gives, except for null, which agrees with nothing: `1.0` is `1`, a list is its elements with
/// commas between them, and every object is `[object Object]`.
pub(crate) fn as_text(value: &Value) -> Option<Cow<'_, str>> {
    as_text_up_to(usize::MAX, value)
}

/// Whether a value agrees with what a pattern has for its key.
pub(crate) fn agrees(pattern: &str, value: &Value) -> bool {
    as_compared(value).is_some_and(|text| if is_glob(pattern) { glob_agrees(pattern, &text) } else { pattern == text })
}

/// A value as text that is good for comparing alone: a list's text may end where nothing agrees with it any more.
pub(crate) fn as_compared(value: &Value) -> Option<Cow<'_, str>> {
    as_text_up_to(MAX_GLOBBED_BYTES, value)
}

/// Whether a pattern's value is compared by glob.
pub(crate) fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

/// Whether a text agrees with a glob: `*` stands for any text, `?` for one UTF-16 unit, `**` for a star and `*?` for a question mark.
///
/// Takes as many steps as the product of both lengths at most.
pub(crate) fn glob_agrees(glob: &str, text: &str) -> bool {
    glob == "*" || text.len() <= MAX_GLOBBED_BYTES && accepts(tokens(glob), text.encode_utf16().map(Token::Unit))
}

/// Whether everything that agrees with `inner` agrees with `outer`. If either is a glob it may be `false` although it is so, as for
/// `?*` and `*a`; it is never `true` although it is not.
pub(crate) fn covers(outer: &str, inner: &str) -> bool {
    outer == "*" || accepts(tokens(outer), tokens(inner))
}

/// How specific a glob is: it fixes so many UTF-16 units, and asks for so many more.
pub(crate) fn specificity(glob: &str) -> (usize, usize) {
    let fixed = tokens(glob).filter(|token| matches!(token, Token::Unit(_))).count();
    let any = tokens(glob).filter(|token| *token == Token::AnyUnit).count();
    (fixed, any)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Unit(u16),
    AnyUnit,
    AnyText,
}

#[derive(Clone)]
struct Tokens<'t>(EncodeUtf16<'t>);

fn tokens(glob: &str) -> Tokens<'_> {
    Tokens(glob.encode_utf16())
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        const STAR: u16 = b'*' as u16;
        const QUESTION_MARK: u16 = b'?' as u16;
        match self.0.next()? {
            QUESTION_MARK => Some(Token::AnyUnit),
            STAR => {
                let mut ahead = self.0.clone();
                let escaped = ahead.next().filter(|unit| matches!(*unit, STAR | QUESTION_MARK));
                if escaped.is_some() {
                    self.0 = ahead;
                }
                Some(escaped.map_or(Token::AnyText, Token::Unit))
            }
            unit => Some(Token::Unit(unit)),
        }
    }
}

/// Whether `text`, which is units or another glob's tokens, is what `glob` stands for.
///
/// What follows an `AnyText` is looked for from left to right, and never again further left: the first place where it fits leaves
/// the most for what comes after it.
fn accepts(mut glob: Tokens<'_>, mut text: impl Iterator<Item = Token> + Clone) -> bool {
    let mut last_any_text = None;
    loop {
        let (mut rest, mut remaining) = (glob.clone(), text.clone());
        match (rest.next(), remaining.next()) {
            (Some(Token::AnyText), _) => {
                if rest.clone().next().is_none() {
                    return true;
                }
                glob = rest;
                last_any_text = Some((glob.clone(), text.clone()));
            }
            (None, None) => return true,
            (_, None) => return false,
            (Some(expected), Some(found)) if stands_for(expected, found) => (glob, text) = (rest, remaining),
            _ => {
                let Some((after, from)) = &mut last_any_text else { return false };
                from.next();
                (glob, text) = (after.clone(), from.clone());
            }
        }
    }
}

fn stands_for(expected: Token, found: Token) -> bool {
    expected == found || expected == Token::AnyUnit && found != Token::AnyText
}

fn as_text_up_to(limit: usize, value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::Bool(true) => Some("true".into()),
        Value::Bool(false) => Some("false".into()),
        Value::Number(number) => Some(number_as_text(number).into()),
        Value::String(text) => Some(text.into()),
        Value::Array(list) => {
            let mut text = String::new();
            join(list, &mut text, limit, MAX_LIST_DEPTH);
            Some(text.into())
        }
        Value::Object(_) => Some("[object Object]".into()),
    }
}

/// Appends the elements with commas between them until there is more text than `limit`.
fn join(list: &[Value], text: &mut String, limit: usize, depth: usize) {
    for (place, element) in list.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        if text.len() > limit {
            return;
        }
        match element {
            Value::Array(inner) if depth > 0 => join(inner, text, limit, depth - 1),
            Value::Array(_) => {}
            other => text.push_str(&as_text_up_to(limit, other).unwrap_or_default()),
        }
    }
}

fn number_as_text(number: &Number) -> String {
    let exact = number.as_i64().filter(|integer| integer.unsigned_abs() <= MAX_EXACT);
    exact.map_or_else(|| float_as_text(number.as_f64().unwrap_or(f64::NAN)), |integer| integer.to_string())
}

/// ECMAScript's `Number::toString`: the shortest digits that give the number back, and an exponent from 1e21 and below 1e-6.
fn float_as_text(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:e}", number.abs());
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let Ok(exponent) = exponent.parse::<i32>() else { return scientific };
    let digits = mantissa.replace('.', "");
    let sign = if number < 0.0 { "-" } else { "" };
    match exponent {
        0..21 => {
            let whole = exponent as usize + 1;
            let zeros = "0".repeat(whole.saturating_sub(digits.len()));
            match digits.split_at_checked(whole) {
                Some((whole, fraction)) if !fraction.is_empty() => format!("{sign}{whole}.{fraction}"),
                _ => format!("{sign}{digits}{zeros}"),
            }
        }
        -6..0 => format!("{sign}0.{}{digits}", "0".repeat(-exponent as usize - 1)),
        _ => format!("{sign}{mantissa}e{exponent:+}"),
    }
}

#[cfg(test)]
mod tests;
