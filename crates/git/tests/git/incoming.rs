//! Commits on no branch or tag: how much of them is received, and how long they stay.

use std::{path::Path, time::Duration};

use longshore_forge::{CommitId, Revision};
use longshore_git::{FetchTarget, Git, GitError, Mirror};

use crate::{
    mirror::{World, on, world},
    support::executable,
};

/// Returns incompressible bytes.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(bytes).collect()
}

/// Returns the bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| match entry.metadata().unwrap() {
            folder if folder.is_dir() => size(&entry.path()),
            file => file.len(),
        })
        .sum()
}

/// Creates a commit of this many bytes that is only on `refs/pull/<number>/head`.
fn asked_for(world: &World, number: u64, bytes: usize) -> FetchTarget {
    let repository = &world.repository;
    repository.git(&["checkout", "-q", "-b", "asked"]);
    repository.write("large", noise(number, bytes));
    let head = repository.commit("asked for");
    repository.git(&["checkout", "-q", "main"]);
    repository.git(&["branch", "-q", "-D", "asked"]);
    served_as(world, number, &head)
}

fn served_as(world: &World, number: u64, head: &str) -> FetchTarget {
    world.repository.git(&["update-ref", &format!("refs/pull/{number}/head"), head]);
    FetchTarget::PullRequest {
        served_at: Some(format!("refs/pull/{number}/head")),
        head: head.parse().unwrap(),
        held_by: Vec::new(),
    }
}

#[tokio::test]
async fn a_pull_request_that_brings_too_much_is_cut_off_while_it_comes_and_leaves_nothing() {
    let world = world().await;
    let bounded = Git::default().with_receive_limits(256 << 10, 1000);
    let mirror = Mirror::open_or_create(bounded, &world.folder.path().join("bounded.git")).await.unwrap();
    mirror.fetch(&world.url, &on("main")).await.unwrap();
    let before = size(mirror.folder());
    let wanted = asked_for(&world, 7, 8 << 20);
    let error = mirror.fetch(&world.url, &wanted).await.unwrap_err();
    assert!(matches!(error, GitError::TooMuch { .. }) && !error.may_mend(), "{error:?}");
    assert!(error.to_string().contains("more than 262144 packed bytes"), "{error}");
    assert_eq!(size(mirror.folder()), before);
    // The same commit requested by its name alone, as a job's checkout does.
    let FetchTarget::PullRequest { head, .. } = wanted else { unreachable!() };
    let error = mirror.fetch(&world.url, &FetchTarget::Commit(head.clone())).await.unwrap_err();
    assert!(matches!(error, GitError::TooMuch { .. }), "{error:?}");
    let error = mirror.fetch_only(&world.url, &head).await.unwrap_err();
    assert!(matches!(error, GitError::TooMuch { .. }), "{error:?}");
    assert_eq!(size(mirror.folder()), before);

    // A branch's commit is the repository's own, and commits within the limits are accepted.
    assert_eq!(world.fetch(&FetchTarget::Commit(head.clone())).await.unwrap(), head);
    world.repository.git(&["update-ref", "refs/heads/large", head.as_str()]);
    assert_eq!(mirror.fetch(&world.url, &on("large")).await.unwrap(), head);
}

/// A small pack can unpack to terabytes. Programs that loop stand for git and its child that unpacks one.
#[tokio::test]
async fn a_commit_that_takes_too_much_processor_time_is_refused_and_leaves_nothing() {
    let world = world().await;
    let loops = "sh -c 'while :; do :; done'";
    // What git says then.
    let says = "echo fatal: fetch-pack: invalid index-pack output >&2; exit 128";
    for (name, unpack) in
        [("itself", format!("exec {loops}")), ("child", format!("{{ {loops}; }} 2>/dev/null; {says}"))]
    {
        let program = world.folder.path().join(name);
        let script = format!("#!/bin/sh\n[ -z \"$GIT_OBJECT_DIRECTORY\" ] || {{ {unpack}; }}\nexec git \"$@\"\n");
        executable::write(&program, script.as_bytes());
        let bounded = Git::default().with_program(program).with_processor_limit(Duration::from_secs(1));
        let mirror = Mirror::open_or_create(bounded, &world.folder.path().join(format!("{name}.git"))).await.unwrap();
        mirror.fetch(&world.url, &on("main")).await.unwrap();
        let before = size(mirror.folder());
        let error = mirror.fetch(&world.url, &asked_for(&world, 7, 10)).await.unwrap_err();
        assert!(matches!(error, GitError::TooMuch { .. }) && !error.may_mend(), "{error:?}");
        assert!(error.to_string().contains("more than 1 s of processor time"), "{error}");
        assert_eq!(size(mirror.folder()), before);
    }
}

