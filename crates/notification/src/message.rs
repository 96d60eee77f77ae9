//! The content of a message, before it gets the shape that a service wants.

use longshore_core::NotificationEvent;

use crate::text::one_line;

/// The most characters of a commit's title, of a reason, of a name and of an anomaly.
const MAX_TITLE_CHARS: usize = 200;
const MAX_REASON_CHARS: usize = 300;
const MAX_NAME_CHARS: usize = 100;
const MAX_ANOMALY_CHARS: usize = 600;
/// How many jobs a message names.
const MAX_NAMED_JOBS: usize = 5;

/// What a message is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Subject {
    Event(NotificationEvent),
    /// Nothing: somebody tries whether messages arrive.
    #[default]
    Test,
}

impl Subject {
    /// Returns the type of the event in a webhook's body.
    #[must_use]
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Event(NotificationEvent::Failure) => "build.failure",
            Self::Event(NotificationEvent::Fixed) => "build.fixed",
            Self::Event(NotificationEvent::Approval) => "build.approval",
            Self::Event(NotificationEvent::Anomaly) => "anomaly",
            Self::Test => "test",
        }
    }

    /// Returns the colour beside a message, where a service has one.
    pub(crate) const fn color(self) -> u32 {
        match self {
            Self::Event(NotificationEvent::Failure) => 0x00c9_3c37,
            Self::Event(NotificationEvent::Fixed) => 0x002d_a44e,
            Self::Event(NotificationEvent::Approval | NotificationEvent::Anomaly) => 0x00bf_8700,
            Self::Test => 0x0057_606a,
        }
    }
}

/// A job that a message names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLine {
    pub name: String,
    pub pipeline: String,
    /// The status, as the API's word.
    pub status: String,
    pub reason: String,
    pub url: String,
}

/// An anomaly of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnomalyLine {
    /// Its kind, as the API's word.
    pub kind: String,
    pub message: String,
    /// The number of the record that showed it.
    pub record: i64,
    /// The page of the job that it is about, if it is about one.
    pub job: Option<String>,
}

/// A message about a build or an anomaly. Its texts are as others wrote them, neither cut nor escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub subject: Subject,
    /// The repository's name; empty if it is about none.
    pub repo: String,
    pub repo_id: String,
    pub build: String,
    pub number: u64,
    /// The page of the build, or of the audit log.
    pub url: String,
    /// The build's status, as the API's word, and its reason.
    pub status: String,
    pub reason: String,
    /// The event, as the API's word.
    pub event: String,
    pub git_ref: String,
    pub branch: Option<String>,
    pub pull_request: Option<u64>,
    pub commit: String,
    pub title: String,
    pub author: String,
    /// The pipelines that work again.
    pub pipelines: Vec<String>,
    pub jobs: Vec<JobLine>,
    /// The anomaly. If it is set, none of the fields about a build is.
    pub anomaly: Option<AnomalyLine>,
}

impl Message {
    /// Returns the first line: what happened to which build.
    pub(crate) fn headline(&self) -> String {
        let (name, happened) = self.headline_parts();
        format!("{name} {happened}")
    }

    /// Returns the build's name, which becomes a link, and what happened to it.
    pub(crate) fn headline_parts(&self) -> (String, String) {
        if let Some(anomaly) = &self.anomaly {
            let place = if self.repo.is_empty() {
                String::new()
            } else {
                format!(" in {}", one_line(&self.repo, MAX_NAME_CHARS))
            };
            return (format!("Anomaly{place}"), format!("({})", one_line(&anomaly.kind, MAX_NAME_CHARS)));
        }
        let name = format!("{} #{}", one_line(&self.repo, MAX_NAME_CHARS), self.number);
        let happened = match self.subject {
            Subject::Event(NotificationEvent::Failure) => "failed".to_owned(),
            Subject::Event(NotificationEvent::Fixed) => "works again".to_owned(),
            Subject::Event(NotificationEvent::Approval) => "awaiting approval".to_owned(),
            Subject::Event(NotificationEvent::Anomaly) => "has an anomaly".to_owned(),
            Subject::Test => return ("Longshore".to_owned(), "can tell you of builds here: this is a test".to_owned()),
        };
        (name, happened)
    }

    /// Returns the lines below the headline.
    pub(crate) fn details(&self) -> Vec<String> {
        if self.subject == Subject::Test {
            return Vec::new();
        }
        if let Some(anomaly) = &self.anomaly {
            return vec![one_line(&anomaly.message, MAX_ANOMALY_CHARS)];
        }
        let source = match (self.pull_request, &self.branch) {
            (Some(number), Some(branch)) => format!("pull request {number} into {branch}"),
            (Some(number), None) => format!("pull request {number}"),
            (None, Some(branch)) => branch.clone(),
            (None, None) => self.git_ref.trim_start_matches("refs/tags/").to_owned(),
        };
        let mut lines = vec![format!(
            "{}, commit {}",
            one_line(&source, MAX_NAME_CHARS),
            self.commit.get(..10).unwrap_or(&self.commit)
        )];
        let (title, author) = (one_line(&self.title, MAX_TITLE_CHARS), one_line(&self.author, MAX_NAME_CHARS));
        match (title.is_empty(), author.is_empty()) {
            (false, false) => lines.push(format!("{title} ({author})")),
            (false, true) => lines.push(title),
            (true, false) => lines.push(author),
            (true, true) => {}
        }
        if !self.pipelines.is_empty() {
            lines.push(format!("pipelines: {}", one_line(&self.pipelines.join(", "), MAX_REASON_CHARS)));
        }
        for job in self.jobs.iter().take(MAX_NAMED_JOBS) {
            lines.push(format!("{}: {}", one_line(&job.name, MAX_NAME_CHARS), one_line(&job.reason, MAX_REASON_CHARS)));
        }
        if self.jobs.len() > MAX_NAMED_JOBS {
            lines.push(format!("and {} more jobs", self.jobs.len() - MAX_NAMED_JOBS));
        }
        if self.jobs.is_empty() && !self.reason.is_empty() {
            lines.push(one_line(&self.reason, MAX_REASON_CHARS));
        }
        lines
    }
}
