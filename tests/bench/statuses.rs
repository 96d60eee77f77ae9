//! How soon a forge gets a state: from the row in the store to the request at a forge that answers at once.

use super::{
    Figures,
    support::{forge::Kind, forge_world::World, millis, world::one_step},
};

const BUILDS: usize = 40;

pub fn statuses(figures: &mut Figures) {
    let world = World::start(Kind::Gitea);
    let mut lags = Vec::with_capacity(2 * BUILDS);
    for n in 0..BUILDS {
        let (commit, build) = world.build(&format!("# {n}\n{}", one_step("true")));
        let build = world.server.api().wait_for_build(&build);
        assert_eq!(build["status"], "success", "{build}");
        world.shows(&commit, "longshore/longshore", "success");
        let state = world.forge.state();
        let mut of_commit = state.statuses.iter().filter(|status| status.commit == commit).map(|status| status.at_ms);
        let first = of_commit.next().expect("a first state");
        let last = of_commit.next_back().expect("a last state");
        lags.push((first - millis(&build["created_at"])) as f64);
        lags.push((last - millis(&build["finished_at"])) as f64);
    }
    lags.sort_by(f64::total_cmp);
    figures.insert("status_lag_ms", lags[lags.len() * 99 / 100]);
    figures.insert("status_lag_p50_ms", lags[lags.len() / 2]);
}
