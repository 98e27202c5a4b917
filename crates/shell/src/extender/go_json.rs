//! Extracts the first JSON value of an answer, or says why there is none, in the words of Go's `encoding/json`.

use std::borrow::Cow;

/// Why there is no complete value, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonError {
    /// There is nothing.
    #[error("EOF")]
    Nothing,
    /// It ends in the middle.
    #[error("unexpected EOF")]
    Incomplete,
    /// It is nested too deeply.
    #[error("exceeded max depth")]
    TooDeep,
    /// A byte is out of place.
    #[error("invalid character {} {place}", quoted(*byte))]
    Invalid {
        /// The byte.
        byte: u8,
        /// Where it is, in Go's words.
        place: Cow<'static, str>,
    },
}

/// The text of the first value; what follows it is ignored, as upstream's decoder reads no further.
///
/// # Errors
/// There is no complete value. The error is in Go's words.
pub(super) fn first_value(answer: &[u8]) -> Result<&[u8], JsonError> {
    let mut scan = Scan { text: answer, at: 0 };
    scan.spaces();
    if scan.at == answer.len() {
        return Err(JsonError::Nothing);
    }
    let begin = scan.at;
    scan.value(0)?;
    Ok(&answer[begin..scan.at])
}

/// Finds where the first object or list of an answer is closed, while the answer arrives in parts: each byte is looked at once. Whether what
/// is closed is a value, [`first_value`] says.
#[derive(Debug, Default)]
pub(super) struct Brackets {
    open: usize,
    in_string: bool,
    escaped: bool,
    closed: bool,
}

impl Brackets {
    /// Whether the first object or list is closed in the next part: no more than once.
    pub fn closed_by(&mut self, part: &[u8]) -> bool {
        if self.closed {
            return false;
        }
        for byte in part {
            self.take(*byte);
            if self.closed {
                break;
            }
        }
        self.closed
    }

    fn take(&mut self, byte: u8) {
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.open += 1,
            b'}' | b']' => {
                self.open = self.open.saturating_sub(1);
                self.closed = self.open == 0;
            }
            _ => {}
        }
    }
}

/// Deepest nesting, as in Go.
const DEPTH_MAX: usize = 10_000;
/// Maximum nesting that serde_json accepts.
const DEPTH_READ: usize = 100;

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

type Scanned = Result<(), JsonError>;

