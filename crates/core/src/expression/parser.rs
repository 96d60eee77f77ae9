//! Parses an expression. Precedence, lowest first: `||`, `&&`, `== !=`, `< <= > >=`, `!`, then `.`, `[]` and calls.

use std::{fmt, ops::Range};

use super::{
    ast::{Binary, Node, NodeKind},
    function::{FUNCTIONS, Function},
    lexer::{Token, TokenKind, tokens},
    limits,
    value::Value,
};

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The byte range of the error.
    pub at: Range<usize>,
    pub message: String,
    pub help: Option<String>,
    /// For an unknown name: the name, and the names that exist.
    pub unknown: Option<(String, &'static [&'static str])>,
}

impl ParseError {
    pub(super) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None, unknown: None }
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}

pub(super) fn parse(source: &str) -> Result<Node, ParseError> {
    let whole = 0..source.len();
    if source.len() > limits::SOURCE_BYTES {
        let message = format!("an expression can be at most {} KiB long", limits::SOURCE_BYTES / 1024);
        return Err(ParseError::new(whole, message).with_help("compute it in a step, and use the step's output"));
    }
    let tokens = tokens(source)?;
    if tokens.is_empty() {
        return Err(ParseError::new(whole, "the expression is empty").with_help("write one, such as `matrix.name`"));
    }
    let mut parser = Parser { tokens: &tokens, next: 0, depth: 0, nodes: 0, end: source.trim_end().len() };
    let node = parser.binary(0)?;
    match parser.peek() {
        None => Ok(node),
        Some(token) => Err(unexpected(token)),
    }
}

/// The binary operators by precedence, lowest first.
const LEVELS: &[&[Binary]] = &[
    &[Binary::Or],
    &[Binary::And],
    &[Binary::Equal, Binary::NotEqual],
    &[Binary::LessOrEqual, Binary::GreaterOrEqual, Binary::Less, Binary::Greater],
];

