//! Which plots a report has.

use crate::report::{Report, thousands};
use crate::svg::{Bars, COLOURS, Group, Lines, Series};

/// A step of each shape, beside kube-scheduler's; none where no shapes were measured.
pub fn steps(report: &Report) -> Option<String> {
    let nodes = report.standing("shapes").next()?.nodes;
    let series = [
        ("secondmate, every node", "standing", COLOURS[0]),
        ("kube-scheduler, sampled", "sampled", COLOURS[1]),
        ("kube-scheduler, every node", "every", COLOURS[2]),
    ];
    let peer = |with: &str| {
        with == "standing" || report.rows.iter().any(|row| row.scheduler != "secondmate" && row.with == with)
    };
    let series: Vec<_> = series.into_iter().filter(|(_, with, _)| peer(with)).collect();
    let groups = report.standing("shapes").filter(|row| row.nodes == nodes).map(|row| {
        let value = |with: &str| report.row("shapes", &row.shape, nodes, with).map(|row| row.step_p50_us);
        Group { label: row.shape.clone(), values: series.iter().map(|(_, with, _)| value(with)).collect() }
    });
    let groups = groups.collect();
    let bars = Bars {
        title: format!("One scheduling step at {} nodes", thousands(nodes)),
        unit: "microseconds, median",
        series: series
            .iter()
            .map(|(name, _, colour)| Series { name: (*name).to_owned(), colour, dashed: false })
            .collect(),
        groups,
    };
    Some(bars.svg())
}

/// How a step grows with the number of nodes; none where that was not measured.
pub fn growth(report: &Report) -> Option<String> {
    let mut shapes: Vec<&str> = Vec::new();
    for row in report.standing("growth") {
        if !shapes.contains(&&*row.shape) {
            shapes.push(&row.shape);
        }
    }
    shapes.first()?;
    let line = |scheduler: &str, with: &str, (at, shape): (usize, &&str)| {
        let rows = report.rows.iter().filter(|row| {
            (row.part, row.scheduler, row.with, &*row.shape) == ("growth", scheduler, with, *shape)
        });
        let mut points: Vec<_> = rows.map(|row| (row.nodes as f64, row.step_p50_us)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (name, colour) = ((*shape).to_owned(), COLOURS[at % COLOURS.len()]);
        (Series { name, colour, dashed: scheduler != "secondmate" }, points)
    };
    let own = shapes.iter().enumerate().map(|shape| line("secondmate", "standing", shape));
    let peer = shapes.iter().enumerate().map(|shape| line("kube-scheduler", "sampled", shape));
    let lines = Lines {
        title: "One scheduling step as the cluster grows (dashed: kube-scheduler)".to_owned(),
        x_unit: "nodes (kube-scheduler: a sample of them, as it takes by default)",
        y_unit: "microseconds, median",
        lines: own.chain(peer).filter(|(_, points)| !points.is_empty()).collect(),
    };
    Some(lines.svg())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, row};

    fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
    }

    #[test]
    fn each_shape_has_a_bar_of_each_scheduler() {
        let svg = steps(&report()).expect("shapes");
        assert_eq!(count(&svg, "<rect"), 6);
        for text in [">basic<", ">spread-hard<", "kube-scheduler, every node", "at 5,000 nodes", ">20k<"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_drawn() {
        assert!(steps(&Report::default()).is_none());
        assert!(growth(&Report::default()).is_none());
        let mut alone = Report::default();
        alone.add(row("shapes", "basic", 5000, ("secondmate", "standing"), 5.0));
        let svg = steps(&alone).expect("shapes");
        assert_eq!((count(&svg, "<rect"), count(&svg, "kube-scheduler")), (1, 0));
    }

    #[test]
    fn growth_has_a_line_for_each_shape_and_scheduler() {
        let svg = growth(&report()).expect("growth");
        assert_eq!((count(&svg, "<polyline"), count(&svg, "<circle")), (2, 4));
        assert_eq!((count(&svg, ">basic<"), count(&svg, "stroke-dasharray")), (2, 2));
    }
}
