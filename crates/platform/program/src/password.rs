//! The rule for passwords of members and admins.

use std::collections::HashSet;

/// Characters of a password, at the least.
pub const MIN_LENGTH: usize = 8;

/// Different characters of a password, at the least.
const MIN_DIFFERENT: usize = 4;

/// The 1,000 most common passwords of eight characters or more, the most common first: from the list of Django 5.2
/// (`common-passwords.txt`), made by Royce Williams from published break-ins.
const COMMON: &str = include_str!("common-passwords.txt");

/// Returns the reason against a weak password, in upper or lower case and with or without blanks around, or `None`
/// for a good one.
pub fn weakness(password: &str) -> Option<&'static str> {
    let password = db::text::typed(password);
    if password.chars().count() < MIN_LENGTH {
        return Some("is shorter than 8 characters");
    }
    let password = password.trim().to_lowercase();
    if password.chars().collect::<HashSet<_>>().len() < MIN_DIFFERENT {
        return Some("has fewer than 4 different characters");
    }
    COMMON.lines().any(|common| common == password).then_some("is one of the most common passwords")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_common_passwords_are_weak() {
        for weak in [
            "",
            "a",
            "1234567",
            "비밀번호일이삼",
            // three syllables of a keyboard that sends letters
            "\u{1107}\u{1175}\u{1106}\u{1175}\u{11af}\u{1107}\u{1165}\u{11ab}",
            "12345678",
            "password",
            "PassWord1",
            "qwertyuiop",
            " password\n",
            "        ",
            "xyxyxyxyxyxyxyxy",
        ] {
            assert!(weakness(weak).is_some(), "{weak}");
        }
        for good in ["correct horse battery staple", "password of mine", "비밀번호일이삼사", "    abcd"] {
            assert_eq!(weakness(good), None, "{good}");
        }
    }
}
