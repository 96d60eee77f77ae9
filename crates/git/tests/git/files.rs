//! Files read from a mirror: the pipeline files of a commit, and single ones.

use std::{os::unix::fs::symlink, path::Path};

use longshore_git::GitError;

use crate::mirror::{World, on, world};

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
    assert!(error.contains("not a regular file"), "{error}");
    assert!(!ran.exists());
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
