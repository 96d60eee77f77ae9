//! Thousands of deliveries, told once, twice, late, in groups, again under other ids, or not at all, while branches and
//! tags move: what is built is what happened.

use std::collections::{HashMap, HashSet};

use longshore_store::{
    builds::{self, BuildFilter},
    deliveries::DeliveryStatus,
};
use serde_json::{Value, json};

use crate::{PIPELINE, World};

/// How many deliveries there are; `LONGSHORE_STORM` asks for more.
const DELIVERIES: u64 = 300;
/// What their order comes from; `LONGSHORE_STORM_SEED` asks for another one.
const SEED: u64 = 7;

fn wanted(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |number| number.parse().unwrap())
}

/// Random numbers that a seed repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// A branch or tag: where it is, and where the server last heard that it is.
#[derive(Default, Clone)]
struct Place {
    is: Option<usize>,
    told: Option<usize>,
}

/// A forge's deliveries about one move of a ref.
#[derive(Clone)]
struct Move {
    name: &'static str,
    before: Option<usize>,
    after: Option<usize>,
}

struct Storm {
    world: World,
    dice: Dice,
    /// The commits, each with whether its message asks for no build.
    commits: Vec<(String, bool)>,
    places: HashMap<&'static str, Place>,
    /// Bodies that were delivered, with their moves.
    sent: Vec<(Value, Vec<Move>)>,
    /// Everything that was announced: refs at commits.
    known: HashSet<(&'static str, usize)>,
    delivered: u64,
    time: usize,
    /// All builds in order: ref and commit.
    built: Vec<(String, String)>,
}

const REFS: [&str; 6] =
    ["refs/heads/main", "refs/heads/a", "refs/heads/b", "refs/heads/c/d", "refs/tags/v1", "refs/tags/v2"];

impl Storm {
    async fn new(seed: u64) -> Self {
        let world = World::new("bitbucket", PIPELINE).await;
        let mut commits = Vec::new();
        for number in 0..10 {
            let skips = number % 4 == 3;
            let message = if skips { "quiet [skip ci]" } else { "loud" };
            commits.push((world.repository.write("n", number.to_string()).commit(message), skips));
        }
        world.repository.git(&["checkout", "-q", "--detach"]);
        let mut places: HashMap<&str, Place> = REFS.iter().map(|name| (*name, Place::default())).collect();
        places.insert(REFS[0], Place { is: Some(9), told: Some(9) });
        world.scheduler.check_for_missed_pushes(world.repo.id).await.unwrap();
        Self {
            world,
            dice: Dice(seed),
            commits,
            places,
            sent: Vec::new(),
            known: HashSet::new(),
            delivered: 0,
            time: 0,
            built: Vec::new(),
        }
    }

    /// Moves, creates or deletes a ref on the git host.
    fn push(&mut self) -> Move {
        let name = REFS[self.dice.roll(REFS.len())];
        let before = self.places[name].is;
        let after = match self.dice.roll(6) {
            0 if before.is_some() && name != REFS[0] => None,
            _ => Some(self.dice.roll(self.commits.len())).filter(|commit| before != Some(*commit)),
        };
        // Nothing moves to where it is.
        let after = after.or(if before.is_some() && name != REFS[0] { None } else { before.map(|at| (at + 1) % 10) });
        let after = if before.is_none() && after.is_none() { Some(0) } else { after };
        match after {
            Some(commit) => self.world.repository.git(&["update-ref", name, &self.commits[commit].0]),
            None => self.world.repository.git(&["update-ref", "-d", name]),
        };
        self.places.get_mut(name).unwrap().is = after;
        Move { name, before, after }
    }

    /// Writes a delivery of these moves, at another time than all others.
    fn body(&mut self, moves: &[Move]) -> Value {
        self.time += 1;
        let side = |name: &str, at: Option<usize>| {
            let at = at?;
            let (kind, short) = match name.strip_prefix("refs/tags/") {
                Some(tag) => ("tag", tag),
                None => ("branch", name.strip_prefix("refs/heads/").unwrap()),
            };
            Some(json!({ "type": kind, "name": short, "target": { "hash": self.commits[at].0 } }))
        };
        let changes: Vec<Value> = moves
            .iter()
            .map(|Move { name, before, after }| json!({ "old": side(name, *before), "new": side(name, *after) }))
            .collect();
        json!({ "time": self.time, "actor": { "nickname": "eve" }, "push": { "changes": changes } })
    }

    /// Delivers a body under an id of its own. Returns the builds that it became.
    async fn deliver(&mut self, body: &Value) -> Vec<(String, String)> {
        self.delivered += 1;
        let delivery = self.world.process("repo:push", &format!("id:{}", self.delivered), body).await;
        assert_ne!(delivery.status, DeliveryStatus::Failed, "{delivery:?}");
        let mut new = Vec::new();
        for build in &delivery.builds {
            let build = builds::get(&self.world.store, *build).await.unwrap().unwrap();
            new.push((build.event.git_ref, build.event.commit));
        }
        self.built.extend(new.iter().cloned());
        new
    }

