//! `longshore clean`: takes off the engine what is Longshore's and idle.

use std::{io::Write as _, process::ExitCode, time::Duration};

use longshore_executor::{CleanScope, Engine as DockerEngine, EngineOptions};
use serde_json::json;

use super::Ended;
use crate::args::Engine;

/// A job that ended so long ago has been read by its server, or its server is gone.
const LEFTOVERS: Duration = Duration::from_secs(60 * 60);

pub(crate) fn run(args: Engine) -> super::Result {
    super::runtime()?.block_on(async {
        let mut options = EngineOptions::new(args.docker_host, "clean");
        options.sandboxes_ready = 0;
        let engine = DockerEngine::connect(options).await.map_err(|error| Ended::new(1, error.to_string()))?;
        let removed = engine
            .clean(&CleanScope::Idle { leftovers_older_than: LEFTOVERS })
            .await
            .map_err(|error| Ended::new(1, error.to_string()))?;
        engine.shutdown(true).await;
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
            writeln!(out, "nothing idle of Longshore's on this engine")?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
