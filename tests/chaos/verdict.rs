//! Checks the result of a scenario: each delivery became one build, each job ended as expected, each log has the same
//! bytes, and the engine is empty.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    deliveries::{Client, insist, settled},
    generator::{Expected, Program},
    support::engine,
};

/// A delivery that was answered 202, and its pipeline.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub id: String,
    pub program: Program,
}

/// Counts of checks, and everything that was wrong.
#[derive(Debug, Default)]
pub struct Verdict {
    pub figures: BTreeMap<&'static str, u64>,
    pub wrong: Vec<String>,
}

impl Verdict {
    pub fn add(&mut self, figure: &'static str, count: u64) {
        *self.figures.entry(figure).or_default() += count;
    }

    pub fn wrong(&mut self, figure: &'static str, what: String) {
        self.add(figure, 1);
        self.wrong.push(what);
    }

    /// Waits for the end of the delivery's build, and compares the result.
    pub fn of_delivery(&mut self, client: &Client, accepted: &Accepted) {
        let delivery = insist("a delivery's end", || {
            let delivery = client.json(&format!("/api/v1/deliveries/{}", accepted.id));
            (delivery["status"] != "pending").then_some(delivery)
        });
        self.add("deliveries", 1);
        let builds = delivery["builds"].as_array().cloned().unwrap_or_default();
        match builds.as_slice() {
            [build] => {
                let build = build.as_str().expect("an id").to_owned();
                self.of_build(client, &build, &accepted.program);
            }
            // The same push told twice, as after an answer that a kill took: its build is the other delivery's.
            [] if delivery["reason"]
                .as_str()
                .is_some_and(|why| why.starts_with("duplicate of an earlier delivery of the same ")) =>
            {
                self.add("told_twice", 1);
            }
            [] => self.wrong("builds_lost", format!("no build: {delivery}")),
            _ => self.wrong("builds_doubled", format!("more than one build: {delivery}")),
        }
    }

    fn of_build(&mut self, client: &Client, id: &str, program: &Program) {
        let build = insist("a build's end", || {
            let build = client.json(&format!("/api/v1/builds/{id}"));
            crate::support::api::is_final(&build).then_some(build)
        });
        self.add("builds", 1);
        for expected in &program.jobs {
            self.add("jobs", 1);
            let Some(job) =
                build["jobs"].as_array().and_then(|jobs| jobs.iter().find(|job| job["name"] == expected.name))
            else {
                self.wrong("jobs_missing", format!("no {} in {build}", expected.name));
                continue;
            };
            let status = if expected.exit_code == 0 { "success" } else { "failure" };
            let failed_with = (expected.exit_code != 0).then_some(expected.exit_code);
            if job["status"] != status || job["exit_code"].as_i64().filter(|code| *code != 0) != failed_with {
                self.wrong("outcomes_wrong", format!("{status} {} was expected: {job}", expected.exit_code));
            }
            self.of_steps(job, expected);
            let job_id = job["id"].as_str().expect("an id");
            self.of_log(client, job_id, expected);
        }
    }

    /// The log is what the services printed, in any order among them, and then what the steps printed.
    fn of_log(&mut self, client: &Client, job: &str, expected: &Expected) {
        let log = client.bytes(&format!("/api/v1/jobs/{job}/log?format=raw"));
        self.add("log_bytes", log.len() as u64);
        let mut of_services = 0;
        let mut wrong = Vec::new();
        for (name, printed) in &expected.services {
            of_services += printed.len();
            let log = client.bytes(&format!("/api/v1/jobs/{job}/log?format=raw&step={name}"));
            self.add("logs_of_services", 1);
            if log != *printed {
                wrong.push(format!("service {name}: {} bytes, {} expected", log.len(), printed.len()));
            }
        }
        let of_steps = log.get(of_services..).unwrap_or_default();
        if of_steps != expected.log {
            let at = of_steps.iter().zip(&expected.log).take_while(|(a, b)| a == b).count();
            wrong.push(format!("steps: {} bytes, {} expected, differ at {at}", of_steps.len(), expected.log.len()));
        }
        if wrong.is_empty() {
            self.add("logs_equal", 1);
        } else {
            self.wrong("logs_different", format!("log of {job}: {}", wrong.join("; ")));
        }
    }

    fn of_steps(&mut self, job: &Value, expected: &Expected) {
        for (at, (code, ms)) in expected.step_exit_codes.iter().zip(&expected.step_ms).enumerate() {
            let step = &job["steps"][at];
            if step["exit_code"].as_i64() != Some(*code) {
                self.wrong("step_exit_codes_wrong", format!("step {at}: {code} was expected: {job}"));
            }
            // A sleep may be slightly short by the clock of another process.
            if step["wall_ms"].as_u64().is_none_or(|took| took + 20 < *ms) {
                self.wrong("step_durations_wrong", format!("step {at} took at least {ms} ms: {step}"));
            }
        }
    }

    /// Checks that nothing of any job is on the engine, once background removals are done.
    pub fn of_engine(&mut self, instance: &str) {
        let left = settled(
            || engine::objects(instance, &["job", "service", "step", "guard", "inner", "volume"]),
            Vec::is_empty,
        );
        self.add("objects_left", left.len() as u64);
        if !left.is_empty() {
            self.wrong.push(format!("left on the engine: {left:?}"));
        }
    }
}
