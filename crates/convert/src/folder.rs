//! Converts all pipeline files of a repository together: their pipelines have different names, and workflows of
//! Woodpecker that wait for each other become one pipeline.

use std::collections::{BTreeMap, BTreeSet};

use longshore_pipeline::{SourceFile, source::Source};

use super::{
    ConvertError, Converted, Language, convert_draft,
    draft::{Draft, Note, Value},
    draft_of,
    foreign::{self, Files, Lines, items, text},
    read, woodpecker,
};

/// A pipeline made from one file, or from several that wait for each other.
#[derive(Debug)]
pub struct Made {
    /// The files that it is made from.
    pub sources: Vec<String>,
    /// The name of the result's file in `.longshore/`.
    pub file: String,
    pub result: Result<Converted, ConvertError>,
}

/// Converts files of one system, whose results stand beside each other in `.longshore/`.
#[must_use]
pub fn convert_all(language: Language, files: &[SourceFile], repository: Files<'_>) -> Vec<Made> {
    let mut names = BTreeSet::new();
    let mut taken = Vec::new();
    let mut made = Vec::new();
    for group in groups(language, files) {
        let file = foreign::unique(stem(&group[0].path), &taken);
        taken.push(file.clone());
        let path = format!(".longshore/{file}.yml");
        let result = match group.as_slice() {
            [one] => drafted(language, one, repository),
            several => woodpeckers(several, repository).map(|draft| (draft, Vec::new())),
        };
        let result = result.and_then(|(mut draft, repeated)| {
            name(&mut draft, &file, &mut names);
            convert_draft(draft, repeated, &path)
        });
        let sources = group.iter().map(|file| file.path.clone()).collect();
        made.push(Made { sources, file: format!("{file}.yml"), result });
    }
    made
}

fn drafted(language: Language, file: &SourceFile, repository: Files<'_>) -> Result<(Draft, Vec<Note>), ConvertError> {
    let source = Source::new(file);
    let (documents, repeated) = read(language, file, &source)?;
    Ok((draft_of(language, &documents, Lines::new(&source, repository))?, repeated))
}

/// Gives a pipeline a name that no other one has.
fn name(draft: &mut Draft, file: &str, names: &mut BTreeSet<String>) {
    let own = match draft.head.get("name") {
        Some(Value::Text(name)) => name.clone(),
        _ => file.to_owned(),
    };
    if names.insert(own.clone()) {
        return;
    }
    let unique = std::iter::once(file.to_owned()).chain((2..).map(|n| format!("{own} {n}")));
    if let Some(other) = unique.into_iter().find(|name| !names.contains(name)) {
        draft.head.remark(format!("another pipeline is called `{own}`, too"));
        draft.head.set("name", Value::text(other.as_str()), None);
        names.insert(other);
    }
}

/// The file's name without its folders and its ending; a leading dot is removed.
fn stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path).trim_start_matches('.');
    name.strip_suffix(".yml").or_else(|| name.strip_suffix(".yaml")).unwrap_or(name)
}

/// The files that become one pipeline together: those that wait for each other, at Woodpecker.
fn groups(language: Language, files: &[SourceFile]) -> Vec<Vec<&SourceFile>> {
    let mut group: Vec<usize> = (0..files.len()).collect();
    if language == Language::Woodpecker {
        let by_name: BTreeMap<&str, usize> =
            files.iter().enumerate().map(|(at, file)| (stem(&file.path), at)).collect();
        for (at, file) in files.iter().enumerate() {
            for need in depends_on(file) {
                if let Some(other) = by_name.get(need.as_str()) {
                    let (from, to) = (group[at].max(group[*other]), group[at].min(group[*other]));
                    group.iter_mut().filter(|one| **one == from).for_each(|one| *one = to);
                }
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<&SourceFile>> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        groups.entry(group[at]).or_default().push(file);
    }
    groups.into_values().collect()
}

fn depends_on(file: &SourceFile) -> Vec<String> {
    let source = Source::new(file);
    let Ok((documents, _)) = read(Language::Woodpecker, file, &source) else { return Vec::new() };
    let needs_of = |document: &longshore_pipeline::tree::Node| {
        let needs = items(&super::entry(document, "depends_on")?.value);
        Some(needs.iter().filter_map(|need| text(need)).map(str::to_owned).collect::<Vec<_>>())
    };
    documents.iter().filter_map(|document| needs_of(document)).flatten().collect()
}

/// Makes one pipeline of several workflows of Woodpecker.
fn woodpeckers(files: &[&SourceFile], repository: Files<'_>) -> Result<Draft, ConvertError> {
    let mut draft = Draft { absent_needs_count: false, ..Draft::default() };
    let names: Vec<(String, String)> = files.iter().fold(Vec::new(), |mut names, file| {
        let taken: Vec<String> = names.iter().map(|(_, ours): &(String, String)| ours.clone()).collect();
        names.push((stem(&file.path).to_owned(), foreign::unique(stem(&file.path), &taken)));
        names
    });
    let mut secrets = super::plugin::SecretNames::default();
    for (file, (_, name)) in files.iter().zip(&names) {
        let source = Source::new(file);
        let (documents, _) = read(Language::Woodpecker, file, &source)?;
        let document = super::single(&documents, Language::Woodpecker)?;
        let lines = Lines::new(&source, repository);
        woodpecker::job(document, name, Some(&names), lines, &mut secrets, &mut draft)?;
        if let Some(job) = draft.jobs.last_mut().filter(|job| job.name == *name) {
            job.body.remark(format!("from {}", file.path));
        }
    }
    Ok(draft)
}
