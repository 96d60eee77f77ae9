//! Collects the findings of one pipeline file while it is read.

use longshore_core::{Diagnostic, Severity, Span};

use super::{
    code::Code,
    limits,
    source::{Place, Source},
};

/// The findings of one pipeline file and of the templates that its jobs use.
#[derive(Debug)]
pub struct Findings<'s> {
    /// The pipeline's file comes first; [`Place::file`] is an index into this list.
    sources: Vec<&'s Source<'s>>,
    list: Vec<Reported>,
    beyond: usize,
    /// Whether one of the findings beyond the limit is an error.
    errors_beyond: bool,
    /// The job whose template is being read.
    using: Option<String>,
    /// The limit for the jobs of a build after the matrix.
    most_jobs: usize,
}

#[derive(Debug)]
struct Reported {
    diagnostic: Diagnostic,
    /// The job that uses the template in which this was found; the first one if several jobs do.
    using: Option<String>,
}

impl<'s> Findings<'s> {
    pub fn new(source: &'s Source<'s>) -> Self {
        Self {
            sources: vec![source],
            list: Vec::new(),
            beyond: 0,
            errors_beyond: false,
            using: None,
            most_jobs: limits::JOBS,
        }
    }

    /// Sets another limit for the jobs of a build.
    pub fn within(mut self, most_jobs: usize) -> Self {
        self.most_jobs = most_jobs;
        self
    }

    pub const fn most_jobs(&self) -> usize {
        self.most_jobs
    }

    /// Adds a file that findings may point into, and returns its number.
    pub fn add_source(&mut self, source: &'s Source<'s>) -> u16 {
        self.sources.push(source);
        u16::try_from(self.sources.len() - 1).unwrap_or(0)
    }

    /// Sets the job that the following findings in a template belong to.
    pub fn set_using_job(&mut self, job: Option<&str>) {
        self.using = job.map(str::to_owned);
    }

    pub fn source(&self, file: u16) -> &'s Source<'s> {
        self.sources.get(usize::from(file)).copied().unwrap_or(self.sources[0])
    }

    /// Returns the path of the pipeline's file.
    pub fn path(&self) -> &'s str {
        self.sources[0].path
    }

    /// Returns the text at a place.
    pub fn written(&self, place: Place) -> &'s str {
        self.source(place.file).text.get(place.start..place.end).unwrap_or("")
    }

    pub fn span(&self, place: Place) -> Span {
        self.source(place.file).span(place)
    }

    pub fn shown_line(&self, place: Place) -> Option<String> {
        self.source(place.file).shown_line(place)
    }

    /// Returns whether further findings are only counted, so that a suggestion for them would be lost.
    pub fn is_full(&self) -> bool {
        self.list.len() >= limits::FINDINGS && self.last_warning().is_none()
    }

    fn last_warning(&self) -> Option<usize> {
        self.list.iter().rposition(|found| found.diagnostic.severity == Severity::Warning)
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a finding that stops the build.
    pub fn error(&mut self, code: Code, place: Place, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.add(code, Severity::Error, place, message.into(), help.into());
    }

    /// Adds a finding that is legal but unwise.
    pub fn warning(&mut self, code: Code, place: Place, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.add(code, Severity::Warning, place, message.into(), help.into());
    }

    fn add(&mut self, code: Code, severity: Severity, place: Place, message: String, help: Option<String>) {
        if self.list.len() >= limits::FINDINGS {
            self.beyond += 1;
            // Warnings never push out an error.
            match self.last_warning().filter(|_| severity == Severity::Error) {
                Some(at) => drop(self.list.remove(at)),
                None => {
                    self.errors_beyond |= severity == Severity::Error;
                    return;
                }
            }
        }
        let source = self.source(place.file);
        let diagnostic = Diagnostic {
            code: code.as_str().to_owned(),
            severity,
            file: source.path.to_owned(),
            span: source.span(place),
            message,
            help,
            source: source.shown_line(place),
        };
        // The value behind an alias, and a template that several jobs use, is read once for each use but reported once.
        if !self.list.iter().any(|found| found.diagnostic == diagnostic) {
            let using = self.using.clone().filter(|_| place.file != 0);
            self.list.push(Reported { diagnostic, using });
        }
    }

    /// Returns all findings in the order of the file, those of templates last.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        let main = self.path();
        self.list.sort_by(|a, b| {
            let (a, b) = (&a.diagnostic, &b.diagnostic);
            (a.file != main, &a.file, a.span, &a.code, &a.message).cmp(&(
                b.file != main,
                &b.file,
                b.span,
                &b.code,
                &b.message,
            ))
        });
        let mut list: Vec<Diagnostic> = Vec::with_capacity(self.list.len());
        for Reported { mut diagnostic, using } in self.list {
            if let Some(job) = using {
                diagnostic.message.push_str(&format!(" (the job `{job}` of {main} uses this template)"));
            }
            list.push(diagnostic);
        }
        if self.beyond > 0
            && let Some(last) = list.last()
        {
            let (span, source, file) = (last.span, last.source.clone(), last.file.clone());
            list.push(Diagnostic {
                code: Code::MoreFindings.as_str().to_owned(),
                severity: if self.errors_beyond { Severity::Error } else { Severity::Warning },
                file,
                span,
                message: format!("{} more problems are not shown", self.beyond),
                help: Some("fix the first ones and check again".to_owned()),
                source,
            });
        }
        list
    }
}
