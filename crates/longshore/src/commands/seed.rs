//! `longshore seed`, hidden: fills a data folder for developers, so that pages are looked at and measured as they are after years.

use std::{io::Write as _, process::ExitCode};

use longshore_store::{
    Store,
    seed::{self, Seed},
};

use crate::args::SeedArgs;

pub(crate) fn run(args: &SeedArgs) -> super::Result {
    super::runtime()?.block_on(async {
        let store = Store::open_ephemeral(&args.data).await?;
        let seed =
            Seed { repos: args.repos, builds: args.builds, jobs_per_build: args.jobs, log_lines: args.log_lines };
        seed::fill(&store, seed, |builds| {
            let _ = write!(std::io::stderr(), "\r{builds} builds");
        })
        .await?;
        let _ = writeln!(std::io::stderr());
        store.close().await;
        Ok(ExitCode::SUCCESS)
    })
}
