//! Mirrors, against real git and a real git host over HTTP.

use std::{os::unix::fs::symlink, path::Path};

use crate::support::{GitHost, Options, Repository, git};
use longshore_core::RepoId;
use longshore_forge::{CloneUrl, CommitId, RefName, Revision};
use longshore_git::{Changed, Git, GitError, Mirror, Mirrors, Wanted};

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) repository: Repository,
    pub(crate) host: GitHost,
    pub(crate) mirror: Mirror,
    pub(crate) url: CloneUrl,
}

pub(crate) async fn world_with(options: Options, userinfo: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), "host/app");
    repository.write(".longshore.yml", "jobs: {}\n").commit("first\n\nbody");
    let host = GitHost::start(&folder.path().join("host"), options);
    let mirror = Mirror::open_or_create(Git::default(), &folder.path().join("mirror.git")).await.unwrap();
    let url = format!("http://{userinfo}{}/app/.git", host.address).parse().unwrap();
    World { folder, repository, host, mirror, url }
}

pub(crate) async fn world() -> World {
    world_with(Options::default(), "").await
}

fn branch(name: &str) -> RefName {
    format!("refs/heads/{name}").parse().unwrap()
}

pub(crate) fn on(name: &str) -> Wanted {
    Wanted::Ref(branch(name))
}

impl World {
    pub(crate) async fn fetch(&self, wanted: &Wanted) -> Result<CommitId, GitError> {
        self.mirror.fetch(&self.url, wanted).await
    }

    pub(crate) fn head(&self) -> CommitId {
        self.repository.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }
}

#[tokio::test]
async fn a_fetch_brings_branches_and_tags_and_tells_the_commit() {
    let world = world().await;
    world.repository.git(&["tag", "-a", "v1", "-m", "one"]);
    let head = world.head();
    assert_eq!(world.fetch(&on("main")).await.unwrap(), head);
    let tag = Revision::Ref("refs/tags/v1".parse().unwrap());
    assert_eq!(world.mirror.resolve(&tag).await.unwrap(), head);
    let facts = world.mirror.commit_facts(&head).await.unwrap();
    assert_eq!((facts.author.as_str(), facts.email.as_str()), ("Eve", "eve@example.org"));
    assert_eq!(facts.message, "first\n\nbody");
}

#[tokio::test]
async fn a_delivery_is_answered_from_the_mirror_when_its_commit_is_here() {
    let world = world().await;
    let push = Wanted::Push { git_ref: branch("main"), after: world.head() };
    world.fetch(&push).await.unwrap();
    let asked = world.host.requests.lock().unwrap().len();
    assert_eq!(world.fetch(&push).await.unwrap(), world.head());
    assert_eq!(world.fetch(&Wanted::Commit(world.head())).await.unwrap(), world.head());
    assert_eq!(world.host.requests.lock().unwrap().len(), asked);
    // A tag on that commit is new.
    world.repository.git(&["tag", "-a", "v1", "-m", "one"]);
    let object = world.repository.git(&["rev-parse", "refs/tags/v1"]).parse().unwrap();
    let push = Wanted::Push { git_ref: "refs/tags/v1".parse().unwrap(), after: object };
    assert_eq!(world.fetch(&push).await.unwrap(), world.head());
}

#[tokio::test]
async fn a_branch_that_was_deleted_is_not_built_any_more_and_its_commits_still_are() {
    let world = world().await;
    world.repository.git(&["checkout", "--quiet", "-b", "gone"]);
    let commit: CommitId = world.repository.write("b", "b\n").commit("second").parse().unwrap();
    assert_eq!(world.fetch(&on("gone")).await.unwrap(), commit);
    world.repository.git(&["checkout", "--quiet", "main"]);
    world.repository.git(&["branch", "--quiet", "-D", "gone"]);
    assert!(matches!(world.fetch(&on("gone")).await, Err(GitError::UnknownRevision { .. })));
    assert_eq!(world.fetch(&Wanted::Commit(commit.clone())).await.unwrap(), commit);
}

