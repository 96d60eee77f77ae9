//! A build's timeline: one axis, one bar of segments per job, the critical path, and the same as a table.
//!
//! Pure: works on what is known of the build's jobs. The bars are SVG with milliseconds as units, so that the script
//! can let them grow while the build runs by changing attributes; nothing here is a style.

use std::collections::{HashMap, HashSet};

use longshore_core::{JobId, Status, Timestamp, outcome::human_duration, rules::needs::short_name};

use super::{
    escape::escaped_len,
    pauses::{Pauses, answered_at, turn},
    show::cut,
    tail::{has_failed, is_failure},
};
use crate::views::{AttemptView, BuildView, JobView, StepView};

/// How many jobs have a bar.
const MAX_BARS: usize = 40;
/// How many bytes a segment takes, with its text in the table, without its name.
const SEGMENT_BYTES: usize = 125;
/// Characters of a segment's name.
const MAX_NAME_CHARS: usize = 60;
/// The shortest checkout that is shown as a segment. Without a checkout, the first step begins sooner than this.
const CHECKOUT_MS: u64 = 10;

#[derive(Debug)]
pub(super) struct Timeline {
    /// When the axis begins, in milliseconds.
    pub(super) start: i64,
    /// The length of the axis in milliseconds, at least 1.
    pub(super) span: u64,
    pub(super) bars: Vec<Bar>,
    pub(super) more: usize,
    /// The build goes on, and the axis grows.
    pub(super) grows: bool,
    /// How long the build took, or when it is expected to end.
    pub(super) sum: String,
}

#[derive(Debug)]
pub(super) struct Bar {
    pub(super) id: JobId,
    pub(super) name: String,
    pub(super) status: Status,
    /// Its failure does not fail the build.
    pub(super) may_fail: bool,
    pub(super) needs: String,
    /// On the critical path: the end of the build waited for this job.
    pub(super) critical: bool,
    pub(super) segments: Vec<Segment>,
    /// When the job was claimed, and when it ended.
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
}

/// Returns the position and the height of a segment in its bar of height 12. Segments differ in form, not by shade
/// alone.
pub(super) fn height_of(class: &str) -> (u32, u32) {
    match class {
        "wait" => (4, 4),
        "image" => (2, 8),
        "start" => (6, 4),
        "checkout" => (2, 8),
        "finish" => (5, 2),
        "critical" => (9, 2),
        _ => (0, 12),
    }
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) class: String,
    pub(super) name: String,
    /// In milliseconds on the axis.
    pub(super) from: u64,
    pub(super) width: u64,
    pub(super) grows: bool,
    pub(super) took: String,
}

impl Segment {
    pub(super) fn y(&self) -> u32 {
        height_of(&self.class).0
    }

    pub(super) fn height(&self) -> u32 {
        height_of(&self.class).1
    }

    fn bytes(&self) -> usize {
        SEGMENT_BYTES + 2 * self.name.chars().map(escaped_len).sum::<usize>()
    }
}

impl Timeline {
    /// `usual_ms` is how long builds like it take. `waits` says that no job is queued or runs. `bytes` is about what
    /// all segments may take.
    pub(super) fn new(
        build: &BuildView,
        jobs: &[JobView],
        usual_ms: Option<u64>,
        waits: bool,
        pauses: &Pauses,
        now: Timestamp,
        bytes: usize,
    ) -> Self {
        let start = build.created_at;
        let grows = !build.status.is_final();
        let end = build.finished_at.unwrap_or(now);
        let at = |time: Timestamp| time.since(start).saturating_sub(pauses.before(time));
        let so_far = at(end);
        let usual_end = build.started_at.zip(usual_ms).filter(|_| !waits).map(|(from, usual)| at(from) + usual);
        let ran: Vec<&JobView> = jobs.iter().filter(|job| job.carried_over.is_none()).collect();
        // While the build waits, the part already done fills most of the axis, however long ago it was.
        let done = ran.iter().filter_map(|job| job.finished_at).max().filter(|_| waits);
        let span = match done {
            Some(last) => at(last) * 5 / 4,
            None if grows => so_far.max(usual_end.unwrap_or(0)),
            None => so_far,
        }
        .max(1);
        // While nothing runs, the path leads nowhere yet.
        let critical = if waits { HashSet::new() } else { critical_path(jobs) };
        let ends: HashMap<&str, Timestamp> =
            jobs.iter().filter_map(|job| Some((job.key.as_str(), job.finished_at?))).collect();
        let share = bytes / ran.len().clamp(1, MAX_BARS);
        let shown = most_telling(&ran, &critical);
        let bars = shown.into_iter().map(|job| Bar {
            id: job.id,
            name: job.name.clone(),
            status: job.status,
            may_fail: job.continue_on_error,
            needs: job.needs.iter().map(|key| short_name(&job.pipeline, key)).collect::<Vec<_>>().join(", "),
            critical: critical.contains(job.key.as_str()),
            segments: fit_segments(segments(job, &Axis { start, now, span, pauses }, &ends), job, share),
            from: job.claimed_at,
            to: job.finished_at,
        });
        let sum = match (grows, build.started_at.filter(|_| !waits), usual_ms) {
            (false, ..) if pauses.total_ms() > 0 => {
                format!(
                    "{} total, plus {} awaiting approval",
                    human_duration(so_far),
                    human_duration(pauses.total_ms())
                )
            }
            (false, ..) => format!("{} total", human_duration(so_far)),
            (true, Some(from), Some(usual)) => {
                let left = (at(from) + usual).saturating_sub(so_far);
                match left {
                    0 => format!("Builds usually take {}; this one is taking longer", human_duration(usual)),
                    left => {
                        format!("About {} left (builds usually take {})", rough_duration(left), human_duration(usual))
                    }
                }
            }
            (true, None, Some(usual)) => format!("Builds usually take {}", human_duration(usual)),
            (true, _, None) => "No estimate yet".to_owned(),
        };
        Self {
            // Where the axis would begin if the build had never waited for people: it grows from there.
            start: start.as_millis() + i64::try_from(pauses.total_ms()).unwrap_or(0),
            span,
            bars: bars.collect(),
            more: ran.len().saturating_sub(MAX_BARS),
            grows: grows && !waits,
            sum,
        }
    }
}

