//! Errors: every mistake of a configuration at once, each with where it is, what it is, and what is allowed.

use std::fmt;

use crate::load::Origin;
use crate::settings::LogFormat;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// Where it was found; none for what no single source caused.
    pub origin: Option<Origin>,
    /// The key concerned, when one is.
    pub key: Option<&'static str>,
    /// What is wrong and what is allowed, on one line, without secrets.
    pub message: String,
}

impl Mistake {
    pub(crate) fn new(origin: Option<Origin>, key: Option<&'static str>, message: String) -> Self {
        Mistake { origin, key, message }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin @ (Origin::File { .. } | Origin::Env(_) | Origin::Flag(_))) => {
                write!(f, "{origin}: {}", self.message)
            }
            Some(Origin::Default) | None => f.write_str(&self.message),
        }
    }
}

/// Everything that is wrong with a configuration. `Display` prints one mistake a line.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct ConfigErrors {
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) warnings: Vec<String>,
    pub(crate) log_format: LogFormat,
}

impl ConfigErrors {
    /// Every mistake, in the order of flags, environment, file, and then what does not fit together.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// What is odd and was ignored.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How these errors should be written: what `observability.log_format` would have been, were the rest valid.
    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, mistake) in self.mistakes.iter().enumerate() {
            write!(f, "{}{mistake}", if position > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}
