//! Converts `cache`, `artifacts`, `services` and times of GitLab.

use longshore_core::ImageRef;
use longshore_pipeline::tree::{Entry, Kind, Node};

use super::super::{
    draft::{Item, Map, Note, Value},
    foreign::{self, FORM, Lines, Section, boolean, entries, items, text, texts},
    ports::Ports,
};

/// Fills in the variables of a text. The error names the variable that is not known.
pub(super) type Fill<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// The note on a text with a variable that the file does not set.
pub(super) fn unknown(name: &str) -> String {
    format!("{name} is not set here: write the value")
}

pub(super) fn cache(entry: &Entry, fill: Fill<'_>, lines: Lines<'_>, body: &mut Map) -> Value {
    let mut caches = Vec::new();
    for node in items(&entry.value) {
        let Some(section) = Section::read(node) else {
            caches.push(Item::Note(lines.note(entry, FORM)));
            continue;
        };
        let mut cache = Map::default();
        let paths = section.take("paths").map(|entry| (texts(&entry.value).unwrap_or_default(), entry));
        let Some((paths, from)) = paths.filter(|(paths, _)| !paths.is_empty()) else {
            caches.extend(
                section
                    .rest()
                    .into_iter()
                    .map(|entry| Item::Note(lines.note(entry, "a cache without paths keeps nothing"))),
            );
            continue;
        };
        let filled: Result<Vec<String>, String> = paths.iter().map(|path| fill(path)).collect();
        match filled {
            Ok(paths) => cache.set(
                "path",
                Value::texts(paths.iter().map(|path| path.trim_end_matches('/'))),
                lines.line_of_key(from),
            ),
            Err(name) => {
                caches.push(Item::Note(lines.note(from, unknown(&name))));
                continue;
            }
        }
        if let Err(note) = key(section.take("key"), fill, lines, &mut cache) {
            // Under another key it would share what it keeps with other jobs.
            caches.push(Item::Note(note));
            continue;
        }
        if !matches!(cache.get("key"), Some(Value::Text(key)) if key.contains("hash-files")) {
            body.remark("caches were written anew by every job there: here where their key is new, so that `hash-files` belongs into it");
        }
        if let Some(entry) = section.take("fallback_keys") {
            let keys: Result<Vec<String>, String> =
                texts(&entry.value).unwrap_or_default().iter().map(|key| fill(key)).collect();
            match keys {
                Ok(keys) => cache.set_filled("fallback", Value::texts(keys), lines.line_of_key(entry)),
                Err(name) => cache.note(lines.note(entry, unknown(&name))),
            }
        }
        section.leave(lines, &mut cache, |key| match key {
            "policy" => Some("a cache is read before the steps and written after them, where its key is new"),
            "when" => Some("a cache is written when the job succeeded"),
            "untracked" => Some("write the files into `path`"),
            _ => None,
        });
        cache.arrange(&["path", "key", "fallback"]);
        caches.push(Item::Value(cache.into()));
    }
    Value::List(caches)
}

fn key(entry: Option<&Entry>, fill: Fill<'_>, lines: Lines<'_>, cache: &mut Map) -> Result<(), Note> {
    let Some(entry) = entry else {
        cache.set("key", Value::text("default"), None);
        return Ok(());
    };
    let line = lines.line_of_key(entry);
    if let Some(parts) = entries(&entry.value) {
        let of = |key: &str| parts.iter().find(|part| part.key == key);
        let files: Vec<String> = of("files").and_then(|files| texts(&files.value)).unwrap_or_default();
        let prefix = of("prefix").and_then(|prefix| text(&prefix.value)).map(fill);
        let hash = files.iter().map(|file| super::super::condition::quote(file)).collect::<Vec<_>>().join(", ");
        let prefix = match prefix {
            Some(Ok(prefix)) => format!("{prefix}-"),
            Some(Err(name)) => return Err(lines.note(entry, unknown(&name))),
            None => String::new(),
        };
        match files.is_empty() {
            true => cache.set("key", Value::Text(format!("{prefix}default")), line),
            false => cache.set("key", Value::Text(format!("{prefix}${{{{ hash-files({hash}) }}}}")), line),
        }
        return Ok(());
    }
    // The slug of a branch, for keys and names, becomes the branch itself. It names the same branch, with other
    // characters.
    let written = text(&entry.value).unwrap_or("default").replace("CI_COMMIT_REF_SLUG", "CI_COMMIT_REF_NAME");
    match fill(&written) {
        Ok(key) => {
            cache.set("key", Value::Text(key), line);
            Ok(())
        }
        Err(name) => Err(lines.note(entry, unknown(&name))),
    }
}

