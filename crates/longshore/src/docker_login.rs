//! The registries that the user has signed in to with the Docker client (`docker login`), for `longshore run`: what the
//! client may pull, a run pulls too.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use longshore_core::{BuildPlan, ImageRef, RegistryCredentials, RegistryHost, Template};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

/// How long a program that keeps credentials may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);
/// The Docker client's name for Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The parts of the client's `config.json` that are about registries.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    /// The program that keeps the credentials of all registries but those in `cred_helpers`.
    #[serde(default)]
    creds_store: String,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
struct Auth {
    /// `user:password` in base64.
    #[serde(default)]
    auth: String,
}

/// The output of a program that keeps credentials.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperCredentials {
    username: String,
    secret: String,
}

/// Returns the credentials for the registries of a plan's images, and notes about those that cannot be used.
pub(crate) async fn credentials(plan: &BuildPlan) -> (BTreeMap<RegistryHost, RegistryCredentials>, Vec<String>) {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    match folder {
        Some(folder) => in_file(&folder.join("config.json"), &hosts(plan)).await,
        None => Default::default(),
    }
}

/// Returns the registries of a plan's images.
fn hosts(plan: &BuildPlan) -> BTreeSet<RegistryHost> {
    let images = plan.jobs.iter().flat_map(|job| {
        let services = job.services.iter().map(|service| &service.image);
        std::iter::once(&job.image).chain(services).chain(job.steps.iter().filter_map(|step| step.image.as_ref()))
    });
    let named = images.filter_map(Template::as_known).filter_map(|name| ImageRef::parse(name).ok());
    named.map(|image| RegistryHost::of(&image)).collect()
}

async fn in_file(
    path: &Path,
    hosts: &BTreeSet<RegistryHost>,
) -> (BTreeMap<RegistryHost, RegistryCredentials>, Vec<String>) {
    let (mut found, mut notes) = (BTreeMap::new(), Vec::new());
    // A file that cannot be read is reported where its proxies are read.
    let login: Login = match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => return (found, notes),
    };
    for host in hosts {
        match login.credentials(host).await {
            Ok(Some(credentials)) => drop(found.insert(host.clone(), credentials)),
            Ok(None) => {}
            Err(why) => notes.push(format!("{} is used without signing in: {why:#}", host.as_str())),
        }
    }
    (found, notes)
}

impl Login {
    /// Returns the credentials for a registry, if the user has signed in to it.
    async fn credentials(&self, host: &RegistryHost) -> anyhow::Result<Option<RegistryCredentials>> {
        let server = if host.is_docker_hub() { DOCKER_HUB } else { host.as_str() };
        let names = [server, host.as_str()];
        let helper = names.iter().find_map(|name| self.cred_helpers.get(*name));
        if let Some(helper) = helper.or(Some(&self.creds_store)).filter(|helper| !helper.is_empty()) {
            return run_helper(helper, server).await;
        }
        let of_host = |written: &str| {
            let bare = written.trim_start_matches("https://").trim_start_matches("http://");
            bare.split('/').next() == Some(host.as_str())
        };
        let auth = names.iter().find_map(|name| self.auths.get(*name));
        let auth = auth.or_else(|| self.auths.iter().find(|(name, _)| of_host(name)).map(|(_, auth)| auth));
        let Some(Auth { auth }) = auth.filter(|auth| !auth.auth.is_empty()) else { return Ok(None) };
        let unreadable = || anyhow::anyhow!("its entry in the Docker client's `auths` is no `user:password` in base64");
        let text =
            STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(unreadable)?;
        let (user, password) = text.split_once(':').ok_or_else(unreadable)?;
        Ok(Some(RegistryCredentials::new(user.to_owned(), password.trim_end_matches('\0').to_owned())?))
    }
}

/// Asks the program that keeps the credentials of a registry.
async fn run_helper(helper: &str, server: &str) -> anyhow::Result<Option<RegistryCredentials>> {
    anyhow::ensure!(
        helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
        "the Docker client's settings name an invalid credential helper"
    );
    let program = format!("docker-credential-{helper}");
    let mut command = tokio::process::Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let asked = async {
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A helper that does not read its input answers with an error.
            let _ = input.write_all(server.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let answer = tokio::time::timeout(HELPER_TIMEOUT, asked)
        .await
        .map_err(|_| anyhow::anyhow!("{program} does not answer"))?
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow::anyhow!("{program} is not installed"),
            _ => anyhow::Error::new(error).context(program.clone()),
        })?;
    if !answer.status.success() {
        // This is how it says that it has no credentials.
        return Ok(None);
    }
    let kept: HelperCredentials =
        serde_json::from_slice(&answer.stdout).with_context(|| format!("{program} answers otherwise"))?;
    // A token for the registry's own token service, which engines take in another form.
    anyhow::ensure!(kept.username != "<token>", "{program} has an identity token for it, which is not supported");
    Ok(Some(RegistryCredentials::new(kept.username, kept.secret)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_docker_client_has_signed_in_to_is_found_for_the_registries_that_are_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let auth = STANDARD.encode("robot:pass:word");
        let text = serde_json::json!({
            "auths": { "https://index.docker.io/v1/": { "auth": auth }, "registry.example:5000": { "auth": auth },
                       "https://old.example/v2/": { "auth": auth }, "broken.example": { "auth": "?" }, "kept.example": {} },
            "credHelpers": { "helped.example": "nobody-has-this" },
        });
        std::fs::write(&path, text.to_string()).unwrap();
        let hosts = [
            "docker.io",
            "registry.example:5000",
            "old.example",
            "broken.example",
            "kept.example",
            "helped.example",
            "other.example",
        ];
        let (found, notes) = in_file(&path, &hosts.map(|host| host.parse().unwrap()).into()).await;
        let named: Vec<&str> = found.keys().map(RegistryHost::as_str).collect();
        assert_eq!(named, ["docker.io", "old.example", "registry.example:5000"]);
        assert!(found.values().all(|found| found.username() == "robot" && found.expose() == "pass:word"));
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(
            notes[0].contains("broken.example")
                && notes[1].contains("docker-credential-nobody-has-this is not installed"),
            "{notes:?}"
        );
    }
}
