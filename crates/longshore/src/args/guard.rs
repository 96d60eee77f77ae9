//! The command that serves a guarded Docker API.

use std::path::PathBuf;

use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(crate) struct Guard {
    /// The socket that the client uses
    #[arg(long, value_name = "PATH")]
    pub(crate) listen: PathBuf,
    /// Permissions of that socket, in octal
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = mode)]
    pub(crate) mode: u32,
    /// The engine's socket
    #[arg(long, value_name = "PATH", default_value = "/var/run/docker.sock")]
    pub(crate) socket: PathBuf,
    #[command(flatten)]
    pub(crate) policy: GuardPolicy,
    /// With --server: let it give the engine's own socket to jobs that say `docker: raw`
    #[arg(long, env = "LONGSHORE_GUARD_RAW", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) raw: bool,
    /// With --server: the image of the builders that jobs may have
    #[arg(long, env = "LONGSHORE_BUILDKIT_IMAGE", value_name = "IMAGE", default_value = "", hide_default_value = true)]
    pub(crate) buildkit_image: String,
    /// With --server: the subnets that the jobs' network may have
    #[arg(
        long,
        env = "LONGSHORE_NETWORK_SUBNET",
        value_name = "SUBNET,...",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) subnets: String,
    /// With --server: the range of the networks of jobs with Docker
    #[arg(
        long,
        env = "LONGSHORE_DOCKER_SUBNET",
        value_name = "SUBNET",
        default_value = longshore_guard::JobSubnets::DEFAULT
    )]
    pub(crate) docker_subnet: String,
    /// With --server: the capabilities that its jobs may have beyond those of every job
    #[arg(
        long,
        env = "LONGSHORE_JOB_CAPABILITIES",
        value_name = "NAME,...",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) capabilities: String,
    /// Started by a server, whose end is its own
    #[arg(long, hide = true)]
    pub(crate) child: bool,
    /// The file that keeps the instance that the server has named. Only the guard may write it
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) instance: Option<PathBuf>,
    /// Where to keep track of the client's objects across restarts
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Where to log every request
    #[arg(long, value_name = "FILE")]
    pub(crate) audit: Option<PathBuf>,
    /// On exit, remove everything that the client created
    #[arg(long)]
    pub(crate) remove_on_exit: bool,
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct GuardPolicy {
    /// A file with the policy (JSON)
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The policy (JSON)
    #[arg(long, value_name = "JSON")]
    pub(crate) policy_json: Option<String>,
    /// A Longshore server's policy
    #[arg(long)]
    pub(crate) server: bool,
}

impl GuardPolicy {
    /// Reads the policy's text, and says where it is from.
    pub(crate) fn read(&self) -> std::io::Result<(String, String)> {
        match (&self.policy, &self.policy_json) {
            (Some(file), _) => Ok((std::fs::read_to_string(file)?, file.display().to_string())),
            (None, json) => Ok((json.clone().unwrap_or_default(), "--policy-json".to_owned())),
        }
    }
}

/// Permissions of a file, as octal digits.
fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("permissions are three octal digits, such as 600".to_owned()),
    }
}
