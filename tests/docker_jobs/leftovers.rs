//! What a job with Docker has made goes with it, also when server or guard were killed.

use crate::support::{
    api::text,
    engine::{self, BUSYBOX},
    until,
    world::job,
};
use crate::{KINDS, granted, images, log_of, networks, nothing_inner_is_left, scope, with_docker};

#[test]
fn an_image_that_is_finished_after_its_jobs_cleanup_goes_and_that_of_another_server_stays() {
    let mut world = granted();
    let build = world.run(&with_docker("true", "docker ps"));
    assert_eq!(build["status"], "success", "{}", log_of(&world, &build));
    let ended = text(job(&build, "one"), "id");
    nothing_inner_is_left(&world);
    // As the engine leaves them when it goes on with a build: a name of the job's guard, and a layer without any.
    let leave = |instance: &str| {
        let scope = scope(instance, &ended);
        engine::docker(&["tag", BUSYBOX, &format!("longshore-guard/{scope}:late")]);
        let container = engine::docker(&["create", BUSYBOX]);
        engine::docker(&["commit", "-c", &format!("LABEL longshore.guard.scope={scope}"), &container[0]]);
        engine::docker(&["rm", &container[0]]);
    };
    let (own, other) = (world.server.instance.clone(), format!("other-{}", world.server.instance));
    leave(&own);
    leave(&other);
    // As a guard leaves it that is killed while it pushes an image, under a name that others may use.
    let pushed = format!("127.0.0.1:9/team/{own}:1");
    let digest = hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(&pushed)[..16]);
    engine::docker(&["tag", BUSYBOX, &pushed]);
    engine::docker(&["tag", BUSYBOX, &format!("longshore-guard/{}:push-{digest}", scope(&own, &ended))]);
    assert_eq!((images(&own, &ended).len(), images(&other, &ended).len()), (3, 2));
    world.server.stop();
    world.server.launch();
    until("what is late is gone", || images(&own, &ended).is_empty().then_some(()));
    assert_eq!(engine::docker(&["images", "-q", &pushed]), [""; 0], "nor the name of a push");
    let kept = images(&other, &ended);
    assert_eq!(kept.len(), 2, "another server may still need it");
    engine::docker(&["rmi", &format!("longshore-guard/{}:late", scope(&other, &ended)), &kept[1]]);
}

#[test]
fn open_streams_survive_the_kill_of_the_server_and_everything_goes_with_the_job() {
    let mut world = granted();
    let script = format!(
        r#"
        docker build -q -t left - <<'EOF'
        FROM {BUSYBOX}
        RUN echo layer > /layer
        EOF
        docker network create own
        docker run -d --name left --network own -v left:/left left sleep 600
        docker run --rm -v "$PWD:/w" {BUSYBOX} sh -c 'i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); while [ $i = 20 ] && [ ! -e /w/go ]; do sleep 0.1; done; done'
        exit 5
        "#
    );
    let commit = world.git.push(&with_docker("true", &script));
    let build = text(&world.build_of(&commit), "id");
    let one = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "one"), "id");
    until("the first lines", || {
        String::from_utf8_lossy(&world.api().raw_log(&one)).contains("line 0\nline 1\n").then_some(())
    });
    let instance = world.server.instance.clone();
    assert_eq!(engine::objects(&instance, &["guard"]).len(), 1);
    assert!(!images(&instance, &one).is_empty());
    world.server.kill();
    world.server.launch();
    let container = engine::objects(&instance, &["job"]).remove(0);
    engine::docker(&["exec", &container, "touch", "/longshore/workspace/go"]);
    let ended = world.api().wait_for_build(&build);
    assert_eq!(
        (job(&ended, "one")["status"].as_str(), job(&ended, "one")["exit_code"].as_i64()),
        (Some("failure"), Some(5)),
        "{ended}"
    );
    let log = log_of(&world, &ended);
    let lines: String = (0..40).map(|i| format!("line {i}\n")).collect();
    assert!(log.contains(&lines), "{log}");
    nothing_inner_is_left(&world);
    until("its images to go", || images(&instance, &one).is_empty().then_some(()));
}

#[test]
fn what_a_job_made_goes_at_the_next_start_when_it_ended_without_a_server() {
    let mut world = granted();
    let script = format!(
        "docker run -d --name left -v left:/left {BUSYBOX} sleep 600\ndocker tag {BUSYBOX} mine:1\necho made\nwhile [ ! -e go ]; do sleep 0.1; done"
    );
    let commit = world.git.push(&with_docker("true", &script));
    let build = text(&world.build_of(&commit), "id");
    let one = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "one"), "id");
    until("what it makes", || String::from_utf8_lossy(&world.api().raw_log(&one)).contains("made").then_some(()));
    world.server.kill();
    let instance = world.server.instance.clone();
    // Guard and job are gone, too: only labels tell what they have made.
    for kind in ["guard", "job"] {
        let ids = engine::objects(&instance, &[kind]);
        engine::docker(&[&["rm", "-f"][..], &ids.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    }
    assert!(!engine::objects(&instance, &["inner"]).is_empty() && !images(&instance, &one).is_empty());
    world.server.launch();
    let ended = world.api().wait_for_build(&build);
    assert_eq!(job(&ended, "one")["status"], "error", "{ended}");
    until("the engine to be clean", || engine::objects(&instance, &KINDS).is_empty().then_some(()));
    until("its network to be gone", || networks(&instance).is_empty().then_some(()));
    until("its images to go", || images(&instance, &one).is_empty().then_some(()));
}
