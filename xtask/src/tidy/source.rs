//! Reads Rust just well enough to count: what is code, what is comment, where functions begin.
//!
//! This is a scanner, not a parser. It knows comments (nested ones too), strings in all their
//! spellings, characters and lifetimes; so a brace in a string is not a brace and a word in a
//! comment is not a call. What it does not know: blocks inside a signature (`Array<{ N + 1 }>`)
//! are taken for the body, which then looks short.
//!
//! Read next: `rules.rs`, which asks the questions.

/// A Rust file, taken apart. Every part has the lines and columns of the file.
#[derive(Default)]
pub(crate) struct Source {
    /// The code. Comments are blank; what stands in a literal is `"` for `"`.
    code: Vec<char>,
    /// The comments. All else is blank.
    comments: String,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Where `fn` stands, counted from 1.
    pub(crate) line: usize,
    /// Lines of code between its braces; blank lines and comments are free.
    pub(crate) lines: usize,
}

/// An identifier, a keyword or a number of the code.
pub(crate) struct Word {
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
    at: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Source {
    /// Tells code, comments and literals of `text` apart.
    pub(crate) fn split(text: &str) -> Self {
        let mut scanner = Scanner { text: text.chars().collect(), at: 0, source: Self::default() };
        scanner.run();
        scanner.source
    }

    /// The comments, line by line.
    pub(crate) fn comments(&self) -> &str {
        &self.comments
    }

    /// Lines that hold code and do not belong to the test module at the end.
    pub(crate) fn lines_of_code(&self) -> usize {
        let end = self.test_module().map_or(usize::MAX, |line| line - 1);
        self.lines().iter().take(end).filter(|is_code| **is_code).count()
    }

    /// Every function with a body, nested ones too, in the order of the file.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let is_code = self.lines();
        let mut functions = Vec::new();
        for word in self.words().iter().filter(|word| word.text == "fn") {
            let name = self.word_at(self.skip_blanks(word.at + "fn".len()));
            let Some(open) = self.body(word.at).filter(|_| !name.is_empty()) else { continue };
            let (first, last) = (self.line(open), self.line(self.closing(open)));
            // Lines are counted from 1, so `first` is the place of the line below the brace.
            let inside = is_code.get(first..last - 1).unwrap_or_default();
            let lines = inside.iter().filter(|is_code| **is_code).count();
            functions.push(Function { name, line: word.line, lines });
        }
        functions
    }

    /// The line of the `#[cfg(test)]` whose module closes this file, if there is one.
    pub(crate) fn test_module(&self) -> Option<usize> {
        let attribute: Vec<char> = "#[cfg(test)]".chars().collect();
        (0..self.code.len())
            .find(|&at| {
                self.code[at..].starts_with(&attribute) && self.closes_file(at + attribute.len())
            })
            .map(|at| self.line(at))
    }

    /// Every word of the code, in order.
    pub(crate) fn words(&self) -> Vec<Word> {
        let mut words = Vec::new();
        let (mut at, mut line) = (0, 1);
        while at < self.code.len() {
            let text = self.word_at(at);
            let length = text.chars().count();
            if length > 0 {
                words.push(Word { text, line, at });
            }
            line += usize::from(self.code[at] == '\n');
            at += length.max(1);
        }
        words
    }

    /// The code before a word, without the blanks between.
    pub(crate) fn before(&self, word: &Word) -> &[char] {
        let before = &self.code[..word.at];
        let end = before.iter().rposition(|c| !c.is_whitespace()).map_or(0, |last| last + 1);
        &before[..end]
    }

    /// The code after a word, without the blanks between.
    pub(crate) fn after(&self, word: &Word) -> &[char] {
        &self.code[self.skip_blanks(word.at + word.text.chars().count())..]
    }

    fn line(&self, at: usize) -> usize {
        1 + self.code[..at].iter().filter(|c| **c == '\n').count()
    }

    fn lines(&self) -> Vec<bool> {
        let lines = self.code.split(|c| *c == '\n');
        lines.map(|line| line.iter().any(|c| !c.is_whitespace())).collect()
    }

    fn word_at(&self, at: usize) -> String {
        self.code[at..].iter().take_while(|c| is_word(**c)).collect()
    }

    fn skip_blanks(&self, at: usize) -> usize {
        at + self.code[at..].iter().take_while(|c| c.is_whitespace()).count()
    }

