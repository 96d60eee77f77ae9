//! Registers, shows, changes and removes repositories.

use axum::{Json, extract::State, http::StatusCode};
use longshore_core::{
    ConnectionId, RepoId, StatusDetail, Strangers, Timestamp,
    access::{Action, Object},
    docker::DockerGrant,
};
use longshore_forge::Forge;
use longshore_scheduler::Scheduler;
use longshore_store::{
    Store,
    refused_hooks::{self, RefusedHook},
    repos::{self, NewRepo, Repo, RepoPatch},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::{Caller, object_of},
    error::{ApiError, ErrorBody},
    forges::Forges,
    json_request::JsonRequest,
    params::{Path, Query, page_limit, parse_before},
    public_url::PublicUrl,
    repo_changes::{
        apply_patch, check_branch, check_clone_url, check_docker, check_submodules, parse_forge, parse_statuses,
        parse_strangers, shown_look_error, try_to_reach, without_credentials,
    },
    views::Page,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RepoView {
    #[schema(value_type = String, format = "uuid")]
    id: RepoId,
    name: String,
    /// `git`, `github`, `gitea`, `forgejo`, `gitlab`, `bitbucket` or `gogs`
    forge: String,
    /// The clone address without credentials.
    clone_url: String,
    /// The address that the forge's webhook calls.
    hook_url: String,
    /// Present only in the response that creates it, and not if a connection has given it to the forge.
    #[serde(skip_serializing_if = "Option::is_none")]
    hook_secret: Option<String>,
    /// Whether the webhook's former secret works, too, because the forge has not taken the new one yet. Only for those who may change
    /// the repository
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    former_hook_secret_works: bool,
    /// Whether everyone can see the builds and logs.
    public: bool,
    default_branch: Option<String>,
    /// Which pull requests from forks require approval before they run: `none`, `first-time` or `all`
    #[schema(value_type = String, example = "all")]
    strangers: Strangers,
    /// Whether newer commits of a pull request cancel builds of its older ones.
    cancel_older: bool,
    /// The connection that it belongs to; only for those who may change the repository
    #[schema(value_type = Option<String>, format = "uuid")]
    connection: Option<ConnectionId>,
    /// The forge's own id of the repository, as soon as a connection or a webhook has told it; deliveries about any other are refused.
    forge_id: Option<String>,
    /// Which statuses its forge shows for a commit: `pipeline`, `job` or `none`
    #[schema(value_type = String, example = "pipeline")]
    statuses: StatusDetail,
    /// Whether a comment on a pull request says what failed
    comments: bool,
    /// The repositories on the same host that the clone address's credentials are used for when they are submodules: `owner/name`, or
    /// `owner/*`. Only for those who may change the repository, and empty for others
    submodules: Vec<String>,
    /// When its branches and tags were last looked at for pushes that no webhook reported.
    #[schema(value_type = Option<String>, format = DateTime)]
    looked_at: Option<Timestamp>,
    /// Why that was not possible since. Right after the repository was registered: why it cannot be fetched. Only those who may change
    /// the repository read the reason
    look_error: Option<String>,
    /// The newest call of its webhook, if that was refused. Only where one repository is asked for, by somebody who may change it
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_hook: Option<RefusedHookView>,
    /// Which jobs may have Docker: `false` for none, `{"branches": [...]}` for those of these branches (a guarded API; with
    /// `"buildkit": true` also a builder of the job's own), `"raw"` for all, also with the engine's own socket
    #[schema(value_type = Value, example = json!({ "branches": ["main"] }))]
    docker: DockerGrant,
    /// The public half of the key that it is fetched with over ssh, if it has one of its own
    deploy_key: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// A call of the webhook that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusedHookView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What is wrong, and what to change
    reason: String,
    /// How many calls were refused for this reason since one was accepted
    calls: u64,
}

/// Returns a repository as the caller may see it, with what is known of its webhook.
async fn view(store: &Store, public_url: &PublicUrl, caller: &Caller, repo: Repo) -> Result<RepoView, ApiError> {
    if !caller.may(Action::ChangeRepo, object_of(&repo)) {
        return Ok(RepoView::for_reader(public_url, repo));
    }
    let refused = refused_hooks::since_accepted(store, repo.id).await?.into_iter().next();
    let refused_hook = refused.map(|RefusedHook { at, reason, calls }| RefusedHookView { at, reason, calls });
    Ok(RepoView { refused_hook, ..RepoView::new(public_url, repo) })
}

impl RepoView {
    pub(super) fn new(public_url: &PublicUrl, repo: Repo) -> Self {
        Self {
            hook_url: format!("{}/hooks/{}", public_url, repo.id),
            id: repo.id,
            name: repo.name,
            forge: repo.forge,
            clone_url: without_credentials(&repo.clone_url),
            hook_secret: None,
            former_hook_secret_works: repo.former_hook_secret.is_some(),
            public: repo.public,
            default_branch: repo.default_branch,
            strangers: repo.strangers,
            cancel_older: repo.cancel_older,
            connection: repo.connection,
            forge_id: repo.forge_id,
            statuses: repo.statuses,
            comments: repo.comments,
            submodules: repo.submodules,
            looked_at: repo.looked_at,
            look_error: repo.look_error,
            refused_hook: None,
            docker: repo.docker,
            deploy_key: repo.deploy_key.map(|key| key.public),
            created_at: repo.created_at,
        }
    }

    /// Without what names other repositories, connections or hosts.
    fn for_reader(public_url: &PublicUrl, repo: Repo) -> Self {
        let look_error = shown_look_error(&repo, false);
        let hidden = Self::new(public_url, repo);
        Self { connection: None, former_hook_secret_works: false, submodules: Vec::new(), look_error, ..hidden }
    }

    /// With the hook secret, unless a connection has given it to the forge: then nobody has to know it.
    pub(super) fn with_secret(public_url: &PublicUrl, repo: Repo) -> Result<Self, ApiError> {
        let hook_secret = match repo.connection {
            None => Some(repo.hook_secret.expose()?.to_owned()),
            Some(_) => None,
        };
        Ok(Self { hook_secret, ..Self::new(public_url, repo) })
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only the repository with exactly this name
    name: Option<String>,
    /// The `next` of the previous page
    before: Option<String>,
    /// Maximum number of items to return: 50 by default, at most 200
    limit: Option<u32>,
}

/// Lists repositories
#[utoipa::path(
    get, path = "/api/v1/repos", tag = "repositories", security((), ("token" = ["read"])), params(ListQuery),
    responses((status = 200, body = Page<RepoView>)),
)]
pub(crate) async fn list(
    State(store): State<Store>,
    State(public_url): State<PublicUrl>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<RepoView>>, ApiError> {
    let (before, limit) = (parse_before(query.before.as_deref())?, page_limit(query.limit)?);
    if let Some(name) = &query.name {
        let repo = repos::by_name(&store, name).await?;
        let repo = repo.filter(|repo| caller.may(Action::See, object_of(repo)));
        let shown = match repo {
            Some(repo) => Some(view(&store, &public_url, &caller, repo).await?),
            None => None,
        };
        return Ok(Json(Page::single(shown)));
    }
    let page = repos::list(&store, &caller.visible(), before, limit).await?;
    Ok(Json(Page::from_page(page, |repo| match caller.may(Action::ChangeRepo, object_of(&repo)) {
        true => RepoView::new(&public_url, repo),
        false => RepoView::for_reader(&public_url, repo),
    })))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateRepo {
    /// `name` or `owner/name`
    name: String,
    /// An http, https or ssh address. Credentials in it are stored and never shown. Not with `connection`
    clone_url: Option<String>,
    /// The id, name, kind or address of a connection. The server then asks the forge for the clone address and the default branch, and
    /// sets up the webhook
    connection: Option<String>,
    /// `git` (the default), `github`, `gitea`, `forgejo`, `gitlab`, `bitbucket` or `gogs`
    forge: Option<String>,
    /// Whether everyone can see the builds and logs; `false` by default
    #[serde(default)]
    public: bool,
    /// By default, as the forge reports it
    default_branch: Option<String>,
}

/// Registers a repository
#[utoipa::path(
    post, path = "/api/v1/repos", tag = "repositories", security(("token" = ["admin"])), request_body = CreateRepo,
    responses(
        (status = 201, description = "The repository with its hook secret, which is shown only once, and not if a connection has given it to the forge", body = RepoView),
        (status = 400, body = ErrorBody), (status = 409, description = "The name is already in use", body = ErrorBody),
        (status = 422, description = "The forge refuses to let the connection set it up", body = ErrorBody),
        (status = 502, description = "The forge cannot be reached", body = ErrorBody),
    ),
)]
pub(crate) async fn create(
    State(store): State<Store>,
    State(public_url): State<PublicUrl>,
    State(forges): State<Forges>,
    State(scheduler): State<Scheduler>,
    request: JsonRequest,
) -> Result<(StatusCode, Json<RepoView>), ApiError> {
    let (caller, new): (_, CreateRepo) = request.parse(Action::AddRepo, Object::Server).await?;
    if let Some(word) = &new.connection {
        if new.clone_url.is_some() || new.forge.is_some() || new.default_branch.is_some() {
            return Err(ApiError::bad_request(
                "with `connection` give neither `clone_url` nor `forge` nor `default_branch`: the forge says them",
            ));
        }
        caller.require(Action::ManageConnections, Object::Server)?;
        let connection = forges.find(word).await?;
        let repo = forges.register(connection.id, &new.name, new.public).await?;
        tracing::info!(repo = %repo.id, name = repo.name, by = caller.name(), "a repository was registered");
        return Ok((StatusCode::CREATED, Json(RepoView::with_secret(&public_url, repo)?)));
    }
    let Some(clone_url) = new.clone_url else {
        return Err(ApiError::bad_request("give `clone_url`, or the `connection` that knows the repository"));
    };
    let forge = new.forge.as_deref().map_or(Ok(Forge::Git), parse_forge)?;
    check_clone_url(&clone_url)?;
    check_branch(new.default_branch.as_deref())?;
    let new = NewRepo {
        name: new.name,
        forge: forge.as_str().to_owned(),
        clone_url,
        public: new.public,
        default_branch: new.default_branch,
    };
    let mut tx = store.write().await?;
    let repo = repos::create(&mut tx, &new, Timestamp::now()).await?;
    tx.commit().await?;
    tracing::info!(repo = %repo.id, name = repo.name, by = caller.name(), "a repository was registered");
    let hook_secret = repo.hook_secret.clone();
    let repo = Repo { hook_secret, ..try_to_reach(&store, &scheduler, repo).await? };
    Ok((StatusCode::CREATED, Json(RepoView::with_secret(&public_url, repo)?)))
}

