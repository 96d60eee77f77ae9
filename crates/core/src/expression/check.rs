//! What can be said of an expression before any value is known: its type, what is wrong with it, and whose values it
//! may carry into the text where it stands.

use std::{collections::BTreeMap, ops::Range};

use super::{
    CONTEXTS,
    ast::{Binary, Expression, Node, NodeKind},
    evaluate,
    function::Function,
    value::Value,
};

/// What is known of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Only shows when it is there.
    Any,
    Null,
    Bool,
    Number,
    /// A text, which may be nothing.
    Text,
    List(Box<Type>),
    /// A mapping with keys that nobody knows yet.
    Map(Box<Type>),
    /// A mapping with these keys and no other.
    Record(BTreeMap<String, Type>),
}

impl Type {
    /// A mapping with these keys and no other.
    pub fn record<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Record(entries.into_iter().map(|(key, ty)| (key.into(), ty)).collect())
    }

    /// Whether it can be put into a text as it is.
    #[must_use]
    pub const fn fits_text(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Map(_) | Self::Record(_))
    }

    /// As a message says it.
    #[must_use]
    pub const fn describe(&self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Null => "nothing",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Record(_) => "a mapping",
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::Text(_) => Self::Text,
            Value::List(_) => Self::List(Box::new(Self::Any)),
            Value::Map(_) => Self::Map(Box::new(Self::Any)),
        }
    }

    /// Whether two values can ever be equal.
    fn comparable(&self, other: &Self) -> bool {
        let family = |ty: &Self| match ty {
            Self::Any | Self::Null => 0,
            Self::Bool => 1,
            Self::Number => 2,
            Self::Text => 3,
            Self::List(_) => 4,
            Self::Map(_) | Self::Record(_) => 5,
        };
        matches!((family(self), family(other)), (0, _) | (_, 0)) || family(self) == family(other)
    }
}

/// What an expression may refer to where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// The contexts that have values here.
    pub contexts: BTreeMap<&'static str, Type>,
    /// Contexts of the language that have none here: why, and what to do.
    pub absent: BTreeMap<&'static str, String>,
    /// Whether `success()` and its kin have an answer.
    pub progress: bool,
    /// Whether `hash-files` has.
    pub files: bool,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub ty: Type,
    pub problems: Vec<Problem>,
    /// Whose values the result may have in it: not those that were only compared.
    pub carries: Vec<Carried>,
}

/// A value that finds its way into the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// `["event", "branch"]`; shorter where only a part of the way is known.
    pub path: Vec<String>,
    /// The bytes that name it.
    pub at: Range<usize>,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// The bytes at fault.
    pub at: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

/// What sort of wrong it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// A name that nobody knows, the path of what does not have it (empty for a context), and names that would be known in
    /// its place.
    Unknown { of: String, word: String, known: Vec<String> },
    /// Known, and not here.
    NotHere,
    /// Values that do not go together.
    WrongType,
}

/// Judges an expression by what it may refer to.
#[must_use]
pub fn check(expression: &Expression, scope: &Scope) -> Checked {
    let mut checker = Checker { scope, source: expression.source(), problems: Vec::new() };
    let found = checker.infer(expression.root());
    Checked { ty: found.ty, problems: checker.problems, carries: found.carries }
}

struct Checker<'s> {
    scope: &'s Scope,
    source: &'s str,
    problems: Vec<Problem>,
}

struct Found {
    ty: Type,
    carries: Vec<Carried>,
}

impl Found {
    const fn bare(ty: Type) -> Self {
        Self { ty, carries: Vec::new() }
    }
}

