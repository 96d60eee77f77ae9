//! Resolves `include: local`: merges files of the repository into the one that includes them, which wins over them.

use std::rc::Rc;

use longshore_pipeline::{
    SourceFile,
    findings::Findings,
    source::{Place, Source},
    tree::{Entry, Kind, Node},
    yaml,
};

use super::super::{
    draft::Note,
    foreign::{Lines, entries, items, text},
};
use super::extend::merge;

/// Limit for files that include files.
const MAX_DEPTH: usize = 10;
/// Limit for the files of one conversion.
const MAX_FILES: usize = 100;

/// A file with all that it includes.
pub(super) struct Whole {
    pub(super) root: Rc<Node>,
    /// The text of the included files.
    pub(super) text: String,
    pub(super) notes: Vec<Note>,
    files: usize,
}

/// Returns the file with the files of the repository that it includes. The notes name the files that are missing.
pub(super) fn resolve(root: &Rc<Node>, lines: Lines<'_>) -> Whole {
    let mut whole = Whole { root: Rc::clone(root), text: String::new(), notes: Vec::new(), files: 0 };
    whole.root = within(root, lines, MAX_DEPTH, &mut whole);
    whole
}

fn within(root: &Rc<Node>, lines: Lines<'_>, depth: usize, whole: &mut Whole) -> Rc<Node> {
    let Some(include) = super::super::entry(root, "include") else { return Rc::clone(root) };
    let mut base: Option<Rc<Node>> = None;
    for item in items(&include.value) {
        let at = lines.line_of(item.place);
        match read(item, lines, depth, whole) {
            Ok(file) => base = Some(base.map_or_else(|| Rc::clone(&file), |base| merge(&file, &base))),
            Err(why) => whole.notes.push(Note::new(at, "include", why)),
        }
    }
    let own = without_include(root);
    base.map_or_else(|| Rc::clone(&own), |base| merge(&own, &base))
}

const ELSEWHERE: &str = "files of elsewhere are not included: copy the jobs that are wanted, with `workflow` and `default` if they have them, or make templates of them with `use`";

/// Reads the file that an entry of `include` names.
fn read(item: &Rc<Node>, lines: Lines<'_>, depth: usize, whole: &mut Whole) -> Result<Rc<Node>, String> {
    let path = match entries(item) {
        None => text(item).filter(|path| !path.contains("://")),
        Some([one]) if one.key == "local" => text(&one.value),
        Some(several) if several.iter().any(|entry| entry.key == "local") => {
            return Err("it is included by rules, or with inputs: copy the jobs that are wanted".to_owned());
        }
        Some(_) => None,
    };
    let path = path.ok_or(ELSEWHERE)?.trim_start_matches('/');
    if path.contains(['*', '$']) {
        return Err(format!("which files `{path}` are is not known here: copy the jobs that are wanted"));
    }
    let content = (lines.files)(path).filter(|_| depth > 0 && whole.files < MAX_FILES);
    let content = content.ok_or_else(|| {
        format!("`{path}` was not read: convert the repository's own file, or copy the jobs that are wanted")
    })?;
    whole.files += 1;
    let file = SourceFile::new(path, content.as_str());
    let source = Source::new(&file);
    let mut findings = Findings::new(&source);
    let documents = yaml::documents_with_last_keys(&mut findings).unwrap_or_default();
    let [root] = documents.as_slice() else {
        return Err(format!(
            "`{path}` is not a file with jobs, or a component with inputs: copy the jobs that are wanted"
        ));
    };
    if entries(root).is_none() {
        return Err(format!("`{path}` is not a mapping"));
    }
    whole.text.push_str(&content);
    whole.text.push('\n');
    let root = replant(root, item.place);
    Ok(within(&root, Lines { fixed: Some(lines.line_of(item.place)), ..lines }, depth - 1, whole))
}

fn without_include(root: &Rc<Node>) -> Rc<Node> {
    let Kind::Map(entries) = &root.kind else { return Rc::clone(root) };
    let entries = entries.iter().filter(|entry| entry.key != "include").cloned().collect();
    Rc::new(Node { place: root.place, kind: Kind::Map(entries), weight: root.weight })
}

/// Gives all of a tree the place of what includes it, because its own places are another file's.
fn replant(node: &Rc<Node>, place: Place) -> Rc<Node> {
    let kind = match &node.kind {
        Kind::Scalar(scalar) => Kind::Scalar(scalar.clone()),
        Kind::List(items) => Kind::List(items.iter().map(|item| replant(item, place)).collect()),
        Kind::Map(entries) => Kind::Map(
            entries
                .iter()
                .map(|entry| Entry { key: entry.key.clone(), key_place: place, value: replant(&entry.value, place) })
                .collect(),
        ),
    };
    Rc::new(Node { place, kind, weight: node.weight })
}
