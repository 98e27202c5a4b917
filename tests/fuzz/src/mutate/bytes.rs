//! Changes of a text or of bytes.

use crate::random::Random;

/// Most bytes that one change repeats.
const REPEATED_MAX: usize = 2_000;

/// The words of a text: what stands between blanks and punctuation.
pub(super) fn words(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let words = text.split(|c: char| c.is_whitespace() || "{}[]\",:=()&?".contains(c));
    words.filter(|word| (1..=80).contains(&word.len())).map(str::to_owned).collect()
}

/// Changes a text: a word, a line, or bytes.
pub(crate) fn change(text: &mut Vec<u8>, words: &[String], random: &mut Random) {
    match random.below(8) {
        0..=2 => {
            let word = word_at(text, random.below(text.len()));
            text.splice(word, random.pick(words).bytes());
        }
        3 => {
            let at = random.below(text.len() + 1);
            text.splice(at..at, random.pick(words).bytes());
        }
        4 => lines(text, random),
        5 => {
            // A number one off: borders lie there.
            let word = word_at(text, random.below(text.len()));
            let number =
                std::str::from_utf8(&text[word.clone()]).ok().and_then(|word| word.parse::<i64>().ok());
            if let Some(number) = number {
                let near = number.wrapping_add(random.below(3) as i64 - 1).to_string();
                text.splice(word, near.into_bytes());
            } else {
                damage(text, random);
            }
        }
        _ => damage(text, random),
    }
}

/// Changes bytes without a thought for what they mean.
pub(crate) fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.byte());
        return;
    }
    let at = random.below(bytes.len());
    match random.below(7) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.byte(),
        2 => bytes.insert(at, random.byte()),
        3 => drop(bytes.remove(at)),
        4 => {
            let end = at + random.below(bytes.len() - at) + 1;
            bytes.drain(at..end);
        }
        5 => {
            let end = (at + random.below(16) + 1).min(bytes.len());
            let part = bytes[at..end].to_vec();
            let times = 1 + random.below(REPEATED_MAX / part.len().max(1));
            // Rarely many: it is copies of what is there that are wanted, not long inputs.
            let times = if random.once_in(16) { times } else { 1 + times % 4 };
            for _ in 0..times {
                bytes.splice(at..at, part.iter().copied());
            }
        }
        _ => bytes.truncate(at),
    }
}

/// Continues one text with the rest of another.
pub(super) fn splice(text: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    text.truncate(random.below(text.len() + 1));
    text.extend_from_slice(&other[random.below(other.len() + 1)..]);
}

fn lines(text: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(text.len());
    let start = text[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    let end = text[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |after| at + after + 1);
    let line = text[start..end].to_vec();
    match random.below(4) {
        0 => drop(text.drain(start..end)),
        1 => drop(text.splice(start..start, line)),
        2 => text.splice(start..start, *b"  ").for_each(drop),
        _ => {
            let indent = line.iter().take_while(|byte| **byte == b' ').count().min(2);
            text.drain(start..start + indent);
        }
    }
}

/// The word around a place.
fn word_at(text: &[u8], at: usize) -> std::ops::Range<usize> {
    let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./".contains(byte);
    if text.is_empty() {
        return 0..0;
    }
    let start = text[..at].iter().rposition(|byte| !in_word(byte)).map_or(0, |before| before + 1);
    let end = text[at..].iter().position(|byte| !in_word(byte)).map_or(text.len(), |after| at + after);
    start..end
}
