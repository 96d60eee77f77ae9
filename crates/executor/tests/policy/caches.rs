//! What a job's caches begin with, and what is kept of them.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use longshore_agent_protocol::JobResult;
use longshore_core::plan::CacheSave;
use longshore_core::{CachePath, Outcome};
use longshore_executor::engine::ImageConfig;
use longshore_executor::names::VolumeName;
use longshore_executor::{CacheRecords, FoundCache, JobCache, JobCaches, JobRequest};
use tokio_util::sync::CancellationToken;

use crate::agent::Script;
use crate::engine::{MemoryEngine, Verb, away};
use crate::journal::MemoryJournal;
use crate::world::{World, job, logged, run, until};

/// Records its calls. An entry that was saved is kept.
#[derive(Default)]
struct Told {
    all: Mutex<Vec<String>>,
    kept: Mutex<Vec<VolumeName>>,
}

impl Told {
    fn record(&self, what: impl Into<String>) -> BoxFuture<'_, ()> {
        self.all.lock().unwrap().push(what.into());
        async {}.boxed()
    }

    fn all(&self) -> Vec<String> {
        self.all.lock().unwrap().clone()
    }
}

impl CacheRecords for Told {
    fn owner(&self, uid: u32) -> BoxFuture<'_, ()> {
        self.record(format!("owner {uid}"))
    }

    fn lost(&self, cache: usize) -> BoxFuture<'_, ()> {
        self.record(format!("lost {cache}"))
    }

    fn ending(&self) {}

    fn save(&self, cache: usize, layers: Vec<Vec<VolumeName>>) -> BoxFuture<'_, ()> {
        self.kept.lock().unwrap().extend(layers.iter().flatten().cloned());
        let layers: Vec<usize> = layers.iter().map(Vec::len).collect();
        self.record(format!("save {cache} {layers:?}"))
    }

    fn ended(&self, own: Vec<VolumeName>) -> BoxFuture<'_, Option<Vec<VolumeName>>> {
        let kept = self.kept.lock().unwrap().clone();
        self.all.lock().unwrap().push("ended".to_owned());
        async move { Some(own.into_iter().filter(|name| !kept.contains(name)).collect()) }.boxed()
    }
}

fn cache(paths: &[&str], found: Option<FoundCache>) -> JobCache {
    JobCache {
        key: "key".to_owned(),
        paths: paths.iter().map(|path| CachePath::parse(path).unwrap()).collect(),
        found,
        shared: false,
        save: CacheSave::Success,
        may_save: true,
    }
}

fn entry(engine: &MemoryEngine, key: &str, layers: &[&[&str]]) -> FoundCache {
    layers.iter().flat_map(|path| path.iter()).for_each(|name| engine.add_volume(name));
    let volume = |name: &&str| VolumeName::new(*name).unwrap();
    let layers = layers.iter().map(|path| path.iter().map(volume).collect()).collect();
    FoundCache { key: key.to_owned(), layers, owner: 0, bytes: Some(1 << 30) }
}

fn with(caches: Vec<JobCache>) -> (JobRequest, Arc<Told>) {
    let told = Arc::new(Told::default());
    let mut request = job();
    request.caches = JobCaches { wanted: caches, records: Some(Arc::clone(&told) as Arc<_>) };
    (request, told)
}

