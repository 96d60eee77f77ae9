//! Submodules in checkouts.

use std::process::Command;

use crate::checkout::{unpack, world};
use crate::support::{Repository, git};

/// Makes `path` of the repository a submodule from `address` at `commit`.
fn add_submodule(repository: &Repository, path: &str, address: &str, commit: &str) {
    let known = std::fs::read_to_string(repository.0.join(".gitmodules")).unwrap_or_default();
    let text = format!("{known}[submodule \"the \\\"{path}\\\"\"]\n\tpath = {path}\n\turl = {address}\n");
    repository.write(".gitmodules", text);
    repository.git(&["add", "--force", ".gitmodules"]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
    repository.git(&["commit", "-q", "-m", "a submodule"]);
}

#[tokio::test]
async fn submodules_lie_where_git_expects_them_and_those_in_them_too() {
    let world = world(|_| {}).await;
    let inner = Repository::new(world.folder.path(), "host/inner");
    let innermost = inner.write("deep", "deep\n").commit("inner");
    let lib = Repository::new(world.folder.path(), "host/lib");
    lib.write("lib.c", "lib\n").commit("lib");
    add_submodule(&lib, "in/ner", "../../inner/.git", &innermost);
    add_submodule(&world.repository, "vendor/lib", "../../lib/.git", &lib.git(&["rev-parse", "HEAD"]));
    let place = world.with_submodules(false).await.unwrap();
    assert_eq!(std::fs::read_to_string(place.join("vendor/lib/lib.c")).unwrap(), "lib\n");
    assert_eq!(std::fs::read_to_string(place.join("vendor/lib/in/ner/deep")).unwrap(), "deep\n");
    assert_eq!(git(&place, &["status", "--porcelain"]), "");
    let status = git(&place, &["submodule", "status", "--recursive"]);
    assert!(status.lines().count() == 2 && !status.contains(['+', '-', 'U']), "{status}");
    assert!(git(&place, &["config", "--list"]).contains("submodule.the \"vendor/lib\".active=true"));
    let everything = Command::new("grep").args(["-r", "s3cr3t-w0rd", "."]).current_dir(&place).output().unwrap();
    assert_eq!(everything.stdout, b"", "credentials stay outside");
    // Without submodules, it is the empty folder that git creates.
    let without = world.path("without");
    unpack(&world.tar(&world.head(), None).await, &without).await;
    assert!(std::fs::read_dir(without.join("vendor/lib")).unwrap().next().is_none());
}

#[tokio::test]
async fn a_submodule_that_is_elsewhere_or_nowhere_is_refused_by_name() {
    for (address, word) in [
        ("file:///etc", "`file`"),
        ("https://elsewhere.invalid/a", "elsewhere.invalid"),
        ("ext::sh", "`ext`"),
        ("../../../../a", "leads out"),
        ("../x/../../other/.git", "`..`"),
        ("../../nothing/.git", "nothing"),
    ] {
        let world = world(|_| {}).await;
        add_submodule(&world.repository, "lib", address, &"1".repeat(40));
        let error = world.with_submodules(false).await.unwrap_err();
        assert!(error.contains(word), "{address}: {error}");
    }
    let world = world(|_| {}).await;
    world.repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},lib", "1".repeat(40))]);
    world.repository.git(&["commit", "-q", "-m", "one that nobody wrote down"]);
    let error = world.with_submodules(false).await.unwrap_err();
    assert!(error.contains("does not say where `lib` comes from"), "{error}");
}
