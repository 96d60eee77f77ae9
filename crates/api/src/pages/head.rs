//! The parts that every page has around its own: title, icon, style and scripts, the navigation, who is signed in, and
//! which events it follows. A page's struct has it as its field `head`, which `templates/base.html` reads.

use longshore_core::{
    BuildId, JobId, RepoId, Status, Timestamp,
    access::{Action, Object},
};

use super::{
    assets::{ASSETS, Asset},
    show::cut,
    site::Site,
    visitor::Visitor,
};
use crate::{auth::SignedIn, public_url::BasePath};

/// Characters of a title; the names of jobs have no limit.
const MAX_TITLE_CHARS: usize = 150;
/// The longest address, in bytes, that signing in leads back to.
const MAX_NEXT_BYTES: usize = 500;

#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) title: String,
    /// Stands before every address in the page. Addresses here and in templates are the router's.
    pub(crate) base: BasePath,
    status: Option<Status>,
    here: Place,
    pub(crate) signed_in: Option<SignedIn>,
    /// The address to sign in at, which leads back to this page.
    pub(crate) sign_in: String,
    /// Whether the visitor may see the server's settings.
    settings: bool,
    pub(crate) live: Option<Live>,
    pub(crate) more_scripts: Vec<&'static Asset>,
    /// The text in the search field.
    pub(crate) search: String,
    pub(crate) now: Timestamp,
    pub(crate) version: &'static str,
    cursor: u64,
}

/// The event stream that a page follows.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) stream: String,
    /// How far the page has seen: taken before it reads anything.
    pub(crate) cursor: u64,
    /// The names of the events that change the page.
    pub(crate) events: &'static str,
    /// Only events that name this repository.
    pub(crate) repo: Option<RepoId>,
    /// Only events that name this job, and those of its build.
    pub(crate) job: Option<JobId>,
}

/// Which link of the navigation a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Repositories,
    Queue,
    Access,
    Settings,
    Elsewhere,
}

/// A link of the navigation.
#[derive(Debug)]
pub(crate) struct PlaceLink {
    pub(crate) name: &'static str,
    pub(crate) address: &'static str,
    pub(crate) key: &'static str,
    pub(crate) here: bool,
}

impl Head {
    /// Call this before anything else of the page is read, so that no change between reading and following is missed.
    pub(crate) fn new(site: &Site, visitor: &Visitor, here: Place, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            base: site.base().clone(),
            status: None,
            here,
            signed_in: visitor.signed_in.clone(),
            sign_in: sign_in_address(&visitor.here),
            settings: visitor.caller.may(Action::SeeSettings, Object::Server),
            live: None,
            more_scripts: Vec::new(),
            search: String::new(),
            now: Timestamp::now(),
            version: site.version,
            cursor: *site.store.watch().borrow(),
        }
    }

    /// Replaces the title, for pages that must read something to know it.
    pub(crate) fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = cut(&title.into(), MAX_TITLE_CHARS).to_owned();
        self
    }

    /// Shows the status in the tab's icon. The title stays the page's own.
    pub(crate) fn status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// Follows changes everywhere, or of one repository. `events` are names of `/api/v1/events`.
    pub(crate) fn follows(mut self, events: &'static str, repo: Option<RepoId>) -> Self {
        self.live = Some(Live { stream: "/api/v1/events".to_owned(), cursor: self.cursor, events, repo, job: None });
        self
    }

    /// Follows one build, or one job of it. Not for a build that is over: nothing changes then, and a stream holds a
    /// connection.
    pub(crate) fn follows_build(mut self, build: BuildId, job: Option<JobId>) -> Self {
        let stream = format!("/api/v1/builds/{build}/events");
        self.live = Some(Live { stream, cursor: self.cursor, events: "build job step", repo: None, job });
        self
    }

    pub(crate) fn icon(&self) -> &'static str {
        ASSETS.icon(self.status)
    }

    pub(crate) fn style(&self) -> &'static str {
        &ASSETS.style.address
    }

    pub(crate) fn script(&self) -> &'static str {
        &ASSETS.script.address
    }

    pub(crate) fn places(&self) -> Vec<PlaceLink> {
        let link = |place, name, address, key| PlaceLink { name, address, key, here: self.here == place };
        let mut places =
            vec![link(Place::Repositories, "Repositories", "/", "g r"), link(Place::Queue, "Queue", "/queue", "g q")];
        if self.signed_in.is_some() {
            places.push(link(Place::Access, "Access", "/access", "g a"));
        }
        if self.settings {
            places.push(link(Place::Settings, "Settings", "/settings", "g s"));
        }
        places
    }
}

fn sign_in_address(next: &str) -> String {
    match next {
        "/" => "/sign-in".to_owned(),
        next if next.starts_with("/sign-in") || next.len() > MAX_NEXT_BYTES => "/sign-in".to_owned(),
        next => format!("/sign-in?{}", serde_urlencoded::to_string([("next", next)]).unwrap_or_default()),
    }
}
