//! A push to its first printed byte, beside a container and a `git fetch` of the same by hand.

use std::time::Instant;

use super::support::{
    api::text,
    engine,
    server::Server,
    world::{World, job, one_step},
};
use crate::{
    Figures, middle,
    pods::{first_byte, first_byte_by_hand, lines},
    time_of,
};

/// Pushes.
const TIMES: usize = 11;

pub fn hooks(figures: &mut Figures) {
    let world = World::of(Server::start_with(
        engine::docker_host(),
        &[("LONGSHORE_SANDBOXES", "1"), ("LONGSHORE_CAPACITY", "1")],
    ));
    world.run(&one_step("echo x"));
    let folder = tempfile::tempdir().expect("a folder");
    let clone = folder.path().join("clone.git");
    world.git.git(&["clone", "-q", "--mirror", &world.git.url(), clone.to_str().expect("a path")]);
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for number in 0..TIMES {
        world.nothing_is_left();
        let build = world.run(&format!("# {number}\n{}", one_step("echo x")));
        let delivery = world.api().get(&format!("/api/v1/deliveries/{}", text(&build, "delivery")));
        let printed = first_byte(&lines(&world, job(&build, "one")), 1);
        ours.push(printed - time_of(&delivery, "received_at"));
        let begin = Instant::now();
        world.git.git(&["--git-dir", clone.to_str().expect("a path"), "fetch", "-q"]);
        let fetched = begin.elapsed().as_secs_f64() * 1000.0;
        by_hand.push(fetched + first_byte_by_hand(&world));
    }
    let (ours, by_hand) = (middle(&mut ours), middle(&mut by_hand));
    figures.insert("hook_to_first_byte_ms", ours);
    figures.insert("hook_by_hand_ms", by_hand);
    figures.insert("hook_to_first_byte_ratio", ours / by_hand);
}
