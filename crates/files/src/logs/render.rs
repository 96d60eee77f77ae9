//! Renders a journal as raw bytes, text, JSON lines or events of a live stream. Pure: records in, bytes out.

use std::{borrow::Cow, collections::HashMap, io::Write as _, sync::Arc};

use longshore_core::{JobPlan, Record, RecordKind, Stream, Timestamp, outcome::human_duration};
use serde::{Deserialize, Serialize};

/// The state of a step that a renderer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepHead {
    /// As in the records.
    pub number: u16,
    pub name: String,
    /// The script, shown at the beginning of the step in text.
    pub run: String,
}

impl StepHead {
    /// Returns the heads of a job's steps and services, by their numbers.
    #[must_use]
    pub fn from_plan(plan: &JobPlan) -> Vec<Self> {
        let steps = (0..).zip(&plan.steps).map(|(number, step)| Self {
            number,
            name: step.name.clone(),
            run: step.shown_script(),
        });
        let services = (Record::FIRST_SERVICE..).zip(&plan.services).map(|(number, service)| Self {
            number,
            name: format!("service {}", service.name),
            run: String::new(),
        });
        steps.chain(services).collect()
    }

    fn find(heads: &[Self], number: u16) -> Option<&Self> {
        heads.binary_search_by_key(&number, |head| head.number).ok().and_then(|at| heads.get(at))
    }
}

/// Returns whether a record belongs to the raw log (of one step, if given).
pub(super) fn is_raw(record: &Record<'_>, step: Option<u16>) -> bool {
    matches!(record.kind, RecordKind::Output(Stream::Stdout | Stream::Stderr)) && step.is_none_or(|s| s == record.step)
}

/// Renders records, given in order, to bytes.
#[derive(Debug)]
pub struct Renderer {
    form: Form,
    step: Option<u16>,
}

#[derive(Debug)]
enum Form {
    Raw,
    Text { steps: Vec<StepHead>, at_line_start: bool },
    Jsonl(LogEvents),
}

impl Renderer {
    /// Shows what the processes wrote to stdout and stderr, byte for byte, in order; of one step or of all.
    #[must_use]
    pub fn raw(step: Option<u16>) -> Self {
        Self { form: Form::Raw, step }
    }

    /// For people: each step's name and script, its output, Longshore's notes after `---`, and the end of failed steps.
    #[must_use]
    pub fn text(steps: Vec<StepHead>, step: Option<u16>) -> Self {
        Self { form: Form::Text { steps, at_line_start: true }, step }
    }

    /// Shows one [`LogEvent`] per line of output, or per part of a line.
    #[must_use]
    pub fn jsonl(steps: Vec<StepHead>, step: Option<u16>) -> Self {
        Self { form: Form::Jsonl(LogEvents::new(steps)), step }
    }

    /// Appends the rendered record to `out`.
    pub fn render(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        if self.step.is_some_and(|step| step != record.step) {
            return;
        }
        match &mut self.form {
            Form::Raw if is_raw(record, self.step) => out.extend_from_slice(&record.data),
            Form::Raw => {}
            Form::Text { steps, at_line_start } => text(steps, at_line_start, record, out),
            Form::Jsonl(events) => jsonl(events, record, out),
        }
    }
}

/// The part of the agent's step result that text shows.
#[derive(Deserialize)]
struct StepFinished {
    exit_code: Option<i32>,
    signal: Option<i32>,
    wall_ms: u64,
}

fn text(steps: &[StepHead], at_line_start: &mut bool, record: &Record<'_>, out: &mut Vec<u8>) {
    let step = StepHead::find(steps, record.step);
    let name = step.map_or("?", |step| step.name.as_str());
    if !matches!(record.kind, RecordKind::Output(Stream::Stdout | Stream::Stderr)) && !*at_line_start {
        out.push(b'\n');
        *at_line_start = true;
    }
    match record.kind {
        RecordKind::Output(Stream::Stdout | Stream::Stderr) => {
            out.extend_from_slice(&record.data);
            if let Some(last) = record.data.last() {
                *at_line_start = *last == b'\n';
            }
        }
        RecordKind::Output(Stream::System) => {
            for line in String::from_utf8_lossy(&record.data).lines() {
                let _ = writeln!(out, "--- {line}");
            }
        }
        RecordKind::StepStarted => {
            let _ = writeln!(out, "==> {name}");
            for (at, line) in step.map_or("", |step| step.run.as_str()).lines().enumerate() {
                let _ = writeln!(out, "{} {line}", if at == 0 { '$' } else { '>' });
            }
        }
        RecordKind::StepFinished => {
            let Ok(end) = serde_json::from_slice::<StepFinished>(&record.data) else { return };
            let Some(code) = end.exit_code.filter(|code| *code != 0) else { return };
            let time = human_duration(end.wall_ms);
            let _ = match end.signal {
                Some(signal) => writeln!(out, "<== {name}: exit code {code}, by signal {signal}, after {time}"),
                None => writeln!(out, "<== {name}: exit code {code} after {time}"),
            };
        }
        RecordKind::JobFinished | RecordKind::RunContainer | RecordKind::ServiceReady | RecordKind::AttemptEnded => {}
    }
}