/// Returns a repository
#[utoipa::path(
    get, path = "/api/v1/repos/{repo}", tag = "repositories", security((), ("token" = ["read"])),
    params(("repo" = String, Path, description = "The repository's ID")),
    responses((status = 200, body = RepoView), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn get(
    State(store): State<Store>,
    State(public_url): State<PublicUrl>,
    caller: Caller,
    Path(id): Path<RepoId>,
) -> Result<Json<RepoView>, ApiError> {
    let repo = caller.repo(&store, id).await?;
    view(&store, &public_url, &caller, repo).await.map(Json)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchRepo {
    /// `name` or `owner/name`. Takes the right to change clone addresses
    name: Option<String>,
    /// The forge whose webhooks it gets: `git`, `github`, `gitea`, `forgejo`, `gitlab`, `bitbucket` or `gogs`. Takes the right to change
    /// clone addresses
    forge: Option<String>,
    clone_url: Option<String>,
    public: Option<bool>,
    /// Empty: as the forge reports it
    default_branch: Option<String>,
    /// Which pull requests from forks require approval before they run: `none` (only jobs that use secrets or a
    /// Docker API), `first-time` (those of first-time contributors) or `all`
    #[schema(example = "first-time")]
    strangers: Option<String>,
    /// Whether newer commits of a pull request cancel builds of its older ones
    cancel_older: Option<bool>,
    /// Which statuses its forge shows for a commit: `pipeline` (one for each pipeline), `job` (one for each job) or `none`. Needs a connection
    #[schema(example = "pipeline")]
    statuses: Option<String>,
    /// Whether a comment on a pull request says what failed, updated in place. Needs a connection to GitHub, Gitea, Forgejo or GitLab
    comments: Option<bool>,
    /// The repositories on the same host that the clone address's credentials are used for when they are submodules: `owner/name`, or
    /// `owner/*`. Takes the right to change clone addresses
    #[schema(example = json!(["team/lib", "shared/*"]))]
    submodules: Option<Vec<String>>,
    /// Which jobs may have Docker: `false` for none, `{"branches": [...]}` (globs; of a tag its full name, such as `refs/tags/v*`) for
    /// those of these branches, which get a guarded API (with `"buildkit": true` also a builder of the job's own), `"raw"` for all, also
    /// with the engine's own socket, which is root on its host
    #[schema(value_type = Option<Value>, example = json!({ "branches": ["main", "release/*"] }))]
    docker: Option<DockerGrant>,
}

/// Updates a repository; fields that are left out keep their value
#[utoipa::path(
    patch, path = "/api/v1/repos/{repo}", tag = "repositories", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")), request_body = PatchRepo,
    responses(
        (status = 200, body = RepoView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "The name is already in use, or the forge is that of a connection", body = ErrorBody),
    ),
)]
pub(crate) async fn patch(
    State(store): State<Store>,
    State(public_url): State<PublicUrl>,
    State(scheduler): State<Scheduler>,
    id: Result<Path<RepoId>, ApiError>,
    request: JsonRequest,
) -> Result<Json<RepoView>, ApiError> {
    let (caller, patch): (_, PatchRepo) = request.parse(Action::ChangeRepo, Object::SomeRepo).await?;
    let Path(id) = id?;
    caller.repo_to(&store, Action::ChangeRepo, id).await?;
    if let Some(url) = &patch.clone_url {
        caller.require(Action::ChangeRepoAddress, Object::Server)?;
        check_clone_url(url)?;
    }
    if patch.name.is_some() || patch.forge.is_some() {
        caller.require(Action::ChangeRepoAddress, Object::Server)?;
    }
    if let Some(submodules) = &patch.submodules {
        caller.require(Action::ChangeRepoAddress, Object::Server)?;
        check_submodules(submodules)?;
    }
    if let Some(grant) = &patch.docker {
        caller.require(Action::GrantDocker, Object::Server)?;
        check_docker(grant)?;
    }
    let default_branch = patch.default_branch.map(|branch| Some(branch).filter(|branch| !branch.is_empty()));
    check_branch(default_branch.as_ref().and_then(Option::as_deref))?;
    let has_new_address = patch.clone_url.is_some();
    let patch = RepoPatch {
        name: patch.name,
        forge: patch.forge.as_deref().map(parse_forge).transpose()?.map(|forge| forge.as_str().to_owned()),
        clone_url: patch.clone_url,
        public: patch.public,
        default_branch,
        strangers: patch.strangers.as_deref().map(parse_strangers).transpose()?,
        cancel_older: patch.cancel_older,
        statuses: patch.statuses.as_deref().map(parse_statuses).transpose()?,
        comments: patch.comments,
        submodules: patch.submodules,
        docker: patch.docker,
        renew_hook_secret: false,
    };
    let mut repo = apply_patch(&store, id, &patch).await?;
    tracing::info!(repo = %id, by = caller.name(), "a repository was changed");
    if has_new_address {
        repo = try_to_reach(&store, &scheduler, repo).await?;
    }
    view(&store, &public_url, &caller, repo).await.map(Json)
}

/// Removes a repository with its deliveries, builds and logs, and the webhook that a connection set up for it
#[utoipa::path(
    delete, path = "/api/v1/repos/{repo}", tag = "repositories", security(("token" = ["admin"])),
    params(("repo" = String, Path, description = "The repository's ID")),
    responses(
        (status = 204), (status = 404, body = ErrorBody),
        (status = 409, description = "Some of its builds have not finished", body = ErrorBody),
    ),
)]
pub(crate) async fn delete(
    State(store): State<Store>,
    State(forges): State<Forges>,
    caller: Caller,
    id: Result<Path<RepoId>, ApiError>,
) -> Result<StatusCode, ApiError> {
    caller.require(Action::RemoveRepo, Object::SomeRepo)?;
    let Path(id) = id?;
    let repo = caller.repo_to(&store, Action::RemoveRepo, id).await?;
    forges.remove_repo(&repo).await?;
    tracing::info!(repo = %id, by = caller.name(), "a repository was removed");
    Ok(StatusCode::NO_CONTENT)
}