impl Checker<'_> {
    fn problem(&mut self, kind: ProblemKind, at: &Range<usize>, message: String, help: Option<String>) {
        self.problems.push(Problem { kind, at: at.clone(), message, help });
    }

    fn infer(&mut self, node: &Node) -> Found {
        match &node.kind {
            NodeKind::Literal(value) => Found::bare(Type::of(value)),
            NodeKind::Context(name) => self.context(name, node),
            NodeKind::Property { of, key, key_at } => {
                let found = self.infer(of);
                let ty = self.property(&found.ty, of, key, key_at);
                Found { ty, carries: below(found.carries, of, Some(key), node) }
            }
            NodeKind::Index { of, index } => {
                let found = self.infer(of);
                let by = self.infer(index).ty;
                let ty = match (&found.ty, &by) {
                    (Type::List(item), Type::Number | Type::Any) => (**item).clone(),
                    (Type::Map(value), Type::Text | Type::Any) => (**value).clone(),
                    (Type::Any | Type::Null | Type::Record(_), _) => Type::Any,
                    (ty, by) => {
                        let message = format!("{} has nothing at {}", ty.describe(), by.describe());
                        self.problem(ProblemKind::WrongType, &node.at, message, None);
                        Type::Any
                    }
                };
                Found { ty, carries: below(found.carries, of, None, node) }
            }
            NodeKind::Call { function, name_at, arguments } => self.call(*function, name_at, arguments, node),
            NodeKind::Not(inner) => {
                self.infer(inner);
                Found::bare(Type::Bool)
            }
            NodeKind::Binary { operator, left, right } => self.binary(*operator, left, right, node),
        }
    }

    fn context(&mut self, name: &str, node: &Node) -> Found {
        let carries = vec![Carried { path: vec![name.to_owned()], at: node.at.clone() }];
        if let Some(ty) = self.scope.contexts.get(name) {
            return Found { ty: ty.clone(), carries };
        }
        if let Some(why) = self.scope.absent.get(name) {
            self.problem(ProblemKind::NotHere, &node.at, format!("`{name}` has no value here"), Some(why.clone()));
        } else if CONTEXTS.contains(&name) {
            self.problem(ProblemKind::NotHere, &node.at, format!("`{name}` has no value here"), None);
        } else {
            let known = CONTEXTS.iter().map(|known| (*known).to_owned()).collect();
            let kind = ProblemKind::Unknown { of: String::new(), word: name.to_owned(), known };
            self.problem(kind, &node.at, format!("there is no context `{name}`"), None);
        }
        Found { ty: Type::Any, carries }
    }

    fn property(&mut self, of: &Type, node: &Node, key: &str, key_at: &Range<usize>) -> Type {
        match of {
            Type::Any => Type::Any,
            Type::Null => Type::Null,
            Type::Map(value) => (**value).clone(),
            Type::Record(entries) => match entries.get(key) {
                Some(ty) => ty.clone(),
                None => {
                    let of = shown_path(node);
                    let shown: String = key.chars().take(60).collect();
                    let message = format!("`{of}` has no `{shown}`");
                    let known = entries.keys().cloned().collect();
                    let kind = ProblemKind::Unknown { of, word: key.to_owned(), known };
                    self.problem(kind, key_at, message, None);
                    Type::Any
                }
            },
            Type::Bool | Type::Number | Type::Text | Type::List(_) => {
                let help = match of {
                    Type::List(_) => Some("an item is named by its number, from 0: `list[0]`".to_owned()),
                    Type::Text => Some("`from-json(text)` reads a text that holds JSON".to_owned()),
                    _ => None,
                };
                let shown: String = key.chars().take(60).collect();
                let message = format!("`{}` is {}, which has no `{shown}`", shown_path(node), of.describe());
                self.problem(ProblemKind::WrongType, key_at, message, help);
                Type::Any
            }
        }
    }

    fn binary(&mut self, operator: Binary, left: &Node, right: &Node, node: &Node) -> Found {
        let (a, b) = (self.infer(left), self.infer(right));
        match operator {
            Binary::Or | Binary::And => {
                let ty = if a.ty == b.ty { a.ty } else { Type::Any };
                // What `&&` gives of its left side is nothing, `false`, 0 or the empty text.
                let mut carries = if operator == Binary::Or { a.carries } else { Vec::new() };
                carries.extend(b.carries);
                Found { ty, carries }
            }
            Binary::Equal | Binary::NotEqual => {
                if !a.ty.comparable(&b.ty) {
                    let message = format!("{} is never equal to {}", a.ty.describe(), b.ty.describe());
                    let help = self.quoted(left, &b.ty).or_else(|| self.quoted(right, &a.ty));
                    self.problem(ProblemKind::WrongType, &node.at, message, help);
                }
                Found::bare(Type::Bool)
            }
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                for (side, ty) in [(left, &a.ty), (right, &b.ty)] {
                    if !matches!(ty, Type::Number | Type::Any) {
                        let message =
                            format!("`{}` compares numbers, and this is {}", operator.as_str(), ty.describe());
                        let help = (*ty == Type::Text)
                            .then(|| "`from-json(text)` makes a number of a text such as `12`".to_owned());
                        self.problem(ProblemKind::WrongType, &side.at, message, help);
                    }
                }
                Found::bare(Type::Bool)
            }
        }
    }

    fn call(&mut self, function: Function, name_at: &Range<usize>, arguments: &[Node], node: &Node) -> Found {
        let found: Vec<Found> = arguments.iter().map(|argument| self.infer(argument)).collect();
        let (least, most) = function.arity();
        if arguments.len() < least || arguments.len() > most {
            let message = match (least, most) {
                (0, 0) => format!("`{}` takes no value", function.name()),
                (least, most) if least == most => {
                    format!(
                        "`{}` takes {least} value{}, and here are {}",
                        function.name(),
                        if least == 1 { "" } else { "s" },
                        arguments.len()
                    )
                }
                (least, most) => {
                    format!("`{}` takes {least} to {most} values, and here are {}", function.name(), arguments.len())
                }
            };
            self.problem(ProblemKind::WrongType, &node.at, message, Some(format!("write `{}`", function.usage())));
        } else {
            for (at, (argument, found)) in arguments.iter().zip(&found).enumerate() {
                if !takes(function, at, &found.ty) {
                    let message = format!("`{}` cannot take {} here", function.name(), found.ty.describe());
                    self.problem(
                        ProblemKind::WrongType,
                        &argument.at,
                        message,
                        Some(format!("write `{}`", function.usage())),
                    );
                }
            }
            self.literals(function, arguments);
        }
        let carries = || found.iter().flat_map(|found| found.carries.iter().cloned()).collect();
        match function {
            Function::Contains | Function::StartsWith | Function::EndsWith => Found::bare(Type::Bool),
            Function::Format | Function::Join | Function::ToJson => Found { ty: Type::Text, carries: carries() },
            Function::FromJson => Found { ty: Type::Any, carries: carries() },
            Function::HashFiles => {
                if !self.scope.files {
                    let help = "the workspace's files are there while steps run: use it in a step, or in a cache's key";
                    self.problem(
                        ProblemKind::NotHere,
                        name_at,
                        "`hash-files` has no files here".to_owned(),
                        Some(help.to_owned()),
                    );
                }
                Found::bare(Type::Text)
            }
            Function::Success | Function::Failure | Function::Always | Function::Cancelled => {
                if !self.scope.progress {
                    let message = format!("`{}()` has an answer in `if` only", function.name());
                    self.problem(ProblemKind::NotHere, name_at, message, None);
                }
                Found::bare(Type::Bool)
            }
        }
    }

    /// The text to write for a number or a boolean that meets a text: `1.10` is `'1.10'`, and not `'1.1'`.
    fn quoted(&self, node: &Node, other: &Type) -> Option<String> {
        match &node.kind {
            NodeKind::Literal(Value::Number(_) | Value::Bool(_)) if *other == Type::Text => {
                let written = self.source.get(node.at.clone())?.trim_matches(['(', ')', ' ']);
                Some(format!("compare it with a text: `'{written}'`"))
            }
            _ => None,
        }
    }

    /// What can be seen of a call whose first value stands there.
    fn literals(&mut self, function: Function, arguments: &[Node]) {
        let Some(Node { kind: NodeKind::Literal(Value::Text(text)), at }) = arguments.first() else { return };
        let result = match function {
            Function::Format => evaluate::format(text, &vec![String::new(); arguments.len() - 1]).err(),
            Function::FromJson => evaluate::from_json(text).err(),
            _ => None,
        };
        if let Some(error) = result {
            let help = match function {
                Function::Format => "the values behind the text are `{0}`, `{1}`, ...; a brace itself is written twice",
                _ => "write JSON, such as '[\"a\", \"b\"]'",
            };
            self.problem(ProblemKind::WrongType, at, error.to_string(), Some(help.to_owned()));
        }
    }
}

fn takes(function: Function, at: usize, ty: &Type) -> bool {
    let text = matches!(ty, Type::Text | Type::Any | Type::Null | Type::Number | Type::Bool);
    match (function, at) {
        (Function::Contains, 0) => matches!(ty, Type::Text | Type::Any | Type::List(_)),
        (Function::Contains, _) => text,
        (Function::Join, 0) => matches!(ty, Type::List(_) | Type::Any),
        (Function::Format, 0)
        | (Function::FromJson | Function::StartsWith | Function::EndsWith | Function::Join | Function::HashFiles, _) => {
            matches!(ty, Type::Text | Type::Any)
        }
        (Function::Format, _) => text,
        (Function::ToJson, _) => true,
        (Function::Success | Function::Failure | Function::Always | Function::Cancelled, _) => false,
    }
}

/// The value of a property is named by the whole path; behind a call it is whatever went into the call.
fn below(mut carries: Vec<Carried>, of: &Node, key: Option<&String>, node: &Node) -> Vec<Carried> {
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

/// Whether a node names a value below a context: keys behind anything else are those of some other value.
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

/// `needs.build`, or as much of it as can be said.
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
