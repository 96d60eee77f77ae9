//! Decides who may do what.
//!
//! [`may`] is the only place that decides it. The API, the pages and the live streams call it. Lists are filtered by
//! [`Visible`], which calls it too.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{RepoId, TokenId};

/// What a token may do. Every scope includes `read`; `admin` includes all of them; `build` and `approve` do not include
/// each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// See everything.
    Read,
    /// See, and start, cancel and rerun builds.
    Build,
    /// See, and approve and decline jobs that wait for approval.
    Approve,
    /// Everything.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Read, Self::Build, Self::Approve, Self::Admin];

    /// Returns the word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Build => "build",
            Self::Approve => "approve",
            Self::Admin => "admin",
        }
    }

    /// Returns whether this scope includes another one.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Admin, _) | (_, Self::Read) | (Self::Build, Self::Build) | (Self::Approve, Self::Approve) => true,
            (Self::Read | Self::Build | Self::Approve, Self::Build | Self::Approve | Self::Admin) => false,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a scope: use read, build, approve or admin"))
    }
}

/// Scopes, for all repositories or for some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Sorted, without duplicates.
    scopes: Vec<Scope>,
    /// Sorted, without duplicates. `None` means all repositories, future ones included.
    repos: Option<Vec<RepoId>>,
}

impl Rights {
    #[must_use]
    pub fn new(mut scopes: Vec<Scope>, mut repos: Option<Vec<RepoId>>) -> Self {
        scopes.sort_unstable();
        scopes.dedup();
        if let Some(repos) = &mut repos {
            repos.sort_unstable();
            repos.dedup();
        }
        Self { scopes, repos }
    }

    /// Creates the administrator's rights.
    #[must_use]
    pub fn everything() -> Self {
        Self { scopes: vec![Scope::Admin], repos: None }
    }

    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Returns the repositories; `None` means all.
    #[must_use]
    pub fn repos(&self) -> Option<&[RepoId]> {
        self.repos.as_deref()
    }

    fn grants(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.includes(needed))
    }

    fn reaches(&self, repo: RepoId) -> bool {
        self.repos.as_ref().is_none_or(|repos| repos.binary_search(&repo).is_ok())
    }
}

/// Lists the scopes: `build, approve`.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        f.pad(&words.join(", "))
    }
}

/// Who wants to act.
#[derive(Debug, Clone, Copy)]
pub enum Who<'a> {
    /// Unknown: without a token, or with an expired session.
    Anonymous,
    /// The holder of a token, or of a browser's session, which has the rights of its token.
    Holder(&'a Rights),
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// See a repository, with its builds, logs, deliveries and schedules.
    See,
    /// See figures that cover all repositories: totals, metrics, the engine and the disk.
    SeeFigures,
    /// Create a sign-in link, see and end one's own sessions, send a form.
    UseOwnSessions,
    Start,
    Cancel,
    Rerun,
    Redeliver,
    /// Remove an entry of a repository's caches.
    RemoveCache,
    /// Approve or decline a job that is awaiting approval.
    Approve,
    /// Change a repository's settings and its webhook's secret.
    ChangeRepo,
    RemoveRepo,
    /// See the names of secrets, set and remove them.
    ManageSecrets,
    /// See which registries have credentials, set and remove them.
    ManageRegistries,
    /// See, add, test and remove the places where people are notified of builds.
    ManageNotifications,
    AddRepo,
    /// See the forges that the server may call and what they list, add and remove them.
    ManageConnections,
    /// Change a repository's clone address. There the server may be able to read more than the repository's
    /// administrator.
    ChangeRepoAddress,
    /// Say which jobs of a repository may have Docker. Through it they may reach more than the repository's
    /// administrator.
    GrantDocker,
    /// Have notifications sent to addresses of the server's own network. The server reaches more there than the
    /// repository's administrator.
    NotifyInside,
    ManageTokens,
    /// See and end all sessions.
    ManageSessions,
    SeeSettings,
    /// See who did what, and export it.
    SeeAudit,
}

impl Action {
    pub const ALL: [Self; 23] = [
        Self::See,
        Self::SeeFigures,
        Self::UseOwnSessions,
        Self::Start,
        Self::Cancel,
        Self::Rerun,
        Self::Redeliver,
        Self::RemoveCache,
        Self::Approve,
        Self::ChangeRepo,
        Self::RemoveRepo,
        Self::ManageSecrets,
        Self::ManageRegistries,
        Self::ManageNotifications,
        Self::AddRepo,
        Self::ManageConnections,
        Self::ChangeRepoAddress,
        Self::GrantDocker,
        Self::NotifyInside,
        Self::ManageTokens,
        Self::ManageSessions,
        Self::SeeSettings,
        Self::SeeAudit,
    ];

