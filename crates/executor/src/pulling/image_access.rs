//! The images that a job may use: which names, with whose credentials, and which registries have to be asked although
//! the engine has the image.
//!
//! The caller fills it in for each job. Every image of a job, be it its own, a service's or a step's, is looked up
//! through `images`, which asks here first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::{ImageRef, RegistryCredentials, RegistryHost};

use crate::error::EngineError;

/// How long the addresses of a registry are looked up. A name that is not found in that time is left to the engine.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// The port at which the engine looks for a registry that names none. Addresses do not depend on it.
const HTTPS: u16 = 443;

/// Decides whether jobs may use an image of that name, whose registry's name leads to these addresses; if not, the error
/// says why, in words for people. It is asked without addresses as soon as the name is known, and with them before a
/// pull.
pub type ImageRule = Arc<dyn Fn(&ImageRef, &[IpAddr]) -> Result<(), String> + Send + Sync>;

/// A job's access to images. The default one allows every image and has no credentials.
#[derive(Clone, Default)]
pub struct ImageAccess {
    /// The credentials that the job's pulls may use, by registry.
    pub credentials: BTreeMap<RegistryHost, RegistryCredentials>,
    /// Registries whose images may have come to the engine by somebody's credentials.
    pub guarded: BTreeSet<RegistryHost>,
    /// The engine is the user's own: what is on it, they may use.
    pub own_engine: bool,
    pub rule: Option<ImageRule>,
}

impl ImageAccess {
    /// Refuses an image that the rule does not allow.
    pub(crate) fn check(&self, image: &ImageRef) -> Result<(), EngineError> {
        self.check_at(image, &[])
    }

    /// Refuses an image whose registry is at an address that the rule does not allow, as this process resolves its name.
    pub(crate) async fn check_addresses(&self, image: &ImageRef) -> Result<(), EngineError> {
        let (Some(_), Some(registry)) = (&self.rule, image.registry()) else { return Ok(()) };
        let has_port = registry.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let place = if has_port { registry.to_owned() } else { format!("{registry}:{HTTPS}") };
        match tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host(place)).await {
            Ok(Ok(found)) => self.check_at(image, &found.map(|address| address.ip()).collect::<Vec<_>>()),
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    fn check_at(&self, image: &ImageRef, addresses: &[IpAddr]) -> Result<(), EngineError> {
        let not_allowed = |reason| EngineError::ImageNotAllowed { image: image.to_string(), reason };
        self.rule.as_ref().map_or(Ok(()), |rule| rule(image, addresses)).map_err(not_allowed)
    }

    /// Returns the credentials for the image's registry.
    pub(crate) fn credentials(&self, image: &ImageRef) -> Option<&RegistryCredentials> {
        self.credentials.get(&RegistryHost::of(image))
    }

    /// Returns whether the job may use an image of this registry only if the registry gives it to the job.
    pub(crate) fn is_guarded(&self, image: &ImageRef) -> bool {
        if self.own_engine {
            return false;
        }
        let host = RegistryHost::of(image);
        self.guarded.contains(&host) || self.credentials.contains_key(&host)
    }

    /// Returns the values to mask in the log. They are not sent to the agent, in whose container the job could read
    /// them.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = String> {
        // Configuration files have user and password together in base64.
        self.credentials.values().flat_map(|credentials| {
            let password = credentials.expose().to_owned();
            [format!("{}:{password}", credentials.username()), password]
        })
    }
}

impl fmt::Debug for ImageAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageAccess").field("credentials", &self.credentials.keys()).finish_non_exhaustive()
    }
}
