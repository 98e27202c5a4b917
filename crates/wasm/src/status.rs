//! From the numbers that guests return to the framework's types.

use secondmate_framework::{ActionType, Code, EventRegistration, EventResource, Status};

/// A status by its number. A number that kube-scheduler does not define fails the attempt there, too.
pub(crate) fn status(code: i32, reason: String) -> Status {
    let code = match code {
        0 => return Status::SUCCESS,
        1 => Code::Error,
        2 => Code::Unschedulable,
        3 => Code::UnschedulableAndUnresolvable,
        4 => Code::Wait,
        5 => Code::Skip,
        6 => Code::Pending,
        other if reason.is_empty() => {
            return Status::error(format!("wasm: the guest returned {other}, which is no status code"));
        }
        _ => Code::Error,
    };
    if reason.is_empty() { Status::with_reasons(code, []) } else { Status::new(code, reason) }
}

/// The upper half of two numbers in one.
pub(crate) fn high(both: i64) -> i32 {
    let [_, _, _, _, a, b, c, d] = both.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// The lower half.
pub(crate) fn low(both: i64) -> i32 {
    let [a, b, c, d, ..] = both.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// All actions on an object that a guest knows; newer versions know more, so this means all of those.
const ALL: u32 = 63;
const UPDATE: u32 = 60;

/// The events that are registered if a guest registers none.
pub(crate) fn default_events() -> Vec<EventRegistration> {
    [
        EventResource::Pod,
        EventResource::Node,
        EventResource::CsiNode,
        EventResource::PersistentVolume,
        EventResource::PersistentVolumeClaim,
        EventResource::StorageClass,
    ]
    .map(|resource| EventRegistration::new(resource, ActionType::ALL))
    .to_vec()
}

/// An event as registered by a guest, using the numbers of its SDK; `None` if no scheduler has that resource any more.
pub(crate) fn event(resource: u32, action: u32) -> Option<EventRegistration> {
    let resource = match resource {
        0 => EventResource::Pod,
        1 => EventResource::Node,
        2 => EventResource::PersistentVolume,
        3 => EventResource::PersistentVolumeClaim,
        5 => EventResource::ResourceClaim,
        6 => EventResource::StorageClass,
        7 => EventResource::CsiNode,
        8 => EventResource::CsiDriver,
        9 => EventResource::CsiStorageCapacity,
        10 => EventResource::Wildcard,
        _ => return None,
    };
    let actions = match action & ALL {
        ALL => ActionType::ALL,
        some if some & UPDATE == UPDATE => ActionType(some) | ActionType::UPDATE,
        some => ActionType(some),
    };
    Some(EventRegistration::new(resource, actions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_in_one() {
        assert_eq!((high(10 << 32 | 2), low(10 << 32 | 2)), (10, 2));
        assert_eq!((high(i64::MIN), low(i64::MIN)), (i32::MIN, 0));
        assert_eq!((high(-1), low(-1)), (-1, -1));
    }

    #[test]
    fn statuses_by_number() {
        for (number, code) in [(1, Code::Error), (2, Code::Unschedulable), (4, Code::Wait), (5, Code::Skip)] {
            assert_eq!(status(number, String::new()).code(), code);
        }
        assert!(status(0, "ignored".to_owned()).is_success());
        let extreme = status(i32::MIN, String::new());
        assert_eq!((extreme.code(), extreme.message().contains("-2147483648")), (Code::Error, true));
        assert_eq!(status(i32::MAX, "why".to_owned()).message(), "why");
    }

    #[test]
    fn events_by_number() {
        assert_eq!(event(1, 1), Some(EventRegistration::new(EventResource::Node, ActionType::ADD)));
        assert_eq!(event(10, 63), Some(EventRegistration::new(EventResource::Wildcard, ActionType::ALL)));
        assert_eq!(
            event(0, 61),
            Some(EventRegistration::new(EventResource::Pod, ActionType::ADD | ActionType::UPDATE))
        );
        assert_eq!((event(4, 1), event(99, 1)), (None, None));
    }
}
