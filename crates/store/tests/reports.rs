//! What jobs report about tests, coverage and findings: who sees it, what it is compared with, and when it goes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use longshore_core::{EventName, JobId, Outcome, Timestamp, event::PullRequest};
use longshore_reports::{Annotation, Annotations, CoverageReader, TestStatus, Tests};
use longshore_store::{
    annotations,
    builds::{self, Build, NewBuild},
    coverage, jobs,
    reports::{self, JobReports, ReportRun, Reporter},
    repos::Repo,
    retention::{self, Retention},
    tests::{self, JobRun, TestResult},
};

use sqlx::{AssertSqlSafe, ConnectOptions as _, sqlite::SqliteConnectOptions};

mod world;
use world::{World, event, new_build, now};

/// Results as `suite/name` with a sign: `+` passed, `-` failed, `?` skipped, `~` failed first and passed then.
fn results(signs: &[&str]) -> JobReports {
    let mut xml = String::from("<testsuites>");
    for sign in signs {
        let (sign, name) = sign.split_at(1);
        let body = match sign {
            "-" => "<failure message='no luck today'>assert 1 == 2</failure>",
            "?" => "<skipped/>",
            "~" => "<flakyFailure message='not the first time'/>",
            _ => "",
        };
        let ms = name.len();
        write!(xml, "<testcase classname='shop' name='{name}' time='0.00{ms}'>{body}</testcase>").unwrap();
    }
    let mut tests = Tests::default();
    tests.read_junit("junit.xml", (xml + "</testsuites>").as_bytes());
    JobReports { tests: tests.finish().tests, ..JobReports::default() }
}

fn covered(lcov: &str) -> JobReports {
    let mut reader = CoverageReader::default();
    reader.read("lcov.info", lcov.as_bytes());
    JobReports { coverage: reader.finish().0, ..JobReports::default() }
}

/// A build of one job on `branch` at `commit`.
fn at(repo: &Repo, branch: &str, commit: &str) -> NewBuild {
    let mut new = new_build(repo, &[("test", &[])]);
    new.event =
        longshore_core::Event { commit: commit.repeat(40), default_branch: Some("main".to_owned()), ..event(branch) };
    new
}

fn of_pull_request(repo: &Repo, number: u64, target: &str, commit: &str) -> NewBuild {
    let mut new = at(repo, target, commit);
    new.event.name = EventName::PullRequest;
    new.event.pull_request =
        Some(PullRequest { title: "Change it".to_owned(), ..PullRequest::opened(number, "change", target) });
    new
}

fn reporter(build: &Build, job: JobId, attempt: u32) -> Reporter {
    Reporter {
        repo: build.repo,
        job,
        attempt,
        key: "test".to_owned(),
        number: build.number,
        branch: build.event.branch().map(str::to_owned),
        pull_request: build.event.pull_request.as_ref().map(|pull_request| pull_request.number),
        default_branch: build.event.default_branch.clone(),
        commit: build.event.commit.clone(),
        tree: build.event.commit.clone(),
        trusted: true,
    }
}

/// Claims the build's job, without an end.
async fn claimed(world: &World, new: &NewBuild) -> (Build, JobId) {
    let build = world.create(new).await;
    let mut tx = world.store.write().await.unwrap();
    let claimed = jobs::claim_next(&mut tx, now()).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claimed.build.id, build.id);
    (build, claimed.job.id)
}

async fn end(world: &World, job: JobId, run: ReportRun) {
    let mut tx = world.store.write().await.unwrap();
    reports::publish(&mut tx, job, 1, run).await.unwrap();
    jobs::end_attempt(&mut tx, job, 1, Outcome::Success, now()).await.unwrap();
    tx.commit().await.unwrap();
}

/// A build whose only job reported this and is over.
async fn reported(world: &World, new: &NewBuild, what: &JobReports) -> (Build, Vec<JobRun>) {
    let (build, job) = claimed(world, new).await;
    let run = reports::write(&world.store, &reporter(&build, job, 1), what, now()).await.unwrap();
    end(world, job, run).await;
    let runs = tests::of_build(&world.store, build.id).await.unwrap();
    (build, runs)
}

async fn listed(world: &World, runs: &[JobRun], status: Option<TestStatus>) -> Vec<TestResult> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = tests::list(&world.store, runs, status, after, 2).await.unwrap();
        found.extend(page.items);
        match page.next {
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => return found,
        }
    }
}

async fn named(world: &World, runs: &[JobRun], name: &str) -> TestResult {
    listed(world, runs, None).await.into_iter().find(|test| test.name == name).unwrap()
}

/// The rows of some tables together.
async fn rows(world: &World, tables: &[&str]) -> i64 {
    let options = SqliteConnectOptions::new().filename(world.path().join("longshore.db"));
    let mut conn = options.connect().await.unwrap();
    let mut sum = 0;
    for table in tables {
        let query = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sum += sqlx::query_scalar::<_, i64>(query).fetch_one(&mut conn).await.unwrap();
    }
    sum
}

