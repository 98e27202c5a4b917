//! The regression corpus against the answers that the real framework gave: it needs no Go.

use secondmate_differential::corpus;
use secondmate_differential::ours::Ours;

#[test]
fn the_corpus_is_answered_as_the_real_framework_answered_it() {
    let cases = corpus::read().expect("the corpus");
    assert!(cases.len() > 50, "{} cases are too few: are the files still there?", cases.len());
    let mut ours = Ours::default();
    let differences: Vec<String> = cases
        .iter()
        .filter_map(|(name, recorded)| {
            recorded.check(&mut ours).map(|difference| format!("{name}: {difference}"))
        })
        .collect();
    assert!(differences.is_empty(), "{} cases differ:\n{}", differences.len(), differences.join("\n"));
}

/// The comparison must be able to fail: each change of an answer is seen.
#[test]
fn a_changed_answer_is_a_difference() {
    let cases = corpus::read().expect("the corpus");
    let mut ours = Ours::default();
    let mut changed = 0;
    for (name, recorded) in &cases {
        let mut wrong = recorded.clone();
        for result in &mut wrong.results {
            if result.get("any").is_some() {
                continue;
            }
            let Some(nodes) = result["nodes"].as_object_mut() else { continue };
            for node in nodes.values_mut() {
                if let Some(total) = node.get("total").and_then(serde_json::Value::as_i64) {
                    node["total"] = (total + 1).into();
                    changed += 1;
                } else if let Some(reasons) =
                    node.get_mut("reasons").and_then(serde_json::Value::as_array_mut)
                {
                    reasons.push("one more".into());
                    changed += 1;
                }
            }
            if !nodes.is_empty() {
                assert!(wrong.check(&mut ours).is_some(), "{name}: a wrong answer passes");
                break;
            }
        }
    }
    assert!(changed > 50, "only {changed} answers were changed");
}
