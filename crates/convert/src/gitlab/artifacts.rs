//! Converts `artifacts` of GitLab, and the reports among them.

use longshore_pipeline::tree::Entry;

use super::{
    super::{
        draft::{Item, Map, Part, Value},
        foreign::{FORM, Lines, Section, entries, text, texts},
    },
    times::seconds,
    values::{Fill, unknown},
};

/// Adds the artifact and the reports to the job.
pub(super) fn artifacts(entry: &Entry, fill: Fill<'_>, lines: Lines<'_>, body: &mut Map) {
    let Some(section) = Section::read(&entry.value) else {
        body.note(lines.note(entry, FORM));
        return;
    };
    let line = lines.line_of_key(entry);
    let mut artifact = Map::default();
    let paths = |entry: &Entry| -> Result<Vec<String>, String> {
        let paths = texts(&entry.value).unwrap_or_default();
        // GitLab's paths are relative to the project. Ours have no `./`, no `/` at the end and no workspace before
        // them.
        let clean = |path: String| {
            path.trim_start_matches("./").trim_end_matches('/').trim_start_matches("/longshore/workspace/").to_owned()
        };
        paths.iter().map(|path| fill(path).map(clean)).collect()
    };
    if let Some(entry) = section.take("name") {
        set_name(entry, fill, lines, &mut artifact);
    }
    let mut has_paths = false;
    if let Some(entry) = section.take("paths") {
        match paths(entry) {
            Ok(paths) => {
                has_paths = !paths.is_empty();
                artifact.set_filled("paths", Value::texts(paths), lines.line_of_key(entry));
            }
            Err(variable) => artifact.note(lines.note(entry, unknown(&variable))),
        }
    }
    if let Some(entry) = section.take("expire_in") {
        match text(&entry.value).and_then(days) {
            Some(days) => artifact.set("expire-in", Value::Text(days), lines.line_of_key(entry)),
            None if text(&entry.value) == Some("never") => {}
            None => artifact.note(lines.note(entry, "write days, weeks or hours: `30d`, `2w`, `12h`")),
        }
    }
    if let Some(entry) = section.take("when") {
        match text(&entry.value) {
            Some("on_failure") => artifact.set("when", Value::text("failure"), lines.line_of_key(entry)),
            Some("always") => artifact.set("when", Value::text("always"), lines.line_of_key(entry)),
            Some("on_success") => {}
            _ => artifact.note(lines.note(entry, FORM)),
        }
    }
    if let Some(entry) = section.take("reports") {
        set_reports(entry, &paths, lines, body);
    }
    section.note_rest(lines, &mut artifact, |key| match key {
        "untracked" => Some("write the files into `paths`"),
        "exclude" => Some("write narrower `paths`"),
        "expose_as" | "public" | "access" => Some("artifacts are shown on the job's page"),
        _ => None,
    });
    artifact.arrange(&["name", "paths", "expire-in", "when"]);
    // Without paths there is no artifact, but the notes about it are kept.
    if has_paths {
        body.set("artifacts", Value::List(vec![Item::Value(artifact.into())]), line);
    } else {
        body.parts.extend(artifact.parts.into_iter().filter(|part| !matches!(part, Part::Entry(_))));
    }
}

fn set_name(entry: &Entry, fill: Fill<'_>, lines: Lines<'_>, artifact: &mut Map) {
    let filled = match text(&entry.value) {
        Some(name) => fill(name).map_err(|variable| unknown(&variable)),
        None => Err(FORM.to_owned()),
    };
    match filled {
        // In GitLab, a job takes artifacts by the name of the job that made them; in Longshore, by the artifact's
        // name. So the name cannot depend on the build.
        Ok(name) if name.contains("${{") => {
            artifact
                .note(lines.note(entry, "an artifact has one name here, whatever the build: `artifacts` stands in"));
        }
        Ok(name) => artifact.set("name", Value::Text(name.replace(['/', '\\'], "-")), lines.line_of_key(entry)),
        Err(why) => artifact.note(lines.note(entry, why)),
    }
}

/// Adds the reports to the job. Notes about them belong to the job too, not to its artifact.
fn set_reports(entry: &Entry, paths: &dyn Fn(&Entry) -> Result<Vec<String>, String>, lines: Lines<'_>, body: &mut Map) {
    let mut reports = Map::default();
    for report in entries(&entry.value).unwrap_or_default() {
        match self::report(report, paths) {
            Ok((key, paths)) => reports.set(key, Value::texts(paths), lines.line_of_key(report)),
            Err(why) => body.note(lines.note(report, why)),
        }
    }
    if !reports.is_empty() {
        body.set("reports", reports, lines.line_of_key(entry));
    }
}

/// Returns Longshore's key for a report, and its files. The error says what to write instead.
fn report(
    report: &Entry,
    paths: &dyn Fn(&Entry) -> Result<Vec<String>, String>,
) -> Result<(&'static str, Vec<String>), String> {
    let files = |key: &'static str, entry: &Entry| match paths(entry) {
        Ok(paths) if !paths.is_empty() => Ok((key, paths)),
        Ok(_) => Err(FORM.to_owned()),
        Err(variable) => Err(unknown(&variable)),
    };
    match report.key.as_str() {
        "junit" => files("junit", report),
        "coverage_report" => {
            let parts = entries(&report.value).unwrap_or_default();
            let part = |key: &str| parts.iter().find(|part| part.key == key);
            match (part("coverage_format").and_then(|format| text(&format.value)), part("path")) {
                (Some("cobertura"), Some(path)) => files("coverage", path),
                (Some("cobertura") | None, _) => Err(FORM.to_owned()),
                (Some(_), _) => {
                    Err("`coverage` reads Cobertura's XML and lcov: have the tests write one of them".to_owned())
                }
            }
        }
        // GitLab's former name for `coverage_report`.
        "cobertura" => files("coverage", report),
        "dotenv" => Err("write `outputs`, and ask for `needs.<job>.outputs.<name>`".to_owned()),
        "sast" | "codequality" | "secret_detection" | "dependency_scanning" | "container_scanning" | "dast" => {
            Err("`reports` reads findings as SARIF: have the tool write it, and name it under `sarif`".to_owned())
        }
        _ => Err("`reports` has `junit`, `coverage` and `sarif`".to_owned()),
    }
}

/// Converts how long something is kept (`2 weeks`) to days, or to hours if it is not whole days.
fn days(text: &str) -> Option<String> {
    let hours = seconds(text)?.div_ceil(3600);
    Some(if hours % 24 == 0 { format!("{}d", hours / 24) } else { format!("{hours}h") })
}