const TABLES: [&str; 8] = [
    "test_jobs",
    "tests",
    "report_runs",
    "job_reports",
    "test_results",
    "test_details",
    "coverage_files",
    "annotations",
];

#[tokio::test]
async fn failures_come_first_and_pages_leave_nothing_out() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let signs = ["+a", "-bb", "?c", "+dddd", "-e", "+f", "~ggg"];
    let (_, runs) = reported(&world, &at(&repo, "main", "a"), &results(&signs)).await;
    let all: Vec<String> = listed(&world, &runs, None).await.into_iter().map(|test| test.name).collect();
    assert_eq!(all, ["bb", "e", "a", "dddd", "f", "ggg", "c"]);
    let passed = listed(&world, &runs, Some(TestStatus::Passed)).await;
    assert_eq!(passed.len(), 4);
    let counts = tests::sum(&runs);
    assert_eq!((counts.total(), counts.passed, counts.failed, counts.skipped, counts.flaky), (7, 4, 2, 1, 1));
    let slow = tests::slowest(&world.store, &runs, 2).await.unwrap();
    assert_eq!(slow.iter().map(|test| test.name.as_str()).collect::<Vec<_>>(), ["dddd", "ggg"]);
    let flaky = tests::flaky(&world.store, &runs, 10).await.unwrap();
    assert_eq!(flaky.iter().map(|test| test.name.as_str()).collect::<Vec<_>>(), ["ggg"]);
    let failure = named(&world, &runs, "bb").await;
    assert_eq!((failure.message.as_deref(), failure.output.as_deref()), (Some("no luck today"), Some("assert 1 == 2")));
}

#[tokio::test]
async fn reports_are_seen_with_the_end_of_their_attempt_and_not_before() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let (build, job) = claimed(&world, &at(&repo, "main", "a")).await;
    // A server that was killed while it wrote: the next one writes all of it again.
    let written =
        reports::write(&world.store, &reporter(&build, job, 1), &results(&["+a", "-old"]), now()).await.unwrap();
    assert!(tests::of_build(&world.store, build.id).await.unwrap().is_empty());
    retention::remove_old(&world.store, &Retention::default(), now()).await.unwrap();
    let again = reports::write(&world.store, &reporter(&build, job, 1), &results(&["+a", "-b"]), now()).await.unwrap();
    assert_ne!(written, again);
    assert!(tests::of_build(&world.store, build.id).await.unwrap().is_empty());
    end(&world, job, again).await;
    let runs = tests::of_build(&world.store, build.id).await.unwrap();
    assert_eq!(listed(&world, &runs, None).await.iter().map(|test| test.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
}

#[tokio::test]
async fn a_failure_says_since_when_it_is_there_and_whether_the_branch_before_has_it() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let seen = async |new: &NewBuild, signs: &[&str]| reported(&world, new, &results(signs)).await;
    let (_, first) = seen(&at(&repo, "main", "1"), &["-old", "+a", "+b"]).await;
    // Nothing to compare with.
    assert_eq!((first[0].base, first[0].counts.new_failures), (None, 0));
    let (_, second) = seen(&at(&repo, "main", "2"), &["-old", "-a", "+b"]).await;
    assert_eq!((second[0].base, second[0].counts.new_failures), (Some(1), 1));
    // It was skipped in between, and fails on.
    seen(&at(&repo, "main", "3"), &["?old", "-a", "+b"]).await;
    let (_, fourth) = seen(&at(&repo, "main", "4"), &["-old", "-a", "+b"]).await;
    let (old, a) = (named(&world, &fourth, "old").await, named(&world, &fourth, "a").await);
    assert_eq!((old.first_failed, a.first_failed), (Some(1), Some(2)));
    assert!(!a.new);

    // A pull request is compared with its target.
    let (_, pull) = seen(&of_pull_request(&repo, 7, "main", "5"), &["-old", "+a", "-b"]).await;
    let (old, b) = (named(&world, &pull, "old").await, named(&world, &pull, "b").await);
    assert_eq!((old.first_failed, old.new), (Some(1), false));
    assert_eq!((b.first_failed, b.new), (Some(5), true));
    // Its second build knows that it began in its first, and is still the one that brings it.
    let (_, again) = seen(&of_pull_request(&repo, 7, "main", "6"), &["-old", "+a", "-b"]).await;
    let b = named(&world, &again, "b").await;
    assert_eq!((b.first_failed, b.new, again[0].base), (Some(5), true, Some(4)));
    // A branch is not compared with its pull requests.
    let (_, main) = seen(&at(&repo, "main", "7"), &["-b"]).await;
    let b = named(&world, &main, "b").await;
    assert_eq!((b.first_failed, b.new, main[0].base), (Some(7), true, Some(4)));
    // A new branch is compared with the default one.
    let (_, branch) = seen(&at(&repo, "feature", "8"), &["-b", "-c"]).await;
    assert_eq!((branch[0].base, branch[0].counts.new_failures), (Some(7), 1));
}

