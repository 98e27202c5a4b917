//! Reading protobuf where it lies: for fields of pods and nodes that have no method of their own. Numbers are those of
//! `k8s.io/api/core/v1/generated.proto`.

/// A message. What cannot be read is as if it were not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message<'a>(pub &'a [u8]);

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number, or true or false.
    Number(u64),
    /// A text, a message, or an entry of a map.
    Bytes(&'a [u8]),
}

impl<'a> Message<'a> {
    /// All fields in order, with their numbers.
    pub fn fields(self) -> impl Iterator<Item = (u32, Value<'a>)> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let tag = varint(&mut rest)?;
            let value = match tag & 7 {
                0 => Value::Number(varint(&mut rest)?),
                1 => Value::Bytes(take(&mut rest, 8)?),
                2 => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    Value::Bytes(take(&mut rest, length)?)
                }
                5 => Value::Bytes(take(&mut rest, 4)?),
                _ => return None,
            };
            Some((u32::try_from(tag >> 3).ok()?, value))
        })
    }

    /// All values of a field.
    pub fn all(self, number: u32) -> impl Iterator<Item = Value<'a>> {
        self.fields().filter(move |(n, _)| *n == number).map(|(_, value)| value)
    }

    /// The message in a field; an empty one where there is none.
    #[must_use]
    pub fn message(self, number: u32) -> Message<'a> {
        self.messages(number).last().unwrap_or_default()
    }

    /// The messages in a repeated field.
    pub fn messages(self, number: u32) -> impl Iterator<Item = Message<'a>> {
        self.all(number).filter_map(|value| match value {
            Value::Bytes(bytes) => Some(Message(bytes)),
            Value::Number(_) => None,
        })
    }

    /// The text in a field; empty where there is none.
    #[must_use]
    pub fn text(self, number: u32) -> &'a str {
        core::str::from_utf8(self.message(number).0).unwrap_or_default()
    }

    /// The number in a field; 0 where there is none.
    #[must_use]
    pub fn number(self, number: u32) -> i64 {
        let numbers = self.all(number).filter_map(|value| match value {
            Value::Number(number) => Some(i64::from_le_bytes(number.to_le_bytes())),
            Value::Bytes(_) => None,
        });
        numbers.last().unwrap_or(0)
    }

    /// Keys and values of a map from text to text.
    pub fn map(self, number: u32) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.messages(number).map(|entry| (entry.text(1), entry.text(2)))
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_where_they_lie() {
        let message = Message(&[0x0a, 1, b'a', 0x10, 0xac, 2, 0x1a, 6, 0x0a, 1, b'k', 0x12, 1, b'v']);
        assert_eq!((message.text(1), message.number(2)), ("a", 300));
        assert!(message.map(3).eq([("k", "v")]));
        assert_eq!((message.text(9), message.number(9), message.message(9)), ("", 0, Message(&[])));
    }

    #[test]
    fn what_is_cut_off_is_not_there() {
        for bytes in [&[0x0a, 9, b'a'][..], &[0x0a], &[0x08, 0x80], &[0x0f]] {
            assert_eq!(Message(bytes).fields().count(), 0, "{bytes:?}");
        }
    }
}
