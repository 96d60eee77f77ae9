//! The program: the server, the command line, and (as `longshore agent`) PID 1 in a job's container.
//!
//! `main` parses the arguments and calls one function of `commands`, which returns the exit code.

use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod attempt_files;
mod boot;
mod ca_certificates;
mod cache_upkeep;
mod caches;
mod checkouts;
mod client;
mod commands;
mod config;
mod disk;
mod docker_login;
mod full_disk;
mod guard_files;
mod guard_reports;
mod job_env;
mod journal;
mod lasting;
mod late_images;
mod offload;
mod own_server;
mod proxies;
mod reports;
mod reuse;
mod runner;
mod seen_registries;
mod separation;
mod store_changes;
mod supervisor;
mod syslog;
mod system_calls;
mod workspaces;

/// The default address of the engine.
pub(crate) const DEFAULT_DOCKER_HOST: &str = "unix:///var/run/docker.sock";
/// The default data folder.
pub(crate) const DEFAULT_DATA: &str = "/var/lib/longshore";
/// The default address of the server.
pub(crate) const DEFAULT_LISTEN: &str = "0.0.0.0:8080";

fn main() -> ExitCode {
    use args::Command;
    use commands::approve::Answer;

    let args = args::Args::parse();
    let ended = match args.command {
        // The agent runs in a job's container, without a runtime and without settings.
        Command::Agent(agent) => return agent.run(),
        Command::Sandbox(sandbox) => return sandbox.run(),
        Command::Probe { script } => return longshore_agent::probe(&script),
        Command::Tool { arguments } => return longshore_agent::tool(&arguments),
        Command::May { what, path } => {
            return if separation::may(&what, &path) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Command::Serve(serve) => commands::serve::run(*serve),
        Command::Run(run) => commands::run::run(run),
        Command::CacheUpkeep(upkeep) => commands::run::caches::maintain(&upkeep),
        Command::Lint(lint) => commands::lint::run(lint),
        Command::Convert(convert) => commands::convert::run(&convert),
        Command::Schema => commands::lint::schema(),
        Command::Doctor(doctor) => commands::doctor::run(*doctor),
        Command::Clean(clean) => commands::clean::run(clean),
        Command::Backup(backup) => commands::backup::run(backup),
        Command::Restore(restore) => commands::restore::run(restore),
        Command::Check(check) => commands::check::run(check),
        Command::Guard(guard) => commands::guard::run(*guard),
        Command::Audit(audit) => commands::audit::run(audit),
        Command::Healthcheck { listen } => commands::health::run(&listen),
        Command::Repo(repo) => commands::repo::run(repo),
        Command::Build(build) => commands::build::run(build),
        Command::Artifact(artifact) => commands::artifact::run(artifact),
        Command::Secret(secret) => commands::secret::run(secret),
        Command::Cache(cache) => commands::cache::run(cache),
        Command::Registry(registry) => commands::registry::run(registry),
        Command::Connection(connection) => commands::connection::run(connection),
        Command::Notification(notification) => commands::notification::run(notification),
        Command::Token(token) => commands::token::run(token),
        Command::Approve(approval) => commands::approve::run(approval, Answer::Approve),
        Command::Decline(approval) => commands::approve::run(approval, Answer::Decline),
    };
    ended.unwrap_or_else(|error| {
        commands::print_error(&error);
        ExitCode::from(commands::exit_code_of(&error))
    })
}