    /// Where the body of the function at `at` opens; `None` for a declaration or a type.
    fn body(&self, at: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (offset, c) in self.code[at..].iter().enumerate() {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' => depth = depth.checked_sub(1)?,
                '{' if depth == 0 => return Some(at + offset),
                ';' | '}' if depth == 0 => return None,
                _ => {}
            }
        }
        None
    }

    /// Where the brace at `open` is closed; the end of the file if it never is.
    fn closing(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (offset, c) in self.code[open..].iter().enumerate() {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => return open + offset,
                '}' => depth -= 1,
                _ => {}
            }
        }
        self.code.len()
    }

    /// Whether `mod name { … }`, perhaps with attributes, is all there is from `at` on.
    fn closes_file(&self, at: usize) -> bool {
        let mut at = self.skip_blanks(at);
        while self.code[at..].starts_with(&['#', '[']) {
            let Some(end) = self.code[at..].iter().position(|c| *c == ']') else { return false };
            at = self.skip_blanks(at + end + 1);
        }
        if self.word_at(at) != "mod" {
            return false;
        }
        let Some(offset) = self.code[at..].iter().position(|c| matches!(c, '{' | ';')) else {
            return false;
        };
        let end =
            if self.code[at + offset] == '{' { self.closing(at + offset) } else { at + offset };
        self.code.iter().skip(end + 1).all(|c| c.is_whitespace())
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Scanner {
    text: Vec<char>,
    at: usize,
    source: Source,
}

impl Scanner {
    fn run(&mut self) {
        while let Some(here) = self.peek(0) {
            match (here, self.peek(1)) {
                ('/', Some('/')) => self.take_while(Kind::Comment, |c| c != '\n'),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.quoted('"'),
                ('\'', _) => self.character_or_lifetime(),
                (c, _) if is_word(c) => self.word(),
                _ => self.take(Kind::Code),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    /// Files the next character under `kind`; at the end of the text there is nothing to file.
    fn take(&mut self, kind: Kind) {
        let Some(c) = self.peek(0) else { return };
        self.at += 1;
        let blank = if c == '\n' { '\n' } else { ' ' };
        let (code, comment) = match kind {
            _ if c.is_whitespace() => (blank, blank),
            Kind::Code => (c, blank),
            Kind::Comment => (blank, c),
            // Not blank: a line inside a string is a line of code.
            Kind::Literal => ('"', blank),
        };
        self.source.code.push(code);
        self.source.comments.push(comment);
    }

    fn take_while(&mut self, kind: Kind, goes_on: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&goes_on) {
            self.take(kind);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.peek(0).is_some() {
            let pair = (self.peek(0), self.peek(1));
            match pair {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                _ => {
                    self.take(Kind::Comment);
                    continue;
                }
            }
            self.take(Kind::Comment);
            self.take(Kind::Comment);
            if depth == 0 {
                return;
            }
        }
    }

    /// A string or character, from its opening quote to its closing one.
    fn quoted(&mut self, quote: char) {
        self.take(Kind::Literal);
        while let Some(c) = self.peek(0) {
            self.take(Kind::Literal);
            if c == quote {
                return;
            }
            if c == '\\' {
                self.take(Kind::Literal);
            }
        }
    }

    fn character_or_lifetime(&mut self) {
        if self.peek(1) == Some('\\') || self.peek(2) == Some('\'') {
            self.quoted('\'');
        } else {
            self.take(Kind::Code);
        }
    }

    /// A word, and the raw string it may introduce: `r"…"`, `br#"…"#`.
    fn word(&mut self) {
        let start = self.at;
        self.take_while(Kind::Code, is_word);
        let word: String = self.text[start..self.at].iter().collect();
        if !matches!(word.as_str(), "r" | "br" | "cr") {
            return;
        }
        let hashes = self.text[self.at..].iter().take_while(|c| **c == '#').count();
        if self.peek(hashes) == Some('"') {
            self.raw_string(hashes);
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        for _ in 0..=hashes {
            self.take(Kind::Literal);
        }
        while let Some(c) = self.peek(0) {
            let closes = c == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
            self.take(Kind::Literal);
            if closes {
                for _ in 0..hashes {
                    self.take(Kind::Literal);
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
