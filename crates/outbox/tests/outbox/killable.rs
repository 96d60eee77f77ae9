//! A task that a test kills.

use std::time::Duration;

/// A task on a runtime of its own. Dropping it ends the task where it stands, as a kill does: only calls that are under
/// way arrive.
pub(crate) struct Killable(Option<tokio::runtime::Runtime>);

impl Killable {
    pub(crate) fn start(task: impl Future<Output = ()> + Send + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.spawn(task);
        Self(Some(runtime))
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        let runtime = self.0.take().unwrap();
        std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(60))).join().unwrap();
    }
}
