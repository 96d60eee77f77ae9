//! `/repos/{repo}`: the repository's builds, newest first, filtered by the query.

use askama::Template;
use axum::extract::State;
use longshore_core::{BuildId, EventName, RepoId, Status};
use longshore_store::{
    builds::{self, Build, BuildFilter},
    repos::Repo,
    schedules::{self, Schedule},
};
use serde::Deserialize;

use super::{
    caches,
    frame::{Frame, Tab, find_repo},
};
use crate::{
    error::ApiError,
    pages::{
        head::{Head, Place},
        html::Html,
        show,
        site::Site,
        visitor::Visitor,
    },
    params::{self, Path, Query},
};

/// Builds on a page.
const BUILDS_PER_PAGE: u32 = 30;
/// How many schedules are shown, the next to start first.
const MAX_SCHEDULES: usize = 20;

#[derive(Template)]
#[template(path = "repo/builds.html")]
pub(crate) struct Builds {
    head: Head,
    repo: Frame,
    builds: Vec<Build>,
    schedules: Vec<Due>,
    caches: caches::Part,
    filter: BuildsQuery,
    /// The address of the first page with its filters, and of the next one.
    newest: String,
    next: Option<String>,
    first_page: bool,
    badges: Vec<Badge>,
    cc_xml: String,
}

/// A badge, and what to write for it.
struct Badge {
    subject: String,
    /// The picture's address here.
    image: String,
    markdown: String,
}

/// Pipelines with a badge of their own.
const MAX_BADGES: usize = 20;

/// Returns the badges of a branch, the default one if none is named: of all of its pipelines and, if there are several,
/// of each.
async fn load_badges(site: &Site, repo: &Repo, branch: &str) -> Result<Vec<Badge>, ApiError> {
    let named = Some(branch.trim()).filter(|branch| !branch.is_empty());
    let newest = builds::latest_finished(&site.store, repo.id, named.or(repo.default_branch.as_deref()), None).await?;
    let pipelines = match newest {
        Some(build) => builds::of_pipelines(&site.store, build.id).await?,
        None => Vec::new(),
    };
    let mut all = vec![None];
    if pipelines.len() > 1 {
        all.extend(pipelines.into_iter().take(MAX_BADGES).map(|(name, _)| Some(name)));
    }
    let badge = |pipeline: Option<String>| {
        let pairs = [("branch", named.unwrap_or_default()), ("pipeline", pipeline.as_deref().unwrap_or_default())];
        let image = show::address(&format!("/badges/{}.svg", repo.id), &pairs);
        let page = show::address(&format!("/repos/{}", repo.id), &pairs[..1]);
        let subject = pipeline.clone().unwrap_or_else(|| named.unwrap_or("the default branch").to_owned());
        // Brackets end the text of a link in Markdown.
        let text: String = subject.chars().map(|c| if matches!(c, '[' | ']' | '\\' | '`') { '_' } else { c }).collect();
        let text = if pairs.iter().all(|(_, value)| value.is_empty()) { "build".to_owned() } else { text };
        let markdown = format!("[![{text}]({0}{image})]({0}{page})", site.public_url);
        Badge { subject, image, markdown }
    };
    Ok(all.into_iter().map(badge).collect())
}

/// A schedule with its last build.
struct Due {
    schedule: Schedule,
    last: Option<(BuildId, u64, Status)>,
}

async fn load_due(site: &Site, repo: RepoId) -> Result<Vec<Due>, ApiError> {
    let mut due = Vec::new();
    let mut schedules = schedules::of_repo(&site.store, repo).await?;
    schedules.sort_by_key(|schedule| schedule.next_at);
    for schedule in schedules.into_iter().take(MAX_SCHEDULES) {
        let last = match schedule.last_build {
            Some(id) => builds::get(&site.store, id).await?,
            None => None,
        };
        due.push(Due { schedule, last: last.map(|build| (build.id, build.number, show::standing(&build))) });
    }
    Ok(due)
}

/// The filters of the query; an empty one filters nothing.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct BuildsQuery {
    #[serde(default)]
    branch: String,
    #[serde(default)]
    event: String,
    #[serde(default)]
    status: String,
    before: Option<String>,
}

impl BuildsQuery {
    fn is_empty(&self) -> bool {
        self.branch.is_empty() && self.event.is_empty() && self.status.is_empty()
    }

    fn events(&self) -> [EventName; 7] {
        EventName::ALL
    }

    fn statuses(&self) -> [Status; 10] {
        Status::ALL
    }

    fn filter(&self, repo: RepoId) -> Result<BuildFilter, ApiError> {
        let event = match self.event.as_str() {
            "" => None,
            word => {
                let known = self.events().into_iter().find(|event| event.as_str() == word);
                Some(known.ok_or_else(|| ApiError::bad_request(format!("unknown event `{}`", show::cut(word, 40))))?)
            }
        };
        let status = match self.status.as_str() {
            "" => None,
            word => Some(
                word.parse().map_err(|_| ApiError::bad_request(format!("unknown status `{}`", show::cut(word, 40))))?,
            ),
        };
        // Pages call a build blocked while nothing of it is under way, even if the store says `running`; such builds do
        // not count as running here.
        let (status, waiting) = match status {
            Some(Status::Blocked) => (None, Some(true)),
            Some(Status::Running) => (status, Some(false)),
            other => (other, None),
        };
        let branch = Some(self.branch.trim()).filter(|branch| !branch.is_empty()).map(str::to_owned);
        Ok(BuildFilter { repo: Some(repo), status, event, branch, waiting, ..BuildFilter::default() })
    }

    /// Returns the address with these filters, from `before` on.
    fn address(&self, repo: RepoId, before: &str) -> String {
        let pairs = [
            ("branch", self.branch.as_str()),
            ("event", self.event.as_str()),
            ("status", self.status.as_str()),
            ("before", before),
        ];
        show::address(&format!("/repos/{repo}"), &pairs)
    }
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<RepoId>,
    Query(query): Query<BuildsQuery>,
) -> Result<Html<Builds>, ApiError> {
    let head = Head::new(&site, &visitor, Place::Elsewhere, "").follows("build repo", Some(id));
    let repo = find_repo(&site.store, &visitor, id).await?;
    let before = params::parse_before(query.before.as_deref())?;
    let page = builds::list(&site.store, &query.filter(id)?, before, BUILDS_PER_PAGE).await?;
    // The newest of filtered builds says nothing about the repository.
    let newest = page.items.first().filter(|_| before.is_none() && query.is_empty()).map(show::standing);
    let head = match newest {
        Some(status) => head.status(status).titled(format!("{}: {}", status.word(), repo.name)),
        None => head.titled(repo.name.clone()),
    };
    Ok(Html(Builds {
        head,
        repo: Frame::new(&visitor, &repo, Tab::Builds),
        builds: page.items,
        schedules: load_due(&site, id).await?,
        caches: caches::Part::load(&site.store, id).await?,
        newest: query.address(id, ""),
        next: page.next.map(|before| query.address(id, &before.to_string())),
        badges: load_badges(&site, &repo, &query.branch).await?,
        cc_xml: format!("{}/cc.xml", site.public_url),
        first_page: before.is_none(),
        filter: query,
    }))
}
