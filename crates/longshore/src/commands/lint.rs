//! `longshore lint` and `longshore schema`: pipeline files, checked without running anything.

use std::{io::Write as _, path::Path, process::ExitCode};

use anyhow::Context as _;
use longshore_core::Severity;
use longshore_scheduler::pipeline::{self, SourceFile, report};

use super::Ended;
use crate::args::{Lint, LintFormat};

pub(crate) fn run(args: Lint) -> super::Result {
    let paths = if args.paths.is_empty() { vec![".".into()] } else { args.paths };
    let mut diagnostics = Vec::new();
    // Each path is checked by itself: the pipelines of one working tree belong together, those of two do not.
    for path in &paths {
        diagnostics.extend(pipeline::check(&files_at(path)?).diagnostics);
    }
    let text = match args.format {
        LintFormat::Human => report::human(&diagnostics),
        LintFormat::Json => report::json(&diagnostics),
        LintFormat::Sarif => report::sarif(&diagnostics),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    let broken = diagnostics.iter().any(|d| d.severity == Severity::Error);
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(crate) fn schema() -> super::Result {
    writeln!(std::io::stdout(), "{:#}", pipeline::json_schema())?;
    Ok(ExitCode::SUCCESS)
}

/// The pipeline file at `path`, or those of the working tree there.
pub(crate) fn files_at(path: &Path) -> anyhow::Result<Vec<SourceFile>> {
    if !path.is_dir() {
        return Ok(vec![read(path, &path.display().to_string())?]);
    }
    let single = path.join(".longshore.yml");
    let folder = path.join(".longshore");
    match (single.is_file(), folder.is_dir()) {
        (true, true) => {
            Err(Ended::new(2, format!("{} has both .longshore.yml and .longshore/: keep one of them", path.display()))
                .into())
        }
        (true, false) => Ok(vec![read(&single, ".longshore.yml")?]),
        (false, true) => {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name.ends_with(".yml") || name.ends_with(".yaml") {
                    names.push(name);
                }
            }
            names.sort();
            names.iter().map(|name| read(&folder.join(name), &format!(".longshore/{name}"))).collect()
        }
        (false, false) => Err(Ended::new(
            2,
            format!("no pipeline in {}: write a .longshore.yml, or files in .longshore/", path.display()),
        )
        .into()),
    }
}

fn read(path: &Path, name: &str) -> anyhow::Result<SourceFile> {
    let bytes =
        std::fs::read(path).map_err(|error| Ended::new(2, format!("cannot read {}: {error}", path.display())))?;
    Ok(SourceFile::from_bytes(name, bytes))
}
