use std::sync::Mutex;

use super::*;

struct Kept(Arc<Mutex<Vec<u8>>>);

impl Journal for Kept {
    fn last_seq(&self) -> u64 {
        0
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn milestones(&self) -> Vec<Record<'static>> {
        Vec::new()
    }

    fn append(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        let mut kept = self.0.lock().unwrap();
        records.iter().for_each(|record| kept.extend_from_slice(&record.data));
        Ok(())
    }
}

fn planned() -> Planned {
    let step = longshore_core::StepPlan::default();
    Planned::new(&longshore_core::JobPlan { steps: vec![step; 3], ..Default::default() })
}

#[tokio::test]
async fn a_secret_that_the_agent_let_through_does_not_reach_the_log() {
    let kept = Arc::default();
    let patterns = Patterns::new(&["s3cret-value"]).unwrap();
    let mut recorder = LogRecorder::new(Box::new(Kept(Arc::clone(&kept))), patterns, 1 << 20, planned());
    let output = |data: &'static [u8]| FromAgent::Output { step: 0, stderr: false, time_ms: 0, data: data.into() };
    recorder.record(1, output(b"a s3cret-value b\n")).unwrap();
    recorder.record(2, output(b"nothing\n")).unwrap();
    recorder.record(3, FromAgent::Note { step: 0, time_ms: 0, text: "of s3cret-value".into() }).unwrap();
    recorder.close().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&kept.lock().unwrap()), "a *** b\nnothing\nof ***\n");
}

#[tokio::test]
async fn what_a_job_prints_over_its_limit_is_not_kept_and_what_becomes_of_it_is() {
    let kept = Arc::default();
    let limit = 2 * HEADER_LEN as u64 + 5;
    let mut recorder = LogRecorder::new(Box::new(Kept(Arc::clone(&kept))), None, limit, planned());
    let output = |data: &'static [u8]| FromAgent::Output { step: 0, stderr: false, time_ms: 0, data: data.into() };
    recorder.record(1, output(b"abc")).unwrap();
    assert!(!recorder.is_over_limit());
    recorder.record(2, output(b"defg")).unwrap();
    assert!(recorder.is_over_limit());
    for seq in 3..1000 {
        recorder.record(seq, output(b"hij")).unwrap();
    }
    recorder.record(1000, FromAgent::Note { step: 0, time_ms: 0, text: "!".into() }).unwrap();
    assert_eq!(recorder.pending.entries.len(), 2);
    recorder.record(1001, FromAgent::JobFinished { time_ms: 0, end: JobResult::Success.into() }).unwrap();
    recorder.flush().await.unwrap();
    assert_eq!((recorder.last_seq(), recorder.finished()), (1001, Some(&JobResult::Success)));
    assert_eq!(
        String::from_utf8_lossy(&kept.lock().unwrap()),
        r#"abcde{"result":{"result":"success"},"sandbox":{"as_it_was":false}}"#
    );
}

#[tokio::test]
async fn what_is_on_disk_is_told_though_a_telling_was_dropped_in_the_middle() {
    let mut recorder = LogRecorder::new(Box::new(Kept(Arc::default())), None, 1 << 20, planned());
    for step in 0..3 {
        recorder.record(u64::from(step) + 1, FromAgent::StepStarted { step, time_ms: 0 }).unwrap();
    }
    let end = JobResult::Success.into();
    recorder.record(4, FromAgent::JobFinished { time_ms: 0, end }).unwrap();
    assert_eq!(recorder.finished(), None, "not on disk yet");
    recorder.flush().await.unwrap();
    let (updates, mut heard) = mpsc::channel(1);
    // There is room for one update; the second branch ends the wait for room for the next.
    tokio::select! {
        biased;
        () = recorder.send_updates(&updates) => panic!("nobody reads"),
        () = std::future::ready(()) => {}
    }
    let reading = async {
        let mut steps = Vec::new();
        while steps.len() < 3 {
            let Some(JobUpdate::StepStarted { step, .. }) = heard.recv().await else { panic!("another update") };
            steps.push(step);
        }
        steps
    };
    let (steps, ()) = tokio::join!(reading, recorder.send_updates(&updates));
    assert_eq!(steps, [0, 1, 2]);
    assert_eq!(recorder.finished(), Some(&JobResult::Success));
    assert_eq!(recorder.last_seq(), 4);
}
