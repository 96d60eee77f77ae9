//! `longshore convert`: converts another system's pipeline, and writes it to standard output or a new file.

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use longshore_convert as convert;
use longshore_convert::{ConvertError, Converted, Language, Note};
use longshore_core::terminal::{harmless, harmless_lines};
use longshore_pipeline::{SourceFile, report};

use super::ExitError;
use crate::args::{Convert, ConvertFrom};

pub(crate) fn run(args: &Convert) -> super::Result {
    if args.file.is_dir() {
        return folder(args);
    }
    let source = read(&args.file)?;
    let language = match args.from {
        Some(from) => language(from),
        None => convert::guess(&source).ok_or_else(|| {
            let message =
                "cannot tell which CI system this file is for: pass --from woodpecker, gitlab, github or drone";
            ExitError::new(2, format!("{}: {message}", source.path))
        })?,
    };
    let path = args.output.as_ref().map_or_else(|| ".longshore.yml".to_owned(), |path| path.display().to_string());
    let root = repository_of(&args.file);
    let converted = match convert::convert_within(language, &source, &path, &|path| file_of(root.as_deref(), path)) {
        Ok(converted) => converted,
        Err(ConvertError::Unreadable(diagnostics)) => {
            write!(std::io::stderr(), "{}", report::human(&diagnostics))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(ExitError::new(1, format!("{}: {error}", source.path)).into()),
    };
    match &args.output {
        Some(path) => write_new(path, &converted.text, args.force)?,
        None => std::io::stdout().write_all(converted.text.as_bytes())?,
    }
    writeln!(std::io::stderr(), "{}: {}", harmless(&source.path), summary(&converted, language))?;
    Ok(ExitCode::SUCCESS)
}

/// Where each system has its pipeline files in a repository.
const PLACES: &[(Language, &str)] = &[
    (Language::GitHub, ".github/workflows"),
    (Language::GitHub, ".forgejo/workflows"),
    (Language::GitHub, ".gitea/workflows"),
    (Language::Woodpecker, ".woodpecker"),
    (Language::Woodpecker, ".woodpecker.yml"),
    (Language::Woodpecker, ".woodpecker.yaml"),
    (Language::GitLab, ".gitlab-ci.yml"),
    (Language::Drone, ".drone.yml"),
];

/// Converts all pipeline files of a folder.
fn folder(args: &Convert) -> super::Result {
    let (language, files) = sources(args)?;
    let root = repository_of(&args.file);
    let made = convert::convert_all(language, &files, &|path| file_of(root.as_deref(), path));
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut sound = true;
    for one in &made {
        let from = harmless(&one.sources.join(", "));
        match &one.result {
            Ok(converted) => {
                match &args.output {
                    Some(folder) => write_new(&folder.join(&one.file), &converted.text, args.force)?,
                    None => write!(std::io::stdout(), "# .longshore/{}\n{}\n", one.file, converted.text)?,
                }
                writeln!(std::io::stderr(), "{from}: {}: {}", harmless(&one.file), summary(converted, language))?;
            }
            Err(error) => {
                sound = false;
                match error {
                    ConvertError::Unreadable(diagnostics) => {
                        write!(std::io::stderr(), "{}", report::human(diagnostics))?;
                    }
                    error => writeln!(std::io::stderr(), "{from}: {}", harmless_lines(&error.to_string()))?,
                }
            }
        }
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the folder of the repository that a file or folder is in: the nearest one around it with `.git`, or the
/// folder itself.
fn repository_of(path: &Path) -> Option<PathBuf> {
    let path = std::fs::canonicalize(path).ok()?;
    let found = path.ancestors().find(|folder| folder.join(".git").exists()).map(Path::to_owned);
    found.or_else(|| path.is_dir().then_some(path))
}

/// Reads a file of the repository, which is not outside of it.
fn file_of(root: Option<&Path>, path: &str) -> Option<String> {
    let root = root?;
    let file = std::fs::canonicalize(root.join(path)).ok().filter(|file| file.starts_with(root))?;
    let size = std::fs::metadata(&file).ok()?.len();
    if size > FILE_BYTES { None } else { std::fs::read_to_string(file).ok() }
}

/// Limit for a file that a pipeline file refers to.
const FILE_BYTES: u64 = 256 * 1024;

/// Reads the pipeline files of a folder, and finds out which system they belong to.
fn sources(args: &Convert) -> anyhow::Result<(Language, Vec<SourceFile>)> {
    let wanted = args.from.map(language);
    let mut found: Vec<(Language, SourceFile)> = Vec::new();
    for (of, place) in PLACES.iter().filter(|(of, _)| wanted.is_none_or(|wanted| wanted == *of)) {
        let place = args.file.join(place);
        if place.is_dir() {
            found.extend(files_in(&place)?.into_iter().map(|file| (*of, file)));
        } else if place.is_file() {
            found.push((*of, read(&place)?));
        }
    }
    if found.is_empty() {
        for file in files_in(&args.file)? {
            found.extend(wanted.or_else(|| convert::guess(&file)).map(|of| (of, file)));
        }
    }
    let Some((first, _)) = found.first() else {
        return Err(
            ExitError::new(2, format!("{}: no pipeline file of another CI system found", args.file.display())).into()
        );
    };
    let first = *first;
    if let Some((other, _)) = found.iter().find(|(of, _)| *of != first) {
        let message = format!("it has files of {} and {}: choose one with --from", first.as_str(), other.as_str());
        return Err(ExitError::new(2, format!("{}: {message}", args.file.display())).into());
    }
    Ok((first, found.into_iter().map(|(_, file)| file).collect()))
}

/// Reads the YAML files of a folder, by their names.
fn files_in(folder: &Path) -> anyhow::Result<Vec<SourceFile>> {
    let cannot = || format!("cannot read {}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let is_yaml = path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml");
        if is_yaml && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
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
        std::fs::read(path).map_err(|error| ExitError::new(2, format!("cannot read {}: {error}", path.display())))?;
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
        ExitError::new(2, format!("cannot write {}: {error}{help}", path.display()))
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// Summarizes a conversion:
/// `GitLab CI: 31 keys carried over, 2 left (lines 3, 12); 1 that this version cannot run (line 7)`.
fn summary(converted: &Converted, language: Language) -> String {
    let left = match converted.left_out.as_slice() {
        [] => "nothing left".to_owned(),
        left => format!("{} left ({})", left.len(), lines(left)),
    };
    format!("{}: {} keys carried over, {left}", language.as_str(), converted.carried)
}

/// Lists the lines of notes: `line 3`, `lines 3, 12`.
fn lines(notes: &[Note]) -> String {
    let mut lines: Vec<u32> = notes.iter().map(|note| note.line).collect();
    lines.dedup();
    let listed: Vec<String> = lines.iter().map(u32::to_string).collect();
    format!("{} {}", if lines.len() == 1 { "line" } else { "lines" }, listed.join(", "))
}
