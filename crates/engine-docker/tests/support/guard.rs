//! A server's guard in this process, between an executor and the engine.

use std::path::PathBuf;
use std::sync::Arc;

use longshore_executor::names::Instance;
use longshore_guard::{JobSubnets, Policy, ServerPolicy};
use longshore_guard_transport::{Options, Proxy};
use tokio_util::sync::CancellationToken;

pub struct Guard {
    dir: tempfile::TempDir,
    stop: CancellationToken,
}

impl Guard {
    /// Stands before the engine. `program` is what the executor brings there as the agent.
    pub async fn start(engine: &str, instance: &Instance, program: PathBuf) -> Self {
        let policy = ServerPolicy {
            instance: Some(instance.to_string()),
            docker_subnet: JobSubnets::DEFAULT.to_owned(),
            ..ServerPolicy::default()
        };
        let engine = engine.strip_prefix("unix://").unwrap();
        let options = Options { program, ..Options::new(engine, Policy::Server(policy)) };
        let proxy = Proxy::connect(options).await.unwrap();
        let guard = Self { dir: tempfile::tempdir().unwrap(), stop: CancellationToken::new() };
        let listener = Proxy::listen(&guard.dir.path().join("docker.sock"), 0o600).await.unwrap();
        tokio::spawn(Arc::clone(&proxy).serve(listener, guard.stop.clone()));
        guard
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("docker.sock").display())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