/// A piece of output, as the API streams it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEvent<'a> {
    /// The step's name; `None` for a note that belongs to no step.
    pub step: Option<&'a str>,
    /// The step's number, from 1, as shown everywhere.
    pub number: Option<u32>,
    pub stream: &'static str,
    pub time: Timestamp,
    /// Lines with their ends, or a part of a line; invalid UTF-8 is replaced.
    pub text: Cow<'a, str>,
}

/// Turns records, given in order, into events. A character that is split between two records appears whole with the
/// second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvents {
    steps: Arc<[StepHead]>,
    /// The beginning of a split character, by step and stream.
    pub(super) cut: HashMap<(u16, &'static str), Vec<u8>>,
}

impl LogEvents {
    #[must_use]
    pub fn new(steps: Vec<StepHead>) -> Self {
        Self { steps: steps.into(), cut: HashMap::new() }
    }

    /// Returns the record's output; `None` for a record without output.
    pub fn event<'a>(&'a mut self, record: &'a Record<'_>) -> Option<LogEvent<'a>> {
        let (stream, text) = match record.kind {
            RecordKind::Output(stream) => (stream, self.join(stream, record)),
            // A step that ends inside a character yields a replacement character.
            RecordKind::StepFinished => {
                let streams = [Stream::Stdout, Stream::Stderr];
                let left = streams.map(|stream| (stream, self.cut.remove(&(record.step, stream.as_str()))));
                let (stream, bytes) = left.into_iter().find_map(|(stream, bytes)| Some((stream, bytes?)))?;
                (stream, Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
            }
            RecordKind::StepStarted
            | RecordKind::JobFinished
            | RecordKind::RunContainer
            | RecordKind::ServiceReady
            | RecordKind::AttemptEnded => return None,
        };
        if text.is_empty() {
            return None;
        }
        Some(LogEvent {
            step: StepHead::find(&self.steps, record.step).map(|step| step.name.as_str()),
            number: (record.step != Record::NO_STEP).then(|| u32::from(record.step) + 1),
            stream: stream.as_str(),
            time: record.time,
            text,
        })
    }

    fn join<'a>(&mut self, stream: Stream, record: &'a Record<'_>) -> Cow<'a, str> {
        let key = (record.step, stream.as_str());
        let mut bytes = match self.cut.remove(&key) {
            Some(mut bytes) => {
                bytes.extend_from_slice(&record.data);
                Cow::Owned(bytes)
            }
            None => Cow::Borrowed(&*record.data),
        };
        let whole = bytes.len() - cut_character_len(&bytes);
        if whole < bytes.len() {
            self.cut.insert(key, bytes[whole..].to_vec());
            match &mut bytes {
                Cow::Borrowed(bytes) => *bytes = &bytes[..whole],
                Cow::Owned(bytes) => bytes.truncate(whole),
            }
        }
        match bytes {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}

/// Returns how many bytes at the end begin an incomplete character: 0 to 3.
fn cut_character_len(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    for (at, byte) in tail.iter().enumerate().rev() {
        let have = tail.len() - at;
        let needs = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        // Do not wait for bytes that cannot begin a character.
        let can_go_on = std::str::from_utf8(&tail[at..]).is_err_and(|error| error.error_len().is_none());
        return if have < needs && can_go_on { have } else { 0 };
    }
    0
}

fn jsonl(events: &mut LogEvents, record: &Record<'_>, out: &mut Vec<u8>) {
    let Some(event) = events.event(record) else { return };
    for line in event.text.split_inclusive('\n') {
        let event = LogEvent { text: Cow::Borrowed(line), ..event };
        // Writing to memory, and the value always has a JSON form.
        if serde_json::to_writer(&mut *out, &event).is_ok() {
            out.push(b'\n');
        }
    }
}
