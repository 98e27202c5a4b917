//! Changes of a JSON tree.

use serde_json::{Map, Number, Value};

use crate::random::Random;

/// Names of fields and values of the seeds, from which others are made.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    names: Vec<String>,
    values: Vec<Value>,
}

/// Values of the seeds that are kept; more say nothing new.
const VALUES_MAX: usize = 4_000;
/// How deep a chain is nested: beyond what any object has, and beyond what parsers take.
const DEPTHS: [usize; 4] = [2, 20, 127, 600];
/// Copies of one element. Many are seldom: they cost as much as a hundred inputs, and say the same each time.
const COPIES: [usize; 16] = [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 5, 10, 10, 300];

impl Pool {
    pub fn new(trees: &[Value]) -> Self {
        let mut pool = Self::default();
        trees.iter().for_each(|tree| pool.collect(tree));
        pool.names.sort();
        pool.names.dedup();
        pool.values.truncate(VALUES_MAX);
        pool
    }

    fn collect(&mut self, value: &Value) {
        self.values.push(value.clone());
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.names.push(name.clone());
                    self.collect(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            _ => {}
        }
    }
}

/// Changes one place of a tree.
pub(crate) fn change(tree: &mut Value, pool: &Pool, words: &[String], random: &mut Random) {
    let at = random.below(size(tree));
    let Some(place) = nth(tree, at) else { return };
    match random.below(12) {
        0 => *place = Value::Null,
        1 => *place = number(random),
        2 => *place = Value::String(random.pick(words).clone()),
        3 if !pool.values.is_empty() => *place = random.pick(&pool.values).clone(),
        4 => nest(place, random),
        5 => *place = if random.once_in(2) { Value::Array(Vec::new()) } else { Value::Object(Map::new()) },
        6 => *place = Value::Bool(random.once_in(2)),
        _ => inside(place, pool, words, random),
    }
}

fn inside(place: &mut Value, pool: &Pool, words: &[String], random: &mut Random) {
    match place {
        Value::Object(fields) => {
            let name = fields.keys().nth(random.below(fields.len())).cloned();
            match (random.below(4), name) {
                (0, Some(name)) => drop(fields.remove(&name)),
                (1, Some(name)) => {
                    let value = fields.remove(&name).unwrap_or_default();
                    let other = if random.once_in(2) && !pool.names.is_empty() {
                        random.pick(&pool.names).clone()
                    } else {
                        random.pick(words).clone()
                    };
                    fields.insert(other, value);
                }
                _ if !pool.names.is_empty() && !pool.values.is_empty() => {
                    fields.insert(random.pick(&pool.names).clone(), random.pick(&pool.values).clone());
                }
                _ => {}
            }
        }
        Value::Array(items) => {
            let at = random.below(items.len());
            match random.below(4) {
                0 if !items.is_empty() => drop(items.remove(at)),
                1 if !items.is_empty() => {
                    let item = items[at].clone();
                    items.extend(std::iter::repeat_n(item, *random.pick(&COPIES)));
                }
                2 if items.len() > 1 => items.swap(0, at),
                _ if !pool.values.is_empty() => items.push(random.pick(&pool.values).clone()),
                _ => {}
            }
        }
        Value::String(text) => {
            let mut bytes = std::mem::take(text).into_bytes();
            super::bytes::change(&mut bytes, words, random);
            *text = String::from_utf8_lossy(&bytes).into_owned();
        }
        Value::Number(_) => *place = number(random),
        Value::Bool(value) => *value = !*value,
        Value::Null => *place = Value::String(random.pick(words).clone()),
    }
}

fn number(random: &mut Random) -> Value {
    const WHOLE: [i64; 14] = [
        0,
        1,
        -1,
        7,
        100,
        1 << 31,
        (1 << 31) - 1,
        -(1 << 31) - 1,
        1 << 32,
        1 << 53,
        i64::MAX,
        i64::MIN,
        i64::MAX / 1000,
        i64::MAX / 1000 + 1,
    ];
    const BROKEN: [f64; 8] = [0.5, -0.0, 1e300, -1e300, 1e-300, 1.000_000_000_1, 9.3e18, 1e19];
    match random.below(4) {
        0 => Number::from_f64(*random.pick(&BROKEN)).map_or(Value::Null, Value::Number),
        1 => Value::from(u64::MAX),
        _ => Value::from(*random.pick(&WHOLE)),
    }
}

/// Puts a value deep inside of lists or objects.
fn nest(place: &mut Value, random: &mut Random) {
    let lists = random.once_in(2);
    let mut value = std::mem::take(place);
    // Every element of a chain that is dropped or printed takes a frame of the stack; the text is cut anyway.
    for _ in 0..*random.pick(&DEPTHS) {
        value = if lists {
            Value::Array(vec![value])
        } else {
            Value::Object(Map::from_iter([("a".to_owned(), value)]))
        };
    }
    *place = value;
}

fn size(tree: &Value) -> usize {
    1 + match tree {
        Value::Object(fields) => fields.values().map(size).sum(),
        Value::Array(items) => items.iter().map(size).sum(),
        _ => 0,
    }
}

/// The value with this number, counted from the root.
fn nth(tree: &mut Value, mut at: usize) -> Option<&mut Value> {
    fn find<'a>(value: &'a mut Value, at: &mut usize) -> Option<&'a mut Value> {
        if *at == 0 {
            return Some(value);
        }
        *at -= 1;
        match value {
            Value::Object(fields) => fields.values_mut().find_map(|value| find(value, at)),
            Value::Array(items) => items.iter_mut().find_map(|item| find(item, at)),
            _ => None,
        }
    }
    find(tree, &mut at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_place_of_a_tree_can_be_reached() {
        let mut tree = json!({"a": [1, {"b": 2}], "c": 3});
        let found: Vec<Value> =
            (0..size(&tree)).map(|at| nth(&mut tree, at).cloned().expect("a place")).collect();
        assert_eq!(found[0], tree);
        assert_eq!(found[1..], [json!([1, {"b": 2}]), json!(1), json!({"b": 2}), json!(2), json!(3)]);
        assert_eq!(nth(&mut tree, 6), None);
    }
}