impl Scan<'_> {
    fn spaces(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The next byte that is not white space.
    fn next(&mut self) -> Result<u8, JsonError> {
        self.spaces();
        self.byte()
    }

    fn byte(&mut self) -> Result<u8, JsonError> {
        let byte = self.text.get(self.at).copied().ok_or(JsonError::Incomplete)?;
        self.at += 1;
        Ok(byte)
    }

    fn value(&mut self, depth: usize) -> Scanned {
        if depth > DEPTH_READ.min(DEPTH_MAX) {
            return Err(JsonError::TooDeep);
        }
        match self.next()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            first @ (b'-' | b'0'..=b'9') => self.number(first),
            other => Err(invalid(other, "looking for beginning of value")),
        }
    }

    fn object(&mut self, depth: usize) -> Scanned {
        match self.next()? {
            b'}' => return Ok(()),
            b'"' => self.string()?,
            other => return Err(invalid(other, "looking for beginning of object key string")),
        }
        loop {
            match self.next()? {
                b':' => self.value(depth + 1)?,
                other => return Err(invalid(other, "after object key")),
            }
            match self.next()? {
                b'}' => return Ok(()),
                b',' => {}
                other => return Err(invalid(other, "after object key:value pair")),
            }
            match self.next()? {
                b'"' => self.string()?,
                other => return Err(invalid(other, "looking for beginning of object key string")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Scanned {
        self.spaces();
        if self.text.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            match self.next()? {
                b']' => return Ok(()),
                b',' => {}
                other => return Err(invalid(other, "after array element")),
            }
        }
    }

    fn string(&mut self) -> Scanned {
        loop {
            match self.byte()? {
                b'"' => return Ok(()),
                b'\\' => match self.byte()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let digit = self.byte()?;
                            if !digit.is_ascii_hexdigit() {
                                return Err(invalid(digit, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    other => return Err(invalid(other, "in string escape code")),
                },
                control if control < 0x20 => return Err(invalid(control, "in string literal")),
                _ => {}
            }
        }
    }

    /// Called when its first letter has been read.
    fn literal(&mut self, word: &str) -> Scanned {
        for expected in word.bytes().skip(1) {
            let found = self.byte()?;
            if found != expected {
                let context = format!("in literal {word} (expecting {})", quoted(expected));
                return Err(invalid(found, context));
            }
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn number(&mut self, first: u8) -> Scanned {
        let mut first = first;
        if first == b'-' {
            first = self.byte()?;
            if !first.is_ascii_digit() {
                return Err(invalid(first, "in numeric literal"));
            }
        }
        if first != b'0' {
            self.digits();
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digit(&mut self, context: &'static str) -> Scanned {
        let digit = self.byte()?;
        if !digit.is_ascii_digit() {
            return Err(invalid(digit, context));
        }
        self.digits();
        Ok(())
    }
}

fn invalid(byte: u8, place: impl Into<Cow<'static, str>>) -> JsonError {
    JsonError::Invalid { byte, place: place.into() }
}

/// A byte as Go quotes it, treated as a character.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x00..=0x1f | 0x7f => format!(r"'\x{byte:02x}'"),
        0x80..=0x9f => format!(r"'\u{byte:04x}'"),
        0xa0 | 0xad => format!(r"'\u{byte:04x}'"),
        other => format!("'{}'", char::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_as_go_does() {
        // From `json.NewDecoder(r).Decode(&v)` of Go 1.26.
        for (answer, expected) in [
            ("", "EOF"),
            (" \n", "EOF"),
            ("{", "unexpected EOF"),
            (r#"{"a":[1,2"#, "unexpected EOF"),
            (r#"{"a"#, "unexpected EOF"),
            ("<html>", "invalid character '<' looking for beginning of value"),
            ("nothing", "invalid character 'o' in literal null (expecting 'u')"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b":2}"#, "invalid character '\"' after object key:value pair"),
            (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("\"a\nb\"", r"invalid character '\n' in string literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (r#""\u12g4""#, r"invalid character 'g' in \u hexadecimal character escape"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("é", "invalid character 'Ã' looking for beginning of value"),
        ] {
            let error = first_value(answer.as_bytes()).expect_err(answer);
            assert_eq!(error.to_string(), expected, "{answer}");
        }
    }

    #[test]
    fn what_follows_the_first_value_is_not_looked_at() {
        for (answer, value) in [
            (r#" {"a":[true,null,-1.5e+3,"\u00e9"]} rest"#, r#"{"a":[true,null,-1.5e+3,"\u00e9"]}"#),
            ("[]]", "[]"),
            ("null", "null"),
            ("0", "0"),
            ("12,", "12"),
        ] {
            assert_eq!(first_value(answer.as_bytes()), Ok(value.as_bytes()));
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(first_value(deep.as_bytes()), Err(JsonError::TooDeep));
    }

    #[test]
    fn the_end_of_the_first_value_is_found_once_however_it_is_cut() {
        for value in ["{}", r#"{"a":["}]",{"\"}":"\\"}],"b":{}}"#, r#" [[],["]\\\""]]"#] {
            assert_eq!(first_value(value.as_bytes()), Ok(value.trim().as_bytes()), "{value}");
            let text = format!("{value} {{}}]");
            for length in 1..=text.len() {
                let mut brackets = Brackets::default();
                let mut read = 0;
                let found = text.as_bytes().chunks(length).filter(|part| {
                    let closed = brackets.closed_by(part);
                    if closed {
                        assert!(
                            (read..read + part.len()).contains(&(value.len() - 1)),
                            "{value} in {length}"
                        );
                    }
                    read += part.len();
                    closed
                });
                assert_eq!(found.count(), 1, "{value} in {length}");
            }
        }
        let closed = |text: &str| Brackets::default().closed_by(text.as_bytes());
        assert_eq!(["", "null", "\"{}\"", "[{}", "12"].map(closed), [false; 5]);
    }
}