struct Parser<'t> {
    tokens: &'t [Token],
    next: usize,
    depth: usize,
    nodes: usize,
    /// The end of the source.
    end: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.next)
    }

    fn take_sign(&mut self, sign: &str) -> Option<&'t Token> {
        let token = self.peek().filter(|token| matches!(token.kind, TokenKind::Sign(found) if found == sign))?;
        self.next += 1;
        Some(token)
    }

    fn node(&mut self, at: Range<usize>, kind: NodeKind) -> Result<Node, ParseError> {
        self.nodes += 1;
        if self.nodes > limits::NODES {
            return Err(ParseError::new(at, format!("an expression can have at most {} parts", limits::NODES)));
        }
        Ok(Node { at, kind })
    }

    fn binary(&mut self, level: usize) -> Result<Node, ParseError> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) =
            operators.iter().copied().find(|operator| self.take_sign(operator.as_str()).is_some())
        {
            let right = self.binary(level + 1)?;
            let at = left.at.start..right.at.end;
            left = self.node(at, NodeKind::Binary { operator, left: Box::new(left), right: Box::new(right) })?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Node, ParseError> {
        self.depth += 1;
        if self.depth > limits::DEPTH {
            let at = self.peek().map_or(self.end..self.end, |token| token.at.clone());
            let message = format!("expressions can be nested at most {} levels deep", limits::DEPTH);
            return Err(ParseError::new(at, message));
        }
        let node = match self.take_sign("!") {
            Some(sign) => {
                let inner = self.unary()?;
                self.node(sign.at.start..inner.at.end, NodeKind::Not(Box::new(inner)))?
            }
            None => self.postfix()?,
        };
        self.depth -= 1;
        Ok(node)
    }

    fn postfix(&mut self) -> Result<Node, ParseError> {
        let mut node = self.primary()?;
        loop {
            if self.take_sign(".").is_some() {
                let Some(Token { kind: TokenKind::Word(key), at }) = self.peek() else {
                    return Err(self.missing("a name after the `.` is missing"));
                };
                self.next += 1;
                let whole = node.at.start..at.end;
                let kind = NodeKind::Property { of: Box::new(node), key: key.clone(), key_at: at.clone() };
                node = self.node(whole, kind)?;
            } else if self.take_sign("[").is_some() {
                let index = self.binary(0)?;
                let Some(close) = self.take_sign("]") else { return Err(self.missing("`]` is missing")) };
                let at = node.at.start..close.at.end;
                let kind = match index.kind {
                    NodeKind::Literal(Value::Text(key)) => {
                        // Without the quotes.
                        let key_at = index.at.start + 1..index.at.end - 1;
                        NodeKind::Property { of: Box::new(node), key, key_at }
                    }
                    _ => NodeKind::Index { of: Box::new(node), index: Box::new(index) },
                };
                node = self.node(at, kind)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn primary(&mut self) -> Result<Node, ParseError> {
        let Some(token) = self.peek() else { return Err(self.missing("a value is missing")) };
        self.next += 1;
        match &token.kind {
            TokenKind::Number(number) => self.node(token.at.clone(), NodeKind::Literal(Value::Number(*number))),
            TokenKind::Text(text) => self.node(token.at.clone(), NodeKind::Literal(Value::Text(text.clone()))),
            TokenKind::Sign("(") => {
                let inner = self.binary(0)?;
                match self.take_sign(")") {
                    // Includes the parentheses, so that the carets show them.
                    Some(close) => Ok(Node { at: token.at.start..close.at.end, kind: inner.kind }),
                    None => Err(self.missing("`)` is missing")),
                }
            }
            TokenKind::Sign(_) => Err(unexpected(token)),
            TokenKind::Word(word) => {
                if self.take_sign("(").is_some() {
                    return self.call(word, token);
                }
                let kind = match word.as_str() {
                    "true" => NodeKind::Literal(Value::Bool(true)),
                    "false" => NodeKind::Literal(Value::Bool(false)),
                    "null" => NodeKind::Literal(Value::Null),
                    name => match Function::named(name) {
                        Some(function) => {
                            let message = format!("`{name}` is a function");
                            let help = format!("write `{}`", function.usage());
                            return Err(ParseError::new(token.at.clone(), message).with_help(help));
                        }
                        None => NodeKind::Context(word.clone()),
                    },
                };
                self.node(token.at.clone(), kind)
            }
        }
    }

    fn call(&mut self, name: &str, token: &Token) -> Result<Node, ParseError> {
        let Some(function) = Function::named(name) else {
            let mut error = ParseError::new(token.at.clone(), format!("unknown function `{name}`"));
            error.unknown = Some((name.to_owned(), FUNCTIONS));
            return Err(error);
        };
        let mut arguments = Vec::new();
        let close = loop {
            if let Some(close) = self.take_sign(")") {
                break close;
            }
            if !arguments.is_empty() && self.take_sign(",").is_none() {
                return Err(self.missing("`,` or `)` is missing"));
            }
            arguments.push(self.binary(0)?);
        };
        let kind = NodeKind::Call { function, name_at: token.at.clone(), arguments };
        self.node(token.at.start..close.at.end, kind)
    }

    /// Creates the error for a missing token; `what` says what is missing.
    fn missing(&self, what: &str) -> ParseError {
        match self.peek() {
            Some(token) => ParseError::new(token.at.clone(), format!("{what} before this")),
            None => {
                ParseError::new(self.end.saturating_sub(1)..self.end, format!("unexpected end of expression: {what}"))
            }
        }
    }
}

fn unexpected(token: &Token) -> ParseError {
    let found = |what: &str| ParseError::new(token.at.clone(), format!("unexpected {what}"));
    match &token.kind {
        TokenKind::Sign("*") => found("`*`").with_help("filters over lists (`*`) are not supported: name the item"),
        TokenKind::Sign(sign) => found(&format!("`{sign}`")),
        TokenKind::Word(word) => found(&format!("`{}`", word.chars().take(40).collect::<String>()))
            .with_help("an operator such as `==` or `&&` is missing before it, or quotes around a string"),
        TokenKind::Number(_) | TokenKind::Text(_) => {
            found("this value").with_help("an operator such as `==` or `&&` is missing before it")
        }
    }
}
