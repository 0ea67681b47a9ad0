//! Secrets: texts that can be used and compared, and never shown.

use std::fmt;

/// What is printed in place of a secret.
pub(crate) const MASK: &str = "***";

/// A text that `Debug` and `Display` never show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a presented text is the secret, in a time that depends only on the presented text's length.
    pub fn matches(&self, presented: &str) -> bool {
        let secret = self.0.as_bytes();
        let mut difference = u8::from(secret.is_empty() || secret.len() != presented.len());
        for (position, byte) in presented.bytes().enumerate() {
            let expected = secret.get(position % secret.len().max(1)).copied().unwrap_or_default();
            difference |= std::hint::black_box(expected ^ byte);
        }
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A bearer token and the name of who uses it. `Display` shows `name:***`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who uses it, as reports and logs name them.
    pub name: String,
    /// What a request has to present.
    pub token: Secret,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{MASK}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_nowhere() {
        let secret = Secret::new("hunter2-hunter2-hunter2");
        let token = Token { name: "ana".into(), token: secret.clone() };
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "*** *** ***");
        assert_eq!(token.to_string(), "ana:***");
        assert!(!format!("{token:?}").contains("hunter2"));
        assert_eq!(secret.expose(), "hunter2-hunter2-hunter2");
    }

    #[test]
    fn only_the_whole_secret_matches() {
        let secret = Secret::new("abcabc");
        for (presented, expect) in
            [("abcabc", true), ("abc", false), ("abcabcabc", false), ("", false), ("abcabd", false), ("ABCABC", false)]
        {
            assert_eq!(secret.matches(presented), expect, "{presented}");
        }
        assert!(!Secret::new("").matches(""), "an empty secret lets nobody in");
    }
}
