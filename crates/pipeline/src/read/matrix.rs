//! Reads `matrix`: the combinations that a job runs for.

use std::{collections::HashSet, rc::Rc};

use super::super::{
    code::Code,
    fields::mapping,
    findings::Findings,
    limits,
    matrix::Matrix,
    model::Combination,
    scalar::{boolean, check_name, text},
    source::Place,
    suggest::{did_you_mean, listed},
    tree::{Entry, Kind, Node},
};

use super::{settings::number, valid_or_absent};

/// Limit for the characters of one value, which becomes part of the job's name.
pub(super) const VALUE_CHARS: usize = 200;

/// The names of a matrix's values, and its combinations.
#[derive(Debug)]
pub(super) struct Expanded {
    pub(super) keys: Vec<String>,
    pub(super) combinations: Vec<Combination>,
    pub(super) fail_fast: bool,
    pub(super) max_parallel: Option<u32>,
}

pub(super) fn read(entry: &Entry, findings: &mut Findings<'_>) -> Option<Expanded> {
    if made_later(&entry.value, "`matrix`", findings) {
        return None;
    }
    let entries = mapping(&entry.value, "`matrix`", findings)?;
    let mut matrix = Matrix::default();
    let mut valid = true;
    for entry in entries {
        match entry.key.as_str() {
            "include" | "exclude" | "fail-fast" | "max-parallel" => {}
            _ => match axis(entry, findings) {
                Some(values) => matrix.axes.push((entry.key.clone(), values)),
                None => valid = false,
            },
        }
    }
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    if let Some(entry) = find("include") {
        match combinations(entry, findings) {
            Some(list) => matrix.include = list.into_iter().map(|(pairs, _)| pairs).collect(),
            None => valid = false,
        }
    }
    if let Some(entry) = find("exclude") {
        match combinations(entry, findings) {
            Some(list) => {
                if valid {
                    check_axes(&list, &matrix, findings);
                }
                matrix.exclude = list.into_iter().map(|(pairs, _)| pairs.into_iter().collect()).collect();
            }
            None => valid = false,
        }
    }
    let fail_fast = match find("fail-fast") {
        Some(entry) => boolean(&entry.value, "`fail-fast`", findings),
        None => Some(true),
    };
    let max_parallel = valid_or_absent(find("max-parallel").map(|entry| {
        let help = "write how many jobs of the matrix run at once";
        number(&entry.value, "`max-parallel`", 1, 256, help, findings)
    }));
    if !valid {
        return None;
    }
    let (keys, combinations) = expand(&matrix, entry, findings)?;
    Some(Expanded { keys, combinations, fail_fast: fail_fast?, max_parallel: max_parallel? })
}

fn expand(matrix: &Matrix, entry: &Entry, findings: &mut Findings<'_>) -> Option<(Vec<String>, Vec<Combination>)> {
    let too_many = |count: String, findings: &mut Findings<'_>| {
        findings.error(
            Code::TooManyJobs,
            entry.key_place,
            format!("this matrix has {count} combinations, but a build can have at most {} jobs", findings.most_jobs()),
            "remove values, or exclude combinations".to_owned(),
        );
    };
    if matrix.product() > limits::COMBINATIONS {
        too_many(format!("more than {}", limits::COMBINATIONS), findings);
        return None;
    }
    let combinations = matrix.combinations();
    if combinations.is_empty() {
        let (message, help) = if matrix.axes.is_empty() {
            ("`matrix` is empty", "write an axis with its values: `matrix: { rust: ['1.94', '1.95'] }`")
        } else {
            ("`exclude` removes every combination of this matrix", "exclude fewer combinations, or remove the job")
        };
        findings.error(Code::EmptyMatrix, entry.key_place, message, help.to_owned());
        return None;
    }
    if combinations.len() > findings.most_jobs() {
        too_many(combinations.len().to_string(), findings);
        return None;
    }
    let mut names = HashSet::new();
    for combination in &combinations {
        let name = combination.suffix();
        if !names.insert(name.clone()) {
            let message = format!("two jobs of this matrix would be named `{}`", name.trim_start());
            let help = "remove one of them, or give them different values".to_owned();
            findings.error(Code::MatrixRepeats, entry.key_place, message, help);
            return None;
        }
    }
    Some((matrix.keys(), combinations))
}

/// Refuses an expression in place of a matrix's values: all jobs of a build are known when it is planned.
fn made_later(node: &Node, what: &str, findings: &mut Findings<'_>) -> bool {
    let Kind::Scalar(scalar) = &node.kind else { return false };
    let made = scalar.text.contains("${{");
    if made {
        findings.error(
            Code::WrongType,
            node.place,
            format!("{what} cannot be an expression: the jobs of a build are fixed when it is created"),
            "matrices from outputs are not supported: write the values, or loop over the list in one job's script"
                .to_owned(),
        );
    }
    made
}

