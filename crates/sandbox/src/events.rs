//! The two forms of an Event: core/v1, which is stored, and events.k8s.io/v1.

use serde_json::{Map, Value};

/// Field names of events.k8s.io/v1 and of core/v1, in pairs.
const RENAMED: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// From events.k8s.io/v1 to core/v1, in place.
pub(crate) fn to_core(event: &mut Value) {
    if let Value::Object(map) = event {
        map.insert("apiVersion".into(), Value::from("v1"));
        for (new, core) in RENAMED {
            rename(map, new, core);
        }
    }
}

/// From core/v1 to events.k8s.io/v1, in place.
pub(crate) fn from_core(event: &mut Value) {
    if let Value::Object(map) = event {
        map.insert("apiVersion".into(), Value::from("events.k8s.io/v1"));
        for (new, core) in RENAMED {
            rename(map, core, new);
        }
    }
}

fn rename(map: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.insert(to.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_ways_give_the_same_event_back() {
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "regarding": {"kind": "Pod", "name": "p"}, "note": "hello", "reason": "Scheduled",
            "reportingController": "my-scheduler", "deprecatedCount": 3, "eventTime": "2026-01-01T00:00:00.000000Z",
        });
        let mut core = event.clone();
        to_core(&mut core);
        assert_eq!(core["involvedObject"]["name"], "p");
        assert_eq!((&core["message"], &core["apiVersion"]), (&json!("hello"), &json!("v1")));
        from_core(&mut core);
        assert_eq!(core, event);
    }
}