/// A line of the legend.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) y: u32,
    pub(super) height: u32,
}

impl Timeline {
    /// Returns the legend: every kind of segment on the bars except steps, which explain themselves.
    pub(super) fn parts(&self) -> Vec<Part> {
        let there = |class: &&str| self.bars.iter().flat_map(|bar| &bar.segments).any(|part| part.class == *class);
        let mut parts: Vec<_> = ["wait", "image", "start", "checkout", "finish"].into_iter().filter(there).collect();
        if self.bars.iter().any(|bar| bar.critical) {
            parts.push("critical");
        }
        let part = |class| {
            let (y, height) = height_of(class);
            let name = match class {
                "wait" => "waiting",
                "critical" => "critical path",
                name => name,
            };
            Part { class, name, y, height }
        };
        parts.into_iter().map(part).collect()
    }
}

fn rough_duration(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..=59 => format!("{} s", seconds.max(1)),
        seconds => format!("{} min", (seconds + 30) / 60),
    }
}

struct Axis<'a> {
    start: Timestamp,
    now: Timestamp,
    span: u64,
    pauses: &'a Pauses,
}

impl Axis<'_> {
    fn at(&self, time: Timestamp) -> u64 {
        time.since(self.start).saturating_sub(self.pauses.before(time)).min(self.span)
    }

    fn segment(
        &self,
        class: impl Into<String>,
        name: impl Into<String>,
        from: Timestamp,
        to: Option<Timestamp>,
    ) -> Segment {
        let at = self.at(from);
        let end = to.unwrap_or(self.now);
        let took = end.since(from);
        Segment {
            class: class.into(),
            name: cut(&name.into(), MAX_NAME_CHARS).to_owned(),
            from: at,
            // A segment that took no time stays visible.
            width: (self.at(end).saturating_sub(at)).max(self.span / 500),
            grows: to.is_none(),
            took: human_duration(took),
        }
    }
}