fn axis(entry: &Entry, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    let named = check_name(&entry.key, entry.key_place, "an axis's name", findings);
    let what = format!("`{}`", entry.key);
    if made_later(&entry.value, &what, findings) {
        return None;
    }
    let Kind::List(items) = &entry.value.kind else {
        findings.error(
            Code::WrongType,
            entry.value.place,
            format!("an axis must be a list of values, but this is {}", entry.value.describe()),
            "write it as `[a, b]`".to_owned(),
        );
        return None;
    };
    if items.is_empty() {
        let message = format!("the axis {what} is empty");
        findings.error(Code::Empty, entry.value.place, message, "add a value, or remove the axis".to_owned());
        return None;
    }
    let mut values: Vec<String> = Vec::with_capacity(items.len());
    let mut seen = HashSet::new();
    let mut valid = named;
    for item in items {
        let Some(value) = value(item, "a value of the matrix", findings) else {
            valid = false;
            continue;
        };
        if seen.insert(value.clone()) {
            values.push(value);
        } else {
            let message = format!("the axis {what} lists `{value}` twice");
            findings.error(Code::MatrixRepeats, item.place, message, "keep one of them".to_owned());
            valid = false;
        }
    }
    valid.then_some(values)
}

fn value(node: &Node, what: &str, findings: &mut Findings<'_>) -> Option<String> {
    let value = text(node, what, findings)?;
    if value.contains("${{") {
        findings.error(
            Code::ExpressionNotSupported,
            node.place,
            "matrix values cannot contain expressions",
            "write literal values".to_owned(),
        );
        return None;
    }
    if value.chars().any(char::is_control) || value.chars().count() > VALUE_CHARS {
        findings.error(
            Code::BadCharacter,
            node.place,
            format!(
                "{what} must be a single line of at most {VALUE_CHARS} characters, because it becomes part of the job's name"
            ),
            "use short names, and look up the rest in the script".to_owned(),
        );
        return None;
    }
    Some(value.to_owned())
}

/// An entry of `include` or `exclude`: its pairs, and the places of its keys.
type Described = (Vec<(String, String)>, Vec<Place>);

fn combinations(entry: &Entry, findings: &mut Findings<'_>) -> Option<Vec<Described>> {
    if made_later(&entry.value, &format!("`{}`", entry.key), findings) {
        return None;
    }
    let Kind::List(items) = &entry.value.kind else {
        findings.error(
            Code::WrongType,
            entry.value.place,
            format!("`{}` must be a list of combinations, but this is {}", entry.key, entry.value.describe()),
            format!("write `{}: [{{ axis: value }}]`", entry.key),
        );
        return None;
    };
    if items.len() > limits::COMBINATIONS / 4 {
        let message = format!("`{}` has more than {} entries", entry.key, limits::COMBINATIONS / 4);
        findings.error(Code::TooManyJobs, entry.key_place, message, None);
        return None;
    }
    let read: Vec<Option<Described>> = items.iter().map(|item| described(item, &entry.key, findings)).collect();
    read.into_iter().collect()
}

fn described(item: &Rc<Node>, of: &str, findings: &mut Findings<'_>) -> Option<Described> {
    let entries = mapping(item, &format!("an entry of `{of}`"), findings)?;
    if entries.is_empty() {
        let message = format!("this entry of `{of}` is empty");
        findings.error(Code::Empty, item.place, message, "write `{ axis: value }`, or remove it".to_owned());
        return None;
    }
    let mut pairs = Vec::with_capacity(entries.len());
    let mut valid = true;
    for entry in entries {
        let named = check_name(&entry.key, entry.key_place, "an axis's name", findings);
        match value(&entry.value, "a value of the matrix", findings) {
            Some(value) if named => pairs.push((entry.key.clone(), value)),
            _ => valid = false,
        }
    }
    valid.then(|| (pairs, entries.iter().map(|entry| entry.key_place).collect()))
}

fn check_axes(exclude: &[Described], matrix: &Matrix, findings: &mut Findings<'_>) {
    let axes = || matrix.axes.iter().map(|(name, _)| name.as_str());
    for (pairs, places) in exclude {
        for ((name, _), place) in pairs.iter().zip(places) {
            if !axes().any(|axis| axis == name) {
                let help = did_you_mean(name, axes()).or_else(|| Some(format!("the axes are: {}", listed(axes()))));
                findings.error(Code::UnknownAxis, *place, format!("unknown axis `{name}`"), help);
            }
        }
    }
}