/// Converts `artifacts` and the reports among them.
pub(super) fn artifacts(entry: &Entry, fill: Fill<'_>, lines: Lines<'_>, body: &mut Map) {
    let Some(section) = Section::read(&entry.value) else {
        body.note(lines.note(entry, FORM));
        return;
    };
    let line = lines.line_of_key(entry);
    let mut artifact = Map::default();
    let paths = |entry: &Entry| -> Result<Vec<String>, String> {
        let paths = texts(&entry.value).unwrap_or_default();
        let clean = |path: String| {
            path.trim_start_matches("./").trim_end_matches('/').trim_start_matches("/longshore/workspace/").to_owned()
        };
        paths.iter().map(|path| fill(path).map(clean)).collect()
    };
    if let Some(entry) = section.take("name") {
        match text(&entry.value).ok_or_else(|| FORM.to_owned()).and_then(fill) {
            // Jobs name the job whose artifacts they take over there, and the artifact here.
            Ok(name) if name.contains("${{") => {
                artifact.note(
                    lines.note(entry, "an artifact has one name here, whatever the build: `artifacts` stands in"),
                );
            }
            Ok(name) => artifact.set("name", Value::Text(name.replace(['/', '\\'], "-")), lines.line_of_key(entry)),
            Err(name) => artifact.note(lines.note(entry, unknown(&name))),
        }
    }
    let mut kept = false;
    if let Some(entry) = section.take("paths") {
        match paths(entry) {
            Ok(paths) => {
                kept = !paths.is_empty();
                artifact.set_filled("paths", Value::texts(paths), lines.line_of_key(entry));
            }
            Err(name) => artifact.note(lines.note(entry, unknown(&name))),
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
        let mut reports = Map::default();
        for report in entries(&entry.value).unwrap_or_default() {
            match self::report(report, &paths) {
                Ok((key, paths)) => reports.set(key, Value::texts(paths), lines.line_of_key(report)),
                Err(why) => body.note(lines.note(report, why)),
            }
        }
        if !reports.is_empty() {
            body.set("reports", reports, lines.line_of_key(entry));
        }
    }
    section.leave(lines, &mut artifact, |key| match key {
        "untracked" => Some("write the files into `paths`"),
        "exclude" => Some("write narrower `paths`"),
        "expose_as" | "public" | "access" => Some("artifacts are shown on the job's page"),
        _ => None,
    });
    artifact.arrange(&["name", "paths", "expire-in", "when"]);
    if kept {
        body.set("artifacts", Value::List(vec![Item::Value(artifact.into())]), line);
    } else {
        body.parts
            .extend(artifact.parts.into_iter().filter(|part| !matches!(part, super::super::draft::Part::Entry(_))));
    }
}

/// Returns the key of a report here, and its files. The error says what is there for it.
fn report(
    report: &Entry,
    paths: &dyn Fn(&Entry) -> Result<Vec<String>, String>,
) -> Result<(&'static str, Vec<String>), String> {
    let files = |key: &'static str, entry: &Entry| match paths(entry) {
        Ok(paths) if !paths.is_empty() => Ok((key, paths)),
        Ok(_) => Err(FORM.to_owned()),
        Err(name) => Err(unknown(&name)),
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
        // The name that the key had before.
        "cobertura" => files("coverage", report),
        "dotenv" => Err("write `outputs`, and ask for `needs.<job>.outputs.<name>`".to_owned()),
        "sast" | "codequality" | "secret_detection" | "dependency_scanning" | "container_scanning" | "dast" => {
            Err("`reports` reads findings as SARIF: have the tool write it, and name it under `sarif`".to_owned())
        }
        _ => Err("`reports` has `junit`, `coverage` and `sarif`".to_owned()),
    }
}

