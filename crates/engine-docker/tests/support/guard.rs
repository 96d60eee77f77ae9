//! A server's guard in this process, between an executor and the engine.

use std::path::PathBuf;
use std::sync::Arc;

use longshore_executor::names::Instance;
use longshore_guard::{Policy, ServerPolicy};
use longshore_guard_transport::{Options, Proxy};
use tokio_util::sync::CancellationToken;

pub struct Guard {
    dir: tempfile::TempDir,
    engine: PathBuf,
    instance: Instance,
    program: PathBuf,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Guard {
    pub async fn start(engine: &str, instance: &Instance, program: PathBuf) -> Self {
        let engine = PathBuf::from(engine.strip_prefix("unix://").unwrap());
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let mut guard = Self { dir, engine, instance: instance.clone(), program, stop, serving: None };
        guard.serve().await;
        guard
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("docker.sock").display())
    }

    /// Another process in its place, which knows nothing of the one before.
    pub async fn restart(&mut self) {
        self.stop.cancel();
        if let Some(serving) = self.serving.take() {
            serving.await.unwrap();
        }
        self.serve().await;
    }

    async fn serve(&mut self) {
        let policy = ServerPolicy { instance: Some(self.instance.to_string()), ..ServerPolicy::default() };
        let options = Options { program: self.program.clone(), ..Options::new(&self.engine, Policy::Server(policy)) };
        let proxy = Proxy::connect(options).await.unwrap();
        let listener = Proxy::listen(&self.dir.path().join("docker.sock"), 0o600).await.unwrap();
        self.stop = CancellationToken::new();
        self.serving = Some(tokio::spawn(Arc::clone(&proxy).serve(listener, self.stop.clone())));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
