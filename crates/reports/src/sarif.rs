//! SARIF 2.1: results of static analysis. Results that are suppressed, passed, or gone since the baseline are left out.
//!
//! One result is in memory at a time, since a few bytes of a file would otherwise become many.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    annotations::{Annotation, Annotations, Level},
    json::{FirstItems, FirstValues, for_each, problem},
    limits, paths, text,
};

#[derive(Deserialize)]
struct Log<'a> {
    #[serde(borrow)]
    runs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Run<'a> {
    #[serde(borrow)]
    tool: Option<&'a RawValue>,
    #[serde(borrow)]
    results: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Tool {
    driver: Option<Driver>,
}

#[derive(Deserialize)]
struct Driver {
    name: Option<String>,
    rules: Option<FirstItems<Rule, { limits::RULES }>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: Option<String>,
    message_strings: Option<FirstValues<Template, 32>>,
    default_configuration: Option<Configuration>,
    short_description: Option<Template>,
}

/// A text of a rule.
#[derive(Deserialize)]
struct Template {
    text: Option<String>,
}

#[derive(Deserialize)]
struct Configuration {
    level: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult {
    rule_id: Option<String>,
    rule_index: Option<i64>,
    rule: Option<RuleReference>,
    kind: Option<String>,
    level: Option<String>,
    message: Option<Message>,
    locations: Option<FirstItems<Location, 100>>,
    suppressions: Option<FirstItems<Suppression, 100>>,
    baseline_state: Option<String>,
}

#[derive(Deserialize)]
struct RuleReference {
    id: Option<String>,
    index: Option<i64>,
}

#[derive(Deserialize)]
struct Suppression {
    status: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    text: Option<String>,
    id: Option<String>,
    arguments: Option<FirstItems<String, 10>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: Option<Physical>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Option<ArtifactLocation>,
    region: Option<Region>,
}

#[derive(Deserialize)]
struct ArtifactLocation {
    uri: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: Option<u32>,
    end_line: Option<u32>,
    start_column: Option<u32>,
}

/// Reads a file. The error says what is wrong with it.
pub(crate) fn read(json: &str, into: &mut Annotations) -> Result<(), String> {
    let no_sarif = |part: &str, error: &serde_json::Error| format!("it is not SARIF: {}", problem(json, part, error));
    let log: Log<'_> = serde_json::from_str(json).map_err(|error| no_sarif(json, &error))?;
    let runs = log.runs.ok_or("it is not SARIF: it has no `runs`")?;
    let mut outcome = Ok(());
    let mut too_many_rules = false;
    for_each(runs, |run: Run<'_>| {
        if outcome.is_ok() {
            outcome = read_run(&run, into, &mut too_many_rules).map_err(|(part, error)| no_sarif(part, &error));
        }
    })
    .map_err(|error| no_sarif(runs.get(), &error))?;
    outcome?;
    if too_many_rules {
        return Err(format!("a tool lists more than {} rules: the others are ignored", limits::RULES));
    }
    Ok(())
}

/// The part of a file that cannot be read, and why.
type Unreadable<'a> = (&'a str, serde_json::Error);

fn read_run<'a>(run: &Run<'a>, into: &mut Annotations, too_many_rules: &mut bool) -> Result<(), Unreadable<'a>> {
    let tool: Option<Tool> = match run.tool {
        Some(tool) => serde_json::from_str(tool.get()).map_err(|error| (tool.get(), error))?,
        None => None,
    };
    let driver = tool.and_then(|tool| tool.driver);
    let (tool, rules) = driver.map_or((None, None), |driver| (driver.name, driver.rules));
    let rules = rules.unwrap_or_default();
    *too_many_rules |= rules.left_out;
    let rules = rules.items;
    // Cut once: it is on every result.
    let tool = tool.map(|tool| text::cut(&tool, limits::NAME_BYTES).into_owned());
    let places: HashMap<&str, usize> =
        rules.iter().enumerate().filter_map(|(at, rule)| Some((rule.id.as_deref()?, at))).collect();
    let Some(results) = run.results else { return Ok(()) };
    for_each(results, |result: SarifResult| {
        if let Some(annotation) = result.annotation(tool.as_deref(), &rules, &places) {
            into.add(annotation);
        }
    })
    .map_err(|error| (results.get(), error))
}