#[tokio::test]
async fn a_test_with_both_results_on_the_same_files_is_flaky() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let (_, first) = reported(&world, &at(&repo, "main", "1"), &results(&["-a", "-b", "+c"])).await;
    assert_eq!(first[0].counts.flaky, 0);
    let (_, second) = reported(&world, &at(&repo, "main", "1"), &results(&["+a", "-b", "-c"])).await;
    assert_eq!(second[0].counts.flaky, 2);
    // Other files: a change mended it.
    let (_, third) = reported(&world, &at(&repo, "main", "2"), &results(&["+a", "+b", "-c"])).await;
    let b = named(&world, &third, "b").await;
    assert!(!b.flaky);
    assert!(named(&world, &third, "c").await.flaky, "a flaky test stays one for a while");
    let a = named(&world, &third, "a").await;
    let test = tests::get(&world.store, a.test).await.unwrap().unwrap();
    assert_eq!((test.flaky_build, test.repo), (Some(2), repo.id));
    assert!(test.is_flaky(now()));
    assert!(!test.is_flaky(Timestamp::from_millis(now().as_millis() + 31 * 24 * 60 * 60 * 1000)));

    // A stranger's results make nothing flaky.
    let (build, job) = claimed(&world, &of_pull_request(&repo, 9, "main", "2")).await;
    let stranger = Reporter { trusted: false, ..reporter(&build, job, 1) };
    let run = reports::write(&world.store, &stranger, &results(&["-b", "~d"]), now()).await.unwrap();
    end(&world, job, run).await;
    let b = tests::get(&world.store, b.test).await.unwrap().unwrap();
    assert!(!b.is_flaky(now()));
}

#[tokio::test]
async fn a_test_has_a_history() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    for signs in [["+a", "+b"], ["-a", "+b"], ["+b", "+c"], ["?a", "+b"]] {
        reported(&world, &at(&repo, "main", "1"), &results(&signs)).await;
    }
    let (_, runs) = reported(&world, &at(&repo, "main", "2"), &results(&["-a"])).await;
    let test = named(&world, &runs, "a").await.test;
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let page = tests::history(&world.store, test, before, 2).await.unwrap();
        found.extend(page.items.iter().map(|past| (past.number, past.status)));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    // A result of another repository has no place here: it would reveal the number of that build.
    let (other, twelfth) = (world.repo("other").await, async |repo| {
        let mut runs = Vec::new();
        for _ in 0..12 {
            runs = reported(&world, &at(repo, "main", "1"), &results(&["+z"])).await.1;
        }
        named(&world, &runs, "z").await.test
    });
    let of_other = tests::history(&world.store, twelfth(&other).await, None, 1).await.unwrap().items;
    let page = tests::history(&world.store, test, Some(of_other[0].run), 2).await.unwrap();
    assert_eq!((of_other[0].number, page.items.len()), (12, 0));
    let (failed, passed, skipped) = (TestStatus::Failed, TestStatus::Passed, TestStatus::Skipped);
    assert_eq!(found, [(5, Some(failed)), (4, Some(skipped)), (3, None), (2, Some(failed)), (1, Some(passed))]);
}

#[tokio::test]
async fn coverage_is_compared_with_the_branch_before() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let lcov = |a: u32, b: u32| {
        let mut text = String::new();
        for (file, covered) in [("a.c", a), ("b.c", b)] {
            writeln!(text, "SF:{file}").unwrap();
            for line in 1..=10 {
                writeln!(text, "DA:{line},{}", u32::from(line <= covered)).unwrap();
            }
            writeln!(text, "end_of_record").unwrap();
        }
        text
    };
    reported(&world, &at(&repo, "main", "1"), &covered(&lcov(5, 10))).await;
    // A build without coverage stands between.
    reported(&world, &at(&repo, "main", "2"), &results(&["+a"])).await;
    let (_, runs) = reported(&world, &at(&repo, "main", "3"), &covered(&lcov(7, 7))).await;
    let found = coverage::of_build(&world.store, &runs).await.unwrap().unwrap();
    assert_eq!((found.lines.covered, found.lines.total, found.base.unwrap().number), (14, 20, 1));
    assert_eq!(found.change(), Some(-500));
    let changed = coverage::changed(&world.store, &runs, 10).await.unwrap();
    let changed: Vec<_> = changed.iter().map(|file| (file.file.path.as_str(), file.change)).collect();
    assert_eq!(changed, [("b.c", Some(-3000)), ("a.c", Some(2000))]);
    let (files, next) = coverage::files(&world.store, &runs, None, 1).await.unwrap();
    assert_eq!((files[0].file.path.as_str(), files[0].file.missed.as_str()), ("a.c", "8-10"));
    let (files, next) = coverage::files(&world.store, &runs, next.as_deref(), 1).await.unwrap();
    assert_eq!((files[0].file.path.as_str(), next), ("b.c", None));
}

