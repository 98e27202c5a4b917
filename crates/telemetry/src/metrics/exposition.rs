//! The two formats of a scrape: OpenMetrics, and the Prometheus text format, which kube-scheduler serves.

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4.
    Text,
}

impl Exposition {
    /// The media type.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => super::CONTENT_TYPE,
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What a client with this `Accept` header is sent: OpenMetrics if it names that and does not prefer text; otherwise text, even if it
    /// accepts neither.
    pub(crate) fn negotiate<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let (mut open_metrics, mut text) = (0.0, 0.0);
        for range in accept.flat_map(|header| header.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let quality =
                parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
            match media_type {
                "application/openmetrics-text" => open_metrics = f64::max(open_metrics, quality),
                "text/plain" | "text/*" => text = f64::max(text, quality),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// Converts OpenMetrics text to this format.
    pub(crate) fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => plain(&open_metrics),
        }
    }
}

/// The Prometheus text format has no units and no end marker, and a counter has its `_total` in the lines about it, too. The samples are
/// the same.
fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The HELP line comes before the TYPE line.
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        let Some(about) = line.strip_prefix("# ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let (keyword, rest) = about.split_once(' ').unwrap_or((about, ""));
        let named = rest.split_once(' ').unwrap_or((rest, ""));
        match keyword {
            "HELP" => help = Some(named),
            "TYPE" => {
                let (name, kind) = named;
                let suffix = if kind == "counter" { "_total" } else { "" };
                if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                    text.push_str(&format!("# HELP {name}{suffix} {words}\n"));
                }
                text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            }
            // UNIT and EOF.
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(accept: &[&str]) -> Exposition {
        Exposition::negotiate(accept.iter().copied())
    }

    #[test]
    fn open_metrics_is_for_who_asks_for_it() {
        use Exposition::{OpenMetrics, Text};
        // Prometheus 3.
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(negotiated(&[prometheus]), OpenMetrics);
        assert_eq!(negotiated(&["application/openmetrics-text"]), OpenMetrics);
        assert_eq!(negotiated(&["text/plain;q=0.5", "application/openmetrics-text; q=0.5"]), OpenMetrics);
        for text in [
            &[][..],
            &["*/*"],
            &["text/html, */*;q=0.8"],
            &["text/plain, application/openmetrics-text;q=0.9"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=high"],
            &["application/json"],
        ] {
            assert_eq!(negotiated(text), Text, "{text:?}");
        }
    }

    #[test]
    fn the_text_format_names_counters_by_their_samples_and_has_no_end() {
        let open_metrics = "# HELP a_seconds A.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\na_seconds_sum 1.5\na_seconds_bucket{le=\"+Inf\"} 2\n# HELP b B # b.\n# TYPE b counter\nb_total{x=\"# HELP\"} 3\n# EOF\n";
        assert_eq!(
            Exposition::Text.of(open_metrics.to_owned()),
            "# HELP a_seconds A.\n# TYPE a_seconds histogram\na_seconds_sum 1.5\na_seconds_bucket{le=\"+Inf\"} 2\n# HELP b_total B # b.\n# TYPE b_total counter\nb_total{x=\"# HELP\"} 3\n"
        );
        assert_eq!(Exposition::OpenMetrics.of(open_metrics.to_owned()), open_metrics);
    }
}
