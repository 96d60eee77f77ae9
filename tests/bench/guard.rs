//! A start through the server's guard, against one without.

use crate::support::{
    engine,
    server::Server,
    world::{World, one_step},
};
use crate::{Figures, claim_to_first_byte, middle};

pub fn guard(figures: &mut Figures) {
    let start = |guard| {
        let settings = [("LONGSHORE_SANDBOXES", "1"), ("LONGSHORE_CAPACITY", "1"), ("LONGSHORE_GUARD", guard)];
        let world = World::of(Server::start_with(engine::docker_host(), &settings));
        world.run(&one_step("echo x"));
        world
    };
    let worlds = ["on", "off"].map(start);
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..15 {
        for (world, took) in worlds.iter().zip(&mut took) {
            took.push(claim_to_first_byte(world));
        }
    }
    let [with, without] = took.map(|mut took| middle(&mut took));
    figures.insert("guard_start_ms", with);
    figures.insert("guard_start_ratio", with / without);
}
