//! The message and the author of a commit.

use crate::mirror::{on, world};
use crate::support::git;

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