/// Converts the services of a job. Returns whether one of them was a Docker engine.
pub(super) fn services(
    entry: &Entry,
    fill: Fill<'_>,
    env: &[(String, Value)],
    lines: Lines<'_>,
    docker: &mut bool,
) -> Map {
    let mut services = Map::default();
    let mut ports = Ports::default();
    for node in items(&entry.value) {
        let at = lines.line_of(node.place);
        let section = Section::read(node);
        let written = section
            .as_ref()
            .and_then(|section| section.take("name"))
            .and_then(|entry| text(&entry.value))
            .or_else(|| text(node));
        let Some(written) = written else {
            services.note(Note::new(at, "services", FORM));
            continue;
        };
        let image = match fill(written) {
            Ok(image) if image.contains("${{") || ImageRef::parse(&image).is_ok() => image,
            Ok(_) => {
                services.note(Note::new(at, written, "this is no image's name"));
                continue;
            }
            Err(name) => {
                services.note(Note::new(at, written, unknown(&name)));
                continue;
            }
        };
        if image.contains("dind") {
            *docker = true;
            services.note(Note::new(at, written, "`docker: true` gives the job a guarded Docker API in its place"));
            continue;
        }
        let bare = image.split(['@', ':']).next().unwrap_or(&image);
        let alias = section.as_ref().and_then(|section| section.take("alias")).and_then(|entry| text(&entry.value));
        let named = alias.and_then(|alias| alias.split([',', ' ']).next()).unwrap_or(bare);
        let host = foreign::name(named).to_lowercase().replace('_', "-");
        let mut service = Map::default();
        service.set("image", Value::Text(image.clone()), at);
        let mut variables = Map::default();
        // In GitLab, a service has every variable of its job; the variables that an image knows begin with the image's
        // name.
        let stem = bare.rsplit('/').next().unwrap_or(bare).to_uppercase();
        let stem = stem.split(['-', '_']).next().unwrap_or(&stem);
        let stems: &[&str] = match stem {
            "POSTGRES" | "POSTGIS" => &["POSTGRES_", "PG"],
            "MARIADB" | "MYSQL" | "PERCONA" => &["MYSQL_", "MARIADB_"],
            other => &[other],
        };
        for (name, value) in env.iter().filter(|(name, _)| stems.iter().any(|stem| name.starts_with(stem))) {
            variables.set(name.as_str(), value.clone(), None);
        }
        if let Some(section) = &section {
            for key in ["entrypoint", "command"] {
                if let Some(entry) = section.take(key) {
                    service.set_filled(
                        key,
                        Value::texts(texts(&entry.value).unwrap_or_default()),
                        lines.line_of_key(entry),
                    );
                }
            }
            if let Some(entry) = section.take("variables") {
                for variable in entries(&entry.value).unwrap_or_default() {
                    match foreign::text_or_empty(&variable.value).ok_or_else(|| FORM.to_owned()).and_then(fill) {
                        Ok(value) => {
                            variables.set(variable.key.clone(), Value::Text(value), lines.line_of_key(variable))
                        }
                        Err(name) => variables.note(lines.note(variable, unknown(&name))),
                    }
                }
            }
            section.leave(lines, &mut service, |key| match key {
                "pull_policy" => Some("an image is pulled where it is not there yet"),
                _ => None,
            });
        }
        service.set_filled("env", variables, None);
        ports.add(&host, &image, &[], at, &mut services);
        services.set(host, service, at);
    }
    services
}

/// Converts `retry`.
pub(super) fn retry(entry: &Entry, lines: Lines<'_>, body: &mut Map) {
    let line = lines.line_of_key(entry);
    if let Some(max) = foreign::number(&entry.value) {
        body.set("retry", Value::plain(max.min(10)), line);
        return;
    }
    let Some(section) = Section::read(&entry.value) else {
        body.note(lines.note(entry, FORM));
        return;
    };
    let mut retry = Map::default();
    let max = section.take("max").and_then(|entry| foreign::number(&entry.value)).unwrap_or(2);
    retry.set("max", Value::plain(max.min(10)), line);
    if let Some(entry) = section.take("when") {
        let mut on: Vec<&str> = Vec::new();
        for word in texts(&entry.value).unwrap_or_default() {
            let words: &[&str] = match word.as_str() {
                "always" => &["error", "failure", "timeout"],
                "script_failure" => &["failure"],
                "job_execution_timeout" | "stuck_or_timeout_failure" => &["timeout"],
                _ => &["error"],
            };
            on.extend(words);
        }
        on.sort_unstable();
        on.dedup();
        retry.set_filled("on", Value::texts(on), lines.line_of_key(entry));
    }
    section.leave(lines, &mut retry, |_| Some("a job is tried again whatever the exit code"));
    body.set("retry", retry, line);
}

