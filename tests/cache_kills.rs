//! The server is killed while caches are saved, flattened and evicted: no job ever begins with half an entry, and
//! nothing is left.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use support::{
    api::text,
    engine,
    server::Server,
    until,
    world::{World, job},
};

/// Checks that the cache it begins with is what an earlier job wrote, and adds files to it.
const SCRIPT: &str = "
          cd c
          if [ -f manifest ]; then
            for f in $(cat manifest); do [ \"$(cat $f)\" = $f ] || { echo half; exit 9; }; done
            [ $(ls | wc -l) = $(($(wc -l < manifest) + 1)) ] || { echo more; exit 9; }
          fi
          n=$CI_PIPELINE_NUMBER
          echo begun
          for i in $(seq 300); do echo f$n-$i > f$n-$i; done
          rm -f $(ls | grep -- '-7$' | head -n 1)
          ls | grep -v manifest > manifest
";

#[test]
fn no_job_begins_with_half_an_entry_whenever_the_server_is_killed_and_nothing_is_left() {
    // The budget holds a few entries, so that some are evicted all the time.
    let settings = [("LONGSHORE_CACHE_MAX_MIB", "6"), ("LONGSHORE_CAPACITY", "2")];
    let mut world = World::of(Server::start_with(engine::docker_host(), &settings));
    let pipeline = format!(
        "jobs:\n  one:\n    image: {}\n    cache: [{{ path: c, key: 'k-${{{{ build.number }}}}', fallback: [k-] }}]\n    steps:\n      - run: |{SCRIPT}",
        engine::BUSYBOX
    );
    let mut restored = 0;
    for round in 0..16 {
        let commit = world.git.push(&pipeline);
        let id = text(&world.build_of(&commit), "id");
        let build = || world.api().get(&format!("/api/v1/builds/{id}"));
        match round % 4 {
            // While it writes into its cache.
            0 => until("the job to begin", || {
                let log = world.api().raw_log(&text(job(&build(), "one"), "id"));
                String::from_utf8_lossy(&log).contains("begun").then_some(())
            }),
            // While it is saved.
            1 | 2 => until("the job's end", || support::api::is_final(&build()).then_some(())),
            // When it has been saved, while caches are measured, flattened and evicted.
            _ => until("the entry", || {
                let number = build()["number"].to_string();
                let caches = world.api().get(&format!("/api/v1/repos/{}/caches", world.repo));
                let key = format!("k-{number}");
                let saved = caches["items"].as_array()?.iter().any(|cache| cache["key"] == key.as_str());
                (saved || support::api::is_final(&build())).then_some(())
            }),
        }
        world.server.kill();
        world.server.launch();
        let done = world.api().wait_for_build(&id);
        let log = world.api().get_text(&format!("/api/v1/jobs/{}/log", text(job(&done, "one"), "id"))).1;
        assert_eq!(done["status"], "success", "round {round}: {log}");
        restored += usize::from(log.contains("restored"));
    }
    assert!(restored > 4, "caches were restored {restored} times only");
    let path = format!("/api/v1/repos/{}/caches", world.repo);
    let caches = world.api().get(&path);
    for cache in caches["items"].as_array().unwrap() {
        assert!([204, 404].contains(&world.api().delete(&format!("{path}/{}", text(cache, "id")))));
    }
    world.nothing_is_left();
    until("every layer to go", || {
        engine::objects(&world.server.instance, &["cache", "volume"]).is_empty().then_some(())
    });
}
