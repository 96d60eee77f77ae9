//! Deliveries whose signature is right and whose content is not: somebody else knows the secret.

use longshore_store::{announcements, deliveries::DeliveryStatus};

use crate::{NONE, PIPELINE, World, pull_request, push};

const MAIN: &str = "refs/heads/main";

#[tokio::test]
async fn a_push_of_a_commit_that_its_branch_does_not_have_is_not_built_and_does_not_count_as_told() {
    for forge in ["git", "github"] {
        let world = World::new(forge, PIPELINE).await;
        let first = world.repository.git(&["rev-parse", "HEAD"]);
        let of_fork = world.commit_of_fork();
        assert_eq!(world.process("push", "id:1", &push(MAIN, NONE, &first, 1)).await.builds.len(), 1);
        // The mirror has the commit from now on.
        assert_eq!(world.process("pull_request", "id:2", &pull_request("opened", &of_fork, 2)).await.builds.len(), {
            usize::from(forge == "github")
        });
        if forge == "github" {
            let forged = world.process("push", "id:3", &push(MAIN, &first, &of_fork, 3)).await;
            assert_eq!((forged.status, forged.builds.len()), (DeliveryStatus::Ignored, 0), "{forged:?}");
            assert!(forged.reason.as_ref().unwrap().contains("is not on refs/heads/main"), "{forged:?}");
        }
        let last = announcements::last(&world.store, world.repo.id, MAIN).await.unwrap().unwrap();
        assert_eq!(last.at, first, "{forge}");
        // The next push is built as usual.
        let next = world.repository.commit("next");
        assert_eq!(world.process("push", "id:4", &push(MAIN, &first, &next, 4)).await.builds.len(), 1, "{forge}");
    }
}

#[tokio::test]
async fn a_forks_pull_request_that_is_told_as_the_repositorys_own_is_not_built_as_such() {
    let world = World::new("github", PIPELINE).await;
    let of_fork = world.commit_of_fork();
    let own = |action: &str, head: &str, time: u32| {
        let mut told = pull_request(action, head, time);
        told["pull_request"]["head"]["repo"]["id"] = 1.into();
        told
    };
    assert_eq!(world.process("pull_request", "id:1", &pull_request("opened", &of_fork, 1)).await.builds.len(), 1);
    for (time, action) in [(2, "synchronize"), (3, "closed"), (4, "reopened")] {
        let forged = world.process("pull_request", &format!("id:{time}"), &own(action, &of_fork, time)).await;
        assert_eq!((forged.status, forged.builds.len()), (DeliveryStatus::Ignored, 0), "{forged:?}");
        // A closed one is judged by its target branch.
        let why = if action == "closed" { "the pull request was `closed`" } else { "is not on refs/heads/topic" };
        assert!(forged.reason.as_ref().unwrap().contains(why), "{forged:?}");
    }
    // One that is on its branch is the repository's own, and stays so when its branch is deleted with it.
    let repository = &world.repository;
    repository.git(&["checkout", "-q", "-b", "topic"]);
    let head = repository.write("own", "1").commit("of the topic");
    repository.git(&["checkout", "-q", "main"]);
    repository.git(&["update-ref", "refs/pull/7/head", &head]);
    let build = world.build(&world.process("pull_request", "id:5", &own("synchronize", &head, 5)).await).await;
    assert!(!build.event.pull_request.unwrap().fork);
    repository.git(&["branch", "-q", "-D", "topic"]);
    let next = repository.commit("the branch's deletion is seen with another push");
    world.process("push", "id:6", &push(MAIN, NONE, &next, 6)).await;
    let closed = world.process("pull_request", "id:7", &own("closed", &head, 7)).await;
    assert!(closed.reason.as_ref().unwrap().contains("the pull request was `closed`"), "{closed:?}");
}

impl World {
    /// Commits something that only `refs/pull/7/head` has.
    fn commit_of_fork(&self) -> String {
        self.repository.git(&["checkout", "-q", "--detach"]);
        let commit = self.repository.write("evil", "1").commit("of a fork");
        self.repository.git(&["checkout", "-q", "main"]);
        self.repository.git(&["update-ref", "refs/pull/7/head", &commit]);
        commit
    }
}
