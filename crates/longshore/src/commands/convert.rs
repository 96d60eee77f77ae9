//! `longshore convert`: converts another system's pipeline, and writes it to standard output or a new file.

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::Context as _;
use longshore_convert as convert;
use longshore_convert::{ConvertError, Converted, Language, Note};
use longshore_pipeline::{SourceFile, report};

use super::Ended;
use crate::args::{Convert, ConvertFrom};

pub(crate) fn run(args: &Convert) -> super::Result {
    let source = read(&args.file)?;
    let language = match args.from {
        Some(from) => language(from),
        None => convert::guess(&source).ok_or_else(|| {
            let message =
                "cannot tell of which system this file is: say so with --from woodpecker, gitlab, github or drone";
            Ended::new(2, format!("{}: {message}", source.path))
        })?,
    };
    let path = args.output.as_ref().map_or_else(|| ".longshore.yml".to_owned(), |path| path.display().to_string());
    let converted = match convert::convert(language, &source, &path) {
        Ok(converted) => converted,
        Err(ConvertError::Unreadable(diagnostics)) => {
            write!(std::io::stderr(), "{}", report::human(&diagnostics))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(Ended::new(1, format!("{}: {error}", source.path)).into()),
    };
    match &args.output {
        Some(path) => write_new(path, &converted.text, args.force)?,
        None => std::io::stdout().write_all(converted.text.as_bytes())?,
    }
    writeln!(std::io::stderr(), "{}: {}", source.path, summary(&converted, language))?;
    Ok(ExitCode::SUCCESS)
}

const fn language(from: ConvertFrom) -> Language {
    match from {
        ConvertFrom::Woodpecker => Language::Woodpecker,
        ConvertFrom::GitLab => Language::GitLab,
        ConvertFrom::GitHub => Language::GitHub,
        ConvertFrom::Drone => Language::Drone,
    }
}

fn read(path: &Path) -> anyhow::Result<SourceFile> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
        return Ok(SourceFile::from_bytes("-", bytes));
    }
    let bytes =
        std::fs::read(path).map_err(|error| Ended::new(2, format!("cannot read {}: {error}", path.display())))?;
    Ok(SourceFile::from_bytes(path.display().to_string(), bytes))
}

/// Writes a new file, or overwrites one with `force`.
fn write_new(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut file = options.open(path).map_err(|error| {
        let help = if error.kind() == std::io::ErrorKind::AlreadyExists { "; --force overwrites it" } else { "" };
        Ended::new(2, format!("cannot write {}: {error}{help}", path.display()))
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// Summarizes a conversion:
/// `GitLab CI: 31 keys carried over, 2 left (lines 3, 12); 1 that this version cannot run (line 7)`.
fn summary(converted: &Converted, language: Language) -> String {
    let left = match converted.left.as_slice() {
        [] => "nothing left".to_owned(),
        left => format!("{} left ({})", left.len(), lines(left)),
    };
    let not_run = match converted.not_run.as_slice() {
        [] => String::new(),
        not_run => format!("; {} that this version cannot run ({})", not_run.len(), lines(not_run)),
    };
    format!("{}: {} keys carried over, {left}{not_run}", language.as_str(), converted.carried)
}

/// Lists the lines of notes: `line 3`, `lines 3, 12`.
fn lines(notes: &[Note]) -> String {
    let mut lines: Vec<u32> = notes.iter().map(|note| note.line).collect();
    lines.dedup();
    let listed: Vec<String> = lines.iter().map(u32::to_string).collect();
    format!("{} {}", if lines.len() == 1 { "line" } else { "lines" }, listed.join(", "))
}