#[tokio::test]
async fn a_commit_that_was_pushed_away_is_still_built_or_named_as_gone() {
    let world = world().await;
    let first = world.head();
    world.fetch(&on("main")).await.unwrap();
    world.repository.git(&["commit", "-q", "--amend", "-m", "other"]);
    assert_eq!(world.fetch(&on("main")).await.unwrap(), world.head());
    assert_eq!(world.fetch(&Wanted::Commit(first.clone())).await.unwrap(), first);
    let gone = Wanted::Push { git_ref: branch("main"), after: "1".repeat(40).parse().unwrap() };
    assert!(matches!(world.fetch(&gone).await, Err(GitError::UnknownRevision { .. })));
    assert!(matches!(world.fetch(&on("nowhere")).await, Err(GitError::UnknownRevision { .. })));
}

#[tokio::test]
async fn a_push_is_of_a_commit_that_its_branch_or_tag_has_or_had_and_of_no_other_that_the_host_serves() {
    let world = world().await;
    let first = world.head();
    let push = |name: &str, after: &CommitId| Wanted::Push { git_ref: name.parse().unwrap(), after: after.clone() };
    let main = "refs/heads/main";
    // As on forges: a fork's commit, which anybody may name.
    world.repository.git(&["checkout", "-q", "--detach"]);
    let of_fork: CommitId = world.repository.write("evil", "1").commit("of a fork").parse().unwrap();
    world.repository.git(&["update-ref", "refs/pull/7/head", of_fork.as_str()]);
    world.repository.git(&["checkout", "-q", "main"]);
    assert!(matches!(world.fetch(&push(main, &of_fork)).await, Err(GitError::UnknownRevision { .. })));
    let request =
        Wanted::PullRequest { served_at: "refs/pull/7/head".to_owned(), head: of_fork.clone(), held_by: Vec::new() };
    assert_eq!(world.fetch(&request).await.unwrap(), of_fork);
    for name in [main, "refs/heads/nowhere", "refs/tags/v1"] {
        let error = world.fetch(&push(name, &of_fork)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("{of_fork} is not on {name}")), "{error}");
    }
    // A pull request of the repository's own, too.
    let own = Wanted::PullRequest {
        served_at: "refs/pull/7/head".to_owned(),
        head: of_fork.clone(),
        held_by: vec![branch("topic"), branch("main")],
    };
    let error = world.fetch(&own).await.unwrap_err();
    assert!(error.to_string().contains("is not on refs/heads/topic or refs/heads/main"), "{error}");
    // Two pushes in a row, and one by force that nobody has fetched before the next.
    let second: CommitId = world.repository.commit("second").parse().unwrap();
    let third: CommitId = world.repository.commit("third").parse().unwrap();
    let fourth: CommitId = world.repository.commit("fourth").parse().unwrap();
    for commit in [&second, &third, &fourth, &first] {
        assert_eq!(world.fetch(&push(main, commit)).await.unwrap(), *commit);
    }
    world.repository.git(&["reset", "-q", "--hard", first.as_str()]);
    world.repository.commit("pushed over");
    assert_eq!(world.fetch(&push(main, &third)).await.unwrap(), third, "the branch had it");
    assert!(matches!(world.fetch(&push(main, &third)).await, Err(GitError::NotOnRef { .. })));
    assert_eq!(world.fetch(&push(main, &world.head())).await.unwrap(), world.head());
    // A tag is at one commit.
    world.repository.git(&["tag", "-f", "v1", second.as_str()]);
    assert!(matches!(world.fetch(&push("refs/tags/v1", &first)).await, Err(GitError::NotOnRef { .. })));
    assert_eq!(world.fetch(&push("refs/tags/v1", &second)).await.unwrap(), second);
    // Some forges name an annotated tag's commit, and not its own object.
    world.repository.git(&["tag", "-a", "-m", "two", "v2", second.as_str()]);
    assert!(matches!(world.fetch(&push("refs/tags/v2", &first)).await, Err(GitError::NotOnRef { .. })));
    assert_eq!(world.fetch(&push("refs/tags/v2", &second)).await.unwrap(), second);
}

