//! The small language between `${{` and `}}` and in `if`: GitHub's, with names in kebab-case.
//!
//! ```text
//! source -> Expression::parse -> check(&expression, &scope) when a file is read
//!                             -> evaluate(&expression, &context) wherever its values are known
//! ```
//!
//! The scheduler checks and evaluates when it plans, the server when a job's needs are done, and the agent between
//! steps. Pure: nothing here reads a file, a clock or an environment; `hash-files` is the context's to answer. Nothing
//! panics, whatever the source: sizes and depths are bounded, and so is what a value may grow to.
//!
//! What differs from GitHub: texts compare as they are written (letters of either case differ), values of different kinds are never
//! equal, `<` and its kin take numbers only, and a name that nobody knows is an error where the file is read.

mod ast;
mod check;
mod evaluate;
mod function;
mod lexer;
mod parser;
pub mod script;
mod value;

pub use ast::{Binary, Expression, Node, NodeKind, Refers};
pub use check::{Carried, Checked, Problem, ProblemKind, Scope, Type, check};
pub use evaluate::{Context, EvalError, Progress, Values, evaluate, runs};
pub use function::{FUNCTIONS, Function};
pub use parser::ParseError;
pub use value::Value;

/// Contexts of the language.
pub const CONTEXTS: &[&str] = &["event", "repo", "build", "matrix", "needs", "steps", "inputs", "env", "secrets"];

/// What an expression may be at most.
pub mod limits {
    /// Bytes of one expression's source.
    pub const SOURCE_BYTES: usize = 8 * 1024;
    /// Parentheses, calls and operators inside one another.
    pub const DEPTH: usize = 32;
    /// Names, literals and operators of one expression.
    pub const NODES: usize = 500;
    /// Bytes that a text may grow to.
    pub const TEXT_BYTES: usize = 256 * 1024;
    /// Lists and mappings inside one another that `from-json` takes.
    pub const VALUE_DEPTH: usize = 32;
}
