//! The doctor's findings.

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Good,
    /// Jobs run anyway.
    Warning,
    Error,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `socket`, `api`, `guard`, `own-container`, `volume`, `network`, `agent`, `confinement`, `isolation`,
    /// `addresses`, `removal`; and those of `doctor_host`.
    pub name: &'static str,
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What to do about it. Every warning has some.
    pub advice: Option<String>,
}

impl Finding {
    pub fn good(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, severity: Severity::Good, message: message.into(), advice: None }
    }

    pub fn warning(name: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, severity: Severity::Warning, message: message.into(), advice: Some(advice.into()) }
    }

    pub fn error(name: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, severity: Severity::Error, message: message.into(), advice: Some(advice.into()) }
    }

    /// Splits the text of one of our errors, which says what is wrong and what to do, at its last semicolon.
    pub(crate) fn from_error(name: &'static str, error: &impl ToString) -> Self {
        let text = error.to_string();
        match text.rsplit_once("; ") {
            Some((message, advice)) => Self::error(name, message, advice),
            None => Self { name, severity: Severity::Error, message: text, advice: None },
        }
    }

    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
