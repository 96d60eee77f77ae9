//! A store in a folder of its own, and the smallest things to put into it.
#![allow(dead_code, reason = "every test file uses its part")]

use std::path::Path;

use longshore_core::{BuildPlan, Event, EventName, JobPlan, StepPlan, Timestamp, plan::Need};
use longshore_store::{
    Store,
    builds::{self, Build, NewBuild},
    repos::{self, NewRepo, Repo},
};
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { store: Store::open(dir.path()).await.unwrap(), dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) async fn repo(&self, name: &str) -> Repo {
        let mut tx = self.store.write().await.unwrap();
        let new = NewRepo {
            name: name.to_owned(),
            forge: "git".to_owned(),
            clone_url: "https://git.example/app.git".to_owned(),
            public: false,
            default_branch: None,
        };
        let repo = repos::create(&mut tx, &new, now()).await.unwrap();
        tx.commit().await.unwrap();
        repo
    }

    /// Creates a build with one job for each `(key, needs)`.
    pub(crate) async fn build(&self, repo: &Repo, jobs: &[(&str, &[&str])]) -> Build {
        self.create(&new_build(repo, jobs)).await
    }

    pub(crate) async fn create(&self, new: &NewBuild) -> Build {
        let mut tx = self.store.write().await.unwrap();
        let build = builds::create(&mut tx, new, now()).await.unwrap();
        tx.commit().await.unwrap();
        build
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

pub(crate) fn new_build(repo: &Repo, jobs: &[(&str, &[&str])]) -> NewBuild {
    let plan = BuildPlan::new(jobs.iter().map(|(key, needs)| job(key, needs)).collect());
    NewBuild::new(repo.id, event("main"), plan, Vec::new())
}

pub(crate) fn event(branch: &str) -> Event {
    Event {
        message: "Change it".to_owned(),
        author: "Ada".to_owned(),
        author_email: "ada@example.org".to_owned(),
        ..Event::new(EventName::Push, format!("refs/heads/{branch}"), "0123456789abcdef0123456789abcdef01234567")
    }
}

pub(crate) fn job(key: &str, needs: &[&str]) -> JobPlan {
    JobPlan {
        key: key.to_owned(),
        pipeline: "ci".to_owned(),
        name: key.to_owned(),
        matrix: vec![("rust".to_owned(), "1.95".to_owned())],
        needs: needs
            .iter()
            .map(|need| Need { key: (*need).to_owned(), job: (*need).to_owned(), ..Need::default() })
            .collect(),
        job: key.to_owned(),
        image: "busybox".into(),
        steps: ["build", "test"].map(step).to_vec(),
        timeout_ms: 60_000,
        ..JobPlan::default()
    }
}

fn step(name: &str) -> StepPlan {
    StepPlan {
        name: name.to_owned(),
        run: Some(format!("make {name}").into()),
        shell: "sh".to_owned(),
        ..StepPlan::default()
    }
}
