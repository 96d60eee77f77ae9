//! What the store refuses, in words for people: why, and what to do about it.

use longshore_core::limits::{
    Limited, MAX_CONNECTION_NAME_LEN, MAX_NOTIFICATION_NAME_LEN, MAX_REPO_NAME_LEN, MAX_REPOS_OF_TOKEN,
    MAX_SECRET_VALUE_LEN, MAX_TOKEN_NAME_LEN, Unfit,
};
use longshore_store::{Conflict, Invalid, PlanFault};

pub(super) fn of_conflict(conflict: &Conflict) -> String {
    match conflict {
        Conflict::RepoNameTaken(name) => format!("a repository named `{name}` already exists"),
        Conflict::RepoHasConnection => "the repository belongs to a connection, and so to its forge".to_owned(),
        Conflict::BuildsUnfinished(count) => {
            format!("{count} of its builds have not finished: cancel them first")
        }
        Conflict::ConnectionToAnother { name, kind, url } => {
            format!("the connection `{name}` is one to {kind} at {url}: give another name")
        }
        Conflict::SeveralConnections { count, url } => {
            format!("there are {count} connections to {url}: name the one whose token is to be replaced")
        }
        Conflict::ConnectionNamesTaken { kind, host } => {
            format!("there are connections named `{kind}` and `{host}`: give this one another name")
        }
        Conflict::ConnectionInUse { repos, more } => format!(
            "{}{} are cloned with its token and report to it: remove them first, or give the connection another token",
            repos.join(", "),
            if *more { " and others" } else { "" }
        ),
        Conflict::Full(limited) => of_limit(*limited),
        Conflict::DeliveryPending => "the delivery is still pending".to_owned(),
        Conflict::DeliveryEnded => "the delivery is not pending".to_owned(),
        Conflict::Refused(refused) => refused.to_string(),
        Conflict::AttemptEnded(attempt) => format!("attempt {attempt} of the job is not the running one"),
        Conflict::OriginalGone => "the artifacts of the job that stood for it are gone".to_owned(),
        Conflict::CarriedOverGone(job) => format!("job {job} is gone and cannot stand for another"),
        Conflict::StatusChanged => "the job's status changed under way".to_owned(),
        Conflict::ScheduleChanged => "the schedule has changed meanwhile".to_owned(),
    }
}

fn of_limit(limited: Limited) -> String {
    let most = limited.most();
    match limited {
        Limited::Connections => format!("there are already {most} connections: remove some first"),
        Limited::Secrets => format!("the repository already has {most} secrets, the maximum: remove some first"),
        Limited::Registries => format!("there are already {most} registries, the maximum: remove some first"),
        Limited::Notifications => format!("there are already {most} notifications, the maximum: remove some first"),
    }
}

pub(super) fn of_invalid(invalid: &Invalid) -> String {
    match invalid {
        Invalid::Unfit(unfit) => of_unfit(unfit),
        Invalid::NewSecretWithoutValue(name) => {
            format!("the secret `{name}` does not exist yet: a new secret needs a value")
        }
        Invalid::UnknownRepo(id) => format!("repository {id} not found"),
        Invalid::Plan(fault) => of_plan(fault),
        Invalid::Unsealable => "the value cannot be sealed".to_owned(),
        Invalid::NotJson(why) => format!("cannot be stored as JSON: {why}"),
    }
}

pub(super) fn of_unfit(unfit: &Unfit) -> String {
    match unfit {
        Unfit::RepoName(name) => format!(
            "`{}` is not a valid repository name: use `name` or `owner/name` with letters, digits, dots, dashes and \
             underscores, no part starting with a dot or a dash, at most {MAX_REPO_NAME_LEN} characters",
            name.chars().take(MAX_REPO_NAME_LEN).flat_map(char::escape_debug).collect::<String>()
        ),
        Unfit::ConnectionName => format!(
            "a connection's name has letters, digits, dots, dashes and underscores, at most {MAX_CONNECTION_NAME_LEN}, and does not begin with a dot or dash"
        ),
        Unfit::NotificationName => {
            format!("a notification's name is one line of at most {MAX_NOTIFICATION_NAME_LEN} bytes")
        }
        Unfit::TokenName => format!("a token's name must have 1 to {MAX_TOKEN_NAME_LEN} bytes"),
        Unfit::TokenWithoutScope => "a token needs a scope: read, build, approve or admin".to_owned(),
        Unfit::TokenWithoutRepo => {
            "a token for no repository is useless: list some, or omit the list for all repositories".to_owned()
        }
        Unfit::TokenWithTooManyRepos => format!("a token can list at most {MAX_REPOS_OF_TOKEN} repositories"),
        Unfit::EmptySecret => "a secret's value cannot be empty".to_owned(),
        Unfit::SecretTooLong => format!(
            "a secret's value can have at most {} KiB: keep larger files encrypted in the repository, and their key here",
            MAX_SECRET_VALUE_LEN >> 10
        ),
        Unfit::SecretWithNul => "a secret's value cannot contain a NUL byte: store it as base64".to_owned(),
    }
}

fn of_plan(fault: &PlanFault) -> String {
    match fault {
        PlanFault::NoJob => "a build needs a job".to_owned(),
        PlanFault::SameKey(key) => format!("two jobs have the key `{key}`"),
        PlanFault::UnknownNeed { job, need } => format!("`{job}` needs `{need}`, which is not a job"),
        PlanFault::UnknownCarriedOver(key) => {
            format!("`{key}` is to be carried over, but is not a job of the plan")
        }
        PlanFault::NotSucceeded(job) => format!("job {job} has not succeeded and cannot be carried over"),
    }
}
