//! Any message of the two sides.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_agent_protocol::message::{
    AgentError, JobEnd, JobResult, JobSpec, MemberPurpose, ProgramSpec, SandboxLeft, ServiceSpec, StepResult, StepSpec,
    StepStatus,
};
use longshore_agent_protocol::{
    ArtifactLimits, ArtifactSpec, ArtifactWindow, ContainerFailure, ContainerRequest, FromAgent, MemberId, ToAgent,
};
use longshore_core::artifact::ArtifactKind;
use longshore_core::expression::{Expression, Value};
use longshore_core::plan::{ArtifactWhen, Probe, Ready, Retry, RetryOn};
use longshore_core::template::{Part, Template};
use proptest::collection::vec;
use proptest::prelude::*;

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn expression(source: &str) -> Template {
    Template::new([Part::Expression(Expression::parse(source).unwrap())])
}

fn spec() -> impl Strategy<Value = JobSpec> {
    (".{0,40}", any::<u64>(), vec(".{0,20}", 0..3)).prop_map(|(run, timeout_ms, masks)| JobSpec {
        caches: Vec::new(),
        on_workspace: false,
        pod_secret: None,
        env: BTreeMap::from([("A".to_owned(), run.as_str().into())]),
        known: BTreeMap::from([("secrets".to_owned(), Value::map([("A", run.as_str())]))]),
        secret_files: BTreeMap::from([("A".to_owned(), run.clone())]),
        outputs: BTreeMap::from([("A".to_owned(), expression("steps.one.outputs.a"))]),
        masks,
        workspace: "/longshore/workspace".to_owned(),
        user: String::new(),
        timeout_ms,
        grace_ms: 10_000,
        checkout: true,
        steps: vec![StepSpec {
            id: Some("one".to_owned()),
            name: "one".to_owned(),
            run: run.into(),
            env: BTreeMap::new(),
            working_directory: Some(expression("env.A")),
            shell: "sh".to_owned(),
            condition: Some(Expression::parse("always() && env.A == 'a'").unwrap()),
            continue_on_error: false,
            timeout_ms: None,
            retry: Some(Retry { max: 2, on: vec![RetryOn::Failure] }),
            user: None,
            tty: true,
            background: false,
            image: Some(expression("matrix.image")),
            program: Some(ProgramSpec { entrypoint: vec!["a".into()], command: vec![expression("env.A")] }),
            wait: vec![0, 3],
        }],
        services: vec![ServiceSpec {
            name: "db".to_owned(),
            env: BTreeMap::from([("A".to_owned(), expression("secrets.A"))]),
            program: ProgramSpec::default(),
            user: Some("db".to_owned()),
            ready: Some(Ready { probe: Probe::Tcp(5432), timeout_ms }),
        }],
        path: vec!["/bin".to_owned()],
        authorities: "-----BEGIN CERTIFICATE-----\n".to_owned(),
        member: Some(MemberPurpose::Service { ready: None }),
        artifacts: vec![ArtifactSpec {
            kind: ArtifactKind::Files,
            name: expression("matrix.a"),
            paths: vec!["out/**".into()],
            when: ArtifactWhen::Always,
        }],
        artifact_limits: Some(ArtifactLimits::default()),
    })
}

pub(crate) fn to_agent() -> impl Strategy<Value = ToAgent> {
    prop_oneof![
        1 => spec().prop_map(|spec| ToAgent::Plan(Box::new(spec))),
        4 => (any::<u64>(), data()).prop_map(|(offset, data)| ToAgent::Checkout { offset, data }),
        1 => any::<u64>().prop_map(|length| ToAgent::CheckoutEnd { length }),
        2 => any::<u64>().prop_map(|seq| ToAgent::Ack { seq }),
        1 => Just(ToAgent::Cancel),
        1 => (any::<u16>(), 1_u32.., ".{0,30}").prop_map(|(step, attempt, message)| {
            ToAgent::ContainerFailed(ContainerFailure { container: MemberId::Step(step, attempt), message })
        }),
        1 => (any::<u32>(), any::<u64>(), any::<u64>())
            .prop_map(|(file, offset, limit)| ToAgent::TakeArtifacts(ArtifactWindow { file, offset, limit })),
        1 => any::<u64>().prop_map(|limit| ToAgent::ArtifactRoom { limit }),
        1 => Just(ToAgent::ArtifactsStored),
    ]
}

pub(crate) fn from_agent() -> impl Strategy<Value = FromAgent> {
    let result = StepResult {
        status: StepStatus::Failure,
        exit_code: Some(7),
        signal: None,
        wall_ms: 1,
        cpu_ms: 2,
        peak_memory_bytes: 3,
        out_of_memory: false,
        outputs: BTreeMap::from([("a".to_owned(), "b\n".to_owned())]),
        summary: "# all well".to_owned(),
    };
    prop_oneof![
        1 => (any::<u16>(), any::<i64>()).prop_map(|(step, time_ms)| FromAgent::StepStarted { step, time_ms }),
        4 => (any::<u16>(), any::<bool>(), any::<i64>(), data())
            .prop_map(|(step, stderr, time_ms, data)| FromAgent::Output { step, stderr, time_ms, data }),
        1 => (any::<u16>(), any::<i64>())
            .prop_map(move |(step, time_ms)| FromAgent::StepFinished { step, time_ms, result: result.clone() }),
        1 => (any::<u16>(), any::<i64>(), ".{0,30}")
            .prop_map(|(step, time_ms, text)| FromAgent::Note { step, time_ms, text }),
        1 => (any::<u16>(), any::<i64>(), any::<u32>(), ".{0,30}").prop_map(|(step, time_ms, attempt, image)| {
            FromAgent::RunContainer { step, time_ms, container: ContainerRequest { attempt, image } }
        }),
        1 => (any::<i64>(), any::<Option<u16>>()).prop_map(|(time_ms, step)| FromAgent::ServiceReady { time_ms, step }),
        1 => (any::<i64>(), ".{0,30}").prop_map(|(time_ms, message)| FromAgent::JobFinished {
            time_ms,
            end: JobEnd {
                sandbox: SandboxLeft { is_restored: time_ms % 2 == 0, reason: message.clone() },
                many_files: (time_ms % 3 != 0).then_some(time_ms % 5 == 0),
                ..JobResult::Error { kind: AgentError::DiskFull, message }.into()
            },
        }),
    ]
}