#[tokio::test]
async fn a_commit_that_is_not_received_in_time_is_not_tried_again() {
    let world = world().await;
    let program = world.folder.path().join("slow");
    let script = "#!/bin/sh\n[ -z \"$GIT_OBJECT_DIRECTORY\" ] || exec sleep 600\nexec git \"$@\"\n";
    executable::write(&program, script.as_bytes());
    let mirror = world.folder.path().join("slow.git");
    let quick = Git::default().with_program(&program).with_remote_timeout(Duration::from_secs(1));
    world.fetch(&on("main")).await.unwrap();
    std::fs::rename(world.mirror.folder(), &mirror).unwrap();
    let mirror = Mirror::open_or_create(quick, &mirror).await.unwrap();
    let FetchTarget::PullRequest { head, .. } = asked_for(&world, 7, 10) else { unreachable!() };
    let error = mirror.fetch_only(&world.url, &head).await.unwrap_err();
    assert!(matches!(error, GitError::TooMuch { .. }) && !error.may_mend(), "{error:?}");
    assert!(error.to_string().contains("not received within 1 s"), "{error}");
}

#[tokio::test]
async fn a_pull_request_that_brings_too_many_objects_is_refused_and_leaves_nothing() {
    let world = world().await;
    let bounded = Git::default().with_receive_limits(1 << 20, 100);
    let mirror = Mirror::open_or_create(bounded, &world.folder.path().join("bounded.git")).await.unwrap();
    mirror.fetch(&world.url, &on("main")).await.unwrap();
    let before = size(mirror.folder());
    for n in 0..200 {
        world.repository.write(&format!("many/{n}"), n.to_string());
    }
    let wanted = asked_for(&world, 7, 10);
    let error = mirror.fetch(&world.url, &wanted).await.unwrap_err();
    assert!(matches!(error, GitError::TooMuch { .. }), "{error:?}");
    assert!(error.to_string().contains("more than 100 objects"), "{error}");
    assert_eq!(size(mirror.folder()), before);
}

#[tokio::test]
async fn what_strangers_send_takes_a_part_of_the_disk_and_waits_beyond_it() {
    let world = world().await;
    let open = |name: &str, git: Git| {
        let folder = world.folder.path().join(name);
        async move { Mirror::open_or_create(git, &folder).await.unwrap() }
    };
    let mirror = open("limited.git", Git::default().with_strangers_limits(1 << 20, 0)).await;
    let first = asked_for(&world, 7, 2 << 20);
    let head = mirror.fetch(&world.url, &first).await.unwrap();
    let before = size(mirror.folder());
    let next = asked_for(&world, 8, 10);
    let error = mirror.fetch(&world.url, &next).await.unwrap_err();
    assert!(matches!(error, GitError::NoRoom { .. }) && error.may_mend(), "{error:?}");
    assert!(error.to_string().contains("take 2 MiB of this repository's mirror, and may take 1 MiB"), "{error}");
    assert_eq!(size(mirror.folder()), before);
    // What is here is here, the repository's own comes, and what is pruned makes room. A build that waits keeps its
    // commit.
    assert_eq!(mirror.fetch(&world.url, &first).await.unwrap(), head);
    world.repository.commit("own");
    mirror.fetch(&world.url, &on("main")).await.unwrap();
    mirror.prune(&[head], Duration::ZERO).await.unwrap();
    assert!(matches!(mirror.fetch(&world.url, &next).await, Err(GitError::NoRoom { .. })));
    mirror.prune(&[], Duration::ZERO).await.unwrap();
    mirror.fetch(&world.url, &next).await.unwrap();

    let full = open("full.git", Git::default().with_strangers_limits(1 << 20, u64::MAX)).await;
    let error = full.fetch(&world.url, &next).await.unwrap_err();
    assert!(matches!(error, GitError::NoRoom { .. }) && error.may_mend(), "{error:?}");
    assert!(error.to_string().contains("the disk of the data folder has"), "{error}");
    full.fetch(&world.url, &on("main")).await.unwrap();
}

#[tokio::test]
async fn a_strangers_commit_that_unpacks_to_too_much_leaves_nothing_in_the_mirror() {
    let world = world().await;
    world.fetch(&on("main")).await.unwrap();
    let before = size(world.mirror.folder());
    for name in 0..10 {
        world.repository.write(&format!("f/{name}"), "x");
    }
    world.repository.commit("one level");
    let mut tree = world.repository.git(&["rev-parse", "HEAD:f"]);
    world.repository.git(&["reset", "-q", "--hard", "HEAD^"]);
    // 10^6 files.
    for _ in 0..5 {
        let list: String = (0..10).map(|name| format!("040000 tree {tree}\t{name}\n")).collect();
        crate::support::write(&world.repository.0.join(".git/list"), list);
        tree = world.repository.git(&["-c", "alias.from=!git mktree <.git/list", "from"]);
    }
    let head = world.repository.git(&["commit-tree", "-m", "many files", &tree]);
    let error = world.fetch(&served_as(&world, 7, &head)).await.unwrap_err();
    assert!(matches!(error, GitError::TooLarge { .. }) && !error.may_mend(), "{error:?}");
    assert_eq!(size(world.mirror.folder()), before);
}

