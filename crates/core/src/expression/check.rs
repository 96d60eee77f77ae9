//! Checks an expression before any value is known: its type, its errors, and which values may get into the text around
//! it.

use std::{collections::BTreeMap, ops::Range};

use super::{
    CONTEXTS,
    ast::{Binary, Expression, Node, NodeKind},
    evaluate,
    function::Function,
    types::Type,
    value::Value,
};

/// What an expression may refer to at its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// The contexts that have values here, with their types.
    pub contexts: BTreeMap<&'static str, Type>,
    /// The contexts that have no value here, with the reason and what to do.
    pub absent: BTreeMap<&'static str, String>,
    /// Whether it is an `if`: there `success()`, `failure()`, `always()`, `cancelled()` and `changed()` can be called.
    pub condition: bool,
    /// Whether `hash-files` can be called.
    pub files: bool,
}

/// The result of [`check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub ty: Type,
    pub problems: Vec<Problem>,
    /// The values that may be part of the result. Values that are only compared are not.
    pub carries: Vec<Carried>,
    /// The patterns of `changed()`, each with its byte range.
    pub patterns: Vec<(String, Range<usize>)>,
}

/// A value that may be part of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// `["event", "branch"]`; shorter if only the beginning of the path is known.
    pub path: Vec<String>,
    /// The byte range that names it.
    pub at: Range<usize>,
}

/// An error in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// The byte range of the error.
    pub at: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

/// The kind of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// An unknown name `word`, the path `of` the value that lacks it (empty for a context), and the names that it has.
    Unknown { of: String, word: String, known: Vec<String> },
    /// A name that exists, but has no value here.
    NotHere,
    /// A value of the wrong type.
    WrongType,
}

/// Checks an expression against what it may refer to.
#[must_use]
pub fn check(expression: &Expression, scope: &Scope) -> Checked {
    let mut checker = Checker { scope, source: expression.source(), problems: Vec::new(), patterns: Vec::new() };
    let found = checker.infer(expression.root());
    Checked { ty: found.ty, problems: checker.problems, carries: found.carries, patterns: checker.patterns }
}

struct Checker<'s> {
    scope: &'s Scope,
    source: &'s str,
    problems: Vec<Problem>,
    patterns: Vec<(String, Range<usize>)>,
}

struct Inferred {
    ty: Type,
    carries: Vec<Carried>,
}

impl Inferred {
    const fn without_carried(ty: Type) -> Self {
        Self { ty, carries: Vec::new() }
    }
}

