//! From OpenMetrics' text to Prometheus' older format, which differs in what counters are called in their descriptions.

/// The same samples in the text format 0.0.4.
pub(super) fn in_prometheus_format(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1_024);
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let described = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        // The type stands behind the help.
        let about = if line.starts_with("# HELP ") { lines.peek().copied().unwrap_or(line) } else { line };
        match described.and_then(|rest| rest.split_once(' ')) {
            Some((name, rest)) if about.starts_with("# TYPE ") && about.ends_with(" counter") => {
                text.push_str(line.get(.."# HELP ".len()).unwrap_or_default());
                text.push_str(name);
                text.push_str("_total ");
                text.push_str(rest);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_the_name_of_their_samples_and_nothing_else_changes() {
        let open = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total 1\n# HELP c Others.\n# TYPE c gauge\nc{x=\"counter\"} 2\n\
                    # EOF\n";
        let expected = "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total 1\n# HELP c Others.\n# TYPE c gauge\n\
                        c{x=\"counter\"} 2\n";
        assert_eq!(in_prometheus_format(open), expected);
    }
}
