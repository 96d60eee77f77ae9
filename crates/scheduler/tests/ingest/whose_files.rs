//! What a build is of, for rules of secrets and grants of Docker: every branch whose files run.

use longshore_core::{
    SecretRules,
    docker::{Docker, DockerGrant},
};
use longshore_pipeline::{
    docker_rules,
    secret_rules::{self, RequestingJob},
};
use longshore_store::builds::Build;
use serde_json::Value;

use crate::{World, pull_request};

const MERGED: &str = "on: { pull-request: { build: merge } }\njobs: { theirs: { image: a, steps: [{ run: b }] } }\n";
const ON_CLOSED: &str =
    "on: { pull-request: { types: [closed] } }\njobs: { theirs: { image: a, steps: [{ run: b }] } }\n";
const OF_SOURCE: &str = "on: { pull-request: { build: merge } }\njobs: { ours: { image: a, steps: [{ run: b }] } }\n";

/// Something that happened to pull request 7, from `release/1` into `evil`.
fn into_evil(action: &str, head: &str, time: u32) -> Value {
    let mut told = pull_request(action, head, time);
    told["pull_request"]["head"]["repo"]["id"] = 1.into();
    told["pull_request"]["head"]["ref"] = "release/1".into();
    told["pull_request"]["base"]["ref"] = "evil".into();
    told
}

impl World {
    /// Makes the branches `release/1` and `evil`, which have these pipeline files. Returns the first one's commit.
    fn release_and_evil(&self, of_release: &str, of_evil: &str) -> String {
        let git = &self.repository;
        git.git(&["branch", "-q", "base"]);
        git.git(&["checkout", "-q", "-b", "evil"]);
        git.write(".longshore.yml", of_evil).commit("of evil");
        git.git(&["checkout", "-q", "-b", "release/1", "base"]);
        let head = git.write(".longshore.yml", of_release).write("of-release", "1").commit("of the release");
        git.git(&["checkout", "-q", "main"]);
        git.git(&["update-ref", "refs/pull/7/head", &head]);
        head
    }
}

/// Asserts that the build gets nothing of `release/1` alone, nor of `evil` alone.
fn gets_only_what_both_may(build: &Build) {
    let list = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>();
    for (branches, both) in [(&["release/*"][..], false), (&["evil"], false), (&["release/*", "evil"], true)] {
        let rules = SecretRules { branches: list(branches), ..SecretRules::default() };
        let job = RequestingJob { event: &build.event, pipeline: "ci", job: "theirs" };
        assert_eq!(secret_rules::withheld(&rules, job).is_none(), both, "{branches:?}");
        let grant = DockerGrant::Branches { branches: list(branches), buildkit: false };
        assert_eq!(docker_rules::refused(&grant, Docker::Guarded, &build.event).is_none(), both, "{branches:?}");
    }
}

#[tokio::test]
async fn a_merge_into_another_branch_gets_only_what_both_branches_may_have() {
    let world = World::new("github", OF_SOURCE).await;
    let head = world.release_and_evil(OF_SOURCE, MERGED);
    let opened = into_evil("opened", &head, 1);
    let build = world.build(&world.process("pull_request", "id:1", &opened).await).await;
    let jobs = longshore_store::jobs::of_build(&world.store, build.id).await.unwrap();
    assert_eq!(jobs[0].key, "longshore/theirs", "the target's file is the merge's");
    gets_only_what_both_may(&build);
}

#[tokio::test]
async fn the_target_that_is_built_because_the_commit_is_gone_gets_only_what_both_branches_may_have() {
    let world = World::new("github", OF_SOURCE).await;
    let head = world.release_and_evil(OF_SOURCE, ON_CLOSED);
    world.repository.git(&["update-ref", "-d", "refs/pull/7/head"]);
    world.repository.git(&["branch", "-q", "-D", "release/1"]);
    let closed = into_evil("closed", &head, 1);
    let build = world.build(&world.process("pull_request", "id:1", &closed).await).await;
    assert_eq!(build.event.commit, world.repository.git(&["rev-parse", "evil"]));
    gets_only_what_both_may(&build);
}
