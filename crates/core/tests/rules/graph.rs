//! What a job sees of the others, in builds of any shape.

use std::collections::{BTreeMap, BTreeSet};

use longshore_core::{
    JobId, NeedEnd, Status,
    plan::Need,
    rules::graph::{BuildGraph, GraphJob},
};
use proptest::prelude::*;

/// A job of a build: its status, and for each job before it the kind of the edge to that one.
type Shape = (Status, Vec<u8>);

const MAX_JOBS: usize = 9;
const NONE: u8 = 0;
const REQUIRED: u8 = 1;
const OPTIONAL: u8 = 2;

/// Builds with few edges, so that much stands behind something else.
fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let edge = prop_oneof![5 => Just(NONE), 3 => Just(REQUIRED), 1 => Just(OPTIONAL)];
    let status = prop_oneof![3 => Just(Status::Skipped), 2 => prop::sample::select(&Status::ALL[..])];
    prop::collection::vec((status, prop::collection::vec(edge, MAX_JOBS)), 1..=MAX_JOBS)
}

fn key(at: usize) -> String {
    format!("ci/j{at}")
}

/// The jobs before `at` that `at` needs with an edge of this kind.
fn needed(shapes: &[Shape], at: usize, kind: u8) -> impl Iterator<Item = usize> {
    (0..at).filter(move |need| shapes[at].1[*need] == kind)
}

fn graph(shapes: &[Shape]) -> (Vec<JobId>, BuildGraph) {
    let ids: Vec<JobId> = shapes.iter().map(|_| JobId::new()).collect();
    let jobs = shapes.iter().enumerate().map(|(at, shape)| {
        let edges = |kind| {
            let of_kind = needed(shapes, at, kind);
            of_kind.map(move |need| Need {
                key: key(need),
                job: format!("j{need}"),
                optional: kind == OPTIONAL,
                ..Need::default()
            })
        };
        let outputs = BTreeMap::from([("at".to_owned(), at.to_string())]);
        let end = NeedEnd { key: key(at), status: shape.0, outputs, continue_on_error: false };
        GraphJob { id: ids[at], end, needs: edges(REQUIRED).chain(edges(OPTIONAL)).collect() }
    });
    let jobs = jobs.collect();
    (ids, BuildGraph::new(jobs))
}

/// What the job at `from` sees, said otherwise: the ends of every chain of required needs whose inner jobs were skipped
/// and are no optional needs of the job itself, and its optional needs.
fn expected(shapes: &[Shape], from: usize) -> BTreeSet<usize> {
    fn follow(shapes: &[Shape], from: usize, at: usize, seen: &mut BTreeSet<usize>) {
        for need in needed(shapes, at, REQUIRED) {
            seen.insert(need);
            if shapes[need].0 == Status::Skipped && !needed(shapes, from, OPTIONAL).any(|one| one == need) {
                follow(shapes, from, need, seen);
            }
        }
    }
    let mut seen: BTreeSet<usize> = needed(shapes, from, OPTIONAL).collect();
    follow(shapes, from, from, &mut seen);
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// In the order of creation, each once, and as it stands; and an end is told to exactly the jobs that see it.
    #[test]
    fn a_job_sees_its_needs_and_through_skipped_jobs_those_behind_them(shapes in shapes()) {
        let (ids, graph) = graph(&shapes);
        for at in 0..shapes.len() {
            let seen = graph.needs_of(ids[at]).unwrap();
            let places: Vec<usize> = seen.iter().map(|end| end.outputs["at"].parse().unwrap()).collect();
            prop_assert_eq!(&places, &expected(&shapes, at).into_iter().collect::<Vec<_>>(), "of job {}", at);
            prop_assert!(seen.iter().zip(places).all(|(end, place)| end.status == shapes[place].0));

            let all = 0..shapes.len();
            let sees_it: Vec<JobId> = all.filter(|one| expected(&shapes, *one).contains(&at)).map(|one| ids[one]).collect();
            prop_assert_eq!(graph.dependents(ids[at]), sees_it, "of job {}", at);
        }
    }
}

#[test]
fn a_job_that_the_graph_does_not_hold_has_no_answer_instead_of_no_needs() {
    let (_, graph) = graph(&[(Status::Blocked, vec![NONE; MAX_JOBS])]);
    assert_eq!(graph.needs_of(JobId::new()), None);
    assert_eq!(graph.dependents(JobId::new()), Vec::new());
}