#[tokio::test]
async fn branches_named_like_options_are_branches() {
    let world = world().await;
    for name in ["--upload-pack=x", "-x", "$(id)", "ünï🚢", "a'b\"c", "@"] {
        world.repository.git(&["update-ref", &format!("refs/heads/{name}"), "HEAD"]);
        assert_eq!(world.fetch(&on(name)).await.unwrap(), world.head(), "{name}");
    }
}

#[tokio::test]
async fn a_branch_may_become_a_folder_of_branches() {
    let world = world().await;
    world.repository.git(&["branch", "a"]);
    world.fetch(&on("a")).await.unwrap();
    world.repository.git(&["branch", "-D", "a"]);
    world.repository.git(&["branch", "a/b"]);
    assert_eq!(world.fetch(&on("a/b")).await.unwrap(), world.head());
}

#[tokio::test]
async fn a_mirror_that_somebody_removed_is_made_again() {
    let world = world().await;
    let mirrors = Mirrors::new(Git::default(), world.folder.path().join("mirrors"));
    let repo = RepoId::new();
    mirrors.mirror(repo).await.unwrap().fetch(&world.url, &on("main")).await.unwrap();
    std::fs::remove_dir_all(world.folder.path().join("mirrors")).unwrap();
    assert_eq!(mirrors.mirror(repo).await.unwrap().fetch(&world.url, &on("main")).await.unwrap(), world.head());
}

#[tokio::test]
async fn a_lock_that_a_killed_fetch_left_does_not_stop_the_next() {
    let world = world().await;
    world.fetch(&on("main")).await.unwrap();
    let folder = world.mirror.folder().to_owned();
    for lock in ["packed-refs.lock", "refs/heads/main.lock", "shallow.lock"] {
        std::fs::write(folder.join(lock), "").unwrap();
    }
    world.repository.commit("second");
    let mirror = Mirror::open_or_create(Git::default(), &folder).await.unwrap();
    assert_eq!(mirror.fetch(&world.url, &on("main")).await.unwrap(), world.head());
}