    /// Announces moves while the refs are where they went.
    async fn announce(&mut self, moves: &[Move]) {
        let mut expected = Vec::new();
        let mut unsure = Vec::new();
        for Move { name, before, after } in moves {
            let (is, told) = (self.places[name].is, self.places[name].told);
            let Some(commit) = after else {
                // For a tag, it is only known that it is gone.
                if told == *before || name.starts_with("refs/tags/") {
                    self.places.get_mut(name).unwrap().told = None;
                }
                continue;
            };
            assert_eq!(is, *after);
            let build = ((*name).to_owned(), self.commits[*commit].0.clone());
            let is_new = self.known.insert((*name, *commit));
            if told == *after && !is_new {
                continue;
            }
            if told != *before {
                // Moves in between were not told: it may be taken for one that was told before, until somebody looks.
                unsure.push(build);
                continue;
            }
            if told != *after && (!self.commits[*commit].1 || name.starts_with("refs/tags/")) {
                expected.push(build);
            }
            self.places.get_mut(name).unwrap().told = *after;
        }
        let body = self.body(moves);
        let built = self.deliver(&body).await;
        for build in &expected {
            assert_eq!(built.iter().filter(|new| *new == build).count(), 1, "{build:?} of {body}: {built:?}");
        }
        for build in &built {
            assert!(expected.contains(build) || unsure.contains(build), "{build:?} of {body} was not expected");
        }
        for Move { name, after, .. } in moves {
            if unsure.iter().any(|(of, _)| of == name) {
                self.places.get_mut(name).unwrap().told =
                    if built.iter().any(|(of, _)| of == name) { *after } else { self.told_in_store(name).await };
            }
        }
        self.sent.push((body, moves.to_vec()));
    }

    /// Announces the last moves once more, in other bytes.
    async fn repeat(&mut self) {
        let Some((_, moves)) = self.sent.last().cloned() else { return };
        let body = self.body(&moves);
        self.announce_again(&body, &moves).await;
        self.sent.push((body, moves));
    }

    /// Delivers a body of before under another id. It tells no time, so that the moves may have happened once more.
    async fn replay(&mut self) {
        let at = self.dice.roll(self.sent.len());
        let (body, moves) = self.sent[at].clone();
        self.announce_again(&body, &moves).await;
    }

    async fn announce_again(&mut self, body: &Value, moves: &[Move]) {
        let built = self.deliver(body).await;
        for &Move { name, before, after } in moves {
            let place = self.places.get_mut(name).unwrap();
            let Some(commit) = after else {
                // A deletion that is announced again is believed.
                if place.told == before || name.starts_with("refs/tags/") {
                    place.told = None;
                }
                continue;
            };
            let build = (name.to_owned(), self.commits[commit].0.clone());
            // It may have happened again meanwhile, unseen: what a creation follows on may have been a deletion.
            let follows = place.told == before || before.is_none();
            let again = follows && place.told != after && place.is == after;
            assert!(again || !built.contains(&build), "{build:?} of {body}");
            if again {
                place.told = after;
            }
        }
    }

    async fn told_in_store(&self, name: &str) -> Option<usize> {
        let told = longshore_store::missed_pushes::reported(&self.world.store, self.world.repo.id).await.unwrap();
        let at = told.get(name)?;
        self.commits.iter().position(|(commit, _)| commit == at)
    }

    /// Looks at the repository: from now on the server knows where everything is, and has built it.
    async fn check(&mut self) {
        let mut missed: Vec<(String, String)> = Vec::new();
        for name in REFS {
            let place = self.places.get_mut(name).unwrap();
            if place.is != place.told
                && let Some(commit) = place.is
                && (!self.commits[commit].1 || name.starts_with("refs/tags/"))
            {
                missed.push((name.to_owned(), self.commits[commit].0.clone()));
            }
            if let Some(commit) = place.is.filter(|_| place.is != place.told) {
                self.known.insert((name, commit));
            }
            place.told = place.is;
        }
        let mut built = Vec::new();
        for push in self.world.scheduler.check_for_missed_pushes(self.world.repo.id).await.unwrap().found {
            let delivery = self.world.end(push.delivery).await;
            for build in &delivery.builds {
                let build = builds::get(&self.world.store, *build).await.unwrap().unwrap();
                assert!(build.event.found);
                built.push((build.event.git_ref, build.event.commit));
            }
        }
        self.built.extend(built.iter().cloned());
        missed.sort();
        built.sort();
        assert_eq!(built, missed);
        // The newest build of each ref has the ref's commit.
        for name in REFS {
            let Some(commit) = self.places[name].is.filter(|commit| !self.commits[*commit].1) else { continue };
            let newest = self.built.iter().rev().find(|(of, _)| of == name);
            if let Some((_, built)) = newest {
                assert_eq!(built, &self.commits[commit].0, "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_deliveries_in_any_order_give_exactly_the_builds_of_what_happened() {
    let deliveries = wanted("LONGSHORE_STORM", DELIVERIES);
    let mut storm = Storm::new(wanted("LONGSHORE_STORM_SEED", SEED)).await;
    let mut waiting: Vec<Move> = Vec::new();
    while storm.delivered < deliveries {
        match storm.dice.roll(12) {
            // A push that is told at once.
            0..=3 => {
                let moved = storm.push();
                waiting.retain(|waits| waits.name != moved.name);
                storm.announce(&[moved]).await;
            }
            // A push without a webhook.
            4 => {
                let moved = storm.push();
                waiting.retain(|waits| waits.name != moved.name);
            }
            // One that is told with others, later.
            5 => {
                let moved = storm.push();
                waiting.retain(|waits| waits.name != moved.name);
                waiting.push(moved);
            }
            6 if !waiting.is_empty() => {
                let moves = std::mem::take(&mut waiting);
                storm.announce(&moves).await;
            }
            // The same bytes under another id, and the same moves in other bytes.
            7 | 8 if !storm.sent.is_empty() => storm.replay().await,
            9 | 10 if !storm.sent.is_empty() => storm.repeat().await,
            11 => storm.check().await,
            _ => {}
        }
    }
    storm.check().await;
    let all = builds::list(&storm.world.store, &BuildFilter::default(), None, 1).await.unwrap();
    assert_eq!(all.items[0].number as usize, storm.built.len(), "no build is of anything else");
}
