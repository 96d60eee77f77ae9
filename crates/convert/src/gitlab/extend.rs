//! Resolves `extends` and `!reference`: returns jobs of GitLab with everything that they take over from other jobs.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::Rc,
};

use longshore_pipeline::tree::{Entry, Kind, Node, Weight};

use super::super::foreign::{entries, list, text, texts};

/// GitLab's own limit for nested `extends` and nested references.
const MAX_DEPTH: usize = 11;
/// Limit for the nodes that are searched for references, in all jobs together.
const MAX_NODES: usize = 400_000;

/// The jobs of a file by their names, hidden ones included.
pub(super) struct Jobs<'n> {
    entries: &'n [Entry],
    merged: RefCell<HashMap<String, Rc<Node>>>,
    /// The names that jobs have taken something over from.
    used: RefCell<HashSet<String>>,
    left: Cell<usize>,
}

impl<'n> Jobs<'n> {
    pub(super) fn of(root: &'n Node) -> Self {
        Self {
            entries: entries(root).unwrap_or_default(),
            merged: RefCell::default(),
            used: RefCell::default(),
            left: Cell::new(MAX_NODES),
        }
    }

    /// Whether a job has taken something over from the one of this name.
    pub(super) fn is_used(&self, name: &str) -> bool {
        self.used.borrow().contains(name)
    }

    fn written(&self, name: &str) -> Option<&'n Rc<Node>> {
        self.entries.iter().find(|entry| entry.key == name).map(|entry| &entry.value)
    }

    /// Returns a job with everything that it extends and with its references resolved. Adds to `missing` the names that
    /// this file has no job for.
    pub(super) fn expand(&self, node: &Rc<Node>, missing: &mut Vec<String>) -> Rc<Node> {
        let merged = self.extend(node, MAX_DEPTH, missing);
        self.resolve_references(&merged, MAX_DEPTH)
    }

    fn extend(&self, node: &Rc<Node>, depth: usize, missing: &mut Vec<String>) -> Rc<Node> {
        let Some(extends) = entry(node, "extends") else { return Rc::clone(node) };
        let mut base: Option<Rc<Node>> = None;
        for name in texts(extends).unwrap_or_default() {
            self.used.borrow_mut().insert(name.clone());
            let known = self.merged.borrow().get(&name).map(Rc::clone);
            let above = match (known, self.written(&name)) {
                (Some(known), _) => known,
                (None, Some(written)) if depth > 0 => {
                    let whole = self.extend(written, depth - 1, missing);
                    self.merged.borrow_mut().insert(name, Rc::clone(&whole));
                    whole
                }
                _ => {
                    missing.push(name);
                    continue;
                }
            };
            base = Some(base.map_or_else(|| Rc::clone(&above), |base| merge(&above, &base)));
        }
        base.map_or_else(|| Rc::clone(node), |base| merge(node, &base))
    }

    /// Returns the file with the references resolved in all keys that are not jobs.
    pub(super) fn resolve_keys(&self, root: &Rc<Node>, keys: &[&str]) -> Rc<Node> {
        let Kind::Map(entries) = &root.kind else { return Rc::clone(root) };
        let resolve = |entry: &Entry| match keys.contains(&entry.key.as_str()) {
            true => Entry { value: self.resolve_references(&entry.value, MAX_DEPTH), ..entry.clone() },
            false => entry.clone(),
        };
        let entries = entries.iter().map(resolve).collect();
        Rc::new(Node { place: root.place, kind: Kind::Map(entries), weight: root.weight })
    }

    /// Replaces each `!reference [job, key]` by the value that it names. A reference that names nothing stays.
    pub(super) fn resolve_references(&self, node: &Rc<Node>, depth: usize) -> Rc<Node> {
        let left = self.left.get();
        if left == 0 {
            return Rc::clone(node);
        }
        self.left.set(left - 1);
        match &node.kind {
            Kind::Scalar(_) => Rc::clone(node),
            Kind::Map(entries) => {
                if let [Entry { key, value, .. }] = entries.as_slice()
                    && key == "!reference"
                {
                    let found = self.referenced_value(value);
                    return found
                        .filter(|_| depth > 0)
                        .map_or_else(|| Rc::clone(node), |found| self.resolve_references(&found, depth - 1));
                }
                let resolved: Vec<Rc<Node>> =
                    entries.iter().map(|entry| self.resolve_references(&entry.value, depth)).collect();
                if entries.iter().zip(&resolved).all(|(entry, new)| Rc::ptr_eq(&entry.value, new)) {
                    return Rc::clone(node);
                }
                let entries =
                    entries.iter().zip(resolved).map(|(entry, value)| Entry { value, ..entry.clone() }).collect();
                Rc::new(Node { place: node.place, kind: Kind::Map(entries), weight: node.weight })
            }
            Kind::List(items) => {
                let resolved: Vec<Rc<Node>> = items.iter().map(|item| self.resolve_references(item, depth)).collect();
                if items.iter().zip(&resolved).all(|(old, new)| Rc::ptr_eq(old, new)) {
                    return Rc::clone(node);
                }
                Rc::new(Node { place: node.place, kind: Kind::List(resolved), weight: node.weight })
            }
        }
    }

    fn referenced_value(&self, path: &Node) -> Option<Rc<Node>> {
        let mut names = list(path)?.iter().map(|name| text(name));
        let name = names.next()??;
        self.used.borrow_mut().insert(name.to_owned());
        let mut found = Rc::clone(self.written(name)?);
        found = self.extend(&found, MAX_DEPTH, &mut Vec::new());
        for name in names {
            let next = Rc::clone(entry(&found, name?)?);
            found = next;
        }
        Some(found)
    }
}

/// Returns the names of a reference that could not be resolved, as they are written.
pub(super) fn unresolved(node: &Node) -> Option<String> {
    match entries(node)? {
        [one] if one.key == "!reference" => {
            Some(format!("!reference [{}]", texts(&one.value).unwrap_or_default().join(", ")))
        }
        _ => None,
    }
}

fn entry<'n>(node: &'n Node, key: &str) -> Option<&'n Rc<Node>> {
    entries(node)?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

/// Merges `own` over `base`: mappings are merged at every depth, everything else is replaced.
pub(super) fn merge(own: &Rc<Node>, base: &Rc<Node>) -> Rc<Node> {
    let (Some(own_entries), Some(base_entries)) = (entries(own), entries(base)) else { return Rc::clone(own) };
    let mut merged: Vec<Entry> = Vec::with_capacity(own_entries.len() + base_entries.len());
    for entry in base_entries {
        match own_entries.iter().find(|own| own.key == entry.key) {
            Some(own) => merged.push(Entry { value: merge(&own.value, &entry.value), ..own.clone() }),
            None => merged.push(entry.clone()),
        }
    }
    merged.extend(own_entries.iter().filter(|own| base_entries.iter().all(|entry| entry.key != own.key)).cloned());
    Rc::new(Node { place: own.place, kind: Kind::Map(merged), weight: Weight::default() })
}