    /// Returns the scope that the action needs.
    #[must_use]
    pub const fn scope(self) -> Scope {
        match self {
            Self::See | Self::SeeFigures | Self::UseOwnSessions => Scope::Read,
            Self::Start | Self::Cancel | Self::Rerun | Self::Redeliver | Self::RemoveCache => Scope::Build,
            Self::Approve => Scope::Approve,
            Self::ChangeRepo
            | Self::RemoveRepo
            | Self::ManageSecrets
            | Self::ManageRegistries
            | Self::ManageNotifications
            | Self::AddRepo
            | Self::ManageConnections
            | Self::ChangeRepoAddress
            | Self::GrantDocker
            | Self::NotifyInside
            | Self::ManageTokens
            | Self::ManageSessions
            | Self::SeeSettings
            | Self::SeeAudit => Scope::Admin,
        }
    }
}

/// What an action is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// The server as a whole.
    Server,
    /// The sessions and links of the person who acts.
    Oneself,
    /// A repository that has not been looked up yet. `Yes` means that the action may be allowed for some repository;
    /// ask again once the repository is known.
    SomeRepo,
    Repo {
        id: RepoId,
        /// Readable without a token.
        public: bool,
    },
}

/// The answer of [`may`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Yes,
    /// The object must not be seen. Answer as if it did not exist.
    Hidden,
    /// The action needs a token.
    NeedsToken,
    /// The action needs a token with this scope.
    NeedsScope(Scope),
    /// The action needs a token for all repositories, and this one is limited to some.
    NeedsAllRepos,
}

/// Returns whether somebody may do something. A missing scope is reported before the object is checked, so that the
/// answer does not reveal what exists.
#[must_use]
pub fn may(who: Who<'_>, action: Action, object: Object) -> Verdict {
    let rights = match (who, action, object) {
        (Who::Holder(rights), ..) => rights,
        (Who::Anonymous, Action::See, Object::SomeRepo | Object::Repo { public: true, .. }) => return Verdict::Yes,
        (Who::Anonymous, Action::See, Object::Repo { public: false, .. }) => return Verdict::Hidden,
        (Who::Anonymous, ..) => return Verdict::NeedsToken,
    };
    if !rights.grants(action.scope()) {
        return Verdict::NeedsScope(action.scope());
    }
    match object {
        Object::Oneself | Object::SomeRepo => Verdict::Yes,
        Object::Server if rights.repos.is_none() => Verdict::Yes,
        Object::Server => Verdict::NeedsAllRepos,
        // Public repositories too: a token for some repositories sees no others.
        Object::Repo { id, .. } if rights.reaches(id) => Verdict::Yes,
        Object::Repo { .. } => Verdict::Hidden,
    }
}

/// The repositories that somebody sees in lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Visible {
    #[default]
    All,
    Public,
    /// Only these; an empty list means none.
    Listed(Vec<RepoId>),
}

impl Visible {
    #[must_use]
    pub fn to(who: Who<'_>) -> Self {
        match who {
            Who::Anonymous => Self::Public,
            Who::Holder(rights) if !rights.grants(Action::See.scope()) => Self::Listed(Vec::new()),
            Who::Holder(Rights { repos: None, .. }) => Self::All,
            Who::Holder(Rights { repos: Some(repos), .. }) => Self::Listed(repos.clone()),
        }
    }
}

/// Who did something, as recorded with the act.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// A token's name, or the forge's name for the person who pushed; empty if unknown.
    pub name: String,
    pub via: Via,
    /// The token's id, because names of tokens are not unique. `None` for the administrator's token, and without a
    /// token.
    pub token: Option<TokenId>,
}

/// How somebody acted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// With a token, through the API or the command line.
    #[default]
    Token,
    /// In a signed-in browser.
    Session,
    /// Through an event at the forge.
    Event,
    /// Through a schedule.
    Schedule,
}

impl Via {
    pub const ALL: [Self; 4] = [Self::Token, Self::Session, Self::Event, Self::Schedule];

    /// Returns the word used in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Event => "event",
            Self::Schedule => "schedule",
        }
    }
}

