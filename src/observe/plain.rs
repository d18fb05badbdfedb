//! Makes text for people safe to show on one line: names and servers' texts contain what
//! users put there.
//!
//! Everything that prints or logs uses this; JSON has its own escaping.

use std::borrow::Cow;

/// The text without anything that ends a line or moves a cursor: shown as in a string
/// literal instead.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unprintable(c) {
            shown.extend(c.escape_default())
        } else {
            shown.push(c)
        }
    }
    Cow::Owned(shown)
}

/// Control characters, and Unicode's own ends of lines and changes of direction.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_line_or_moves_a_cursor() {
        assert!(matches!(
            line("shop.bücher 'a' \"b\" \\ c"),
            Cow::Borrowed(_)
        ));
        assert_eq!(
            line("a\nb\r\tc\u{1b}[2J\u{2028}d\u{9b}"),
            "a\\nb\\r\\tc\\u{1b}[2J\\u{2028}d\\u{9b}"
        );
    }
}
