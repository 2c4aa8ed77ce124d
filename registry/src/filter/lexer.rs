//! Words of the search language.

use super::FilterError;

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `a`, `a.b.c`, `` a.`b c` ``, `a."b c"`: the part before the first dot, and the rest.
    Name {
        prefix: Option<String>,
        key: String,
    },
    /// `'…'`
    Text(String),
    /// A lone `"…"`: a name on the left, a text on the right.
    Quoted(String),
    Number(String),
    /// `=`, `!=`, `<`, …
    Comparator(&'static str),
    Open,
    Close,
    Comma,
}

/// The longer ones first.
const COMPARATORS: [&str; 6] = ["!=", ">=", "<=", "=", ">", "<"];

/// Splits a filter into words; a position in an error counts characters from 1.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
    };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn peek_second(&self) -> Option<char> {
        self.chars.get(self.at + 1).copied()
    }

    fn error(&self, what: &str) -> FilterError {
        FilterError(format!(
            "Invalid filter: {what} at position {}",
            self.at + 1
        ))
    }

    fn next(&mut self) -> Result<Option<Token>, FilterError> {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        let Some(first) = self.peek() else {
            return Ok(None);
        };
        let single = match first {
            '(' => Some(Token::Open),
            ')' => Some(Token::Close),
            ',' => Some(Token::Comma),
            _ => None,
        };
        if let Some(token) = single {
            self.at += 1;
            return Ok(Some(token));
        }
        for comparator in COMPARATORS {
            if comparator
                .chars()
                .enumerate()
                .all(|(i, c)| self.chars.get(self.at + i) == Some(&c))
            {
                self.at += comparator.len();
                return Ok(Some(Token::Comparator(comparator)));
            }
        }
        match first {
            '\'' => Ok(Some(Token::Text(self.quoted('\'')?))),
            '"' => {
                let part = self.quoted('"')?;
                if self.peek() == Some('.') {
                    self.name(part).map(Some)
                } else {
                    Ok(Some(Token::Quoted(part)))
                }
            }
            '0'..='9' | '-' | '+' | '.' => self.number().map(Some),
            _ => {
                let part = self.part()?;
                self.name(part).map(Some)
            }
        }
    }

    /// The rest of a name after its first part.
    fn name(&mut self, first: String) -> Result<Token, FilterError> {
        if self.peek() != Some('.') {
            return Ok(Token::Name {
                prefix: None,
                key: first,
            });
        }
        let mut key = String::new();
        while self.peek() == Some('.') {
            self.at += 1;
            if !key.is_empty() {
                key.push('.');
            }
            key.push_str(&self.part()?);
        }
        Ok(Token::Name {
            prefix: Some(first),
            key,
        })
    }

    /// A word, or a quoted one.
    fn part(&mut self) -> Result<String, FilterError> {
        match self.peek() {
            Some(quote @ ('`' | '"' | '\'')) => self.quoted(quote),
            Some(c) if is_word(c) => {
                let start = self.at;
                while self.peek().is_some_and(is_word) {
                    self.at += 1;
                }
                Ok(self.chars[start..self.at].iter().collect())
            }
            Some(c) => Err(self.error(&format!("unexpected `{c}`"))),
            None => Err(self.error("unexpected end")),
        }
    }

    /// What stands between quotes; a doubled quote is the quote itself.
    fn quoted(&mut self, quote: char) -> Result<String, FilterError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                Some(c) if c == quote && self.peek_second() == Some(quote) => {
                    text.push(quote);
                    self.at += 2;
                }
                Some(c) if c == quote => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                }
                None => return Err(self.error(&format!("a {quote} is not closed"))),
            }
        }
    }

    fn number(&mut self) -> Result<Token, FilterError> {
        let start = self.at;
        while let Some(c) = self.peek() {
            let after_exponent =
                self.at > start && matches!(self.chars.get(self.at - 1), Some('e' | 'E'));
            let sign = matches!(c, '+' | '-') && (self.at == start || after_exponent);
            if c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || sign {
                self.at += 1;
            } else {
                break;
            }
        }
        let text: String = self.chars[start..self.at].iter().collect();
        // Only what Rust reads as a finite number; `inf` and `nan` can't get here.
        if text.parse::<f64>().is_ok() && !self.peek().is_some_and(is_word) {
            return Ok(Token::Number(text));
        }
        self.at = start;
        Err(self.error(&format!("`{text}` is not a number")))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
