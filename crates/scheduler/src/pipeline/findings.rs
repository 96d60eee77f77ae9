//! Where the readers of one file leave what they find.

use longshore_core::{Diagnostic, Severity};

use super::{
    code::Code,
    limits,
    source::{Place, Source},
};

/// What has been found in one file so far.
#[derive(Debug)]
pub(super) struct Findings<'s> {
    pub(super) source: &'s Source<'s>,
    list: Vec<Diagnostic>,
    beyond: usize,
}

impl<'s> Findings<'s> {
    pub(super) fn new(source: &'s Source<'s>) -> Self {
        Self { source, list: Vec::new(), beyond: 0 }
    }

    /// Whether what is found from now on is only counted: a suggestion for it would be lost.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= limits::FINDINGS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Something that stops the build.
    pub(super) fn error(
        &mut self,
        code: Code,
        place: Place,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.add(code, Severity::Error, place, message.into(), help.into());
    }

    /// Something legal but unwise.
    pub(super) fn warning(
        &mut self,
        code: Code,
        place: Place,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.add(code, Severity::Warning, place, message.into(), help.into());
    }

    fn add(&mut self, code: Code, severity: Severity, place: Place, message: String, help: Option<String>) {
        if self.is_full() {
            self.beyond += 1;
            return;
        }
        let found = Diagnostic {
            code: code.as_str().to_owned(),
            severity,
            file: self.source.path.to_owned(),
            span: self.source.span(place),
            message,
            help,
            source: self.source.shown_line(place),
        };
        // What an alias repeats is read once for each use, and said once.
        if !self.list.contains(&found) {
            self.list.push(found);
        }
    }

    /// Everything, in the order of the file.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by(|a, b| (a.span, &a.code, &a.message).cmp(&(b.span, &b.code, &b.message)));
        if self.beyond > 0
            && let Some(last) = self.list.last()
        {
            let (span, source) = (last.span, last.source.clone());
            self.list.push(Diagnostic {
                code: Code::MoreFindings.as_str().to_owned(),
                severity: Severity::Error,
                file: self.source.path.to_owned(),
                span,
                message: format!("{} more findings are not shown", self.beyond),
                help: Some("mend the first ones and check again".to_owned()),
                source,
            });
        }
        self.list
    }
}
