//! Text: one form of it is kept, whatever the keyboard, and one form is searched. Neither database is asked, for they
//! differ in their rules.

use caseless::Caseless;
use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;
use unicode_normalization::UnicodeNormalization;

/// Rule for text of one line that people read: names and reasons.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Characters, at the most.
    max: usize,
    /// Error text for an empty line, and for a longer one.
    length: &'static str,
}

impl Line {
    /// Allows 1 to `max` characters; `length` says so.
    pub const fn new(max: usize, length: &'static str) -> Self {
        Self { max, length }
    }

    /// Returns the text as it is kept: trimmed, and composed (NFC).
    ///
    /// # Errors
    /// The broken rule, to be read on from the name of the field.
    pub fn kept(&self, text: &str) -> Result<String, &'static str> {
        let text: String = text.trim().nfc().collect();
        match text.chars().count() {
            0 => Err(self.length),
            count if count > self.max => Err(self.length),
            _ if text.chars().any(is_control) => Err("must have no control characters"),
            _ if !text.chars().any(is_visible) => Err("must have a visible character"),
            _ => Ok(text),
        }
    }
}

/// Returns true for characters that end a line, are NUL, or turn the direction of the text behind them.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns true for characters that leave ink. The pattern of Braille without dots counts as a blank.
fn is_visible(c: char) -> bool {
    !c.is_whitespace() && !is_ignorable(c) && c != '\u{2800}'
}

fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// Returns the form in which texts are searched and sorted: without upper case, width, ligatures and ignorable
/// characters (NFKC and case folding).
pub fn search_form(text: &str) -> String {
    let folded: String = text.nfkc().filter(|c| !is_ignorable(*c)).default_case_fold().collect();
    folded.nfkc().collect()
}

/// Returns the form in which a secret that people type is compared and hashed: keyboards compose the same letter in
/// different ways (NFKC, as NIST SP 800-63B has it).
pub fn typed(secret: &str) -> String {
    secret.nfkc().collect()
}