impl FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|via| via.as_str() == text).ok_or_else(|| format!("`{text}` is not a way to act"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(scopes: &[Scope], repos: Option<&[RepoId]>) -> Rights {
        Rights::new(scopes.to_vec(), repos.map(<[RepoId]>::to_vec))
    }

    #[test]
    fn approving_is_not_building_and_building_is_not_approving() {
        let (build, approve) = (rights(&[Scope::Build], None), rights(&[Scope::Approve], None));
        let object = Object::Repo { id: RepoId::new(), public: true };
        assert_eq!(may(Who::Holder(&build), Action::Approve, object), Verdict::NeedsScope(Scope::Approve));
        assert_eq!(may(Who::Holder(&build), Action::Start, object), Verdict::Yes);
        assert_eq!(may(Who::Holder(&approve), Action::Approve, object), Verdict::Yes);
        for action in [Action::Start, Action::Cancel, Action::Rerun, Action::Redeliver] {
            assert_eq!(may(Who::Holder(&approve), action, object), Verdict::NeedsScope(Scope::Build));
        }
        let both = rights(&[Scope::Approve, Scope::Build], None);
        assert_eq!(both.to_string(), "build, approve");
        assert_eq!(may(Who::Holder(&both), Action::Approve, object), Verdict::Yes);
        assert_eq!(may(Who::Holder(&both), Action::Start, object), Verdict::Yes);
        assert_eq!(may(Who::Holder(&both), Action::ManageSecrets, object), Verdict::NeedsScope(Scope::Admin));
    }

    #[test]
    fn nobody_does_anything_without_a_token_but_see_what_is_public() {
        let objects =
            |public| [Object::Server, Object::Oneself, Object::SomeRepo, Object::Repo { id: RepoId::new(), public }];
        for object in objects(true).into_iter().chain(objects(false)) {
            for action in Action::ALL {
                let expected = match (action, object) {
                    (Action::See, Object::SomeRepo | Object::Repo { public: true, .. }) => Verdict::Yes,
                    (Action::See, Object::Repo { public: false, .. }) => Verdict::Hidden,
                    _ => Verdict::NeedsToken,
                };
                assert_eq!(may(Who::Anonymous, action, object), expected, "{action:?} {object:?}");
            }
        }
    }

    #[test]
    fn a_token_for_some_repositories_reaches_no_other_and_not_the_server() {
        let (listed, other) = (RepoId::new(), RepoId::new());
        let admin = rights(&[Scope::Admin], Some(&[listed]));
        for action in Action::ALL {
            for public in [true, false] {
                let verdict = |id| may(Who::Holder(&admin), action, Object::Repo { id, public });
                assert_eq!((verdict(listed), verdict(other)), (Verdict::Yes, Verdict::Hidden), "{action:?}");
            }
            assert_eq!(may(Who::Holder(&admin), action, Object::Server), Verdict::NeedsAllRepos, "{action:?}");
        }
        let of_none = rights(&[Scope::Admin], Some(&[]));
        assert_eq!(may(Who::Holder(&of_none), Action::See, Object::Repo { id: listed, public: true }), Verdict::Hidden);
    }

    #[test]
    fn a_scope_that_is_missing_says_nothing_of_the_object() {
        let read = rights(&[Scope::Read], Some(&[]));
        for action in Action::ALL.into_iter().filter(|action| action.scope() != Scope::Read) {
            let objects = [Object::SomeRepo, Object::Server, Object::Repo { id: RepoId::new(), public: true }];
            let verdicts = objects.map(|object| may(Who::Holder(&read), action, object));
            assert!(verdicts.iter().all(|verdict| *verdict == Verdict::NeedsScope(action.scope())), "{action:?}");
        }
    }

    #[test]
    fn lists_show_what_may_be_seen_and_nothing_else() {
        let repos = [RepoId::new(), RepoId::new()];
        let all = [
            None,
            Some(rights(&[], None)),
            Some(rights(&[Scope::Read], None)),
            Some(rights(&[Scope::Build], Some(&repos[..1]))),
            Some(rights(&[Scope::Admin], Some(&[]))),
            Some(Rights::everything()),
        ];
        for rights in &all {
            let who = rights.as_ref().map_or(Who::Anonymous, Who::Holder);
            let visible = Visible::to(who);
            for (id, public) in repos.into_iter().flat_map(|id| [(id, true), (id, false)]) {
                let shown = match &visible {
                    Visible::All => true,
                    Visible::Public => public,
                    Visible::Listed(listed) => listed.contains(&id),
                };
                assert_eq!(shown, may(who, Action::See, Object::Repo { id, public }) == Verdict::Yes, "{who:?}");
            }
        }
    }
}
