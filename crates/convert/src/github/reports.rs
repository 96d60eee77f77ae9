//! Actions that read reports of tests and findings: `reports` of the job reads them here, whatever its result.

use super::super::draft::{Item, Map, Value};
use super::{actions::ConvertedAction, known::Settings};

/// Converts an action; `None` if it reads no reports. `condition` is that of its step, `job` the body of its job.
pub(super) fn read(action: &Settings<'_>, condition: Option<&str>, job: &mut Map) -> Option<ConvertedAction> {
    let (kind, setting) = match action.name {
        "mikepenz/action-junit-report" => ("junit", "report_paths"),
        "dorny/test-reporter" => ("junit", "path"),
        "test-summary/action" => ("junit", "paths"),
        "github/codeql-action/upload-sarif" => ("sarif", "sarif_file"),
        name if name.starts_with("EnricoMi/publish-unit-test-result-action") => ("junit", "files"),
        _ => return None,
    };
    let read = match condition {
        None | Some("always()" | "!cancelled()" | "success() || failure()") => globs(action, setting),
        Some(_) => Err("reports are read after the job, whatever its result: write `reports` at the job"),
    };
    Some(match read {
        Ok(globs) => {
            add(job, kind, globs, action.line);
            ConvertedAction::Done
        }
        Err(why) => action.leave_out(why),
    })
}

/// The reports that an action reads. It is left if which these are cannot be said exactly.
fn globs(action: &Settings<'_>, setting: &str) -> Result<Vec<String>, &'static str> {
    if action.plain("reporter").is_some_and(|reporter| !reporter.ends_with("-junit") && reporter != "java-junit") {
        return Err("`reports` reads JUnit's XML: have the tests write it, and name it under `reports`");
    }
    let written = match (action.entry(setting), action.name) {
        (Some(_), _) => action.plain(setting).filter(|written| !written.contains("${{")),
        (None, "mikepenz/action-junit-report") => Some("**/junit-reports/TEST-*.xml".to_owned()),
        (None, _) => None,
    };
    let written = written.ok_or("which files are read is not known here: write `reports` at the job")?;
    let clean = |glob: &str| glob.trim().trim_start_matches("./").to_owned();
    let globs: Vec<String> = written.split(['\n', ',']).map(clean).filter(|glob| !glob.is_empty()).collect();
    if globs.iter().any(|glob| glob.starts_with(['!', '/']) || glob.starts_with("..")) {
        return Err("`reports` has globs of files in the workspace, without exclusions: write them at the job");
    }
    if action.name == "github/codeql-action/upload-sarif" && globs.iter().any(|glob| !glob.ends_with(".sarif")) {
        return Err("`reports` names the files that are read: write `sarif: 'folder/**/*.sarif'` at the job");
    }
    Ok(globs)
}

/// Adds reports to those of the job.
fn add(job: &mut Map, kind: &str, globs: Vec<String>, line: u32) {
    let mut reports = match job.get("reports") {
        Some(Value::Map(reports)) => reports.clone(),
        _ => Map::default(),
    };
    let mut all = match reports.get(kind) {
        Some(Value::List(items)) => items.clone(),
        _ => Vec::new(),
    };
    for glob in globs {
        let item = Item::Value(Value::Text(glob));
        if !all.contains(&item) {
            all.push(item);
        }
    }
    reports.set(kind, Value::List(all), line);
    job.set("reports", reports, line);
}
