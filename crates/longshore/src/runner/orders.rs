//! Takes the scheduler's orders and keeps the tasks of jobs.

use std::collections::HashMap;

use longshore_core::{JobId, Status};
use longshore_executor::AttemptId;
use longshore_scheduler::Order;
use tokio::{
    sync::mpsc,
    task::{self, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{Runner, reporting::internal};

/// The tasks of the jobs that run.
#[derive(Default)]
struct Tasks {
    set: JoinSet<()>,
    /// Includes the attempt, because the next one may be ordered before the end of this one is seen here.
    cancels: HashMap<JobId, (u32, CancellationToken)>,
    /// Finds the job of a task that panicked.
    jobs: HashMap<task::Id, (JobId, u32)>,
}

impl Runner {
    /// Takes orders until `shutdown`. Jobs that run then keep running, and the next start adopts them.
    pub(crate) async fn run(self, mut orders: mpsc::Receiver<Order>, shutdown: CancellationToken) {
        let mut tasks = Tasks::default();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => {
                    // Like a kill: the agents go on by themselves.
                    tasks.set.abort_all();
                    return;
                }
                Some(ended) = tasks.set.join_next_with_id() => tasks.ended(&self, ended),
                order = orders.recv() => match order {
                    Some(order) => tasks.carry_out(&self, order),
                    None => return,
                },
            }
        }
    }
}

impl Tasks {
    fn carry_out(&mut self, runner: &Runner, order: Order) {
        let (runner, cancel) = (runner.clone(), CancellationToken::new());
        match order {
            Order::Start(claimed) => {
                let attempt = (claimed.job.id, claimed.attempt);
                self.spawn(attempt, cancel.clone(), async move { runner.run_claimed(*claimed, cancel).await });
            }
            Order::Adopt(running) => {
                let attempt = (running.job.id, running.job.attempt);
                if running.job.status == Status::Canceling {
                    cancel.cancel();
                }
                self.spawn(attempt, cancel.clone(), async move { runner.run_adopted(*running, cancel).await });
            }
            Order::PullAhead(waiting) => {
                self.set.spawn(async move { runner.pull_ahead(*waiting).await });
            }
            Order::Cancel(job) => {
                if let Some((_, cancel)) = self.cancels.get(&job) {
                    cancel.cancel();
                }
            }
        }
    }

    fn spawn(
        &mut self,
        (job, attempt): (JobId, u32),
        cancel: CancellationToken,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        self.cancels.insert(job, (attempt, cancel));
        let task = self.set.spawn(work);
        self.jobs.insert(task.id(), (job, attempt));
    }

    /// Forgets a task that has ended. If it panicked, its job ends as an error.
    fn ended(&mut self, runner: &Runner, ended: Result<(task::Id, ()), JoinError>) {
        let (id, broken) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some((job, attempt)) = self.jobs.remove(&id) else { return };
        if self.cancels.get(&job).is_some_and(|(running, _)| *running == attempt) {
            self.cancels.remove(&job);
        }
        if let Some(error) = broken {
            tracing::error!(%job, %error, "a job's task failed");
            runner.executor.abandon(AttemptId { job, attempt });
            let outcome = internal("internal error; see the server's log");
            let runner = runner.clone();
            // In a task of its own, because the dispatcher may be waiting for this loop.
            self.set.spawn(async move { runner.report(job, attempt, outcome.into()).await });
        }
    }
}
