//! The encoder and its table, verified against the API's Go types.

use super::{encode::encode, schema};
use secondmate_harness::require_oracle_or_skip;
use std::io::Write;
use std::process::{Command, Stdio};

/// Objects with every form and shape of field: values, pointers, lists, maps, inlined messages, and absent fields.
const OBJECTS: [&str; 9] = [
    "Pod {}",
    "Node {}",
    r#"Pod {"metadata":{"name":"a","namespace":"n","uid":"u","generation":3,"creationTimestamp":"2026-01-02T03:04:05Z","deletionTimestamp":null,"labels":{"k":"v","l":""},"annotations":{"é":"ü\n"},"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"o","uid":"x","controller":true}],"finalizers":["f"]}}"#,
    r#"Pod {"spec":{"containers":[{"name":"c","image":"i:1","command":["a","b"],"resources":{"requests":{"cpu":"100m","memory":"1Gi"},"limits":{}},"ports":[{"hostPort":80,"containerPort":8080,"protocol":"TCP"}],"env":[{"name":"e","value":"v"},{"name":"f","valueFrom":{"configMapKeyRef":{"name":"m","key":"k","optional":false}}},{"name":"r","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu"}}}],"livenessProbe":{"httpGet":{"path":"/x","port":"http"},"periodSeconds":5},"readinessProbe":{"tcpSocket":{"port":80}}}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"priority":-5,"hostNetwork":true}}"#,
    r#"Pod {"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"k","operator":"In","values":["a"]}]}]}},"podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":10,"podAffinityTerm":{"labelSelector":{"matchLabels":{"a":"b"}},"topologyKey":"z"}}]}},"tolerations":[{"operator":"Exists","tolerationSeconds":60}],"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"z","whenUnsatisfiable":"DoNotSchedule","minDomains":2}],"nodeSelector":{"x":"y"},"overhead":{"cpu":"1"}}}"#,
    r#"Pod {"spec":{"volumes":[{"name":"a","emptyDir":{"sizeLimit":"1Gi"}},{"name":"b","persistentVolumeClaim":{"claimName":"c"}},{"name":"d","projected":{"sources":[{"configMap":{"name":"m","items":[{"key":"k","path":"p","mode":420}]}}]}},{"name":"e","ephemeral":{"volumeClaimTemplate":{"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}}}],"ephemeralContainers":[{"name":"e","image":"i","targetContainerName":"c"}]}}"#,
    r#"Pod {"metadata":{"name":"p"},"status":{"phase":"Pending","startTime":"2026-01-02T03:04:05Z","conditions":[{"type":"PodScheduled","status":"False","lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:04:05Z","reason":"r"}],"containerStatuses":[{"name":"c","state":{"running":{"startedAt":"2026-01-02T03:04:05Z"}},"ready":true,"restartCount":0,"image":"i","imageID":""}]}}"#,
    r#"Node {"metadata":{"name":"n","labels":{"a":"b"}},"spec":{"podCIDR":"10.0.0.0/24","podCIDRs":["10.0.0.0/24"],"providerID":"x","unschedulable":true,"taints":[{"key":"k","effect":"NoSchedule","timeAdded":"2026-01-02T03:04:05Z"}]}}"#,
    r#"Node {"status":{"capacity":{"cpu":"4"},"allocatable":{"cpu":"4","memory":"8Gi","pods":"110"},"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":"2026-01-02T03:04:05Z","lastTransitionTime":null}],"addresses":[{"type":"InternalIP","address":"10.0.0.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":10250}},"nodeInfo":{"machineID":"m"},"images":[{"names":["a","b"],"sizeBytes":123456789012}],"volumesAttached":[{"name":"v","devicePath":""}]}}"#,
];

/// The fields of a message, sorted: their order has no meaning, and ours is that of the JSON text.
fn canonical(bytes: &[u8], message: usize) -> Vec<(u64, String)> {
    let table = schema::schema();
    let (mut rest, mut fields) = (bytes, Vec::new());
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        let field = table.at(message).fields.iter().find(|field| u64::from(field.number) == tag >> 3);
        let field = field.unwrap_or_else(|| panic!("field {} is not in the table", tag >> 3));
        let value = if tag & 7 == 0 {
            varint(&mut rest).to_string()
        } else {
            let length = usize::try_from(varint(&mut rest)).expect("short");
            let (value, after) = rest.split_at(length);
            rest = after;
            match (field.form, field.shape) {
                (schema::Form::Message(of), shape) if shape != schema::Shape::Map => {
                    format!("{:?}", canonical(value, of))
                }
                _ => format!("{value:?}"),
            }
        };
        fields.push((tag >> 3, value));
    }
    // A list keeps its order under a stable sort by number; entries of a map have no order.
    fields.sort_by_key(|field| field.0);
    fields
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().expect("a whole number");
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hexadecimal[at..at + 2], 16).expect("hexadecimal");
    (0..hexadecimal.len()).step_by(2).map(digit).collect()
}

fn ask(mode: &str, input: &str) -> Option<String> {
    let oracle = require_oracle_or_skip("protobuf")?;
    let mut child = Command::new(oracle)
        .args(["-wire", mode])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the oracle failed");
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn the_table_is_that_of_the_go_types() {
    if let Some(table) = ask("schema", "") {
        assert!(table == schema::TEXT, "write what the oracle prints with -wire schema into schema.txt");
    }
}

#[test]
fn go_reads_and_writes_the_same_bytes() {
    let Some(answers) = ask("encode", &(OBJECTS.join("\n") + "\n")) else { return };
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), OBJECTS.len());
    for (object, answer) in OBJECTS.iter().zip(answers) {
        let (kind, text) = object.split_once(' ').expect("a kind");
        let ours = encode(kind, text).expect("it encodes");
        let message = schema::schema().named(kind);
        let theirs = bytes(answer);
        assert_eq!(canonical(&ours, message), canonical(&theirs, message), "{object}");
        assert_eq!(ours.len(), theirs.len(), "{object}");
    }
}
