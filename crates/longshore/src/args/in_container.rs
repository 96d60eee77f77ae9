//! The commands that containers of jobs run.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args as ClapArgs;
use longshore_agent::{AgentOptions, Membership};
use longshore_agent_protocol::ImageConfig;
use longshore_core::DeniedAddresses;

use super::values::{Nonce, image_config, nonce};

#[derive(Debug, ClapArgs)]
pub(crate) struct Agent {
    /// The job's own marker, 32 hexadecimal digits
    #[arg(long, value_parser = nonce)]
    marker: Nonce,
    /// The conductor's socket, for a container beside the job's
    #[arg(long, requires = "image")]
    join: Option<String>,
    /// What its image says, as JSON
    #[arg(long, value_parser = image_config)]
    image: Option<ImageConfig>,
    /// Where spool and scripts are
    #[arg(long, default_value = "/longshore")]
    root: PathBuf,
    /// It is in a sandbox, and begins once it has joined it
    #[arg(long)]
    in_sandbox: bool,
}

impl Agent {
    pub(crate) fn run(self) -> ExitCode {
        let membership = self.join.zip(self.image).map(|(address, image)| Membership { address, image });
        longshore_agent::run(AgentOptions {
            membership,
            in_sandbox: self.in_sandbox,
            ..AgentOptions::new(self.marker.0, self.root)
        })
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Sandbox {
    /// Exit after this many seconds without a job; by default never
    #[arg(long)]
    idle: Option<u64>,
    /// Networks that its jobs may not reach, or `host`
    #[arg(long)]
    deny: Vec<DeniedAddresses>,
    /// Ports that they may reach there all the same
    #[arg(long)]
    allow: Vec<SocketAddr>,
}

impl Sandbox {
    pub(crate) fn run(self) -> ExitCode {
        longshore_agent::sandbox(self.idle.map(Duration::from_secs), &self.deny, &self.allow)
    }
}
