//! The expression language between `${{` and `}}` and in `if`: GitHub's, with names in kebab-case.
//!
//! ```text
//! source -> Expression::parse -> check(&expression, &scope) when a file is read
//!                             -> evaluate(&expression, &context) when its values are known
//! ```
//!
//! The scheduler checks and evaluates expressions when it plans, the server when a job's needs have ended, and the
//! agent between steps. Nothing here reads a file, a clock or an environment; the context computes `hash-files`, and
//! what `changed` is was decided when the build was planned. Nothing panics, whatever the source: lengths, depths and
//! the sizes of values are limited.
//!
//! Differences from GitHub: comparison of texts is case-sensitive, values of different kinds are never equal, `<`,
//! `<=`, `>` and `>=` take only numbers, and an unknown name is an error when the file is read.

mod ast;
mod check;
mod evaluate;
mod function;
mod lexer;
mod parser;
pub mod script;
mod types;
mod value;

pub use ast::{Binary, Expression, Node, NodeKind, Refers};
pub use check::{Carried, Checked, Problem, ProblemKind, Scope, check};
pub use evaluate::{CHANGED, Context, EvalError, Progress, Values, changed_key, evaluate, runs};
pub use function::{FUNCTIONS, Function};
pub use parser::ParseError;
pub use types::Type;
pub use value::Value;

/// The contexts of the language.
pub const CONTEXTS: &[&str] = &["event", "repo", "build", "matrix", "needs", "steps", "inputs", "env", "secrets"];

/// Limits for an expression.
pub mod limits {
    /// Bytes of one expression's source.
    pub const SOURCE_BYTES: usize = 8 * 1024;
    /// Parentheses, calls and operators inside one another.
    pub const DEPTH: usize = 32;
    /// Names, literals and operators of one expression.
    pub const NODES: usize = 500;
    /// Bytes of a text that is the result.
    pub const TEXT_BYTES: usize = 256 * 1024;
    /// Lists and mappings inside one another in the text for `from-json`.
    pub const VALUE_DEPTH: usize = 32;
    /// Bytes that the compiled regular expression of `matches` may take.
    pub const PATTERN_BYTES: usize = 256 * 1024;
}
