//! Decides whether an event starts a pipeline, and if not, why.

use longshore_core::{DueSchedule, Event, EventName, event::PullRequest};

use super::{
    filter::Patterns,
    model::{Paths, PullRequests, Push, Triggers},
    plan::RepoFacts,
    schedule::Schedule,
};

pub(super) fn starts(on: &Triggers, event: &Event, facts: &RepoFacts) -> Result<(), String> {
    match event.name {
        EventName::Push | EventName::Tag => match &on.push {
            Some(push) => check_push(push, event, facts),
            None => Err("its `on` has no `push`".to_owned()),
        },
        EventName::PullRequest => match &on.pull_request {
            Some(pull_request) => check_pull_request(pull_request, event, facts),
            None => Err("its `on` has no `pull-request`".to_owned()),
        },
        EventName::Schedule => match &event.schedule {
            _ if on.schedules.is_empty() => Err("its `on` has no `schedule`".to_owned()),
            Some(due) if on.schedules.iter().any(|schedule| is_due(schedule, due, event)) => Ok(()),
            Some(_) => Err("the schedule that was due is not in the pipeline at this commit".to_owned()),
            None => Ok(()),
        },
        EventName::Release => match &on.release {
            Some(types) => check_release(types, event),
            None => Err("releases do not start it: its `on` has no `release`".to_owned()),
        },
        EventName::MergeGroup if on.merge_group => Ok(()),
        EventName::MergeGroup => Err("merge queues do not start it: its `on` has no `merge-group`".to_owned()),
        EventName::Manual if on.manual.is_some() => Ok(()),
        EventName::Manual => Err("its `on` has no `manual`".to_owned()),
    }
}

/// Returns whether an event starts a pipeline, apart from the files that it changed. The reason says which filter keeps
/// it.
pub(super) fn only_paths_keep(on: &Triggers, event: &Event, facts: &RepoFacts) -> Option<String> {
    let reason = starts(on, event, facts).err()?;
    let any_files = RepoFacts {
        name: facts.name.clone(),
        clone_url: facts.clone_url.clone(),
        forge: facts.forge.clone(),
        default_branch: facts.default_branch.clone(),
        changed_files: None,
    };
    starts(on, event, &any_files).is_ok().then_some(reason)
}

fn is_due(schedule: &Schedule, due: &DueSchedule, event: &Event) -> bool {
    let branch = schedule.branch().or(event.default_branch.as_deref());
    schedule.cron() == due.cron
        && schedule.timezone() == due.timezone
        && branch.is_none_or(|branch| event.branch() == Some(branch))
}

fn check_push(push: &Push, event: &Event, facts: &RepoFacts) -> Result<(), String> {
    let (branch, tag) = (event.branch(), event.tag());
    match (&push.branches, &push.tags) {
        (None, None) => {}
        (Some(branches), _) if branch.is_some() => check_name(branches, "branch", branch)?,
        (_, Some(tags)) if tag.is_some() => check_name(tags, "tag", tag)?,
        (Some(_), None) => return Err("its `push` has `branches`, and this is not a branch".to_owned()),
        (None, Some(_)) => return Err("its `push` has `tags`, and this is not a tag".to_owned()),
        (Some(_), Some(_)) => return Err("its `push` has `branches` and `tags`, and this is neither".to_owned()),
    }
    // A tag changes no file.
    if tag.is_some() { Ok(()) } else { check_paths(&push.paths, facts) }
}

fn check_pull_request(on: &PullRequests, event: &Event, facts: &RepoFacts) -> Result<(), String> {
    let Some(pull_request) = &event.pull_request else {
        return Err("nothing is known of the pull request".to_owned());
    };
    let is_named = |word: &str| on.types.iter().any(|named| named == word);
    // How it was closed is a type of its own.
    let closed = pull_request.action == PullRequest::CLOSED;
    let closed_as = if pull_request.merged { "merged" } else { "declined" };
    if !(is_named(&pull_request.action) || closed && is_named(closed_as)) {
        let action: String = pull_request.action.chars().take(40).collect();
        return Err(format!("its `types` are {}, and the pull request was `{action}`", on.types.join(", ")));
    }
    if let Some(branches) = &on.branches {
        check_name(branches, "branch", Some(&pull_request.target_branch))?;
    }
    check_paths(&on.paths, facts)
}

fn check_release(types: &[String], event: &Event) -> Result<(), String> {
    let action = event.action().unwrap_or_default();
    if types.iter().any(|named| named == action) {
        return Ok(());
    }
    let action: String = action.chars().take(40).collect();
    Err(format!("the action `{action}` of a release does not start it: its `types` are {}", types.join(", ")))
}

fn check_paths(paths: &Paths, facts: &RepoFacts) -> Result<(), String> {
    let Some(files) = &facts.changed_files else { return Ok(()) };
    if paths.is_any() {
        return Ok(());
    }
    let matters = |file: &String| {
        paths.only.as_ref().is_none_or(|only| only.admits(file))
            && paths.ignore.as_ref().is_none_or(|ignore| !ignore.admits(file))
    };
    if files.iter().any(matters) {
        return Ok(());
    }
    let written = paths.only.as_ref().or(paths.ignore.as_ref()).map(list_patterns).unwrap_or_default();
    let key = if paths.only.is_some() { "paths" } else { "paths-ignore" };
    Err(format!("none of the {} changed files match its `{key}`: {written}", files.len()))
}

fn check_name(patterns: &Patterns, what: &str, name: Option<&str>) -> Result<(), String> {
    let name = name.unwrap_or("");
    if patterns.admits(name) {
        return Ok(());
    }
    Err(format!("the {what} `{name}` does not match its patterns: {}", list_patterns(patterns)))
}

fn list_patterns(patterns: &Patterns) -> String {
    patterns.written().take(10).collect::<Vec<_>>().join(", ")
}
