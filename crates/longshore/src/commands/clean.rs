//! `longshore clean`: removes idle objects of Longshore from the engine.

use std::{io::Write as _, process::ExitCode, sync::Arc, time::Duration};

use longshore_engine_docker::{DockerEngine, DockerOptions};
use longshore_executor::{CleanScope, Executor, ExecutorOptions, names::Instance};
use serde_json::json;

use super::ExitError;
use crate::args::Engine;

/// Jobs that ended longer ago are removed: their server has read their end, or no longer exists.
const JOBS_OLDER_THAN: Duration = Duration::from_secs(60 * 60);

pub(crate) fn run(args: Engine) -> super::Result {
    super::runtime()?.block_on(async {
        let instance = Instance::new("clean").map_err(|error| ExitError::new(1, error.to_string()))?;
        let engine = DockerEngine::connect(DockerOptions::new(args.docker_host, instance))
            .await
            .map_err(|error| ExitError::new(1, error.to_string()))?;
        let options = ExecutorOptions { sandboxes_ready: 0, ..ExecutorOptions::default() };
        let executor = Executor::new(Arc::new(engine), options);
        let removed = executor
            .clean(&CleanScope::Idle { jobs_older_than: JOBS_OLDER_THAN })
            .await
            .map_err(|error| ExitError::new(1, error.to_string()))?;
        executor.shutdown(true).await;
        let kinds = [
            ("container", &removed.containers),
            ("volume", &removed.volumes),
            ("network", &removed.networks),
            ("image", &removed.images),
        ];
        if args.json {
            super::print_json(&json!({
                "containers": removed.containers, "volumes": removed.volumes,
                "networks": removed.networks, "images": removed.images,
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut out = std::io::stdout().lock();
        for (kind, names) in kinds {
            for name in names {
                writeln!(out, "removed {kind} {name}")?;
            }
        }
        if removed.is_empty() {
            writeln!(out, "nothing to remove")?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
