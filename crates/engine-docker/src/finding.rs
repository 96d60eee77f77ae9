//! The doctor's findings.

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `socket`, `api`, `guard`, `own-container`, `volume`, `network`, `agent`, `confinement`, `isolation`,
    /// `addresses`, `removal`; and those of `doctor_host`.
    pub name: &'static str,
    pub ok: bool,
    /// What was found.
    pub message: String,
    /// What to do about it, if something is wrong, or could be better.
    pub advice: Option<String>,
}

impl Finding {
    pub(crate) fn good(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, ok: true, message: message.into(), advice: None }
    }

    /// Jobs run anyway.
    pub(crate) fn warning(name: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, ok: true, message: message.into(), advice: Some(advice.into()) }
    }

    /// Splits the text of one of our errors, which says what is wrong and what to do, at a colon or semicolon.
    pub(crate) fn bad(name: &'static str, error: &impl ToString) -> Self {
        let text = error.to_string();
        let (message, advice) = match text.rsplit_once("; ") {
            Some((message, advice)) => (message.to_owned(), Some(advice.to_owned())),
            None => (text, None),
        };
        Self { name, ok: false, message, advice }
    }
}
