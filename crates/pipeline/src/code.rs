//! The stable codes of everything that can be wrong with a pipeline file, each explained in `docs/diagnostics.md`.
//! A code never changes its meaning and is never removed.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $title:literal;)*) => {
        /// What is wrong, as a stable code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $title] $(#[$doc])* $name,)*
        }

        impl Code {
            /// All codes, in order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the code as people see it: `LS012`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Returns the meaning in a few words, as in the heading of its documentation.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    FileTooLarge = "LS001", "File too large";
    NotUtf8 = "LS002", "Not UTF-8";
    EmptyFile = "LS003", "Empty file";
    Syntax = "LS004", "Not YAML";
    Tab = "LS005", "Tab in the indentation";
    ManyDocuments = "LS006", "More than one document";
    TooDeep = "LS007", "Nested too deeply";
    AliasBudget = "LS008", "Aliases too large";
    UnknownAnchor = "LS009", "Unknown anchor";
    YamlFeature = "LS010", "Unsupported YAML feature";
    DuplicateKey = "LS011", "Duplicate key";
    UnknownKey = "LS012", "Unknown key";
    NotSupportedYet = "LS013", "Not supported yet";
    WrongType = "LS014", "Wrong type";
    MissingKey = "LS015", "Missing key";
    Empty = "LS016", "Empty";
    BadName = "LS017", "Bad name";
    DuplicatePipeline = "LS018", "Duplicate pipeline name";
    BadDuration = "LS019", "Bad duration";
    BadImage = "LS020", "Bad image";
    MissingImage = "LS021", "No image";
    UnknownNeed = "LS022", "Unknown job in `needs`";
    Cycle = "LS023", "Circular `needs`";
    RepeatedNeed = "LS024", "Duplicate job in `needs`";
    BadGlob = "LS025", "Bad pattern";
    MatrixRepeats = "LS026", "Duplicate matrix value or combination";
    UnknownAxis = "LS027", "Unknown axis in `exclude`";
    EmptyMatrix = "LS028", "Matrix without a job";
    TooManyJobs = "LS029", "Too many jobs";
    TooManySteps = "LS030", "Too many steps";
    BadExpression = "LS031", "Bad expression";
    ExpressionNotSupported = "LS032", "Expression not supported yet";
    UnknownInExpression = "LS033", "Unknown name in an expression";
    BadCondition = "LS034", "Bad condition";
    BadVariableName = "LS035", "Bad variable name";
    TooMuchText = "LS036", "Text too long";
    BadCharacter = "LS037", "Invalid character";
    BadMerge = "LS038", "Bad merge";
    PlanTooLarge = "LS039", "Plan too large";
    MoreFindings = "LS040", "More problems than are shown";
    Unreadable = "LS041", "Unreadable pipeline files";
    TypesDoNotFit = "LS042", "Mismatched types";
    NotKnownHere = "LS043", "Not available here";
    OutsiderInScript = "LS044", "Untrusted value in a script";
    SecretInScript = "LS045", "Secret in a script";
    NoValue = "LS046", "Expression without a value";
    UnknownWord = "LS047", "Unknown value";
    BadSchedule = "LS048", "Bad schedule";
    BadInput = "LS049", "Bad input";
    BadTemplate = "LS050", "Bad template";
    BadSize = "LS051", "Bad number or size";
    GivenTwice = "LS052", "Duplicate name";
    NotTogether = "LS053", "Conflicting keys";
    FloatingTag = "LS054", "Floating tag in a deployment";
    UnseenSecret = "LS055", "Hidden secret";
    BadPath = "LS056", "Bad path";
    TooManyValues = "LS057", "Too many values";
    NotRunYet = "LS058", "Cannot run yet";
    ForeignInScript = "LS059", "Unchecked text in a script";
    EarlyValue = "LS060", "Value of a step that may still be running";
    ChangesNotKnown = "LS061", "Unknown changes";
    NeverSent = "LS062", "Event that the forge never sends";
    NotMergeable = "LS063", "Cannot be merged";
    MergesDiffer = "LS064", "Pull requests built in different ways";
    UnknownArtifact = "LS065", "Unknown artifact in `needs`";
    NoSuchWait = "LS066", "No such step to wait for";
    SecretWithheld = "LS070", "Secret withheld by its rules";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn every_code_is_documented_and_every_documented_code_exists() {
        let docs = include_str!("../../../docs/diagnostics.md");
        let documented: Vec<(&str, &str)> = docs
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .filter_map(|heading| heading.split_once(": "))
            .collect();
        let codes: Vec<(&str, &str)> = Code::ALL.iter().map(|code| (code.as_str(), code.title())).collect();
        assert_eq!(documented, codes);
    }
}
