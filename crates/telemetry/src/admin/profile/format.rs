//! The profile format that `go tool pprof` reads: the parts of `proto/profile.proto` from github.com/google/pprof that are written here.
//!
//! The library that takes the samples can write it too, but that would require building a protobuf compiler.

use pprof::Frames;
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    /// Innermost first.
    #[prost(uint64, repeated, tag = "1")]
    locations: Vec<u64>,
    /// How often it was seen, and the CPU time that this represents, in nanoseconds.
    #[prost(int64, repeated, tag = "2")]
    values: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    labels: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    lines: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    file: i64,
}

/// Texts are indices into `strings`, whose first entry is empty. Locations and functions are numbered from 1.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_types: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    locations: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    functions: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    strings: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

/// Texts, without duplicates.
#[derive(Default)]
struct Strings {
    positions: BTreeMap<String, i64>,
}

impl Strings {
    fn position(&mut self, text: &str) -> i64 {
        if text.is_empty() {
            return 0;
        }
        if let Some(position) = self.positions.get(text) {
            return *position;
        }
        let position = number(self.positions.len() + 1);
        self.positions.insert(text.to_owned(), position);
        position
    }

    fn table(self) -> Vec<String> {
        let mut table = vec![String::new(); self.positions.len() + 1];
        for (text, position) in self.positions {
            table[position as usize] = text;
        }
        table
    }
}

/// When samples were taken.
pub(super) struct Taken {
    pub since: SystemTime,
    pub lasted: Duration,
    /// Samples per second of CPU time.
    pub frequency: i32,
}

/// Encodes stacks, with how often each was seen, in this format.
pub(super) fn encode(stacks: &HashMap<Frames, isize>, taken: &Taken) -> Vec<u8> {
    let mut strings = Strings::default();
    let mut value_type =
        |kind, unit| ValueType { kind: strings.position(kind), unit: strings.position(unit) };
    let (count, cpu) = (value_type("samples", "count"), value_type("cpu", "nanoseconds"));
    let thread = strings.position("thread");
    let period = 1_000_000_000 / i64::from(taken.frequency);

    // A function is one location: without line tables, it is not known where in it the sample was taken.
    let mut known: BTreeMap<String, u64> = BTreeMap::new();
    let (mut functions, mut locations, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    for (stack, met) in stacks {
        let met = i64::try_from(*met).unwrap_or(i64::MAX);
        let mut of_sample = Vec::new();
        for symbol in stack.frames.iter().flatten() {
            let name = symbol.name();
            let id = *known.entry(name.clone()).or_insert_with(|| {
                let id = functions.len() as u64 + 1;
                functions.push(Function {
                    id,
                    name: strings.position(&name),
                    system_name: strings.position(&symbol.sys_name()),
                    file: strings.position(&symbol.filename()),
                });
                locations
                    .push(Location { id, lines: vec![Line { function: id, line: symbol.lineno().into() }] });
                id
            });
            of_sample.push(id);
        }
        samples.push(Sample {
            locations: of_sample,
            values: vec![met, met.saturating_mul(period)],
            labels: vec![Label { key: thread, text: strings.position(&stack.thread_name_or_id()) }],
        });
    }
    let started = taken.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let profile = Profile {
        sample_types: vec![count, cpu],
        samples,
        locations,
        functions,
        strings: strings.table(),
        time_nanos: number(started.as_nanos()),
        duration_nanos: number(taken.lasted.as_nanos()),
        period_type: Some(cpu),
        period,
    };
    profile.encode_to_vec()
}

fn number(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pprof::Symbol;

    fn symbol(name: &str, lineno: u32) -> Symbol {
        let name = Some(name.as_bytes().to_vec());
        Symbol { name, addr: None, lineno: Some(lineno), filename: Some("a.rs".into()) }
    }

    fn stack(thread: &str, names: &[&str]) -> Frames {
        Frames {
            frames: names.iter().map(|name| vec![symbol(name, 7)]).collect(),
            thread_name: thread.to_owned(),
            thread_id: 1,
            sample_timestamp: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_report_reads_back_as_its_stacks_and_times() {
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        let taken = Taken { since, lasted: Duration::from_secs(2), frequency: 100 };
        let stacks = [(stack("one", &["inner", "outer"]), 3), (stack("two", &["outer"]), 2)].into();
        let bytes = encode(&stacks, &taken);
        let profile = Profile::decode(&*bytes).expect("a profile");

        let text = |position: i64| profile.strings[position as usize].as_str();
        assert_eq!(text(0), "");
        let types: Vec<_> = profile.sample_types.iter().map(|t| (text(t.kind), text(t.unit))).collect();
        assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
        let name = |location: &u64| {
            let location = &profile.locations[*location as usize - 1];
            let function = &profile.functions[location.lines[0].function as usize - 1];
            assert_eq!((location.lines[0].line, text(function.file)), (7, "a.rs"));
            text(function.name)
        };
        let mut samples: Vec<_> = profile
            .samples
            .iter()
            .map(|s| (text(s.labels[0].text), s.locations.iter().map(name).collect(), s.values.clone()))
            .collect();
        samples.sort();
        let expected: [(_, Vec<_>, _); 2] = [
            ("one", vec!["inner", "outer"], vec![3, 30_000_000]),
            ("two", vec!["outer"], vec![2, 20_000_000]),
        ];
        assert_eq!(samples, expected);
        assert_eq!(profile.functions.len(), 2, "each function once");
        assert_eq!((profile.period, profile.duration_nanos), (10_000_000, 2_000_000_000));
        assert_eq!(profile.time_nanos, 5_000_000_000);
    }
}
