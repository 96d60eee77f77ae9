//! `/repos/{repo}` and the pages below it: builds, deliveries, settings, a build by hand. All share the [`frame`].

pub(crate) mod builds;
pub(crate) mod caches;
pub(crate) mod deliveries;
pub(crate) mod deploy_key;
mod frame;
pub(crate) mod new;
pub(crate) mod run;
mod secret_form;
pub(crate) mod secrets;
pub(crate) mod settings;
