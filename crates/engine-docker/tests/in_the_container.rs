//! What steps find in a job's container: secret files, and images whose programs do not run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../agent/tests/support/elf.rs"]
mod elf;
mod support;

use bollard::query_parameters::RemoveImageOptions;
use elf::elf;
use longshore_core::{ErrorKind, Outcome};
use support::{World, images, job};

#[tokio::test(flavor = "multi_thread")]
async fn secret_files_lie_on_memory_for_the_jobs_user_alone() {
    let world = World::new().await;
    let mut request = job(&[
        "cat $KEY; stat -c '%a %u' $KEY; grep -c \" $(dirname $KEY) tmpfs \" /proc/mounts; case $KEY in $PWD*) echo inside;; esac",
        "cat $KEY",
    ]);
    request.secret_files.insert("KEY".to_owned(), "line one\nline two\n".to_owned());
    request.plan.steps[0].user = Some("0".to_owned());
    request.plan.steps[1].user = Some("4321:4321".to_owned());
    let ran = world.run(request).await;
    // The content of the secret is masked in the log.
    assert_eq!(ran.journal.stdout_text(), "***\n600 0\n1\n", "{}", ran.journal.notes());
    assert!(matches!(&ran.outcome, Outcome::Failure { step, .. } if step == "step 1"), "{:?}", ran.outcome);
    assert!(!ran.journal.notes().contains("disk"), "{}", ran.journal.notes());
    world.end().await;
}

#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_programs_do_not_run_here_is_an_error_that_names_it_and_why() {
    let world = World::new().await;
    for (machine, words) in [(183, ["for arm64", "runs amd64"]), (62, ["`/bin/sh` needs", "/lib/ld-musl-x86_64.so.1"])]
    {
        let image = format!("longshore-test/unsound-{:08x}:latest", rand::random::<u32>());
        let tar = images::tar_of(&[("bin/sh", &elf(machine, "/lib/ld-musl-x86_64.so.1"), 0o755)]);
        images::import(&world.docker, &image, tar, Vec::new()).await;
        let mut request = job(&["echo never"]);
        request.plan.image = image.as_str().into();
        let ran = world.run(request).await;
        let Outcome::Error { kind: ErrorKind::ImageUnusable, message } = &ran.outcome else {
            panic!("{:?}", ran.outcome)
        };
        assert!(words.iter().all(|word| message.contains(word)) && message.contains(&image), "{message}");
        world.engine.settled().await;
        world.docker.remove_image(&image, None::<RemoveImageOptions>, None).await.unwrap();
    }
    world.end().await;
}
