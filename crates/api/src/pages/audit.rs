//! `/audit`: who did what, newest first, with a search; and `/audit/guard`: what the server asked of the engine.

use std::{collections::HashSet, sync::Arc};

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use longshore_core::{
    RepoId, Timestamp,
    access::{Action, Object},
    anomaly::AnomalyKind,
};
use longshore_store::{
    Page,
    anomalies::{self, Anomaly},
    audit::{self, Decision, Entry, Filter, Record},
    repos,
};
use serde::Deserialize;

use super::{
    head::{Head, Place},
    html::Html,
    post::see_other,
    show,
    site::Site,
    visitor::Visitor,
};
use crate::{
    config::ApiConfig,
    error::ApiError,
    guard_log::{GuardFilter, GuardRecordView},
    params::{Query, parse_before},
    routes::audit::{guard_records, words},
};

const ROWS_PER_PAGE: u32 = 50;
const MAX_ANOMALIES: u32 = 10;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    head: Head,
    filter: AuditFilter,
    records: Vec<Record>,
    /// The anomalies, on the first page.
    anomalies: Vec<Anomaly>,
    /// The address of the older records.
    next: Option<String>,
    is_first: bool,
    /// The name that was asked for is not a repository's.
    no_such_repo: bool,
    /// The repositories of the records that are still there.
    there: HashSet<RepoId>,
}

impl AuditPage {
    fn decisions() -> [Decision; 3] {
        Decision::ALL
    }

    /// Returns what people call a kind of anomaly.
    const fn title(kind: &AnomalyKind) -> &'static str {
        match kind {
            AnomalyKind::FirstRefusal => "First refusal",
            AnomalyKind::ManyRefusals => "Many refusals",
            AnomalyKind::Frozen => "Docker API frozen",
            AnomalyKind::Probing => "IDs of others tried",
            AnomalyKind::Outlived => "Left after its job",
            AnomalyKind::NewRegistry => "New registry",
        }
    }

    /// Returns whether the repository of a record has a page, and its builds and jobs have.
    fn is_there(&self, entry: &Entry) -> bool {
        entry.repo.is_some_and(|repo| self.there.contains(&repo))
    }

    fn at(entry: &Entry) -> Timestamp {
        Timestamp::from_millis(entry.at)
    }

    fn fields(entry: &Entry) -> String {
        entry.fields.join(", ")
    }

    /// Returns who acted, in words.
    fn who(entry: &Entry) -> &str {
        match entry.via.as_str() {
            "anonymous" => "somebody unknown",
            "server" => "the server",
            _ => &entry.who,
        }
    }
}

#[derive(Template)]
#[template(path = "audit_guard.html")]
struct GuardPage {
    head: Head,
    q: String,
    decision: String,
    records: Vec<GuardRecordView>,
    /// The address of the older records.
    next: Option<String>,
    is_first: bool,
    /// Why there is no log.
    none: Option<String>,
}

impl GuardPage {
    fn object(record: &GuardRecordView) -> String {
        object_name(&record.object)
    }

    fn decisions() -> [Decision; 3] {
        Decision::ALL
    }
}

/// Returns the name of an object on the engine, with only the beginnings of the IDs in it.
fn object_name(object: &str) -> String {
    let is_id = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let short = |part: &str| {
        let name = part.trim_end_matches(['/', ' ']);
        let kept = if is_id(name) { &name[..12] } else { name };
        format!("{kept}{}", &part[name.len()..])
    };
    let shortened: String = object.split_inclusive(['/', ' ']).map(short).collect();
    show::cut(&shortened, 40).to_owned()
}

/// The query of the guard's log.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardAddress {
    #[serde(default)]
    q: String,
    #[serde(default)]
    decision: String,
    before: Option<String>,
}