/// Removes what a test has kept, so that nothing is left.
async fn end(world: World, told: &Told) {
    world.executor.settled().await;
    let kept: Vec<String> = told.kept.lock().unwrap().iter().map(ToString::to_string).collect();
    let left: Vec<String> =
        world.engine.volumes().into_iter().filter(|name| name.starts_with("longshore-cache-")).collect();
    let unkept: Vec<&String> = left.iter().filter(|name| !kept.contains(name)).collect();
    assert!(unkept.is_empty(), "left on the engine: {unkept:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_cache_is_an_empty_volume_that_a_green_job_keeps() {
    let world = World::new();
    let (request, told) = with(vec![cache(&["target", "~/.x"], None)]);
    let (outcome, journal) = world.run(request.clone()).await;
    assert_eq!(outcome, Outcome::Success);
    assert!(journal.notes().contains("cache key: nothing found"), "{}", journal.notes());
    let targets: Vec<String> =
        world.engine.mounts(request.attempt_id()).into_iter().map(|(_, target)| target).collect();
    assert_eq!(targets, ["/longshore/workspace/target", "/root/.x"]);
    world.executor.settled().await;
    assert_eq!(told.all(), ["save 0 [1, 1]", "ended"]);
    assert!(world.engine.overlays().is_empty() && world.engine.volumes().len() == 2);
    end(world, &told).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_job_writes_into_its_caches_has_the_limit_of_its_disk() {
    let world = World::new();
    let found = entry(&world.engine, "older", &[&["a"]]);
    let (mut request, told) = with(vec![cache(&["new"], None), cache(&["known"], Some(found))]);
    request.limits.disk = Some(1 << 30);
    world.run(request).await;
    let limits = world.engine.volume_limits();
    let of_caches: Vec<_> = limits.iter().filter(|(name, _)| name.as_str().starts_with("longshore-cache-")).collect();
    assert_eq!(of_caches.len(), 4, "{limits:?}");
    assert!(of_caches.iter().all(|(_, limit)| **limit == Some(1 << 30)), "{limits:?}");
    end(world, &told).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_ends_the_program_that_measures_it_hides_the_size_of_no_other() {
    let world = World::new();
    let names = ["one", "endless", "two"].map(|name| VolumeName::new(name).unwrap());
    names.iter().for_each(|name| world.engine.add_volume(name.as_str()));
    let sizes = world.executor.measure_volumes(&names).await.unwrap();
    assert_eq!((sizes[0].as_ref(), sizes[2].as_ref()), (Ok(&4096), Ok(&4096)));
    assert!(sizes[1].as_ref().unwrap_err().contains("it was killed"), "{sizes:?}");
    world.engine.fail(Verb::RunTool, away());
    assert!(world.executor.measure_volumes(&names).await.is_err(), "an engine that is away says nothing of volumes");
    for name in names {
        assert!(world.executor.remove_volume(&name).await);
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_overlaid_and_a_new_key_is_a_layer_over_it() {
    let world = World::new();
    let found = entry(&world.engine, "older", &[&["b", "a"]]);
    let (request, told) = with(vec![cache(&["target"], Some(found))]);
    let (_, journal) = world.run(request.clone()).await;
    assert!(journal.notes().contains("cache key: restored 1.0 GiB of older in "), "{}", journal.notes());
    world.executor.settled().await;
    let [layers] = world.engine.overlays().try_into().unwrap();
    assert_eq!(layers[1..], ["b", "a"]);
    assert_eq!(world.engine.mounts(request.attempt_id())[0].0, format!("{}-view", layers[0]));
    assert_eq!(told.all(), ["save 0 [3]", "ended"]);
    assert!(world.engine.volumes().contains(&"a".to_owned()), "layers of an entry stay");
    end(world, &told).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_restored_under_its_whole_key_is_not_saved_again() {
    let world = World::new();
    let found = entry(&world.engine, "key", &[&["a"]]);
    let (request, told) = with(vec![cache(&["target"], Some(found))]);
    world.run(request).await;
    world.executor.settled().await;
    assert_eq!(told.all(), ["ended"]);
    assert_eq!(world.engine.volumes(), ["a"]);
    end(world, &told).await;
}

#[tokio::test(start_paused = true)]
async fn only_a_job_that_may_and_did_what_the_pipeline_asks_for_saves() {
    for (save, may_save, fails, saved) in [
        (CacheSave::Success, true, true, false),
        (CacheSave::Always, true, true, true),
        (CacheSave::Never, true, false, false),
        (CacheSave::Success, false, false, false),
        (CacheSave::Always, false, false, false),
    ] {
        let world = World::new();
        world.engine.script(Script::Waits);
        let (request, told) = with(vec![JobCache { save, may_save, ..cache(&["target"], None) }]);
        let attempt = request.attempt_id();
        let journal = MemoryJournal::default();
        let ending = async {
            logged(&journal, "up\n").await;
            world.engine.agent(attempt).finish(match fails {
                true => JobResult::Failure { step: 0, exit_code: 1, out_of_memory: false },
                false => JobResult::Success,
            });
        };
        tokio::join!(run(&world.executor, request, &journal, CancellationToken::new()), ending);
        world.executor.settled().await;
        assert_eq!(told.all().contains(&"save 0 [1]".to_owned()), saved, "{save:?} {may_save} {fails}");
        end(world, &told).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_volume_is_gone_is_forgotten_and_the_job_begins_empty() {
    let world = World::new();
    let mut found = entry(&world.engine, "key", &[&["a"], &["b"]]);
    found.layers[1] = vec![VolumeName::new("gone").unwrap()];
    let (request, told) = with(vec![cache(&["one", "two"], Some(found))]);
    let (outcome, journal) = world.run(request.clone()).await;
    assert_eq!(outcome, Outcome::Success);
    assert!(journal.notes().contains("starts empty"), "{}", journal.notes());
    assert!(world.engine.mounts(request.attempt_id()).iter().all(|(volume, _)| !volume.ends_with("-view")));
    world.executor.settled().await;
    assert_eq!(told.all()[0], "lost 0");
    end(world, &told).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_overlays_copies_an_entry() {
    let world = World::new();
    world.engine.without_overlays();
    let found = entry(&world.engine, "older", &[&["a"]]);
    let (request, told) = with(vec![cache(&["target"], Some(found))]);
    let (_, journal) = world.run(request.clone()).await;
    assert!(journal.notes().contains("copied (this engine has no overlays)"), "{}", journal.notes());
    world.executor.settled().await;
    let own = &world.engine.mounts(request.attempt_id())[0].0;
    assert_eq!(world.engine.tools(), [format!("copy a {own}")]);
    assert_eq!(told.all(), ["save 0 [1]", "ended"], "a copy is not a layer over what it was copied from");
    end(world, &told).await;
}

#[tokio::test(start_paused = true)]
async fn homes_and_numbers_are_those_of_the_images_user() {
    let world = World::new();
    world.engine.passwd("root:x:0:0::/root:/bin/sh\nbuild:x:1000:1000::/home/build:/bin/sh\n");
    world.engine.tag_with("busybox", ImageConfig { user: "build:staff".to_owned(), ..ImageConfig::default() });
    for _ in 0..2 {
        let (request, told) = with(vec![cache(&["~/.x"], None)]);
        assert_eq!(world.run(request.clone()).await.0, Outcome::Success);
        assert_eq!(world.engine.mounts(request.attempt_id())[0].1, "/home/build/.x");
        world.executor.settled().await;
        assert_eq!(told.all()[0], "owner 1000");
    }
    assert_eq!(world.engine.calls(Verb::ReadImageFile), 1, "an image does not change");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_leaves_caches_that_the_next_one_keeps_or_removes() {
    for up in [true, false] {
        let world = World::new();
        let found = entry(&world.engine, "older", &[&["a"]]);
        let (request, told) = with(vec![cache(&["target"], Some(found))]);
        if up {
            world.engine.script(Script::Waits);
            let journal = world.run_and_die(&request).await;
            world.engine.agent(request.attempt_id()).finish(JobResult::Success);
            assert_eq!(world.adopt(&request, &journal).await, Outcome::Success);
        } else {
            // Nothing was started yet; the volumes may be there.
            world.engine.lose(Verb::Create, away());
            let (outcome, _) = world.run(request.clone()).await;
            assert_eq!(outcome, Outcome::Success);
        }
        world.executor.settled().await;
        until("the end of the caches", || told.all().last().is_some_and(|last| last == "ended")).await;
        assert!(told.all().contains(&"save 0 [2]".to_owned()), "{:?}", told.all());
        end(world, &told).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_files_of_a_large_volume_are_gone_before_the_engine_is_asked_to_remove_it() {
    let world = World::new();
    let name = VolumeName::new("longshore-cache-large").unwrap();
    world.engine.add_volume(name.as_str());
    assert!(world.executor.remove_large_volume(&name).await);
    assert_eq!(world.engine.tools(), ["empty longshore-cache-large"]);
    assert_eq!(world.engine.calls(Verb::Remove), 1);
    // One that cannot be emptied goes all the same.
    assert!(world.executor.remove_large_volume(&name).await);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_flattening_that_fails_at_any_call_leaves_the_layers_and_nothing_else() {
    let world = World::new();
    let layers = ["longshore-cache-a", "longshore-cache-b"].map(|name| VolumeName::new(name).unwrap());
    layers.iter().for_each(|layer| world.engine.add_volume(layer.as_str()));
    for verb in [Verb::CreateVolume, Verb::RunTool] {
        for lost in [false, true] {
            match lost {
                true => world.engine.lose(verb, away()),
                false => world.engine.fail(verb, away()),
            }
            assert!(world.executor.flatten_layers(&layers).await.is_err(), "{verb:?}");
            assert_eq!(world.engine.volumes(), layers.each_ref().map(ToString::to_string), "{verb:?}");
        }
    }
    let flat = world.executor.flatten_layers(&layers).await.unwrap();
    assert_eq!(world.engine.volumes().len(), 3);
    for volume in layers.iter().chain([&flat]) {
        assert!(world.executor.remove_volume(volume).await);
    }
    world.end().await;
}