impl SarifResult {
    fn annotation(self, tool: Option<&str>, rules: &[Rule], places: &HashMap<&str, usize>) -> Option<Annotation> {
        let suppressed = self
            .suppressions
            .iter()
            .flat_map(|some| &some.items)
            .any(|one| one.status.as_deref().is_none_or(|status| status == "accepted"));
        let counts = self.kind.as_deref().is_none_or(|kind| matches!(kind, "fail" | "open" | "review"));
        if suppressed || !counts || self.baseline_state.as_deref() == Some("absent") {
            return None;
        }
        let (mut id, mut index) = (self.rule_id, self.rule_index);
        if let Some(rule) = self.rule {
            (id, index) = (id.or(rule.id), index.or(rule.index));
        }
        let index = index.and_then(|index| usize::try_from(index).ok());
        let rule = index.and_then(|index| rules.get(index)).or_else(|| rules.get(*places.get(id.as_deref()?)?));
        let level = self.level.as_deref().or_else(|| rule?.default_configuration.as_ref()?.level.as_deref());
        let level = match level {
            Some("error") => Level::Error,
            Some("note") => Level::Notice,
            Some("none") => return None,
            Some(_) | None => Level::Warning,
        };
        let message = message(self.message, rule);
        let physical =
            self.locations.into_iter().flat_map(|some| some.items).find_map(|location| location.physical_location);
        let (file, region) = physical.map_or((None, None), |physical| {
            (physical.artifact_location.and_then(|artifact| artifact.uri), physical.region)
        });
        let region = region.as_ref();
        let named = |name: Option<String>| {
            name.map(|name| text::clean(&text::cut(name.trim(), limits::NAME_BYTES)).into_owned())
                .filter(|name| !name.is_empty())
        };
        Some(Annotation {
            level,
            file: file.map(|file| path(&file)),
            line: region.and_then(|region| region.start_line),
            end_line: region.and_then(|region| region.end_line),
            column: region.and_then(|region| region.start_column),
            title: None,
            message: text::cut(&text::clean(message.trim()), limits::MESSAGE_BYTES).into_owned(),
            tool: named(tool.map(str::to_owned)),
            rule: named(id),
        })
    }
}

/// Returns the text of a message, which may stand with its rule.
fn message(message: Option<Message>, rule: Option<&Rule>) -> String {
    let arguments = message.as_ref().and_then(|message| message.arguments.as_ref());
    let arguments = arguments.map_or(&[][..], |some| &some.items);
    let (text, id) = message.as_ref().map_or((None, None), |message| (message.text.as_deref(), message.id.as_deref()));
    let of_rule = || rule?.message_strings.as_ref()?.0.get(id?)?.text.as_deref();
    let description = || rule?.short_description.as_ref()?.text.as_deref();
    let text = text.or_else(of_rule).or_else(description).unwrap_or("no message");
    let mut text = text::cut(text, limits::MESSAGE_BYTES).into_owned();
    for (at, argument) in arguments.iter().enumerate() {
        // Both are cut first, and few are put in, so that a few bytes cannot become many.
        text = text::cut(&text, limits::MESSAGE_BYTES).replacen(
            &format!("{{{at}}}"),
            &text::cut(argument, limits::MESSAGE_BYTES),
            10,
        );
    }
    text
}

/// Returns the path in an address. A relative one is an address as well, with `%20`.
fn path(uri: &str) -> String {
    if uri.starts_with("file:") { paths::relative(uri) } else { paths::relative(&paths::percent_decoded(uri)) }
}
