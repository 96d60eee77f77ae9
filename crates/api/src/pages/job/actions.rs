//! Cancels, reruns, approves and declines a job, from its page and from its build's.

use axum::{extract::State, response::Response};
use longshore_core::{JobId, access::Action};
use longshore_scheduler::Scheduler;

use crate::{
    error::ApiError,
    lookup::find_job_to,
    pages::{
        post::{NoFields, Post, see_other},
        site::Site,
    },
    params::Path,
};

pub(crate) async fn cancel(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    find_job_to(&site.store, &visitor.caller, Action::Cancel, id).await?;
    scheduler.cancel_job(id, visitor.caller.actor()).await?;
    Ok(see_other(&format!("/jobs/{id}")))
}

pub(crate) async fn rerun(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    find_job_to(&site.store, &visitor.caller, Action::Rerun, id).await?;
    let new = scheduler.rerun_job(id, &visitor.caller.actor()).await?;
    Ok(see_other(&format!("/builds/{new}")))
}

pub(crate) async fn approve(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    let job = find_job_to(&site.store, &visitor.caller, Action::Approve, id).await?;
    scheduler.approve_job(id, visitor.caller.actor()).await?;
    tracing::info!(job = %id, by = visitor.caller.name(), "a job was approved");
    Ok(see_other(&format!("/builds/{}", job.build)))
}

pub(crate) async fn decline(
    State(site): State<Site>,
    State(scheduler): State<Scheduler>,
    Path(id): Path<JobId>,
    Post { visitor, .. }: Post<NoFields>,
) -> Result<Response, ApiError> {
    let job = find_job_to(&site.store, &visitor.caller, Action::Approve, id).await?;
    scheduler.decline_job(id, visitor.caller.actor()).await?;
    tracing::info!(job = %id, by = visitor.caller.name(), "a job was declined");
    Ok(see_other(&format!("/builds/{}", job.build)))
}
