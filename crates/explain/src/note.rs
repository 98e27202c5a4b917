//! What becomes of a failure's text on its way into an event.

/// Longest note of an event, in bytes.
const NOTE_LENGTH_LIMIT: usize = 1024;
const CUT: &str = " ...";

/// The note of the event: the text is cut at 1,024 bytes and then taken for a format string without arguments, as upstream's
/// recorder takes it.
#[must_use]
pub fn event_note(text: &str) -> String {
    if text.len() <= NOTE_LENGTH_LIMIT {
        return formatted(text);
    }
    let kept = &text.as_bytes()[..NOTE_LENGTH_LIMIT - CUT.len()];
    formatted(&(String::from_utf8_lossy(kept).into_owned() + CUT))
}

/// What Go's `Sprintf` makes of a format without arguments.
fn formatted(format: &str) -> String {
    let Some(first) = format.find('%') else { return format.to_owned() };
    let mut out = format[..first].to_owned();
    let mut rest = format[first..].chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        while rest.next_if(|c| matches!(c, '#' | '0' | '+' | '-' | ' ')).is_some() {}
        // `[n]` names an argument, `*` takes a width or a precision from one: there are none.
        let mut bad_index = argument_index(&mut rest);
        if rest.next_if_eq(&'*').is_some() {
            out.push_str("%!(BADWIDTH)");
        } else {
            while rest.next_if(char::is_ascii_digit).is_some() {}
        }
        if rest.next_if_eq(&'.').is_some() {
            bad_index |= argument_index(&mut rest);
            if rest.next_if_eq(&'*').is_some() {
                out.push_str("%!(BADPREC)");
            } else {
                while rest.next_if(char::is_ascii_digit).is_some() {}
            }
        }
        bad_index |= argument_index(&mut rest);
        match rest.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => {
                let why = if bad_index { "BADINDEX" } else { "MISSING" };
                out.push_str(&format!("%!{verb}({why})"));
            }
        }
    }
    out
}

/// Reads `[n]` where it stands.
fn argument_index(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    if rest.peek() != Some(&'[') {
        return false;
    }
    let mut ahead = rest.clone();
    if ahead.any(|c| c == ']') {
        *rest = ahead;
    } else {
        // Never closed: only the bracket is taken.
        rest.next();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        let text = "x".repeat(1025);
        let note = event_note(&text);
        assert_eq!((note.len(), &note[1018..]), (1024, "xx ..."));
        assert_eq!(event_note(&text[..1024]), text[..1024]);
    }

    /// The expected texts are those of `fmt.Sprintf(text)`.
    #[test]
    fn a_percent_sign_is_a_verb_without_an_argument() {
        for (text, expected) in [
            ("50%", "50%!(NOVERB)"),
            ("50%% of", "50% of"),
            ("%zz", "%!z(MISSING)z"),
            ("a %d b", "a %!d(MISSING) b"),
            ("% x", "%!x(MISSING)"),
            ("%5.2f", "%!f(MISSING)"),
            ("%*d", "%!(BADWIDTH)%!d(MISSING)"),
            ("%[1]d", "%!d(BADINDEX)"),
        ] {
            assert_eq!(event_note(text), expected, "{text}");
        }
    }
}
