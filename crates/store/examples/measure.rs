#![allow(clippy::all, clippy::unwrap_used, clippy::print_stdout)]
use longshore_core::*;
use longshore_store::*;
use std::time::Instant;
fn rss() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("VmRSS") || l.starts_with("Threads"))
        .map(|l| l.to_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
#[tokio::main]
async fn main() {
    println!("start {}", rss());
    if let Some(keep) = std::env::args().nth(2) { let s = Store::open(keep.as_ref()).await.unwrap(); println!("kept {}", rss()); let repo = repos::by_name(&s, "a").await.unwrap().unwrap(); lists(&s, &repo).await; println!("{}", rss()); return; }
    let d = tempfile::tempdir().unwrap(); let d = d.keep(); println!("DIR {}", d.display());
    let t = Instant::now();
    let s = Store::open_ephemeral(&d).await.unwrap();
    println!("open_ephemeral {:?}", t.elapsed());
    builds::list(&s, &Default::default(), None, 10).await.unwrap();
    println!("first read {:?} {}", t.elapsed(), rss());
    s.close().await;
    drop(s);
    let t = Instant::now();
    let s = Store::open_ephemeral(&d).await.unwrap();
    println!("reopen {:?}", t.elapsed());
    drop(s);
    let d = tempfile::tempdir().unwrap(); let d = d.keep(); println!("DIR {}", d.display());
    let t = Instant::now();
    let s = Store::open(&d).await.unwrap();
    println!("open durable {:?} {}", t.elapsed(), rss());
    let mut tx = s.write().await.unwrap();
    let repo = repos::create(
        &mut tx,
        &repos::NewRepo {
            name: "a".into(),
            forge: "git".into(),
            clone_url: "x".into(),
            public: true,
            default_branch: None,
        },
        Timestamp::now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let ev: Event = serde_json::from_str(r#"{"name":"push","git_ref":"refs/heads/main","commit":"0123456789abcdef0123456789abcdef01234567","before":null,"message":"m","author":"a","author_email":"e","sender":"","url":null,"default_branch":null}"#).unwrap();
    let job = |k: &str| -> JobPlan {
        serde_json::from_str(&format!(r#"{{"key":"{k}","pipeline":"ci","name":"{k}","matrix":[],"needs":[],"image":"b","env":{{"A":"b"}},"steps":[{{"name":"s","run":"true","env":{{}},"working_directory":null,"shell":"sh","condition":"success","continue_on_error":false,"timeout_ms":null}}],"timeout_ms":1,"checkout":true}}"#)).unwrap()
    };
    let n: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1000);
    let t = Instant::now();
    let per = 500;
    for b in 0..n / per {
        let mut tx = s.write().await.unwrap();
        for i in 0..per {
            let mut e = ev.clone();
            if (b + i) % 1000 == 0 {
                e.git_ref = "refs/heads/rare".into();
            }
            builds::create(
                &mut tx,
                &builds::NewBuild {
                    repo: repo.id,
                    event: e,
                    plan: BuildPlan { version: 1, jobs: vec![job("a")] },
                    diagnostics: vec![],
                    delivery: None,
                    rerun_of: None,
                    carried_over: vec![],
                },
                Timestamp::now(),
            )
            .await
            .unwrap();
            let c = jobs::claim_next(&mut tx, Timestamp::now()).await.unwrap().unwrap();
            jobs::end_attempt(
                &mut tx,
                c.job.id,
                1,
                if i % 10 == 0 { Outcome::Canceled } else { Outcome::Success },
                Timestamp::now(),
            )
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
    }
    println!("{n} builds in {:?}, {:?} each", t.elapsed(), t.elapsed() / n as u32);
    let t = Instant::now();
    for _ in 0..200 {
        let mut tx = s.write().await.unwrap();
        builds::create(
            &mut tx,
            &builds::NewBuild {
                repo: repo.id,
                event: ev.clone(),
                plan: BuildPlan { version: 1, jobs: vec![job("a")] },
                diagnostics: vec![],
                delivery: None,
                rerun_of: None,
                carried_over: vec![],
            },
            Timestamp::now(),
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let mut tx = s.write().await.unwrap();
        jobs::claim_next(&mut tx, Timestamp::now()).await.unwrap().unwrap();
        tx.commit().await.unwrap();
    }
    println!("create+commit+claim+commit {:?}", t.elapsed() / 200);
    lists(&s, &repo).await;
    println!("end {}", rss());
    // log
    let id = JobId::new();
    let mut w = s.logs().open_writer(id, 1).unwrap();
    let data = vec![b'x'; 65536];
    let t = Instant::now();
    for i in 0..1536u64 {
        w.append(&[Record {
            seq: i,
            time: Timestamp::now(),
            step: 0,
            kind: RecordKind::Output(Stream::Stdout),
            data: (&data[..]).into(),
        }])
        .unwrap();
    }
    println!("log 96 MiB append {:?}", t.elapsed());
    drop(w);
    let t = Instant::now();
    s.logs().open_writer(id, 1).unwrap();
    println!("reopen {:?} {}", t.elapsed(), rss());
}

async fn lists(s: &Store, repo: &repos::Repo) {
    for (name, f) in [
        ("all", builds::BuildFilter::default()),
        ("repo", builds::BuildFilter { repo: Some(repo.id), ..Default::default() }),
        ("running", builds::BuildFilter { status: Some(Status::Running), ..Default::default() }),
        ("timed-out", builds::BuildFilter { status: Some(Status::TimedOut), ..Default::default() }),
        ("rare", builds::BuildFilter { repo: Some(repo.id), branch: Some("rare".into()), ..Default::default() }),
        (
            "canceled main push",
            builds::BuildFilter {
                repo: Some(repo.id),
                branch: Some("main".into()),
                status: Some(Status::Canceled),
                event: Some(EventName::Push),
                ..Default::default()
            },
        ),
        (
            "failure+rare+no repo",
            builds::BuildFilter { branch: Some("rare".into()), status: Some(Status::Failure), ..Default::default() },
        ),
        ("schedule", builds::BuildFilter { event: Some(EventName::Schedule), ..Default::default() }),
        ("branch nowhere", builds::BuildFilter { branch: Some("none".into()), ..Default::default() }),
        ("public", builds::BuildFilter { only_public: true, ..Default::default() }),
    ] {
        let t = Instant::now();
        let p = builds::list(s, &f, None, 50).await.unwrap();
        let first = t.elapsed();
        let t = Instant::now();
        builds::list(s, &f, p.items.get(25).map(|b| b.seq / 2), 50).await.unwrap();
        let ids: Vec<_> = p.items.iter().map(|b| b.id).collect();
        let e = t.elapsed();
        let t = Instant::now();
        jobs::of_builds(s, &ids).await.unwrap();
        println!("list {name}: {} {first:?}, deep {e:?}, jobs {:?}", p.items.len(), t.elapsed());
    }
    let t = Instant::now();
    counts::get(&s).await.unwrap();
    println!("counts {:?}", t.elapsed());
    let t = Instant::now();
    builds::latest_finished(s, repo.id, Some("nowhere")).await.unwrap();
    println!("badge {:?}", t.elapsed());
}
