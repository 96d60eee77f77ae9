//! The functions of the language: their names and their arguments.

/// The names of all functions, in the order of the documentation.
pub const FUNCTIONS: &[&str] = &[
    "contains",
    "starts-with",
    "ends-with",
    "matches",
    "format",
    "join",
    "to-json",
    "from-json",
    "hash-files",
    "changed",
    "success",
    "failure",
    "always",
    "cancelled",
];

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Whether a text contains another text, or a list an item.
    Contains,
    StartsWith,
    EndsWith,
    /// Whether a regular expression matches a part of a text; false for nothing.
    Matches,
    /// `format('{0} of {1}', a, b)`; a brace is written twice.
    Format,
    /// `join(list, ', ')`; the default separator is `,`.
    Join,
    ToJson,
    FromJson,
    /// SHA-256 over the files that match the patterns; empty if there are none.
    HashFiles,
    /// Whether the event changes a file that the patterns admit; true if the changes are not known.
    Changed,
    /// Nothing before has failed or was canceled.
    Success,
    /// Something before has failed.
    Failure,
    Always,
    Cancelled,
}

impl Function {
    /// Returns the function with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "contains" => Self::Contains,
            "starts-with" => Self::StartsWith,
            "ends-with" => Self::EndsWith,
            "matches" => Self::Matches,
            "format" => Self::Format,
            "join" => Self::Join,
            "to-json" => Self::ToJson,
            "from-json" => Self::FromJson,
            "hash-files" => Self::HashFiles,
            "changed" => Self::Changed,
            "success" => Self::Success,
            "failure" => Self::Failure,
            "always" => Self::Always,
            "cancelled" => Self::Cancelled,
            _ => return None,
        })
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contains => "contains",
            Self::StartsWith => "starts-with",
            Self::EndsWith => "ends-with",
            Self::Matches => "matches",
            Self::Format => "format",
            Self::Join => "join",
            Self::ToJson => "to-json",
            Self::FromJson => "from-json",
            Self::HashFiles => "hash-files",
            Self::Changed => "changed",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Always => "always",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the least and the largest number of arguments.
    #[must_use]
    pub const fn arity(self) -> (usize, usize) {
        match self {
            Self::Contains | Self::StartsWith | Self::EndsWith | Self::Matches => (2, 2),
            Self::Format | Self::HashFiles | Self::Changed => (1, 32),
            Self::Join => (1, 2),
            Self::ToJson | Self::FromJson => (1, 1),
            Self::Success | Self::Failure | Self::Always | Self::Cancelled => (0, 0),
        }
    }

    /// Returns an example of a call, for help.
    #[must_use]
    pub const fn usage(self) -> &'static str {
        match self {
            Self::Contains => "contains(text, 'part')",
            Self::StartsWith => "starts-with(text, 'start')",
            Self::EndsWith => "ends-with(text, 'end')",
            Self::Matches => "matches(text, '^v[0-9]+$')",
            Self::Format => "format('{0} of {1}', a, b)",
            Self::Join => "join(list, ', ')",
            Self::ToJson => "to-json(value)",
            Self::FromJson => "from-json(text)",
            Self::HashFiles => "hash-files('Cargo.lock')",
            Self::Changed => "changed('src/**')",
            Self::Success => "success()",
            Self::Failure => "failure()",
            Self::Always => "always()",
            Self::Cancelled => "cancelled()",
        }
    }

    /// Returns whether the result depends on the results so far.
    #[must_use]
    pub const fn asks_progress(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Always | Self::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::{FUNCTIONS, Function};

    #[test]
    fn every_name_in_the_list_is_a_function() {
        for name in FUNCTIONS {
            assert_eq!(Function::named(name).map(Function::name), Some(*name));
        }
    }
}