#[tokio::test]
async fn it_is_counted_how_often_the_reports_of_an_attempt_are_begun_to_be_read() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let (_, job) = claimed(&world, &at(&repo, "main", "1")).await;
    let begin = async |attempt| reports::begin_reading(&world.store, job, attempt).await.unwrap();
    assert_eq!([begin(1).await, begin(1).await, begin(1).await], [1, 2, 3]);
    assert_eq!(begin(2).await, 1, "an attempt that is not the job's is counted nowhere");
    assert_eq!(begin(1).await, 4);
}

#[tokio::test]
async fn annotations_come_back_as_they_were_said() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let mut said = Annotations::default();
    said.read_line("::error file=a.c,line=3,endLine=4,col=5,title=Broken::it is 'broken'");
    said.read_line("::warning::beware");
    said.read_line("::notice::so it is");
    let items: Vec<Annotation> = said.finish().items;
    let what = JobReports { annotations: items.clone(), ..JobReports::default() };
    let (_, runs) = reported(&world, &at(&repo, "main", "1"), &what).await;
    let (first, next) = annotations::list(&world.store, &runs, None, 2).await.unwrap();
    let (rest, end) = annotations::list(&world.store, &runs, next, 2).await.unwrap();
    let found: Vec<Annotation> = first.into_iter().chain(rest).map(|one| one.annotation).collect();
    assert_eq!((found, end), (items, None));
}

#[tokio::test]
async fn a_rerun_that_carries_a_job_over_has_its_reports_and_the_last_build_takes_them_with_it() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let mut what = results(&["+a", "-b"]);
    what.coverage = covered("SF:a.c\nDA:1,1\nend_of_record\n").coverage;
    let (build, runs) = reported(&world, &at(&repo, "main", "1"), &what).await;
    let mut rerun = at(&repo, "main", "1");
    rerun.rerun_of = Some(build.id);
    rerun.carried_over = vec![("test".to_owned(), runs[0].job)];
    let rerun = world.create(&rerun).await;
    let carried = tests::of_build(&world.store, rerun.id).await.unwrap();
    assert_eq!(carried[0].counts, runs[0].counts);

    // The build goes, its rerun stays.
    let one = Retention { max_builds_per_repo: Some(1), ..Retention::default() };
    retention::remove_old(&world.store, &one, now()).await.unwrap();
    assert!(builds::get(&world.store, build.id).await.unwrap().is_none());
    assert_eq!(listed(&world, &carried, None).await.len(), 2);
    reported(&world, &at(&repo, "main", "2"), &results(&["+other"])).await;
    retention::remove_old(&world.store, &one, now()).await.unwrap();
    // Left: a job's key, a test, a run, whose it is, a result.
    assert_eq!(rows(&world, &TABLES).await, 5);
    let old = Retention { max_age: Some(Duration::ZERO), ..Retention::default() };
    world.build(&repo, &[("other", &[])]).await;
    retention::remove_old(&world.store, &old, Timestamp::from_millis(now().as_millis() + 1000)).await.unwrap();
    assert_eq!(rows(&world, &TABLES).await, 0);
}

/// `make bench` measures how long it takes; this only shows that nothing grows with the square.
#[tokio::test]
async fn a_hundred_thousand_tests_are_stored_and_removed() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let many = |sign: &str| {
        let signs: Vec<String> = (0..100_000).map(|n| format!("{}{n}", if n % 50 == 0 { sign } else { "+" })).collect();
        results(&signs.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for sign in ["+", "-", "-"] {
        let what = many(sign);
        let begun = Instant::now();
        let (_, runs) = reported(&world, &at(&repo, "main", sign), &what).await;
        println!("written in {:?}", begun.elapsed());
        let begun = Instant::now();
        let page = tests::list(&world.store, &runs, None, None, 50).await.unwrap();
        assert_eq!(page.items.len(), 50);
        println!("first page in {:?}", begun.elapsed());
        let last = tests::list(&world.store, &runs, Some(TestStatus::Passed), None, 50).await.unwrap();
        assert_eq!(last.items.len(), 50);
    }
    let one = Retention { max_builds_per_repo: Some(1), ..Retention::default() };
    let begun = Instant::now();
    retention::remove_old(&world.store, &one, now()).await.unwrap();
    println!("removed in {:?}", begun.elapsed());
    assert_eq!(rows(&world, &["test_results"]).await, 100_000);
}
