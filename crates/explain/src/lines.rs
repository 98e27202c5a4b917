//! Lines of at most 80 columns.

/// Maximum number of columns of a line.
pub(crate) const COLUMNS: usize = 80;

/// Appends a text at an indentation, wrapped between words if it is too long; continuation lines are indented by `hanging` more.
/// A word longer than a line is not broken, so that names can be copied.
pub(crate) fn wrap(out: &mut String, indent: usize, hanging: usize, text: &str) {
    let mut line = " ".repeat(indent);
    let mut has_word = false;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if has_word && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            out.push_str(&line);
            out.push('\n');
            line = " ".repeat(indent + hanging);
            has_word = false;
        }
        if has_word {
            line.push(' ');
        }
        line.push_str(word);
        has_word = true;
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_long_words_stay_whole() {
        let (long, mut out) = ("x".repeat(100), String::new());
        wrap(&mut out, 2, 2, &format!("{} {long} end", "word ".repeat(16)));
        let lines: Vec<&str> = out.lines().collect();
        let words = ["word"; 15].join(" ");
        assert_eq!(
            lines,
            [format!("  {words}"), "    word".to_owned(), format!("    {long}"), "    end".to_owned()]
        );
    }
}
