//! Makes a case that differs as small as it gets: both sides are asked again after each cut.

use crate::case::Case;
use crate::judge::{Judge, Verdict};
use anyhow::Result;
use serde_json::Value;

/// Most questions for one case.
const QUESTIONS_MAX: usize = 6000;

/// A place in a JSON tree.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// The smallest case found that shows a difference of the same kind.
///
/// # Errors
/// The oracle has ended.
pub fn shrink(case: &Case, judge: &mut Judge) -> Result<Case> {
    let (Verdict::Differs(difference), answer) = judge.judge(case)? else { return Ok(case.clone()) };
    let mut shrinker = Shrinker { judge, kind: difference.kind(), left: QUESTIONS_MAX, best: case.clone() };
    let refused: Vec<usize> = answer.rejected.iter().map(|rejection| rejection.index).collect();
    let mut accepted = case.clone();
    accepted.objects = kept(&case.objects, |at| !refused.contains(&at));
    if !difference.pod.is_empty() {
        accepted.pods = vec![difference.pod];
    }
    shrinker.try_case(accepted)?;
    loop {
        let before = shrinker.best.clone();
        shrinker.drop_objects()?;
        shrinker.simplify_config()?;
        shrinker.drop_fields()?;
        if shrinker.best == before || shrinker.left == 0 {
            return Ok(shrinker.best);
        }
    }
}

fn kept(objects: &[Value], keep: impl Fn(usize) -> bool) -> Vec<Value> {
    objects.iter().enumerate().filter(|(at, _)| keep(*at)).map(|(_, object)| object.clone()).collect()
}

struct Shrinker<'a> {
    judge: &'a mut Judge,
    kind: String,
    left: usize,
    best: Case,
}

impl Shrinker<'_> {
    /// Takes the candidate where it shows the same kind of difference and an API server accepts all of it.
    fn try_case(&mut self, candidate: Case) -> Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        let (verdict, answer) = self.judge.judge(&candidate)?;
        let same = matches!(verdict, Verdict::Differs(difference) if difference.kind() == self.kind);
        if same && answer.rejected.is_empty() {
            self.best = candidate;
            return Ok(true);
        }
        Ok(false)
    }

    fn drop_objects(&mut self) -> Result<()> {
        let mut size = self.best.objects.len().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            while start < self.best.objects.len() {
                let cut = start..(start + size).min(self.best.objects.len());
                let objects = kept(&self.best.objects, |at| !cut.contains(&at));
                if !self.try_case(Case { objects, ..self.best.clone() })? {
                    start += size;
                }
            }
            if size == 1 {
                return Ok(());
            }
            size = size.div_ceil(2);
        }
        Ok(())
    }

    fn simplify_config(&mut self) -> Result<()> {
        if self.best.config.is_null() {
            return Ok(());
        }
        if self.try_case(Case { config: Value::Null, ..self.best.clone() })? {
            return Ok(());
        }
        self.drop_paths(|case| &mut case.config)
    }

    fn drop_fields(&mut self) -> Result<()> {
        for at in 0..self.best.objects.len() {
            self.drop_paths(|case| &mut case.objects[at])?;
        }
        Ok(())
    }

    /// Takes out every subtree that is not needed, larger ones first.
    fn drop_paths(&mut self, part: impl Fn(&mut Case) -> &mut Value) -> Result<()> {
        let mut at = 0;
        loop {
            let mut case = self.best.clone();
            let paths = paths(part(&mut case));
            let Some(path) = paths.get(at) else { return Ok(()) };
            remove(part(&mut case), path);
            if !self.try_case(case)? {
                at += 1;
            }
            if self.left == 0 {
                return Ok(());
            }
        }
    }
}

/// All places of a tree, each before those below it. What names an object is not among them.
fn paths(tree: &Value) -> Vec<Vec<Step>> {
    fn walk(value: &Value, here: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
        let visit = |step: Step, child: &Value, here: &mut Vec<Step>, found: &mut Vec<Vec<Step>>| {
            here.push(step);
            found.push(here.clone());
            walk(child, here, found);
            here.pop();
        };
        match value {
            Value::Object(fields) => {
                for (key, child) in fields {
                    let names = here.is_empty() && matches!(key.as_str(), "apiVersion" | "kind");
                    if !names {
                        visit(Step::Key(key.clone()), child, here, found);
                    }
                }
            }
            Value::Array(items) => {
                for (index, child) in items.iter().enumerate() {
                    visit(Step::Index(index), child, here, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(tree, &mut Vec::new(), &mut found);
    found
}

fn remove(tree: &mut Value, path: &[Step]) {
    let (last, before) = path.split_last().expect("a path has a step");
    let mut at = tree;
    for step in before {
        at = match step {
            Step::Key(key) => &mut at[key.as_str()],
            Step::Index(index) => &mut at[*index],
        };
    }
    match (last, at) {
        (Step::Key(key), Value::Object(fields)) => {
            fields.remove(key);
        }
        (Step::Index(index), Value::Array(items)) => {
            items.remove(*index);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_part_of_an_object_can_be_taken_out_but_what_names_it() {
        let object = json!({"kind": "Pod", "spec": {"a": [1, {"b": 2}]}});
        let all: Vec<Value> = paths(&object)
            .iter()
            .map(|path| {
                let mut less = object.clone();
                remove(&mut less, path);
                less["spec"].clone()
            })
            .collect();
        assert_eq!(
            all,
            [json!(null), json!({}), json!({"a": [{"b": 2}]}), json!({"a": [1]}), json!({"a": [1, {}]})]
        );
    }
}
