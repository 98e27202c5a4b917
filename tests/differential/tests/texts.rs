//! Texts that people write, and that both sides read: quantities and durations, held against Go's own readers.

use secondmate_admission::Quantity as Admitted;
use secondmate_differential::random::Random;
use secondmate_harness::require_oracle_or_skip;
use secondmate_model::{Quantity, duration};
use std::io::Write;
use std::process::{Command, Stdio};

/// Random texts of each kind.
const TEXTS: u64 = 20_000;

/// What is no number to most readers, and borders.
const ODD_QUANTITIES: &[&str] = &[
    "",
    " ",
    "+",
    "-",
    ".",
    "+.",
    "-.",
    "..",
    "m",
    "n",
    "u",
    "k",
    "K",
    "E",
    "e",
    "Ki",
    "Ti",
    "Pi",
    "Ei",
    "-Ei",
    ".Ki",
    ".Pi",
    "+m",
    "--1",
    "+-1",
    "e5",
    "e-9",
    "e-10",
    ".e-10",
    "E5",
    "1.",
    ".1",
    "1.m",
    "1e",
    "1e+",
    "1e1.5",
    "1ee1",
    "1Kii",
    "1ki",
    "1mi",
    "1 ",
    " 1",
    "1_0",
    "0x1",
    "1,5",
    "\u{661}",
    "1\u{b5}",
    "NaN",
    "Inf",
    "null",
    "true",
    "00",
    "-0",
    "0.0",
    "0Ei",
    "1e4294967296",
    "1e-4294967296",
    "1e9223372036854775808",
    "9223372036854775807",
    "9223372036854775808",
    "8Ei",
    "-8Ei",
    "1n",
    "0.1n",
    "-0.1n",
    "1e-10",
    "\u{0}",
    "1\n",
];

const ODD_DURATIONS: &[&str] = &[
    "",
    " ",
    "0",
    "+0",
    "-0",
    "00",
    "0.",
    ".",
    "-.",
    "s",
    ".s",
    "-s",
    "1",
    "1.",
    "1.s",
    ".5s",
    "1sm",
    "1s m",
    "1s1",
    "1s-1s",
    "1ns",
    "1us",
    "1\u{b5}s",
    "1\u{3bc}s",
    "1\u{b5}",
    "1S",
    "1d",
    "1h1h",
    "1.5.5s",
    "-9223372036854775808ns",
    "9223372036854775808ns",
    "9223372036854775807ns",
    "9223372036854775.807us",
    "2562047h47m16.854775807s",
    "-2562047h47m16.854775808s",
    "0.000000000009h",
    "0.9223372036854775808h",
    "0.92233720368547758079h",
    "0.99999999999999999999s",
    "9223372036854775808.5ns",
    "18446744073709551616ns",
    "5124095h34m33.709551615s",
    "1e3s",
    "0x1s",
    "1_0s",
    "\u{661}s",
    "1s\n",
    "NaN",
];

/// A number: mostly short, with zeros and nines where borders are.
fn number(random: &mut Random) -> String {
    let digits = |random: &mut Random, most: usize| -> String {
        let count = random.below(most + 1);
        (0..count).map(|_| *random.element(&['0', '0', '9', '1', '2', '5', '7', '8'])).collect()
    };
    let most = if random.chance(20) { 25 } else { 5 };
    let whole = digits(random, most);
    match random.below(3) {
        0 => format!("{whole}.{}", digits(random, most)),
        _ => whole,
    }
}

fn quantity(random: &mut Random) -> String {
    let sign = random.one(&["", "", "", "-", "+"]);
    let suffix = random.one(&[
        "", "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E-3",
        "e+12", "e-9", "e-12", "K", "x",
    ]);
    format!("{sign}{}{suffix}", number(random))
}

fn duration_text(random: &mut Random) -> String {
    let parts = 1 + random.below(3);
    let part = |random: &mut Random| {
        let unit = random.one(&["ns", "us", "\u{b5}s", "ms", "s", "s", "m", "h", "h", "d", ""]);
        format!("{}{unit}", number(random))
    };
    let sign = random.one(&["", "", "-", "+"]);
    (0..parts).fold(sign.to_owned(), |text, _| text + &part(random))
}

/// What Go says about each.
fn asked(kind: &str, texts: &[String]) -> Option<Vec<String>> {
    let oracle = require_oracle_or_skip("texts")?;
    let mut child = Command::new(oracle)
        .arg("-texts")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle starts");
    let lines: String =
        texts.iter().map(|text| format!("{kind} {}\n", serde_json::Value::from(text.as_str()))).collect();
    let mut input = child.stdin.take().expect("a pipe");
    // It answers while it reads.
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads");
    assert!(output.status.success(), "the oracle failed");
    let answers: Vec<String> =
        String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), texts.len());
    Some(answers)
}

fn texts(odd: &[&str], make: fn(&mut Random) -> String) -> Vec<String> {
    let seed = std::process::id().into();
    println!("seed {seed}");
    let random = (0..TEXTS).map(|index| make(&mut Random::new(seed, index)));
    odd.iter().map(|text| (*text).to_owned()).chain(random).collect()
}

fn expect_none(differences: &[String]) {
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences[..differences.len().min(20)].join("\n")
    );
}

#[test]
fn quantities_are_taken_and_refused_as_by_upstream() {
    let texts = texts(ODD_QUANTITIES, quantity);
    let Some(answers) = asked("quantity", &texts) else { return };
    let mut differences = Vec::new();
    for (text, expected) in texts.iter().zip(&answers) {
        let read = Quantity::parse(text).map(|quantity| (quantity.value(), quantity.milli_value()));
        let shown = match read {
            Ok((value, milli)) => format!("{value} {milli}"),
            Err(_) => "refused".to_owned(),
        };
        // What no 127 bits hold is cut off there; upstream keeps it and hands out its low bits.
        let cut_off = matches!(read, Ok((i64::MAX, i64::MAX) | (i64::MIN, i64::MIN)));
        if shown != *expected && !(cut_off && expected != "refused") {
            differences.push(format!("{text:?}: {shown}, upstream {expected}"));
        }
        // Admission has a reader of its own.
        let admitted = Admitted::parse(text);
        if admitted.is_none() != (expected == "refused") {
            differences.push(format!("{text:?}: admission reads {admitted:?}, upstream {expected}"));
        }
        // It is exact where upstream leaves 64 bits, rounds what is negative up, and is cut off earlier.
        let comparable = |amount: &Admitted| {
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            (0..1 << 40).contains(&amount.units()) && !text.starts_with('-') && digits <= 28
        };
        if let Some(admitted) = admitted.filter(comparable)
            && format!("{} {}", admitted.units(), admitted.milli()) != *expected
        {
            differences.push(format!("{text:?}: admission reads {admitted:?}, upstream {expected}"));
        }
    }
    expect_none(&differences);
}

#[test]
fn durations_are_read_as_by_go() {
    let texts = texts(ODD_DURATIONS, duration_text);
    let Some(answers) = asked("duration", &texts) else { return };
    let mut differences = Vec::new();
    for (text, expected) in texts.iter().zip(&answers) {
        let read = duration::parse(text).map_or("refused".to_owned(), |nanoseconds| nanoseconds.to_string());
        if read != *expected {
            differences.push(format!("{text:?}: {read}, Go {expected}"));
        }
    }
    expect_none(&differences);
}
