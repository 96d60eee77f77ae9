//! Measures the pages with 1,000,000 builds in the store: the time and the size of each, and of what it loads.

use std::time::Instant;

use super::{
    Figures,
    seed::{self, Seed},
    support::{api::text, engine, server::Server},
};

/// Requests of each page.
const TIMES: usize = 40;

pub fn pages(figures: &mut Figures) {
    let data = tempfile::tempdir().expect("a folder");
    // Use fewer only while working on the bench itself.
    let builds = std::env::var("LONGSHORE_BENCH_BUILDS").unwrap_or_else(|_| "1000000".to_owned());
    let begin = Instant::now();
    let builds = builds.parse().expect("LONGSHORE_BENCH_BUILDS is a number");
    let seed = Seed { repos: 200, builds, jobs_per_build: 5, log_lines: 1_000_000 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(seed::fill(data.path(), seed)).expect("the store is filled");
    figures.insert("seed_s", begin.elapsed().as_secs_f64());

    let server = Server::start_on(data, engine::docker_host(), &[]);
    let api = server.api();
    let newest = api.get("/api/v1/builds?limit=2");
    let (large, other) = (text(&newest["items"][0], "id"), text(&newest["items"][1], "id"));
    let job = text(&newest["items"][0]["jobs"][0], "id");
    let repo = text(&newest["items"][0]["repo"], "id");
    let middle = newest["next"].as_str().and_then(|next| next.parse::<u64>().ok()).unwrap_or(0) / 2;
    let pages = [
        "/".to_owned(),
        "/?q=repo-1".to_owned(),
        "/queue".to_owned(),
        "/access".to_owned(),
        "/settings".to_owned(),
        format!("/repos/{repo}"),
        format!("/repos/{repo}?before={middle}"),
        format!("/repos/{repo}?branch=main&status=failure"),
        format!("/repos/{repo}?event=manual&status=timed-out"),
        format!("/repos/{repo}?branch=none"),
        format!("/repos/{repo}/deliveries"),
        format!("/repos/{repo}/settings"),
        format!("/repos/{repo}/run"),
        format!("/builds/{large}"),
        format!("/builds/{other}"),
        format!("/jobs/{job}"),
    ];
    let mut times = Vec::new();
    let mut largest = 0;
    for page in &pages {
        let mut of_page = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let begin = Instant::now();
            let (status, body) = api.get_bytes(page);
            of_page.push(begin.elapsed().as_secs_f64() * 1000.0);
            assert_eq!(status, 200, "{page}: {}", String::from_utf8_lossy(&body));
            largest = largest.max(body.len());
        }
        of_page.sort_by(f64::total_cmp);
        println!("  {page}: {:.1} ms, slowest {:.1} ms", of_page[TIMES / 2], of_page[TIMES - 1]);
        times.extend(of_page);
    }
    times.sort_by(f64::total_cmp);
    figures.insert("page_ms_p99", times[times.len() * 99 / 100]);
    figures.insert("page_html_kib", largest as f64 / 1024.0);

    // A job's page loads the most.
    let (_, page) = api.get_text(&format!("/jobs/{job}"));
    let assets = page.split('"').filter(|part| part.starts_with("/assets/") && !part.ends_with(".svg"));
    let bytes: usize = assets.map(|asset| gzipped(&server.url(), asset)).sum();
    figures.insert("assets_gz_kib", bytes as f64 / 1024.0);
}

fn gzipped(url: &str, asset: &str) -> usize {
    use std::io::Read as _;
    let answer = ureq::get(format!("{url}{asset}")).header("accept-encoding", "gzip").call().expect("an asset");
    assert_eq!(answer.headers().get("content-encoding").expect("compressed"), "gzip", "{asset}");
    let mut body = Vec::new();
    answer.into_body().into_reader().read_to_end(&mut body).expect("the whole body comes");
    body.len()
}
