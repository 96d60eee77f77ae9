//! Every value of every context at every place of a file: where `lint` accepts it, it is available when the place is
//! filled in.

use std::collections::BTreeMap;

use longshore_core::{
    BuildId, DueSchedule, Event, EventName, JobPlan, NeedEnd, Status, Template, Timestamp,
    expression::{Context, Progress, Value, evaluate},
    rules::needs::{Eligibility, build_context, eligibility, needs_context},
};
use longshore_pipeline::{Planned, RepoFacts};

use super::{built, check, pull_request, push};

/// All names that expressions can use; each has a value for one of the events.
const MEMBERS: &[&str] = &[
    "event.name",
    "event.ref",
    "event.branch",
    "event.tag",
    "event.sha",
    "event.sha-short",
    "event.before",
    "event.title",
    "event.message",
    "event.author",
    "event.author-email",
    "event.sender",
    "event.url",
    "event.default-branch",
    "event.action",
    "event.source-branch",
    "event.target-branch",
    "event.cron",
    "event.number",
    "event.fork",
    "repo.name",
    "repo.owner",
    "repo.short-name",
    "repo.clone-url",
    "repo.forge",
    "repo.default-branch",
    "build.number",
    "build.id",
    "build.url",
    "matrix.m",
    "needs.before.result",
    "needs.before.outputs.v",
    "inputs.level",
    "env.PIPELINE",
    "env.JOB",
    "env.LATE",
    "env.STEP",
    "secrets.T",
    "steps.s.outcome",
    "steps.s.conclusion",
    "steps.s.outputs.o",
];

/// The places of texts; `@` marks the text.
const PLACES: &[(&str, &str)] = &[
    ("pipeline env", "env: { AT: '@' }"),
    ("concurrency", "concurrency: 'x-@'"),
    ("image", "image: 'x:@'"),
    ("approval", "approval: 'x @?'"),
    ("runs-on", "runs-on: { zone: '@' }"),
    ("continue-on-error", "continue-on-error: '@'"),
    ("job env", "env: { JOB: job, LATE: '${{ build.number }}', AT: '@' }"),
    ("if", "if: '@'"),
    ("name", "name: 'x @'"),
    ("shell", "shell: 'sh @'"),
    ("user", "user: '@'"),
    ("run", "run: 'x @'"),
    ("working-directory", "working-directory: 'x@'"),
    ("step env", "env: { STEP: step, AT: '@' }"),
    ("step if", "if: '@'"),
    ("outputs", "outputs: { v: '@' }"),
];

fn file(place: &str, written: &str) -> String {
    let of =
        |places: &[&str], written: &str| if places.contains(&place) { format!("{written}, ") } else { String::new() };
    let head = match place {
        "pipeline env" => "env: { PIPELINE: pipeline, AT: '@' }\n".replace('@', written),
        "concurrency" => format!("env: {{ PIPELINE: pipeline }}\nconcurrency: 'x-{written}'\n"),
        _ => "env: { PIPELINE: pipeline }\n".to_owned(),
    };
    let key =
        PLACES.iter().find_map(|(name, key)| (*name == place).then_some(*key)).unwrap_or_else(|| panic!("{place}"));
    let key = key.replace('@', written);
    let image = if place == "image" { String::new() } else { "image: 'x:1', ".to_owned() };
    let env =
        if place == "job env" { String::new() } else { "env: { JOB: job, LATE: '${{ build.number }}' }, ".to_owned() };
    let run = if place == "run" { String::new() } else { "run: a, ".to_owned() };
    let step_env = if place == "step env" { String::new() } else { "env: { STEP: step }, ".to_owned() };
    format!(
        "on: {{ push: , pull-request: , schedule: [{{ cron: '0 3 * * *' }}], manual: {{ inputs: {{ level: {{ type: choice, options: [patch], default: patch }} }} }} }}
{head}jobs:
  before: {{ image: 'x:1', outputs: {{ v: '1' }}, steps: [{{ run: a }}] }}
  at: {{ {image}{env}needs: [before], matrix: {{ m: [one] }}, secrets: [T], {job}steps: [{{ id: s, run: b }}, {{ {run}{step_env}{step}retry: 0 }}] }}
",
        job = of(&["image", "approval", "runs-on", "continue-on-error", "job env", "if", "outputs"], &key),
        step = of(&["name", "shell", "user", "run", "working-directory", "step env", "step if"], &key),
    )
}

fn event(member: &str) -> Event {
    match member {
        "event.tag" => Event { name: EventName::Tag, git_ref: "refs/tags/v1".to_owned(), ..push("x") },
        "event.cron" => Event {
            name: EventName::Schedule,
            schedule: Some(DueSchedule {
                cron: "0 3 * * *".to_owned(),
                timezone: "UTC".to_owned(),
                due_at: Timestamp::from_millis(0),
            }),
            ..push("main")
        },
        // Numbers and words that are valid at every place.
        _ => Event {
            before: Some("0".repeat(40)),
            url: Some("https://forge.example/team/app/pulls/7".to_owned()),
            ..pull_request("main", "opened")
        },
    }
}

/// The values that are known when a job starts, or between its steps.
struct Known {
    contexts: BTreeMap<String, Value>,
}

impl Context for Known {
    fn context(&self, name: &str) -> Option<&Value> {
        self.contexts.get(name)
    }

    fn progress(&self) -> Option<Progress> {
        Some(Progress::default())
    }
}

