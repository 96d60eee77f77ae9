//! Decides which records of the audit log are anomalies, and describes them for people. The store finds the facts with
//! its queries, and asks here.

use std::{fmt, str::FromStr};

use crate::{JobId, RepoId};

/// This many refusals of one actor within [`MANY_WITHIN_MS`] are an anomaly.
pub const MANY_REFUSALS: u64 = 20;
pub const MANY_WITHIN_MS: i64 = 5 * 60 * 1000;
/// The same anomaly within this time is counted, and not reported again.
pub const SAME_WITHIN_MS: i64 = 60 * 60 * 1000;

/// A kind of anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnomalyKind {
    /// A job was refused something beyond what every job has, in a repository where that never happened.
    FirstRefusal,
    /// Somebody was refused many times at once.
    ManyRefusals,
    /// A job was refused so much by its Docker API that it is refused everything.
    Frozen,
    /// A job tried ids of others at its Docker API.
    Probing,
    /// Something that a job made is still there after its end.
    Outlived,
    /// A job used an image of a registry from which its repository had never used one.
    NewRegistry,
}

impl AnomalyKind {
    pub const ALL: [Self; 6] =
        [Self::FirstRefusal, Self::ManyRefusals, Self::Frozen, Self::Probing, Self::Outlived, Self::NewRegistry];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstRefusal => "first-refusal",
            Self::ManyRefusals => "many-refusals",
            Self::Frozen => "frozen",
            Self::Probing => "probing",
            Self::Outlived => "outlived",
            Self::NewRegistry => "new-registry",
        }
    }
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AnomalyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a kind of anomaly"))
    }
}

/// What a record of the audit log says about an anomaly.
#[derive(Debug, Clone, Copy)]
pub struct Audited<'a> {
    /// The name of the actor.
    pub who: &'a str,
    /// How they acted: `token`, `job`, `anonymous`.
    pub via: &'a str,
    pub action: &'a str,
    pub object: &'a str,
    pub reason: &'a str,
    pub repo: Option<RepoId>,
    pub repo_name: &'a str,
    pub job: Option<JobId>,
}

/// An anomaly that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundAnomaly {
    pub kind: AnomalyKind,
    /// What it is about: anomalies of one kind about the same are the same.
    pub about: String,
    /// For people.
    pub message: String,
}

impl Audited<'_> {
    /// Returns the anomaly that the record is by itself.
    #[must_use]
    pub fn anomaly(&self) -> Option<FoundAnomaly> {
        let Self { who, repo_name, object, reason, .. } = self;
        let subject = format!("{who} of {repo_name}");
        let (kind, message) = match self.action {
            "docker.freeze" => (AnomalyKind::Frozen, format!("{subject}: {reason}")),
            "docker.probe" => {
                let message = format!("{subject} tried what is not its own at its Docker API: {object}");
                (AnomalyKind::Probing, message)
            }
            "docker.remove" => {
                let message = format!("something that {subject} made is still there after its end: {object}");
                (AnomalyKind::Outlived, message)
            }
            "image.registry" => {
                let message =
                    format!("{subject} has an image of {object}, a registry that the repository never had images of");
                (AnomalyKind::NewRegistry, message)
            }
            _ => return None,
        };
        // The same of another job of the repository is the same anomaly; another registry is not.
        let what = if kind == AnomalyKind::NewRegistry { *object } else { "" };
        Some(FoundAnomaly { kind, about: format!("{} {what}", written(self.repo)), message })
    }

    /// Returns the repository if this refusal is an anomaly unless an earlier job of the repository was refused too.
    #[must_use]
    pub fn repo_of_refused_job(&self) -> Option<RepoId> {
        self.repo.filter(|_| self.via == "job")
    }

    /// Returns the anomaly of the first refusal in a repository.
    #[must_use]
    pub fn first_refusal(&self, repo: RepoId) -> FoundAnomaly {
        let Self { who, repo_name, action, reason, .. } = self;
        let message =
            format!("{who} of {repo_name} was denied `{action}`, as the first job of this repository: {reason}");
        FoundAnomaly { kind: AnomalyKind::FirstRefusal, about: repo.to_string(), message }
    }

    /// Returns the anomaly of an actor with this many refusals within [`MANY_WITHIN_MS`].
    #[must_use]
    pub fn many_refusals(&self, count: u64) -> Option<FoundAnomaly> {
        if count < MANY_REFUSALS {
            return None;
        }
        let who = match self.via {
            "anonymous" => "somebody without a token",
            _ => self.who,
        };
        Some(FoundAnomaly {
            kind: AnomalyKind::ManyRefusals,
            about: format!("{} {} {}", self.via, self.who, written(self.job)),
            message: format!("{who} was refused {MANY_REFUSALS} times within {} minutes", MANY_WITHIN_MS / 60_000),
        })
    }
}

fn written(id: Option<impl fmt::Display>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Audited<'static> {
        Audited {
            who: "job test",
            via: "job",
            action: "container.create",
            object: "docker.io",
            reason: "not allowed",
            repo: Some(RepoId::new()),
            repo_name: "team/app",
            job: Some(JobId::new()),
        }
    }

    #[test]
    fn the_same_of_another_job_is_the_same_anomaly_and_another_registry_is_not() {
        let first = Audited { action: "image.registry", ..record() };
        let second = Audited { job: Some(JobId::new()), ..first };
        assert_eq!(first.anomaly().unwrap().about, second.anomaly().unwrap().about);
        let other = Audited { object: "quay.io", ..first };
        assert_ne!(first.anomaly().unwrap().about, other.anomaly().unwrap().about);
        assert_eq!(record().anomaly(), None);
    }

    #[test]
    fn many_refusals_are_counted_for_each_job_and_said_of_whom() {
        assert_eq!(record().many_refusals(MANY_REFUSALS - 1), None);
        let found = record().many_refusals(MANY_REFUSALS).unwrap();
        assert_eq!(found.message, "job test was refused 20 times within 5 minutes");
        assert_ne!(found.about, record().many_refusals(MANY_REFUSALS).unwrap().about);
        let anonymous = Audited { via: "anonymous", who: "", ..record() };
        let message = anonymous.many_refusals(MANY_REFUSALS).unwrap().message;
        assert!(message.starts_with("somebody without a token was refused"), "{message}");
    }

    #[test]
    fn only_jobs_have_a_first_refusal() {
        assert!(record().repo_of_refused_job().is_some());
        assert_eq!(Audited { via: "token", ..record() }.repo_of_refused_job(), None);
        assert_eq!(Audited { repo: None, ..record() }.repo_of_refused_job(), None);
    }
}