/// A blob that would take 300 MiB of memory is not even allocated; as a tree or a commit it has to fit into memory.
#[tokio::test]
async fn an_object_that_would_take_the_servers_memory_is_refused() {
    let world = world().await;
    world.fetch(&on("main")).await.unwrap();
    let path = &world.repository.0;
    let mut commit = format!(
        "tree {}\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\n",
        world.repository.git(&["rev-parse", "HEAD^{tree}"])
    );
    commit.push_str(&"a".repeat(300 << 20));
    crate::support::write(&path.join(".git/large"), commit);
    let head = world.repository.git(&["hash-object", "-t", "commit", "-w", ".git/large"]);
    world.repository.git(&["update-ref", "refs/pull/7/head", &head]);
    let before = size(world.mirror.folder());
    let error = world
        .fetch(&FetchTarget::PullRequest {
            served_at: Some(format!("refs/pull/{}/head", 7)),
            head: head.parse().unwrap(),
            held_by: Vec::new(),
        })
        .await
        .unwrap_err();
    assert!(matches!(error, GitError::TooMuch { .. }), "{error:?}");
    assert_eq!(size(world.mirror.folder()), before);
}

#[tokio::test]
async fn what_no_branch_and_no_build_needs_any_more_goes_and_the_mirror_shrinks() {
    let world = world().await;
    world.fetch(&on("main")).await.unwrap();
    let before = size(world.mirror.folder());
    let wanted = asked_for(&world, 7, 1 << 20);
    let head = world.fetch(&wanted).await.unwrap();
    // And the commit that a forced push replaced.
    world.repository.write("pushed", noise(100, 1 << 20)).commit("pushed");
    let pushed = world.fetch(&on("main")).await.unwrap();
    world.repository.git(&["reset", "-q", "--hard", "HEAD^"]);
    world.fetch(&on("main")).await.unwrap();
    let is_here = async |commit: &CommitId| world.mirror.resolve(&Revision::Commit(commit.clone())).await.is_ok();

    // Builds of both are unfinished.
    world.mirror.prune(&[head.clone(), pushed.clone()], Duration::ZERO).await.unwrap();
    assert!(is_here(&head).await && is_here(&pushed).await);
    assert!(size(world.mirror.folder()) > before + (2 << 20));
    // Those of the pull request have finished recently.
    world.mirror.prune(std::slice::from_ref(&pushed), Duration::from_secs(3600)).await.unwrap();
    assert!(is_here(&head).await && is_here(&pushed).await);
    world.mirror.prune(std::slice::from_ref(&pushed), Duration::ZERO).await.unwrap();
    assert!(!is_here(&head).await && is_here(&pushed).await);
    world.mirror.prune(&[], Duration::ZERO).await.unwrap();
    assert!(!is_here(&pushed).await && is_here(&world.head()).await);
    let after = size(world.mirror.folder());
    assert!(after < before + (64 << 10), "{before} bytes before, {after} after");
    // It is fetched again when it is needed again.
    assert_eq!(world.fetch(&wanted).await.unwrap(), head);
}

#[tokio::test]
async fn a_mirror_is_looked_through_once_a_day_and_keeps_the_commits_of_builds() {
    let world = world().await;
    let head = world.fetch(&asked_for(&world, 7, 1 << 20)).await.unwrap();
    let folder = world.mirror.folder();
    // A ref by which an older version kept pull requests.
    crate::support::git(folder, &["update-ref", "refs/pull/7/head", head.as_str()]);
    world.mirror.maintain(std::slice::from_ref(&head)).await.unwrap();
    let refs = || crate::support::git(folder, &["for-each-ref", "--format=%(refname)", "refs/kept", "refs/pull"]);
    assert_eq!(refs(), format!("refs/kept/{head}"));
    let full = size(folder);
    world.mirror.maintain(&[]).await.unwrap();
    assert_eq!(refs(), "");
    assert!(size(folder) + (64 << 10) > full, "nothing goes before its time");
    // Two days later: the last pruning, and what came since, are that old.
    let old = std::time::SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    let age = |path: &Path| std::fs::File::open(path).unwrap().set_modified(old).unwrap();
    age(&folder.join("pruned"));
    for pack in std::fs::read_dir(folder.join("objects/pack")).unwrap().flatten() {
        age(&pack.path());
    }
    world.mirror.maintain(&[]).await.unwrap();
    assert!(size(folder) < full - (1 << 19), "{} bytes of {full}", size(folder));
}