fn build() -> Value {
    build_context(BuildId::new(), 12, "https://ci.example")
}

fn ends() -> [NeedEnd; 1] {
    [NeedEnd {
        key: "longshore/before".to_owned(),
        status: Status::Success,
        outputs: BTreeMap::from([("v".to_owned(), "1".to_owned())]),
        continue_on_error: false,
    }]
}

/// The values that the server has when the job starts.
fn of_server(plan: &JobPlan) -> Known {
    let mut contexts = plan.known.clone();
    contexts.insert("build".to_owned(), build());
    contexts.insert("needs".to_owned(), needs_context(plan, &ends()));
    contexts.insert("secrets".to_owned(), Value::map([("T", "secret")]));
    Known { contexts }
}

/// The values that the agent has between steps.
fn of_agent(plan: &JobPlan) -> Known {
    let mut known = of_server(plan);
    let env: Vec<(String, Value)> = plan
        .env
        .iter()
        .chain(&plan.steps[1].env)
        .filter_map(|(name, value)| Some((name.clone(), Value::from(value.evaluate(&known).ok()?))))
        .collect();
    known.contexts.insert("env".to_owned(), Value::map(env));
    let step = Value::map([
        ("outcome", Value::from("success")),
        ("conclusion", Value::from("success")),
        ("outputs", Value::map([("o", "1")])),
    ]);
    known.contexts.insert("steps".to_owned(), Value::map([("s", step)]));
    known
}

#[test]
fn what_lint_takes_at_a_place_is_there_at_that_place() {
    let facts = RepoFacts {
        name: "team/app".to_owned(),
        clone_url: "https://forge.example/team/app.git".to_owned(),
        forge: "forgejo".to_owned(),
        default_branch: Some("main".to_owned()),
        changed_files: None,
    };
    let mut taken = BTreeMap::<&str, Vec<&str>>::new();
    for (place, _) in PLACES {
        for member in MEMBERS {
            if *member == "env.STEP" && !matches!(*place, "run" | "working-directory") {
                // In a step, an image may define any name of `env`; the step's own variables are those of its script.
                continue;
            }
            let is_condition = matches!(*place, "if" | "step if" | "continue-on-error");
            let asked = if is_condition { format!("{member} != null") } else { (*member).to_owned() };
            let written = match *place {
                "if" | "step if" => asked.clone(),
                _ => format!("${{{{ {asked} }}}}"),
            };
            let text = file(place, &written);
            let checked = check(&text, &[]);
            if checked.has_errors() {
                let fits = ["LS043", "LS044", "LS045", "LS059", "LS033"];
                assert!(
                    checked.diagnostics.iter().any(|found| fits.contains(&found.code.as_str())),
                    "{text}\n{:?}",
                    checked.diagnostics
                );
                continue;
            }
            taken.entry(place).or_default().push(member);
            let planned = checked.plan(&event(member), &facts);
            let plan = match planned {
                Planned::Build(_) => built(planned).jobs.remove(1),
                other => panic!("{member} at {place} is taken, and then: {other:?}\n{text}"),
            };
            let value = |text: &Template, known: &Known| {
                text.evaluate(known).unwrap_or_else(|error| panic!("{member} at {place}: {error}\n{text:?}"))
            };
            let step = &plan.steps[1];
            let at = match *place {
                "pipeline env" | "job env" => value(&plan.env["AT"], &of_server(&plan)),
                "concurrency" => plan.concurrency.as_ref().unwrap().group.trim_start_matches("x-").to_owned(),
                "image" => value(&plan.image, &of_server(&plan)).trim_start_matches("x:").to_owned(),
                "approval" => plan.approval.as_ref().unwrap().trim_start_matches("x ").trim_end_matches('?').to_owned(),
                "runs-on" => plan.runs_on["zone"].clone(),
                "continue-on-error" => {
                    if plan.continue_on_error {
                        "true".to_owned()
                    } else {
                        String::new()
                    }
                }
                "if" => {
                    let known = BTreeMap::from([("build".to_owned(), build())]);
                    match eligibility(&plan, &ends(), &known) {
                        Eligibility::Runs => "true".to_owned(),
                        other => panic!("{member} at {place}: {other:?}"),
                    }
                }
                "name" => step.name.trim_start_matches("x ").to_owned(),
                "shell" => step.shell.trim_start_matches("sh ").to_owned(),
                "user" => step.user.clone().unwrap(),
                "run" => value(step.run.as_ref().unwrap(), &of_agent(&plan)).trim_start_matches("x ").to_owned(),
                "working-directory" => {
                    value(step.working_directory.as_ref().unwrap(), &of_agent(&plan))[1..].to_owned()
                }
                "step env" => value(&step.env["AT"], &of_agent(&plan)),
                "step if" => {
                    evaluate(step.condition.as_ref().unwrap(), &of_agent(&plan)).unwrap().is_truthy().to_string()
                }
                _ => value(&plan.outputs["v"], &of_agent(&plan)),
            };
            assert!(
                !at.is_empty() && at != "false" || *member == "event.fork",
                "{member} at {place} is nothing\n{text}"
            );
        }
    }
    // Every place accepts something, and a job's condition accepts what is known at the start of the job.
    assert_eq!(taken.len(), PLACES.len());
    for member in
        ["build.url", "build.number", "needs.before.outputs.v", "repo.name", "event.title", "matrix.m", "inputs.level"]
    {
        assert!(taken["if"].contains(&member), "{member}");
    }
}