pub(crate) async fn show_guard(
    State(site): State<Site>,
    State(config): State<Arc<ApiConfig>>,
    visitor: Visitor,
    query: Result<Query<GuardAddress>, ApiError>,
) -> Result<Response, ApiError> {
    if visitor.caller.is_anonymous() {
        return Ok(see_other("/sign-in?next=/audit/guard"));
    }
    visitor.caller.require(Action::SeeAudit, Object::Server)?;
    let Query(GuardAddress { q, decision, before }) = query?;
    let before = parse_before(before.as_deref())?;
    let filter = GuardFilter {
        decision: Some(decision.clone()).filter(|decision| !decision.is_empty()),
        words: words(&q),
        before: before.and_then(|before| before.try_into().ok()),
    };
    let (records, next, none) = match guard_records(&config, filter, ROWS_PER_PAGE).await {
        Ok((records, next)) => (records, next, None),
        Err(error) if error.status() == StatusCode::NOT_FOUND => (Vec::new(), None, Some(error.message().to_owned())),
        Err(error) => return Err(error),
    };
    let next = next.map(|next| {
        let next = next.to_string();
        let query = [("q", &q), ("decision", &decision), ("before", &next)];
        format!("/audit/guard?{}", serde_urlencoded::to_string(query).unwrap_or_default())
    });
    let head = Head::new(&site, &visitor, Place::Settings, "Guard log");
    Ok(Html(GuardPage { head, q, decision, records, next, is_first: before.is_none(), none }).into_response())
}

/// The query.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditFilter {
    #[serde(default)]
    q: String,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    action: String,
    /// A repository's name.
    #[serde(default)]
    repo: String,
    #[serde(default)]
    decision: String,
    before: Option<String>,
}

impl AuditFilter {
    fn is_empty(&self) -> bool {
        [&self.q, &self.actor, &self.action, &self.repo, &self.decision].iter().all(|text| text.is_empty())
    }

    fn address(&self, before: i64) -> String {
        let before = before.to_string();
        let all = [
            ("q", &self.q),
            ("actor", &self.actor),
            ("action", &self.action),
            ("repo", &self.repo),
            ("decision", &self.decision),
            ("before", &before),
        ];
        let given: Vec<_> = all.into_iter().filter(|(_, text)| !text.is_empty()).collect();
        format!("/audit?{}", serde_urlencoded::to_string(given).unwrap_or_default())
    }
}

pub(crate) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    query: Result<Query<AuditFilter>, ApiError>,
) -> Result<Response, ApiError> {
    if visitor.caller.is_anonymous() {
        return Ok(see_other("/sign-in?next=/audit"));
    }
    visitor.caller.require(Action::SeeAudit, Object::Server)?;
    let Query(filter) = query?;
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let repo = match given(&filter.repo) {
        Some(name) => repos::by_name(&site.store, &name).await?.map(|repo| Some(repo.id)),
        None => Some(None),
    };
    let wanted = Filter {
        repo: repo.flatten(),
        who: given(&filter.actor),
        action: given(&filter.action),
        decision: given(&filter.decision).and_then(|word| word.parse().ok()),
        words: words(&filter.q),
    };
    let before = parse_before(filter.before.as_deref())?;
    let page = match repo {
        Some(_) => audit::list(&site.store, &wanted, before, ROWS_PER_PAGE).await?,
        None => Page { items: Vec::new(), next: None },
    };
    let named: HashSet<RepoId> = page.items.iter().filter_map(|record| record.entry.repo).collect();
    let mut there = HashSet::new();
    for repo in named {
        there.extend(repos::get(&site.store, repo).await?.map(|repo| repo.id));
    }
    let is_plain = before.is_none() && filter.is_empty();
    let anomalies = if is_plain { anomalies::list(&site.store, None, MAX_ANOMALIES).await?.items } else { Vec::new() };
    let page = AuditPage {
        anomalies,
        head: Head::new(&site, &visitor, Place::Settings, "Audit log"),
        records: page.items,
        next: page.next.map(|next| filter.address(next)),
        is_first: before.is_none(),
        no_such_repo: repo.is_none(),
        there,
        filter,
    };
    Ok(Html(page).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_objects_are_shown_by_their_beginnings_and_names_whole() {
        let id = "3592daee2032".to_owned() + &"0".repeat(52);
        for (object, shown) in [
            (format!("/containers/{id}"), "/containers/3592daee2032".to_owned()),
            (format!("/containers/create {id}"), "/containers/create 3592daee2032".to_owned()),
            ("/volumes/longshore-job-01a226a3".to_owned(), "/volumes/longshore-job-01a226a3".to_owned()),
            ("x".repeat(64), "x".repeat(40)),
        ] {
            assert_eq!(object_name(&object), shown);
        }
    }
}