/// Parses `1h 30m`, `3 hours 30 minutes`, `90 minutes` into seconds.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            number = Some(rest[..digits].parse().ok()?);
            rest = rest[digits..].trim_start();
        } else if first.is_ascii_alphabetic() {
            let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let unit = match &rest[..length].to_lowercase()[..] {
                "s" | "sec" | "secs" | "second" | "seconds" => 1,
                "m" | "min" | "mins" | "minute" | "minutes" => 60,
                "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
                "d" | "day" | "days" => 86_400,
                "w" | "week" | "weeks" => 7 * 86_400,
                "mo" | "mos" | "month" | "months" => 30 * 86_400,
                "y" | "yr" | "yrs" | "year" | "years" => 365 * 86_400,
                "and" => {
                    rest = rest[length..].trim_start();
                    continue;
                }
                _ => return None,
            };
            total = total.checked_add(number.take()?.checked_mul(unit)?)?;
            rest = rest[length..].trim_start();
        } else {
            return None;
        }
    }
    total.checked_add(number.unwrap_or(0)).filter(|total| *total > 0)
}

/// Formats seconds as a duration of ours, at most a day.
pub(super) fn duration(seconds: u64) -> String {
    let seconds = seconds.min(86_400);
    let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect()
}

/// Converts the time that something is kept to days or hours.
fn days(text: &str) -> Option<String> {
    let hours = seconds(text)?.div_ceil(3600);
    Some(if hours % 24 == 0 { format!("{}d", hours / 24) } else { format!("{hours}h") })
}

/// Converts `parallel` to the matrix, and returns the names of its values.
pub(super) fn parallel(entry: &Entry, lines: Lines<'_>, body: &mut Map) -> Vec<String> {
    let line = lines.line_of_key(entry);
    let mut matrix = Map::default();
    let mut axes: Vec<String> = Vec::new();
    if let Some(count) = foreign::number(&entry.value) {
        matrix.set(
            "CI_NODE_INDEX",
            Value::List((1..=count.min(256)).map(|n| Item::Value(Value::plain(n))).collect()),
            line,
        );
        matrix.set("fail-fast", Value::plain(false), None);
        body.set("matrix", matrix, line);
        return vec!["CI_NODE_INDEX".to_owned()];
    }
    let found = entries(&entry.value).and_then(|parts| parts.iter().find(|part| part.key == "matrix"));
    let Some(rows) = found.map(|found| items(&found.value)).filter(|rows| !rows.is_empty()) else {
        body.note(lines.note(entry, FORM));
        return axes;
    };
    let row = |node: &Node| -> Option<Vec<(String, Vec<String>)>> {
        let Kind::Map(entries) = &node.kind else { return None };
        entries
            .iter()
            .map(|entry| {
                texts(&entry.value)
                    .filter(|values| !values.is_empty())
                    .map(|values| (foreign::name(&entry.key), values))
            })
            .collect()
    };
    let Some(read) = rows.iter().map(|node| row(node)).collect::<Option<Vec<_>>>() else {
        body.note(lines.note(entry, FORM));
        return axes;
    };
    for (name, _) in read.iter().flatten() {
        if !axes.contains(name) {
            axes.push(name.clone());
        }
    }
    if let [only] = read.as_slice() {
        for (name, values) in only {
            matrix.set(name.as_str(), Value::texts(values), line);
        }
    } else {
        let mut combinations = Vec::new();
        for row in &read {
            let mut all: Vec<Map> = vec![Map::default()];
            for (name, values) in row {
                all = all
                    .iter()
                    .flat_map(|so_far| {
                        values.iter().map(|value| {
                            let mut next = so_far.clone();
                            next.set(name.as_str(), Value::text(value.as_str()), line);
                            next
                        })
                    })
                    .take(257)
                    .collect();
            }
            combinations.extend(all.into_iter().map(|map| Item::Value(map.into())));
        }
        combinations.truncate(257);
        matrix.set("include", Value::List(combinations), line);
    }
    matrix.set("fail-fast", Value::plain(false), None);
    body.set("matrix", matrix, line);
    axes
}

/// Converts `allow_failure`, which is a boolean or a mapping.
pub(super) fn allow_failure(entry: &Entry, lines: Lines<'_>, body: &mut Map) -> Option<bool> {
    let found = boolean(&entry.value);
    if found.is_none() {
        body.note(lines.note(entry, "`continue-on-error` asks for no exit code: the job's failure counts"));
    }
    found
}
