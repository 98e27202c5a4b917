//! WebAssembly guests: their arguments, the objects that they are handed, and records of what they and extenders answered.

use secondmate_guest::protobuf::Message;
use secondmate_model::wire;
use secondmate_record::ExtenderAnswers;
use secondmate_wasm::fuzzing::object as encode;
use secondmate_wasm::{GuestAnswers, GuestArgs};
use serde_json::Value;

use super::{ensure, ensure_told, text};

pub(super) fn arguments(input: &[u8]) -> Result<bool, String> {
    let Ok(args) = serde_json::from_slice::<Value>(input) else { return Ok(false) };
    match GuestArgs::read(&args) {
        Ok(read) => {
            ensure(!read.url.is_empty(), "a guest is somewhere", || format!("{read:?}"))?;
            ensure(GuestArgs::are_in(&args), "what is read as a guest's arguments is known as such", || {
                args.to_string()
            })?;
            ensure(read.memory_mib > 0 && read.fuel_per_call > 0, "a guest can do something", || {
                format!("{read:?}")
            })?;
            Ok(true)
        }
        Err(faults) => {
            ensure(!faults.is_empty(), "a refusal says why", String::new)?;
            faults.iter().try_for_each(|fault| ensure_told(&fault.to_string())).map(|()| false)
        }
    }
}

/// Numbers of fields in protobuf.
const METADATA: u32 = 1;
const NAME: u32 = 1;

pub(super) fn object(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let named = serde_json::from_str::<wire::MetadataOnly>(input);
    let mut taken = false;
    for kind in ["Pod", "Node"] {
        let bytes = match encode(kind, input) {
            Ok(bytes) => bytes,
            Err(message) => {
                ensure_told(&message)?;
                continue;
            }
        };
        // Read as a guest does it. Its reader ends at what it cannot read, so a last field that is there says that all of it was.
        let end = [0xf8, 0x3f, 1];
        let message = Message(&bytes);
        let all = [&*bytes, &end].concat();
        let last = Message(&all).fields().last().map(|(number, _)| number);
        ensure(last == Some(LAST), "a guest can read all of it", || format!("{kind} {bytes:?}"))?;
        if let Ok(named) = &named {
            let name = message.message(METADATA).text(NAME);
            ensure(name == &*named.metadata.name, "a guest sees the name that the scheduler sees", || {
                format!("{kind} {name:?} {:?}", named.metadata.name)
            })?;
        }
        taken = true;
    }
    Ok(taken)
}

/// A field that no message has.
const LAST: u32 = 1023;

pub(super) fn record(input: &[u8]) -> Result<bool, String> {
    let read = || {
        let (mut guests, mut extenders) = (GuestAnswers::default(), ExtenderAnswers::default());
        secondmate_record::read(input, |kind, content| {
            Ok(guests.take(kind, content)? || extenders.take(kind, content)?)
        })?;
        Ok::<_, String>(format!("{guests:?} {extenders:?}"))
    };
    match read() {
        Ok(record) => {
            let again = read();
            ensure(again.as_ref() == Ok(&record), "read again it is the same", || format!("{again:?}"))?;
            Ok(true)
        }
        Err(message) => ensure_told(&message).map(|()| false),
    }
}
