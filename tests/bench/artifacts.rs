//! Measures how fast a large file of a job is stored, and what that does to the log of a job beside it.

use serde_json::Value;

use super::{
    Figures, now_ms,
    support::{
        api::text,
        engine, until,
        world::{World, job},
    },
    time_of,
};

/// Bytes of the file. They cannot be packed.
const BYTES: u64 = 400_000_000;

/// `artifact_mb_per_s`: from the end of the last step to the job's final status, when the file is on disk, packed and
/// under its sum. `artifact_live_line_p99_ms`: lines of a job beside it, printed in that time, until a live reader has
/// them.
pub fn artifacts(figures: &mut Figures) {
    let world = World::start();
    let pipeline = format!(
        "defaults: {{ image: {} }}\njobs:\n  leaves:\n    steps: [{{ run: 'head -c {BYTES} /dev/urandom > noise; sync' }}]\n    \
         artifacts: {{ paths: [noise] }}\n  talks:\n    steps: [{{ run: 'i=0; while [ $i -lt 6000 ]; do echo line $i; i=$((i+1)); usleep 5000; done' }}]\n",
        engine::BUSYBOX
    );
    let commit = world.git.push(&pipeline);
    let build = text(&world.build_of(&commit), "id");
    let api = world.api();
    let of = |name: &str| {
        let build = api.get(&format!("/api/v1/builds/{build}"));
        job(&build, name).clone()
    };
    let talks = text(&of("talks"), "id");
    let mut lines = Vec::new();
    let mut seen = 0;
    let mut over = false;
    api.stream(&format!("/api/v1/jobs/{talks}/log/stream"), None, |(name, _, data)| {
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        if name == "log" && data["stream"] == "stdout" {
            let printed = time_of(&data, "time");
            lines.push((printed, now_ms() - printed));
            seen += 1;
            over = over || (seen % 100 == 0 && of("leaves")["finished_at"].is_string());
        }
        over || name == "end"
    });
    let leaves = until("the job that leaves a file", || {
        let leaves = of("leaves");
        leaves["finished_at"].is_string().then_some(leaves)
    });
    assert_eq!(leaves["status"], "success", "{leaves}");
    let (from, to) = (time_of(&leaves["steps"][0], "finished_at"), time_of(&leaves, "finished_at"));
    figures.insert("artifact_mb_per_s", BYTES as f64 / 1e6 / ((to - from) / 1000.0));
    let mut late: Vec<f64> = lines.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, late)| *late).collect();
    late.sort_by(f64::total_cmp);
    if let Some(p99) = late.get(late.len() * 99 / 100) {
        figures.insert("artifact_live_line_p99_ms", *p99);
    }
    api.post(&format!("/api/v1/builds/{build}/cancel"), &serde_json::json!({}));
    api.wait_for_build(&build);
}