impl Checker<'_> {
    fn problem(&mut self, kind: ProblemKind, at: &Range<usize>, message: String, help: Option<String>) {
        self.problems.push(Problem { kind, at: at.clone(), message, help });
    }

    fn infer(&mut self, node: &Node) -> Inferred {
        match &node.kind {
            NodeKind::Literal(value) => Inferred::without_carried(Type::of(value)),
            NodeKind::Context(name) => self.context(name, node),
            NodeKind::Property { of, key, key_at } => {
                let found = self.infer(of);
                let ty = self.property(&found.ty, of, key, key_at);
                Inferred { ty, carries: extend_path(found.carries, of, Some(key), node) }
            }
            NodeKind::Index { of, index } => {
                let found = self.infer(of);
                let by = self.infer(index).ty;
                let ty = match (&found.ty, &by) {
                    (Type::List(item), Type::Number | Type::Any) => (**item).clone(),
                    (Type::Map(value), Type::Text | Type::Any) => (**value).clone(),
                    (Type::Any | Type::Null | Type::Record(_), _) => Type::Any,
                    (ty, by) => {
                        let message = format!("{} cannot be indexed with {}", ty.describe(), by.describe());
                        self.problem(ProblemKind::WrongType, &node.at, message, None);
                        Type::Any
                    }
                };
                Inferred { ty, carries: extend_path(found.carries, of, None, node) }
            }
            NodeKind::Call { function, name_at, arguments } => self.call(*function, name_at, arguments, node),
            NodeKind::Not(inner) => {
                self.infer(inner);
                Inferred::without_carried(Type::Bool)
            }
            NodeKind::Binary { operator, left, right } => self.binary(*operator, left, right, node),
        }
    }

    fn context(&mut self, name: &str, node: &Node) -> Inferred {
        let carries = vec![Carried { path: vec![name.to_owned()], at: node.at.clone() }];
        if let Some(ty) = self.scope.contexts.get(name) {
            return Inferred { ty: ty.clone(), carries };
        }
        if let Some(why) = self.scope.absent.get(name) {
            self.problem(ProblemKind::NotHere, &node.at, format!("`{name}` has no value here"), Some(why.clone()));
        } else if CONTEXTS.contains(&name) {
            self.problem(ProblemKind::NotHere, &node.at, format!("`{name}` has no value here"), None);
        } else {
            let known = CONTEXTS.iter().map(|known| (*known).to_owned()).collect();
            let kind = ProblemKind::Unknown { of: String::new(), word: name.to_owned(), known };
            self.problem(kind, &node.at, format!("unknown context `{name}`"), None);
        }
        Inferred { ty: Type::Any, carries }
    }

    fn property(&mut self, of: &Type, node: &Node, key: &str, key_at: &Range<usize>) -> Type {
        match of {
            Type::Any => Type::Any,
            Type::Null => Type::Null,
            Type::Map(value) => (**value).clone(),
            Type::Record(entries) => match entries.get(key) {
                Some(ty) => ty.clone(),
                None => {
                    let path = shown_path(node);
                    let shown: String = key.chars().take(60).collect();
                    let message = format!("`{path}` has no `{shown}`");
                    let known = entries.keys().cloned().collect();
                    let kind = ProblemKind::Unknown { of: path, word: key.to_owned(), known };
                    self.problem(kind, key_at, message, None);
                    Type::Any
                }
            },
            Type::Bool | Type::Number | Type::Text | Type::List(_) => {
                let help = match of {
                    Type::List(_) => Some("items are numbered from 0: `list[0]`".to_owned()),
                    Type::Text => Some("`from-json(text)` parses a JSON string".to_owned()),
                    _ => None,
                };
                let shown: String = key.chars().take(60).collect();
                let message = format!("`{}` is {}, which has no `{shown}`", shown_path(node), of.describe());
                self.problem(ProblemKind::WrongType, key_at, message, help);
                Type::Any
            }
        }
    }

    fn binary(&mut self, operator: Binary, left: &Node, right: &Node, node: &Node) -> Inferred {
        let (a, b) = (self.infer(left), self.infer(right));
        match operator {
            Binary::Or | Binary::And => {
                let ty = if a.ty == b.ty { a.ty } else { Type::Any };
                // The left side of `&&` is the result only if it is null, `false`, 0 or the empty text.
                let mut carries = if operator == Binary::Or { a.carries } else { Vec::new() };
                carries.extend(b.carries);
                Inferred { ty, carries }
            }
            Binary::Equal | Binary::NotEqual => {
                if !a.ty.comparable(&b.ty) {
                    let message = format!("{} is never equal to {}", a.ty.describe(), b.ty.describe());
                    let help = self.suggest_quotes(left, &b.ty).or_else(|| self.suggest_quotes(right, &a.ty));
                    self.problem(ProblemKind::WrongType, &node.at, message, help);
                }
                Inferred::without_carried(Type::Bool)
            }
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                for (side, ty) in [(left, &a.ty), (right, &b.ty)] {
                    if !matches!(ty, Type::Number | Type::Any) {
                        let message =
                            format!("`{}` compares numbers, but this is {}", operator.as_str(), ty.describe());
                        let help = (*ty == Type::Text)
                            .then(|| "`from-json(text)` turns a string such as `12` into a number".to_owned());
                        self.problem(ProblemKind::WrongType, &side.at, message, help);
                    }
                }
                Inferred::without_carried(Type::Bool)
            }
        }
    }

    fn call(&mut self, function: Function, name_at: &Range<usize>, arguments: &[Node], node: &Node) -> Inferred {
        let found: Vec<Inferred> = arguments.iter().map(|argument| self.infer(argument)).collect();
        let (least, most) = function.arity();
        if arguments.len() < least || arguments.len() > most {
            let message = match (least, most) {
                (0, 0) => format!("`{}` takes no argument", function.name()),
                (least, most) if least == most => {
                    format!(
                        "`{}` takes {least} argument{}, but got {}",
                        function.name(),
                        if least == 1 { "" } else { "s" },
                        arguments.len()
                    )
                }
                (least, most) => {
                    format!("`{}` takes {least} to {most} arguments, but got {}", function.name(), arguments.len())
                }
            };
            self.problem(ProblemKind::WrongType, &node.at, message, Some(format!("write `{}`", function.usage())));
        } else {
            for (at, (argument, found)) in arguments.iter().zip(&found).enumerate() {
                if !accepts(function, at, &found.ty) {
                    let message = format!("`{}` cannot take {} here", function.name(), found.ty.describe());
                    self.problem(
                        ProblemKind::WrongType,
                        &argument.at,
                        message,
                        Some(format!("write `{}`", function.usage())),
                    );
                }
            }
            self.check_literal(function, arguments);
            if function == Function::Changed {
                self.check_patterns(arguments);
            }
        }
        let carries = || found.iter().flat_map(|found| found.carries.iter().cloned()).collect();
        match function {
            Function::Contains | Function::StartsWith | Function::EndsWith | Function::Matches => {
                Inferred::without_carried(Type::Bool)
            }
            Function::Format | Function::Join | Function::ToJson => Inferred { ty: Type::Text, carries: carries() },
            Function::FromJson => Inferred { ty: Type::Any, carries: carries() },
            Function::HashFiles => {
                if !self.scope.files {
                    let help = "the workspace exists only while steps run: use it in a step, or in a cache's `key`";
                    self.problem(
                        ProblemKind::NotHere,
                        name_at,
                        "`hash-files` has no files here".to_owned(),
                        Some(help.to_owned()),
                    );
                }
                Inferred::without_carried(Type::Text)
            }
            Function::Changed | Function::Success | Function::Failure | Function::Always | Function::Cancelled => {
                if !self.scope.condition {
                    let message = format!("`{}()` is available in `if` only", function.name());
                    self.problem(ProblemKind::NotHere, name_at, message, None);
                }
                Inferred::without_carried(Type::Bool)
            }
        }
    }

    /// Suggests the text to write for a number or boolean that is compared with a text: `'1.10'` for `1.10`, not
    /// `'1.1'`.
    fn suggest_quotes(&self, node: &Node, other: &Type) -> Option<String> {
        match &node.kind {
            NodeKind::Literal(Value::Number(_) | Value::Bool(_)) if *other == Type::Text => {
                let written = self.source.get(node.at.clone())?.trim_matches(['(', ')', ' ']);
                Some(format!("compare it with a string: `'{written}'`"))
            }
            _ => None,
        }
    }

    /// Checks that the patterns of `changed` are literal texts: its value is decided before there are others.
    fn check_patterns(&mut self, arguments: &[Node]) {
        for argument in arguments {
            match argument.text() {
                Some(pattern) => self.patterns.push((pattern.to_owned(), argument.at.clone())),
                None => {
                    let message = "`changed` takes patterns in quotes, and no other values".to_owned();
                    let help = "write each pattern: `changed('src/**', '!src/**/*.md')`; to choose, write `matrix.app == 'web' && changed('web/**')`";
                    self.problem(ProblemKind::WrongType, &argument.at, message, Some(help.to_owned()));
                }
            }
        }
    }

    /// Checks a call whose argument with a meaning of its own is a literal text: the second of `matches`, or the first.
    fn check_literal(&mut self, function: Function, arguments: &[Node]) {
        let which = usize::from(function == Function::Matches);
        let Some(Node { kind: NodeKind::Literal(Value::Text(text)), at }) = arguments.get(which) else { return };
        let result = match function {
            Function::Format => evaluate::format(text, &vec![String::new(); arguments.len() - 1]).err(),
            Function::FromJson => evaluate::from_json(text).err(),
            Function::Matches => evaluate::regular(text).err(),
            _ => None,
        };
        if let Some(error) = result {
            let help = match function {
                Function::Format => "the arguments are `{0}`, `{1}`, ...; write a literal brace twice",
                Function::Matches => {
                    "write a regular expression, such as '^v[0-9]+$'; a `\\` before a sign takes its meaning away"
                }
                _ => "write JSON, such as '[\"a\", \"b\"]'",
            };
            self.problem(ProblemKind::WrongType, at, error.to_string(), Some(help.to_owned()));
        }
    }
}

