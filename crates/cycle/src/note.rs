//! The note of a FailedScheduling event: how a failure's text changes on its way to the API server.
//!
//! kube-scheduler truncates the text and passes it as a format string without arguments (`fmt.Sprintf`, Go's `fmt/print.go`), so
//! a `%` in it is mangled in the event (but not in the condition). Under strict parity, ours is mangled in the same way.

use secondmate_framework::Parity;

/// Maximum length of a note that the API accepts, in bytes.
pub const NOTE_BYTES_MAX: usize = 1024;
/// Marks a truncated note.
const CUT: &str = " ...";

/// The note for a failure's text. Formatting may make it longer than the API accepts.
#[must_use]
pub fn failure_note(text: &str, parity: Parity) -> String {
    let kept = if text.len() <= NOTE_BYTES_MAX {
        text.to_owned()
    } else {
        // Upstream truncates at a byte position; a partial character is shown as the replacement character.
        String::from_utf8_lossy(&text.as_bytes()[..NOTE_BYTES_MAX - CUT.len()]).into_owned() + CUT
    };
    match parity {
        Parity::Strict => without_arguments(&kept),
        Parity::Sensible => kept,
    }
}

/// Truncates a note to the bytes that the API accepts, at a character boundary.
#[must_use]
pub fn cut(note: String) -> String {
    if note.len() <= NOTE_BYTES_MAX {
        return note;
    }
    note[..note.floor_char_boundary(NOTE_BYTES_MAX - CUT.len())].to_owned() + CUT
}

/// Formats a text as if it were a format string without arguments.
fn without_arguments(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = verb(&rest[at + 1..], &mut out);
    }
    out.push_str(rest);
    out
}

/// Formats one verb, whose `%` has already been read; returns the rest.
fn verb<'a>(text: &'a str, out: &mut String) -> &'a str {
    let mut bad_index = false;
    let mut after_index = false;
    let mut rest = text.trim_start_matches(['#', '0', '+', '-', ' ']);
    rest = index(rest, &mut bad_index, &mut after_index);
    if let Some(tail) = rest.strip_prefix('*') {
        out.push_str("%!(BADWIDTH)");
        rest = tail;
        after_index = false;
    } else {
        let (tail, number) = digits(rest);
        bad_index |= after_index && number;
        rest = tail;
    }
    // A dot at the very end is treated as the verb.
    if let Some(tail) = rest.strip_prefix('.').filter(|tail| !tail.is_empty()) {
        bad_index |= after_index;
        rest = index(tail, &mut bad_index, &mut after_index);
        if let Some(tail) = rest.strip_prefix('*') {
            out.push_str("%!(BADPREC)");
            rest = tail;
            after_index = false;
        } else {
            rest = digits(rest).0;
        }
    }
    if !after_index {
        rest = index(rest, &mut bad_index, &mut after_index);
    }
    let Some(verb) = rest.chars().next() else {
        out.push_str("%!(NOVERB)");
        return rest;
    };
    match verb {
        '%' => out.push('%'),
        _ if bad_index => out.extend(["%!", verb.encode_utf8(&mut [0; 4]), "(BADINDEX)"]),
        _ => out.extend(["%!", verb.encode_utf8(&mut [0; 4]), "(MISSING)"]),
    }
    &rest[verb.len_utf8()..]
}

/// Reads an argument index such as `[1]`. Without arguments, every index is a bad one.
fn index<'a>(text: &'a str, bad: &mut bool, found: &mut bool) -> &'a str {
    *found = false;
    let Some(inner) = text.strip_prefix('[') else { return text };
    *bad = true;
    if text.len() < 3 {
        return inner;
    }
    let Some(end) = inner.find(']') else { return inner };
    let (tail, number) = digits(&inner[..end]);
    *found = number && tail.is_empty();
    &inner[end + 1..]
}

/// Skips a number; returns the rest, and whether there was a number. One that is too large swallows the rest of the text.
fn digits(text: &str) -> (&str, bool) {
    const LARGEST: u64 = 1_000_000;
    let tail = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &text[..text.len() - tail.len()];
    match number.parse::<u64>() {
        Ok(value) if value <= LARGEST => (tail, true),
        _ if number.is_empty() => (tail, false),
        _ => ("", false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_wherever_that_is() {
        let text = "x".repeat(1025);
        let note = failure_note(&text, Parity::Strict);
        assert_eq!((note.len(), &note[1018..]), (1024, "xx ..."));
        assert_eq!(failure_note(&text[..1024], Parity::Strict), text[..1024]);
        assert!(failure_note(&format!("x{}", "é".repeat(600)), Parity::Strict).ends_with("é\u{fffd} ..."));
    }

    #[test]
    fn a_long_note_is_cut_at_the_end_of_a_character() {
        assert_eq!(cut("short".to_owned()), "short");
        let long = cut("x".repeat(1025));
        assert_eq!((long.len(), long.ends_with("xxx ...")), (1024, true));
        assert_eq!(cut("é".repeat(600)).len(), 1024);
        assert_eq!(cut(format!("x{}", "é".repeat(600))).len(), 1023);
    }

    #[test]
    fn only_strict_parity_mangles() {
        assert_eq!(failure_note("50% of", Parity::Strict), "50%!o(MISSING)f");
        assert_eq!(failure_note("50% of", Parity::Sensible), "50% of");
    }

    #[test]
    fn a_text_without_arguments_is_mangled_as_go_does() {
        // From `fmt.Sprintf(text)` of Go 1.25.
        for (text, expected) in [
            ("plain", "plain"),
            ("100%", "100%!(NOVERB)"),
            ("100%%", "100%"),
            ("50% of", "50%!o(MISSING)f"),
            ("%d and %s", "%!d(MISSING) and %!s(MISSING)"),
            ("%-08.3f|", "%!f(MISSING)|"),
            ("%*d", "%!(BADWIDTH)%!d(MISSING)"),
            ("%.*d", "%!(BADPREC)%!d(MISSING)"),
            ("%[1]d", "%!d(BADINDEX)"),
            ("%[x]d", "%!d(BADINDEX)"),
            ("%[", "%!(NOVERB)"),
            ("%é", "%!é(MISSING)"),
            ("90%)", "90%!)(MISSING)"),
            ("%[1]2d", "%!d(BADINDEX)"),
            ("%[1].2d", "%!d(BADINDEX)"),
            ("%[]d", "%!d(BADINDEX)"),
            ("%[1", "%!(NOVERB)"),
            ("%9999999999d", "%!(NOVERB)"),
            ("% ", "%!(NOVERB)"),
            ("%.", "%!.(MISSING)"),
            ("%[3]*.[2]*[1]f", "%!(BADWIDTH)%!(BADPREC)%!f(BADINDEX)"),
        ] {
            assert_eq!(without_arguments(text), expected, "{text}");
        }
    }
}
