//! A job's changes to the names and addresses of its sandbox are undone, whatever the job does to its agent.

use std::collections::BTreeSet;

use longshore_core::Outcome;

use crate::support::{World, job};
use crate::{run_in, sandboxes, scoped};

const DEBIAN: &str = "longshore/debian:bookworm";
const POISON: &str =
    "echo 203.0.113.66 registry.npmjs.org >> /etc/hosts; echo nameserver 203.0.113.53 >> /etc/resolv.conf";

/// A job of one step that runs as root, in an image with tools to attack with.
fn attack(script: &str) -> longshore_executor::JobRequest {
    let mut request = job(&[script]);
    request.scope = "a".to_owned();
    request.plan.image = DEBIAN.into();
    request
}

/// Returns the shared files as the next job of the scope finds them, and whether it ran in the same sandbox.
async fn next_job_sees(world: &World, before: &BTreeSet<String>) -> (String, bool) {
    world.engine.settled().await;
    let ran = world.run(scoped("cat /etc/hosts /etc/resolv.conf")).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    world.engine.settled().await;
    (ran.journal.stdout_text(), sandboxes(world).await == *before)
}

async fn is_undone_after(attacks: &[&str]) {
    let world = World::new().await;
    run_in(&world, "a").await;
    let first = sandboxes(&world).await;
    let (clean, _) = next_job_sees(&world, &first).await;
    for script in attacks {
        let ran = world.run(attack(&format!("set +e\n{POISON}\n{script}\ntrue"))).await;
        let said = ran.journal.stdout_text();
        assert_eq!((&ran.outcome, said.contains("limited")), (&Outcome::Success, false), "{script}: {said}");
        let (seen, same) = next_job_sees(&world, &first).await;
        assert_eq!(seen, clean, "{script}: {:?}, {}", ran.outcome, ran.journal.stdout_text());
        assert!(same, "{script}: it was undone, and said to be: {}", ran.journal.notes());
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_sets_the_limits_of_its_agent_leaves_nothing_in_names_and_addresses() {
    is_undone_after(&[
        "prlimit --pid 1 --fsize=0:0",
        "prlimit --pid 1 --nofile=0:0; prlimit --pid 1 --cpu=1:1; prlimit --pid 1 --as=4096:4096; prlimit --pid 1 --nproc=0:0",
        // A step never has the agent's ids, whichever user it becomes.
        "for id in $(sed -n 's/^Uid://p' /proc/1/status); do
           for group in $(sed -n 's/^Gid://p' /proc/1/status); do
             setpriv --reuid $id --regid $group --clear-groups prlimit --pid 1 --fsize=0:0 && echo limited
           done; done",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_goes_on_writing_while_its_agent_tidies_up_leaves_nothing_in_names_and_addresses() {
    is_undone_after(&[
        "setsid sh -c 'trap \"\" TERM HUP INT; while :; do echo 203.0.113.66 x >> /etc/hosts; done' >/dev/null 2>&1 &
         sleep 0.1",
        "python3 - <<'END' &
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while os.fork() == 0:
    os.setsid()
    open('/etc/hosts', 'a').write('203.0.113.66 x\\n')
END
         sleep 0.3",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_stops_or_looks_into_its_agent_leaves_nothing_in_names_and_addresses() {
    is_undone_after(&[
        "kill -STOP 1; kill -TERM 1; kill -INT 1; kill -KILL 1; kill -XFSZ 1",
        "dd if=/dev/zero of=/proc/1/mem bs=1 count=1; ls /proc/1/fd/ | head -1; sh -c ': > /proc/1/fd/1'; sh -c ': > /proc/1/fd/0'",
        "renice 19 1; taskset -p 1 1; ionice -c 3 -p 1; echo 1000 > /proc/1/oom_score_adj",
        // A queued signal can claim any sender.
        "perl -e 'my $info = pack(\"iiixxxxiix112\", 15, 0, -1, 0, 0); syscall(129, 1, 15, $info); sleep 1'",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_moves_or_protects_the_shared_files_leaves_nothing_in_names_and_addresses() {
    is_undone_after(&[
        "mv /etc /moved; mkdir /etc; echo 127.0.0.1 x > /etc/hosts",
        "chattr +i /etc/hosts; umount /etc/hosts; ln -sf /tmp/x /etc/hosts; chmod 0 /etc/hosts; chown 1:1 /etc/hosts",
        "mount --bind /tmp /etc; unshare -Urm true; ln /etc/hosts /tmp/hosts; : > /etc/hosts",
        "truncate -s 3000000 /etc/hosts",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_agent_says_that_it_is_not_as_it_was_serves_nobody_again() {
    let world = World::new().await;
    run_in(&world, "a").await;
    let first = sandboxes(&world).await;
    let ran = world.run(attack("python3 -c 'import os; os.setxattr(\"/etc/hosts\", \"user.message\", b\"x\")'")).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert!(
        ran.journal.notes().contains("no other job gets this one's sandbox: /etc/hosts"),
        "{}",
        ran.journal.notes()
    );
    world.engine.settled().await;
    run_in(&world, "a").await;
    assert!(sandboxes(&world).await.is_disjoint(&first));
    world.end().await;
}