fn accepts(function: Function, at: usize, ty: &Type) -> bool {
    let text = matches!(ty, Type::Text | Type::Any | Type::Null | Type::Number | Type::Bool);
    match (function, at) {
        (Function::Contains, 0) => matches!(ty, Type::Text | Type::Any | Type::List(_)),
        (Function::Contains, _) => text,
        (Function::Join, 0) => matches!(ty, Type::List(_) | Type::Any),
        (Function::Format, 0)
        | (
            Function::FromJson
            | Function::StartsWith
            | Function::EndsWith
            | Function::Matches
            | Function::Join
            | Function::HashFiles,
            _,
        ) => {
            matches!(ty, Type::Text | Type::Any)
        }
        (Function::Format, _) => text,
        (Function::ToJson | Function::Changed, _) => true,
        (Function::Success | Function::Failure | Function::Always | Function::Cancelled, _) => false,
    }
}

/// Extends the path of a carried value by a property. The properties of a call's result do not extend any path.
fn extend_path(mut carries: Vec<Carried>, of: &Node, key: Option<&String>, node: &Node) -> Vec<Carried> {
    if is_path(of)
        && let [one] = carries.as_mut_slice()
    {
        if let Some(key) = key {
            one.path.push(key.clone());
        }
        one.at = node.at.clone();
    }
    carries
}

/// Returns whether a node is a path below a context. The keys of other values are not part of a path.
fn is_path(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Context(_) => true,
        NodeKind::Property { of, .. } => is_path(of),
        NodeKind::Literal(_)
        | NodeKind::Index { .. }
        | NodeKind::Call { .. }
        | NodeKind::Not(_)
        | NodeKind::Binary { .. } => false,
    }
}

/// Returns the path of a node for messages, as far as it has one: `needs.build`.
fn shown_path(node: &Node) -> String {
    match &node.kind {
        NodeKind::Context(name) => name.clone(),
        NodeKind::Property { of, key, .. } => {
            let key: String = key.chars().take(60).collect();
            format!("{}.{key}", shown_path(of))
        }
        NodeKind::Index { of, .. } => format!("{}[...]", shown_path(of)),
        NodeKind::Call { function, .. } => format!("{}(...)", function.name()),
        NodeKind::Literal(_) | NodeKind::Not(_) | NodeKind::Binary { .. } => "this".to_owned(),
    }
}