#[tokio::test]
async fn half_of_a_mirror_is_made_anew() {
    let world = world().await;
    for parts in [&["HEAD"][..], &["HEAD", "refs/"], &["objects/", "refs/"], &[]] {
        let folder = world.folder.path().join("half.git");
        for part in parts {
            let path = folder.join(part);
            match part.ends_with('/') {
                true => std::fs::create_dir_all(path).unwrap(),
                false => {
                    std::fs::create_dir_all(&folder).unwrap();
                    std::fs::write(path, "ref: refs/heads/main\n").unwrap();
                }
            }
        }
        std::fs::create_dir_all(world.folder.path().join("half.new/objects")).unwrap();
        let mirror = Mirror::open_or_create(Git::default(), &folder).await.unwrap();
        assert_eq!(mirror.fetch(&world.url, &on("main")).await.unwrap(), world.head(), "{parts:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test]
async fn two_fetches_at_once_do_not_collide() {
    let world = world().await;
    for n in 0..4 {
        world.repository.git(&["branch", &format!("b{n}")]);
    }
    let names = ["b0", "b1", "b2", "b3"].map(on);
    let [a, b, c, d] = &names;
    let results = tokio::join!(world.fetch(a), world.fetch(b), world.fetch(c), world.fetch(d));
    for result in [results.0, results.1, results.2, results.3] {
        assert_eq!(result.unwrap(), world.head());
    }
    world.mirror.maintain(&[]).await.unwrap();
}

#[tokio::test]
async fn hooks_in_a_mirror_never_run() {
    let world = world().await;
    let ran = world.folder.path().join("ran");
    for hook in ["reference-transaction", "post-checkout", "post-index-change"] {
        let path = world.mirror.folder().join("hooks").join(hook);
        crate::support::write(&path, format!("#!/bin/sh\ntouch '{}'\n", ran.display()));
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    world.fetch(&on("main")).await.unwrap();
    assert!(!ran.exists());
}

/// Commits the changes of `change`, and returns the resulting pipeline files.
async fn pipeline(world: &World, change: impl FnOnce(&Path)) -> Result<Vec<(String, String)>, String> {
    change(&world.repository.0);
    world.repository.commit("change");
    let commit = world.fetch(&on("main")).await.unwrap();
    let files = world.mirror.pipeline_files(&commit).await;
    let in_folder = longshore_git::read_pipeline_files(&world.repository.0);
    let plain = |files: Result<Vec<longshore_git::PipelineFile>, GitError>| {
        files.map(|f| f.into_iter().map(|f| (f.path, f.text)).collect()).map_err(|e| e.to_string())
    };
    let files = plain(files);
    assert_eq!(files, plain(in_folder), "a folder is read as a commit is");
    files
}

#[tokio::test]
async fn pipeline_files_are_read_at_the_commit() {
    let world = world().await;
    let one = pipeline(&world, |_| ()).await;
    assert_eq!(one, Ok(vec![(".longshore.yml".to_owned(), "jobs: {}\n".to_owned())]));
    let both = pipeline(&world, |at| crate::support::write(&at.join(".longshore/b.yml"), "b")).await;
    assert!(both.unwrap_err().contains("remove one of them"));
    let folder = pipeline(&world, |at| {
        std::fs::remove_file(at.join(".longshore.yml")).unwrap();
        for name in ["a.yaml", "notes.md", "sub/c.yml"] {
            crate::support::write(&at.join(".longshore").join(name), name);
        }
    });
    let expected = [(".longshore/a.yaml", "a.yaml"), (".longshore/b.yml", "b")];
    assert_eq!(folder.await, Ok(expected.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()));
    let none = pipeline(&world, |at| std::fs::remove_dir_all(at.join(".longshore")).unwrap()).await;
    assert_eq!(none, Ok(vec![]));
}

#[tokio::test]
async fn unusual_pipeline_files_are_refused_by_name() {
    let world = world().await;
    let file = |at: &Path| at.join(".longshore.yml");
    let link = pipeline(&world, |at| {
        std::fs::remove_file(file(at)).unwrap();
        symlink("/etc/passwd", file(at)).unwrap();
    });
    let error = link.await.unwrap_err();
    assert!(error.contains("`.longshore.yml` is a symbolic link"), "{error}");
    let large = pipeline(&world, |at| {
        std::fs::remove_file(file(at)).unwrap();
        std::fs::write(file(at), "#".repeat(256 * 1024 + 1)).unwrap();
    });
    assert!(large.await.unwrap_err().contains("256 KiB at most"));
    let bytes = pipeline(&world, |at| std::fs::write(file(at), b"a\n\xff").unwrap()).await;
    assert!(bytes.unwrap_err().contains("not UTF-8 (line 2)"));
    let yaml = pipeline(&world, |at| std::fs::rename(file(at), at.join(".longshore.yaml")).unwrap()).await;
    assert!(yaml.unwrap_err().contains("rename it to `.longshore.yml`"));
    let folder = pipeline(&world, |at| {
        std::fs::remove_file(at.join(".longshore.yaml")).unwrap();
        symlink("/etc", at.join(".longshore")).unwrap();
    });
    assert!(folder.await.unwrap_err().contains("`.longshore` is a symbolic link"));
}

#[tokio::test]
async fn a_submodule_in_a_pipeline_files_place_is_refused_and_its_address_never_used() {
    let world = world().await;
    let ran = world.folder.path().join("ran");
    let modules =
        format!("[submodule \"x\"]\n\tpath = .longshore.yml\n\turl = ext::sh -c \"touch% {}\"\n", ran.display());
    std::fs::remove_file(world.repository.0.join(".longshore.yml")).unwrap();
    world.repository.write(".gitmodules", modules).commit("modules");
    let head = world.head();
    world.repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},.longshore.yml")]);
    world.repository.git(&["commit", "-q", "-m", "submodule"]);
    let commit = world.fetch(&on("main")).await.unwrap();
    let error = world.mirror.pipeline_files(&commit).await.unwrap_err().to_string();
    assert!(error.contains("no regular file"), "{error}");
    assert!(!ran.exists());
}

#[tokio::test]
async fn bytes_that_are_not_text_are_replaced_in_a_commits_facts() {
    let world = world().await;
    let path = &world.repository.0;
    crate::support::write(&path.join("message"), b"bad \xff byte");
    git(path, &["-c", "i18n.commitEncoding=utf-8", "commit", "-q", "--allow-empty", "-F", "message"]);
    let commit = world.fetch(&on("main")).await.unwrap();
    let facts = world.mirror.commit_facts(&commit).await.unwrap();
    assert!(facts.message.starts_with("bad ") && facts.message.ends_with(" byte"), "{facts:?}");
}

#[tokio::test]
async fn of_a_commits_facts_no_more_is_read_than_a_person_reads_and_what_was_cut_says_so() {
    let world = world().await;
    let path = &world.repository.0;
    let facts = async |author: &str, message: &str| {
        crate::support::write(&path.join("message"), message);
        let tree = world.repository.git(&["write-tree"]);
        let commit = format!("tree {tree}\nauthor {author} <e@x> 0 +0000\ncommitter a <a> 0 +0000\n\n{message}");
        crate::support::write(&path.join("commit"), commit);
        let commit = world.repository.git(&["hash-object", "-t", "commit", "-w", "commit"]);
        world.repository.git(&["update-ref", "refs/heads/main", &commit]);
        let commit = world.fetch(&on("main")).await.unwrap();
        world.mirror.commit_facts(&commit).await.unwrap()
    };
    let long = facts("Eve", &"é".repeat(10 << 20)).await;
    assert!(long.message.starts_with("éé") && long.message.ends_with("\n… (the rest was cut)"));
    assert!((65_000..=65_536).contains(&long.message.len()), "{}", long.message.len());
    assert_eq!((long.author.as_str(), long.email.as_str()), ("Eve", "e@x"));
    let whole = "é".repeat(32 << 10);
    let long = facts(&"é".repeat(5000), &whole).await;
    assert_eq!(long.message, whole);
    assert!(long.author.ends_with("é…") && long.author.len() <= 1024, "{}", long.author.len());
    // A name longer than everything that is read hides what follows it, and nothing else.
    let long = facts(&"é".repeat(10 << 20), "said").await;
    assert!(long.author.ends_with("é…") && long.message.is_empty(), "{}", long.message);
}

fn files(names: &[&str]) -> Changed {
    Changed::Files(names.iter().map(|name| (*name).to_owned()).collect())
}

#[tokio::test]
async fn the_changed_files_of_a_push_are_those_between_its_commits() {
    let world = world().await;
    let first = world.head();
    world.repository.write("src/a file", "1").write("docs/é.md", "1").commit("second");
    let second = world.head();
    world.repository.git(&["mv", "src/a file", "src/b"]);
    world.repository.commit("third");
    let third = world.head();
    world.fetch(&on("main")).await.unwrap();
    let changed = async |before: Option<&CommitId>, default: Option<&CommitId>| {
        world.mirror.changed_by_push(&third, before, default).await.unwrap()
    };
    assert_eq!(changed(Some(&first), None).await, files(&["docs/é.md", "src/b"]));
    assert_eq!(changed(Some(&second), None).await, files(&["src/a file", "src/b"]));
    // A push that adds to a branch changes the pushed files, wherever the default branch is.
    assert_eq!(changed(Some(&second), Some(&first)).await, files(&["src/a file", "src/b"]));
    // On the default branch, nobody knows what was there before.
    let gone: CommitId = "1".repeat(40).parse().unwrap();
    for before in [None, Some(&gone)] {
        assert!(matches!(changed(before, None).await, Changed::Unknown(why) if why.contains("before the push")));
    }
}

#[tokio::test]
async fn a_new_branch_and_one_that_was_pushed_by_force_change_what_they_do_since_they_left_the_default_branch() {
    let world = world().await;
    let repository = &world.repository;
    repository.git(&["checkout", "-q", "-b", "topic"]);
    repository.write("src/one", "1").commit("one");
    repository.write("docs/two", "1").commit("two");
    repository.write("README.md", "1").commit("three");
    let topic = world.head();
    repository.write("README.md", "2").git(&["commit", "-q", "-a", "--amend", "-m", "three again"]);
    let forced = world.head();
    repository.git(&["checkout", "-q", "main"]);
    repository.write("meanwhile", "1").commit("meanwhile");
    let main = world.head();
    repository.git(&["branch", "before", topic.as_str()]);
    world.fetch(&on("topic")).await.unwrap();

    let since_it_left = files(&["README.md", "docs/two", "src/one"]);
    let changed = async |commit: &CommitId, before: Option<&CommitId>, default: &CommitId| {
        world.mirror.changed_by_push(commit, before, Some(default)).await.unwrap()
    };
    let gone: CommitId = "1".repeat(40).parse().unwrap();
    assert_eq!(changed(&topic, None, &main).await, since_it_left);
    assert_eq!(changed(&forced, Some(&gone), &main).await, since_it_left);
    assert_eq!(changed(&forced, Some(&topic), &main).await, since_it_left);
    // What a forced push removes is a change of the branch too.
    repository.git(&["checkout", "-q", "-B", "topic", "main"]);
    repository.write("README.md", "3").commit("only this");
    let reset = world.fetch(&on("topic")).await.unwrap();
    let all = files(&["README.md", "docs/two", "meanwhile", "src/one"]);
    assert_eq!(changed(&reset, Some(&topic), &main).await, all);

    // A new branch whose newest commit is a merge: the changes of both sides.
    repository.git(&["checkout", "-q", "-b", "merged", forced.as_str()]);
    repository.write("src/three", "1").commit("four");
    repository.git(&["checkout", "-q", "-b", "side", topic.as_str()]);
    repository.write("lib/side", "1").git(&["rm", "-q", "README.md"]);
    repository.commit("side");
    repository.git(&["merge", "-q", "-s", "ours", "-m", "merge", "merged"]);
    let merged = world.fetch(&on("side")).await.unwrap();
    assert_eq!(changed(&merged, None, &main).await, files(&["docs/two", "lib/side", "src/one"]));

    // Without a common commit nobody can tell.
    repository.git(&["checkout", "-q", "--orphan", "alone"]);
    repository.commit("alone");
    let alone = world.fetch(&on("alone")).await.unwrap();
    assert!(matches!(changed(&alone, None, &main).await, Changed::Unknown(why) if why.contains("in common")));
}

#[tokio::test]
async fn a_file_of_a_commit_is_read_as_it_was_and_links_are_refused() {
    let world = world().await;
    world.repository.write("ci/t.yml", "one");
    symlink("t.yml", world.repository.0.join("ci/link.yml")).unwrap();
    world.repository.commit("second");
    let second = world.head();
    world.repository.write("ci/t.yml", "two").commit("third");
    world.fetch(&on("main")).await.unwrap();
    let file = async |path: &str| world.mirror.file(&second, path).await.unwrap();
    assert_eq!(file("ci/t.yml").await.unwrap(), b"one");
    for path in ["ci/link.yml", "ci", "ci/none.yml", "*", ":(glob)**", "-x"] {
        assert!(file(path).await.is_err(), "{path}");
    }
}

#[tokio::test]
async fn a_pull_request_is_fetched_from_its_own_ref_and_compared_with_what_it_has_in_common_with_its_target() {
    let world = world().await;
    let repository = &world.repository;
    repository.git(&["checkout", "-q", "-b", "topic"]);
    repository.write("src/new", "1").commit("asked for");
    let head = world.head();
    // As on forges: the commit is on no branch.
    repository.git(&["update-ref", "refs/pull/7/head", head.as_str()]);
    repository.git(&["checkout", "-q", "main"]);
    repository.git(&["branch", "-D", "topic"]);
    repository.write("docs/meanwhile", "1").commit("meanwhile");
    let wanted =
        Wanted::PullRequest { served_at: format!("refs/pull/{}/head", 7), head: head.clone(), held_by: Vec::new() };
    assert_eq!(world.fetch(&wanted).await.unwrap(), head);
    let target = world.mirror.resolve(&Revision::Ref(branch("main"))).await.unwrap();
    assert_eq!(target, world.head(), "the target comes with it");
    let changed = world.mirror.changed_since_merge_base(&head, &target).await.unwrap();
    assert_eq!(changed, files(&["src/new"]));
    // Pushed over meanwhile: the delivered commit is built all the same.
    repository.git(&["update-ref", "refs/pull/7/head", target.as_str()]);
    assert_eq!(world.fetch(&wanted).await.unwrap(), head);
    let gone = Wanted::PullRequest {
        served_at: format!("refs/pull/{}/head", 7),
        head: "1".repeat(40).parse().unwrap(),
        held_by: Vec::new(),
    };
    assert!(matches!(world.fetch(&gone).await, Err(GitError::UnknownRevision { .. })));
}

#[tokio::test]
async fn a_pull_request_whose_ref_is_gone_says_so_and_brings_nothing() {
    let world = world().await;
    let wanted =
        Wanted::PullRequest { served_at: format!("refs/pull/{}/head", 9), head: world.head(), held_by: Vec::new() };
    let error = world.fetch(&wanted).await.unwrap_err();
    assert!(error.to_string().contains("refs/pull/9/head"), "{error}");
}

#[tokio::test]
async fn a_branch_that_is_called_as_a_tag_is_or_as_a_full_name_is_not_taken_for_it() {
    let world = world().await;
    let head = world.head();
    for name in ["refs/tags/v9", "refs/heads/x", "tags/v9", "refs/pull/7/head"] {
        world.repository.git(&["update-ref", &format!("refs/heads/{name}"), "HEAD"]);
    }
    let wanted = |name: &str| Wanted::Ref(name.parse().unwrap());
    for name in ["refs/tags/v9", "refs/heads/x"] {
        let error = world.fetch(&wanted(name)).await.unwrap_err();
        assert!(matches!(error, GitError::UnknownRevision { .. }), "{name}: {error:?}");
        assert_eq!(world.mirror.remote_ref(&world.url, name).await.unwrap(), None);
        let inside = format!("refs/heads/{name}");
        assert_eq!(world.fetch(&wanted(&inside)).await.unwrap(), head);
        assert_eq!(world.mirror.remote_ref(&world.url, &inside).await.unwrap(), Some(head.clone()));
    }
    let push = Wanted::Push { git_ref: "refs/tags/v9".parse().unwrap(), after: head.clone() };
    assert!(matches!(world.fetch(&push).await, Err(GitError::NotOnRef { .. })), "the commit is on `main`");
    let request =
        Wanted::PullRequest { served_at: format!("refs/pull/{}/head", 7), head: head.clone(), held_by: Vec::new() };
    assert!(matches!(world.fetch(&request).await, Err(GitError::UnknownRevision { .. })));
    // Once the tag exists, the name means the tag.
    let tagged: CommitId = world.repository.commit("second").parse().unwrap();
    world.repository.git(&["tag", "v9"]);
    assert_eq!(world.fetch(&wanted("refs/tags/v9")).await.unwrap(), tagged);
}

#[tokio::test]
async fn a_branch_that_is_called_as_a_commit_is_does_not_stand_for_it() {
    let world = world().await;
    let first = world.head();
    let second: CommitId = world.repository.commit("second").parse().unwrap();
    world.repository.git(&["update-ref", &format!("refs/heads/{first}"), second.as_str()]);
    assert_eq!(world.fetch(&Wanted::Commit(first.clone())).await.unwrap(), first);
    assert!(world.mirror.is_on(&first, &second).await.unwrap());
    assert!(!world.mirror.is_on(&second, &first).await.unwrap());
}

#[tokio::test]
async fn a_tag_on_a_tree_is_said_to_be_no_commit() {
    let world = world().await;
    world.repository.git(&["tag", "-a", "-m", "tree", "tree", "HEAD^{tree}"]);
    world.repository.git(&["tag", "blob", "HEAD:.longshore.yml"]);
    for (name, kind) in [("refs/tags/tree", "a tree"), ("refs/tags/blob", "a blob")] {
        let git_ref: RefName = name.parse().unwrap();
        let after = world.repository.git(&["rev-parse", name]).parse().unwrap();
        let error = world.fetch(&Wanted::Ref(git_ref.clone())).await.unwrap_err();
        assert!(error.to_string().contains(&format!("{name} names {kind}, not a commit")), "{error}");
        let error = world.fetch(&Wanted::Push { git_ref, after }).await.unwrap_err();
        assert!(error.to_string().contains(&format!("names {kind}, not a commit")), "{error}");
    }
}