fn segments(job: &JobView, axis: &Axis<'_>, ends: &HashMap<&str, Timestamp>) -> Vec<Segment> {
    let mut segments = Vec::new();
    // A job that waits for its needs has no bar; a job that waits for something else shows it.
    if job.status == Status::Skipped || (job.status == Status::Blocked && job.reason.is_none()) {
        return segments;
    }
    let mut turn = turn(job, axis.start, ends);
    if job.asks.is_some() {
        segments.push(axis.segment("wait", "awaiting approval", turn, None));
        return segments;
    }
    if let Some(at) = answered_at(job) {
        segments.push(axis.segment("wait", "awaiting approval", turn, Some(at)));
        turn = at;
    }
    let is_earlier = |one: &&AttemptView| one.attempt < job.attempt || job.claimed_at.is_none();
    for earlier in job.attempts.iter().filter(is_earlier) {
        let Some(claimed) = earlier.claimed_at else { continue };
        segments.push(axis.segment("wait", "waiting", turn, Some(claimed)));
        let (class, name) = (format!("step {}", earlier.status), format!("attempt {}", earlier.attempt));
        segments.push(axis.segment(class, name, claimed, Some(earlier.finished_at)));
        turn = earlier.finished_at;
    }
    segments.push(axis.segment("wait", "waiting", turn, job.claimed_at.or(job.finished_at)));
    let Some(claimed) = job.claimed_at else { return segments };
    let first_step = job.steps.iter().filter_map(|step| step.started_at).min();
    let began = job.started_at.or(first_step).or(job.finished_at);
    let made = match job.pulling_at {
        Some(_) => {
            let here = job.starting_at.or(began);
            segments.push(axis.segment("image", "image", claimed, here));
            here
        }
        None => Some(claimed),
    };
    if let Some(made) = made.filter(|made| Some(*made) != job.finished_at) {
        segments.push(axis.segment("start", "start", made, began));
    }
    let Some(began) = job.started_at else { return segments };
    let checked_out = first_step.or(job.finished_at);
    if checked_out.is_none_or(|end| end.since(began) >= CHECKOUT_MS) {
        segments.push(axis.segment("checkout", "checkout", began, checked_out));
    }
    // Among steps that ran at the same time, the one that failed is drawn over the others.
    let mut steps: Vec<&StepView> = job.steps.iter().collect();
    steps.sort_by_key(|step| is_failure(step.status));
    for (step, started) in steps.into_iter().filter_map(|step| Some((step, step.started_at?))) {
        segments.push(axis.segment(
            step_class(job, step.status),
            step.name.clone(),
            started,
            step.finished_at.or(job.finished_at),
        ));
    }
    let last = job.steps.iter().filter_map(|step| step.finished_at).max();
    if let (Some(last), Some(end)) = (last, job.finished_at) {
        segments.push(axis.segment("finish", "finish", last, Some(end)));
    }
    segments
}

/// Returns the class of a segment of a step with this status. Failures of a job that may fail look like none.
fn step_class(job: &JobView, status: Status) -> String {
    if job.continue_on_error && is_failure(status) { "step ignored".to_owned() } else { format!("step {status}") }
}

/// Returns the jobs that have a bar, in their order. If there are too many, those that failed come first, then those on
/// the critical path, then those that have run.
fn most_telling<'a>(jobs: &[&'a JobView], critical: &HashSet<&str>) -> Vec<&'a JobView> {
    let mut places: Vec<usize> = (0..jobs.len()).collect();
    places.sort_by_key(|at| {
        let job = jobs[*at];
        (!has_failed(job), !critical.contains(job.key.as_str()), job.claimed_at.is_none())
    });
    places.truncate(MAX_BARS);
    places.sort_unstable();
    places.into_iter().map(|at| jobs[at]).collect()
}

/// Keeps as many segments as a bar's share of the page has room for. The rest become one segment in the colour of the
/// job's status.
fn fit_segments(mut segments: Vec<Segment>, job: &JobView, share: usize) -> Vec<Segment> {
    let mut bytes = 0;
    let fit = segments.iter().take_while(|segment| {
        bytes += segment.bytes();
        bytes <= share
    });
    let fit = fit.count();
    if fit == segments.len() {
        return segments;
    }
    let rest = segments.split_off(fit.saturating_sub(1));
    let from = rest.iter().map(|part| part.from).min().unwrap_or(0);
    let end = rest.iter().map(|part| part.from + part.width).max().unwrap_or(from);
    segments.push(Segment {
        class: step_class(job, job.status),
        name: format!("{} more phases", rest.len()),
        from,
        width: end - from,
        grows: rest.iter().any(|part| part.grows),
        took: human_duration(end - from),
    });
    segments
}

/// Returns the keys of the jobs on the critical path: from the job that ended last, back through the need that ended
/// last, and so on.
fn critical_path(jobs: &[JobView]) -> HashSet<&str> {
    let by_key: HashMap<&str, &JobView> = jobs.iter().map(|job| (job.key.as_str(), job)).collect();
    let end = |job: &&&JobView| job.finished_at.or(job.claimed_at.map(|_| Timestamp::from_millis(i64::MAX)));
    let mut path = HashSet::new();
    let ran: Vec<&JobView> = jobs.iter().filter(|job| job.claimed_at.is_some()).collect();
    let mut next = ran.iter().max_by_key(end).copied();
    while let Some(job) = next {
        if !path.insert(job.key.as_str()) {
            break;
        }
        let needs: Vec<&JobView> = job.needs.iter().filter_map(|need| by_key.get(need.as_str()).copied()).collect();
        next = needs.iter().filter(|need| need.claimed_at.is_some()).max_by_key(end).copied();
    }
    // A single job is not a path.
    if jobs.len() < 2 {
        path.clear();
    }
    path
}
