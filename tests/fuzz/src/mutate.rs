//! From seeds to inputs: what people and programs get wrong, at the level of trees, of texts and of bytes.

mod bytes;
mod dictionary;
mod trees;

use serde_json::Value;

use crate::random::Random;

/// What the inputs of a target look like, and so how they are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON document: damaged as a tree, and sometimes as text.
    Json,
    /// Lines of text: YAML, selectors, quantities.
    Text,
    /// Lines of a head, an empty line, and a body in JSON.
    Request,
    /// Bytes.
    Binary,
}

/// Most changes to one input; most inputs have few.
const CHANGES_MAX: usize = 12;
/// Inputs do not grow beyond this: a parser that is slow shows it here too.
const BYTES_MAX: usize = 64 << 10;

/// Makes inputs.
#[derive(Debug)]
pub(crate) struct Mutator {
    form: Form,
    seeds: Vec<Vec<u8>>,
    /// The seeds, or their bodies, that are JSON.
    trees: Vec<Value>,
    pool: trees::Pool,
    /// Words of the seeds and of the dictionary.
    words: Vec<String>,
}

impl Mutator {
    pub fn new(form: Form, seeds: Vec<Vec<u8>>) -> Self {
        let trees: Vec<Value> = match form {
            Form::Json => seeds.iter().filter_map(|seed| serde_json::from_slice(seed).ok()).collect(),
            Form::Request => {
                seeds.iter().filter_map(|seed| serde_json::from_slice(body(seed).1).ok()).collect()
            }
            Form::Text | Form::Binary => Vec::new(),
        };
        let mut words = dictionary::words();
        for seed in &seeds {
            words.extend(bytes::words(seed));
        }
        words.sort();
        words.dedup();
        Self { form, pool: trees::Pool::new(&trees), seeds, trees, words }
    }

    /// The input with this number; the first ones are the seeds as they are.
    pub fn input(&self, seed: u64, number: u64) -> Vec<u8> {
        if let Some(plain) = usize::try_from(number).ok().and_then(|number| self.seeds.get(number)) {
            return plain.clone();
        }
        let mut random = Random::of(seed, number);
        let mut changes = 1;
        while changes < CHANGES_MAX && random.once_in(2) {
            changes += 1;
        }
        let mut input = match self.form {
            Form::Json if !self.trees.is_empty() && !random.once_in(8) => self.tree(&mut random, changes),
            Form::Request if !self.trees.is_empty() => self.request(&mut random, changes),
            _ => self.text(&mut random, changes),
        };
        input.truncate(BYTES_MAX);
        input
    }

    fn tree(&self, random: &mut Random, changes: usize) -> Vec<u8> {
        let mut tree = random.pick(&self.trees).clone();
        for _ in 0..changes {
            trees::change(&mut tree, &self.pool, &self.words, random);
        }
        let mut text = match random.once_in(16) {
            true => format!("{tree:#}"),
            false => tree.to_string(),
        }
        .into_bytes();
        if random.once_in(16) {
            bytes::change(&mut text, &self.words, random);
        }
        text
    }

    fn text(&self, random: &mut Random, changes: usize) -> Vec<u8> {
        let mut text = random.pick::<Vec<u8>>(&self.seeds).clone();
        if random.once_in(8) {
            bytes::splice(&mut text, random.pick::<Vec<u8>>(&self.seeds), random);
        }
        for _ in 0..changes {
            if self.form == Form::Binary {
                bytes::damage(&mut text, random);
            } else {
                bytes::change(&mut text, &self.words, random);
            }
        }
        text
    }

    fn request(&self, random: &mut Random, changes: usize) -> Vec<u8> {
        let (head, plain) = body(random.pick::<Vec<u8>>(&self.seeds));
        let mut head = head.to_vec();
        let mut changes_of_head = 0;
        while changes_of_head < changes && random.once_in(2) {
            bytes::change(&mut head, &self.words, random);
            changes_of_head += 1;
        }
        let body = match serde_json::from_slice::<Value>(plain) {
            Ok(_) if random.once_in(8) => self.tree(random, changes),
            Ok(mut tree) => {
                for _ in changes_of_head..changes {
                    trees::change(&mut tree, &self.pool, &self.words, random);
                }
                tree.to_string().into_bytes()
            }
            Err(_) => plain.to_vec(),
        };
        head.extend_from_slice(b"\n\n");
        head.extend_from_slice(&body);
        head
    }
}

/// Head and body of a request; the body is empty where there is no empty line.
pub(crate) fn body(request: &[u8]) -> (&[u8], &[u8]) {
    match request.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&request[..at], &request[at + 2..]),
        None => (request, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_number_give_the_same_input_and_others_another() {
        let seeds = vec![br#"{"a":{"b":[1,2,3]},"c":"text"}"#.to_vec()];
        let mutator = Mutator::new(Form::Json, seeds.clone());
        assert_eq!(mutator.input(7, 0), seeds[0]);
        assert_eq!(mutator.input(7, 41), mutator.input(7, 41));
        let different: std::collections::BTreeSet<Vec<u8>> = (1..200).map(|n| mutator.input(7, n)).collect();
        assert!(different.len() > 150, "{}", different.len());
        let json = different.iter().filter(|text| serde_json::from_slice::<Value>(text).is_ok()).count();
        assert!(json > different.len() / 2, "most are still JSON: {json} of {}", different.len());
    }
}
