//! Measures what a job's end takes that reports 100,000 tests: reading the file, storing, comparing with the builds
//! before. And the pages that show them.

use std::{fmt::Write as _, time::Instant};

use longshore_core::{BuildPlan, Event, EventName, JobPlan, Outcome, StepPlan, Timestamp};
use longshore_reports::{Tests, limits};
use longshore_store::{
    Store,
    builds::{self, Build, NewBuild},
    jobs,
    reports::{self, JobReports, Reporter},
    repos::{self, NewRepo},
    tests,
};

use super::{
    Figures,
    support::{engine, server::Server},
};

const TESTS: usize = 100_000;
/// Builds that reported the same tests before.
const BUILDS: usize = 4;
/// Requests of each page.
const TIMES: usize = 40;

pub fn reports(figures: &mut Figures) {
    let data = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let (build, test) = runtime.expect("a runtime").block_on(async {
        let store = Store::open(data.path()).await.expect("a store");
        let found = fill(&store, figures).await;
        store.close().await;
        found
    });
    let server = Server::start_on(data, engine::docker_host(), &[]);
    let api = server.api();
    let mut times = Vec::new();
    for page in [
        format!("/builds/{build}"),
        format!("/builds/{build}/tests"),
        format!("/builds/{build}/tests?status=passed"),
        format!("/tests/{test}"),
    ] {
        for _ in 0..TIMES {
            let begin = Instant::now();
            let (status, body) = api.get_bytes(&page);
            times.push(begin.elapsed().as_secs_f64() * 1000.0);
            assert_eq!(status, 200, "{page}: {}", String::from_utf8_lossy(&body));
        }
    }
    times.sort_by(f64::total_cmp);
    figures.insert("tests_page_ms_p99", times[times.len() * 99 / 100]);
}

/// Stores builds that report the same tests, of which every fiftieth fails now and then. Returns the last build and one
/// of its tests.
async fn fill(store: &Store, figures: &mut Figures) -> (longshore_core::BuildId, i64) {
    let new = NewRepo {
        name: "team/app".to_owned(),
        forge: "git".to_owned(),
        clone_url: "https://git.example/app.git".to_owned(),
        public: false,
        default_branch: Some("main".to_owned()),
    };
    let mut tx = store.write().await.expect("a transaction");
    let repo = repos::create(&mut tx, &new, Timestamp::now()).await.expect("a repository");
    tx.commit().await.expect("committed");
    let mut last = None;
    for n in 0..BUILDS {
        let file = junit(n);
        let (build, job) = build(store, repo.id, n).await;
        let begin = Instant::now();
        assert!(file.len() < limits::FILE_BYTES);
        let mut tests = Tests::default();
        tests.read_junit("junit.xml", file.as_bytes());
        let found = JobReports { tests: tests.finish().tests, ..JobReports::default() };
        let read = begin.elapsed();
        assert_eq!(found.tests.len(), TESTS);
        let reporter = Reporter {
            repo: repo.id,
            job,
            attempt: 1,
            key: "ci/test".to_owned(),
            number: build.number,
            branch: Some("main".to_owned()),
            pull_request: None,
            default_branch: None,
            commit: build.event.commit.clone(),
            tree: n.to_string(),
            trusted: true,
        };
        let run = reports::write(store, &reporter, &found, Timestamp::now()).await.expect("written");
        let mut tx = store.write().await.expect("a transaction");
        reports::publish(&mut tx, job, 1, run).await.expect("published");
        jobs::end_attempt(&mut tx, job, 1, Outcome::Success, Timestamp::now()).await.expect("ended");
        tx.commit().await.expect("committed");
        let took = begin.elapsed();
        println!("  build {}: read in {read:.0?}, with storing {took:.0?}", n + 1);
        figures.insert("junit_100k_tests_ms", took.as_secs_f64() * 1000.0);
        figures.insert("junit_100k_read_ms", read.as_secs_f64() * 1000.0);
        last = Some(build.id);
    }
    let last = last.expect("a build");
    let runs = tests::of_build(store, last).await.expect("read");
    let page = tests::list(store, &runs, None, None, 1).await.expect("read");
    (last, page.items[0].test)
}

fn junit(build: usize) -> String {
    let mut text = String::from("<testsuites>");
    for suite in 0..200 {
        write!(text, "<testsuite name='example.shop.suite{suite}'>").expect("memory");
        for n in 0..TESTS / 200 {
            let name = format!("a_test_whose_name_says_what_it_holds_{n}");
            write!(text, "<testcase classname='example.shop.suite{suite}' name='{name}' time='0.0{}'", n % 97)
                .expect("memory");
            if (n + build).is_multiple_of(50) && n.is_multiple_of(4) {
                text.push_str("><failure message='assertion failed: left == right'>at src/shop.rs:12\nat src/main.rs:3</failure></testcase>");
            } else {
                text.push_str("/>");
            }
        }
        text.push_str("</testsuite>");
    }
    text + "</testsuites>"
}

/// Creates a build of one job and claims it.
async fn build(store: &Store, repo: longshore_core::RepoId, n: usize) -> (Build, longshore_core::JobId) {
    let step = StepPlan {
        name: "test".to_owned(),
        run: Some("make test".into()),
        shell: "sh".to_owned(),
        ..StepPlan::default()
    };
    let plan = JobPlan {
        key: "ci/test".to_owned(),
        pipeline: "ci".to_owned(),
        name: "test".to_owned(),
        job: "test".to_owned(),
        image: "busybox".into(),
        steps: vec![step],
        timeout_ms: 60_000,
        ..JobPlan::default()
    };
    let event = Event::new(EventName::Push, "refs/heads/main", format!("{n:040}"));
    let new = NewBuild::new(repo, event, BuildPlan::new(vec![plan]), Vec::new());
    let mut tx = store.write().await.expect("a transaction");
    let build = builds::create(&mut tx, &new, Timestamp::now()).await.expect("a build");
    let claimed = jobs::claim_next(&mut tx, Timestamp::now()).await.expect("claimed").expect("a job");
    tx.commit().await.expect("committed");
    (build, claimed.job.id)
}
