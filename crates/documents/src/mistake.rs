//! What is often given by mistake in place of a file.

use crate::lines;
use std::fmt;

/// A text that is not YAML because it is something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A template that was not rendered.
    Template {
        /// Line, from 1.
        line: usize,
        /// The text of the line.
        text: String,
    },
    /// The table that `kubectl get` prints without `-o`.
    Table {
        /// Line of the headings, from 1.
        line: usize,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template { line, text } => write!(
                f,
                "line {line} looks like a template that was not rendered: `{text}`; render it first, for example with `helm template`"
            ),
            Self::Table { line } => write!(
                f,
                "line {line} looks like a table that `kubectl get` printed; add `-o yaml` to the command"
            ),
        }
    }
}

/// What a text that cannot be parsed most likely is.
#[must_use]
pub fn mistake(text: &str) -> Option<Mistake> {
    table(text).or_else(|| unrendered(text))
}

/// The first line with an action of a Go template, as in Helm charts. In YAML, two consecutive braces outside of quotes mean nothing
/// sensible.
#[must_use]
pub fn unrendered(text: &str) -> Option<Mistake> {
    const SHOWN_MAX: usize = 60;
    lines(text).enumerate().find_map(|(index, line)| {
        let shown = line.trim();
        if shown.starts_with('#') {
            return None;
        }
        let action = shown.split_once("{{")?.1;
        let action = action.strip_prefix('-').unwrap_or(action).trim_start();
        let is_action = action.contains("}}")
            && action.starts_with(|first: char| first.is_ascii_alphabetic() || ".$(/\"`".contains(first));
        is_action
            .then(|| Mistake::Template { line: index + 1, text: shown.chars().take(SHOWN_MAX).collect() })
    })
}

/// The headings of a table: words in capitals, of which the first is that of a name.
fn table(text: &str) -> Option<Mistake> {
    let (index, headings) = lines(text).enumerate().find(|(_, line)| !line.trim().is_empty())?;
    let mut words = headings.split_whitespace();
    let is_table = matches!(words.next(), Some("NAME" | "NAMESPACE"))
        && words.clone().next().is_some()
        && words.all(|word| word.chars().all(|c| c.is_ascii_uppercase() || "-()/".contains(c)));
    is_table.then_some(Mistake::Table { line: index + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<String> {
        mistake(text).map(|mistake| mistake.to_string())
    }

    #[test]
    fn templates_and_tables_are_recognised() {
        assert_eq!(
            said("kind: A\nname: {{ include \"x\" . }}\n").as_deref(),
            Some(
                "line 2 looks like a template that was not rendered: `name: {{ include \"x\" . }}`; render it first, for example with `helm template`"
            )
        );
        assert_eq!(
            said("{{- if .Values.on }}\na: 1\n{{- end }}\n").map(|text| text.contains("line 1")),
            Some(true)
        );
        assert_eq!(
            said("\nNAME   STATUS   READINESS GATES\nn1   Ready   <none>\n").as_deref(),
            Some("line 2 looks like a table that `kubectl get` printed; add `-o yaml` to the command")
        );
        for other in
            ["a: 1\n", "a: {b: {}}\n", "# {{ .Values.x }}\n", "NAME\n", "Name Age\n", "a: {{b: 1}: 2}\n"]
        {
            assert_eq!(said(other), None, "{other:?}");
        }
    }
}
