//! A repository's deploy key as the API and the pages show it.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use longshore_forge::CloneUrl;
use longshore_store::{deploy_keys::DeployKey, repos::Repo};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeployKeyView {
    /// To be added at the forge, as a deploy key that may read
    #[schema(example = "ssh-ed25519 AAAA... longshore-team-app")]
    pub(crate) public_key: String,
    /// The keys that the host showed when the key was made; no others are believed
    pub(crate) host_keys: Vec<HostKeyView>,
}

/// A key of a host.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HostKeyView {
    pub(crate) host: String,
    #[schema(example = "ssh-ed25519")]
    pub(crate) kind: String,
    /// As `ssh-keygen -l` and forges print it
    #[schema(example = "SHA256:...")]
    pub(crate) fingerprint: String,
}

impl From<DeployKey> for DeployKeyView {
    fn from(key: DeployKey) -> Self {
        let host_key = |line: &str| {
            let mut words = line.split(' ');
            let (host, kind, key) = (words.next()?, words.next()?, BASE64_STANDARD.decode(words.next()?).ok()?);
            let fingerprint = format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(Sha256::digest(key)));
            Some(HostKeyView { host: host.to_owned(), kind: kind.to_owned(), fingerprint })
        };
        Self { host_keys: key.host_keys.lines().filter_map(host_key).collect(), public_key: key.public }
    }
}

/// The deploy key on the settings page of a repository with an ssh address.
pub(crate) struct Part {
    pub(crate) key: Option<DeployKeyView>,
}

impl Part {
    /// Returns `None` for addresses that take no key.
    pub(crate) fn of(repo: &Repo) -> Option<Self> {
        let takes_key = repo.clone_url.parse::<CloneUrl>().is_ok_and(|url| url.is_ssh());
        takes_key.then(|| Self { key: repo.deploy_key.clone().map(DeployKeyView::from) })
    }
}
