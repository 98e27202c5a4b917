use super::*;

const PODS: &str = include_str!("pod_requests.txt");

fn vector(resources: &Resources) -> String {
    let scalars: std::collections::BTreeMap<&str, i64> =
        resources.scalars.iter().map(|(name, amount)| (name.as_str(), *amount)).collect();
    let scalars = serde_json::to_string(&scalars).expect("a map of numbers");
    format!("{} {} {} {scalars}", resources.milli_cpu, resources.memory, resources.ephemeral_storage)
}

fn pod(json: &str) -> wire::Pod {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn resources(milli_cpu: i64, scalars: &[(&str, i64)]) -> Resources {
    let scalars = scalars.iter().map(|(name, amount)| (Atom::new(name), *amount)).collect();
    Resources { milli_cpu, scalars, ..Resources::default() }
}

#[test]
fn requests_of_pods_are_those_of_upstream() {
    let mut lines = PODS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut rows = 0;
    while let (Some(name), Some(json), Some(expected)) = (lines.next(), lines.next(), lines.next()) {
        let PodRequests { filter, on_node, scoring, non_zero_milli_cpu, non_zero_memory, .. } =
            PodRequests::of(&pod(json)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = format!(
            "{} | {} | {} | {non_zero_milli_cpu} {non_zero_memory}",
            vector(&filter),
            vector(&on_node),
            vector(&scoring)
        );
        assert_eq!(found, expected, "{name}: {json}");
        for vector in [filter, on_node, scoring] {
            assert!(vector.scalars.is_sorted_by(|a, b| a.0 < b.0), "{name}: {vector:?}");
        }
        rows += 1;
    }
    assert_eq!(rows, ROWS, "the table is read to its end");
}
const ROWS: usize = 86;

/// A pod whose container requests two CPUs, with a status that reports allocated and actuated resources for the container or for
/// the whole pod.
#[test]
fn what_a_kubelet_counts_is_kept_where_it_is_not_what_schedulers_count() {
    let container = r#"[{"name":"a","resources":{"requests":{"cpu":"2"}}}]"#;
    let of_container = |rest: &str| format!(r#"{{"containerStatuses":[{{"name":"a",{rest}}}]}}"#);
    let infeasible = r#""conditions":[{"type":"PodResizePending","status":"True","reason":"Infeasible"}]"#;
    for (spec, status, on_node, allocated) in [
        ("", "{}".to_owned(), 2000, None),
        ("", of_container(r#""allocatedResources":{"cpu":"2"}"#), 2000, None),
        ("", of_container(r#""allocatedResources":{"cpu":"500m"}"#), 2000, Some(500)),
        // Shrinking: less is allocated than is in use, and the kubelet counts what is in use.
        (
            "",
            of_container(r#""allocatedResources":{"cpu":"2"},"resources":{"requests":{"cpu":"3"}}"#),
            3000,
            None,
        ),
        // It is to grow before it has shrunk.
        (
            "",
            of_container(r#""allocatedResources":{"cpu":"500m"},"resources":{"requests":{"cpu":"700m"}}"#),
            2000,
            Some(700),
        ),
        (
            "",
            r#"{"allocatedResources":{"cpu":"1"},"resources":{"requests":{"cpu":"1"}}}"#.to_owned(),
            2000,
            Some(1000),
        ),
        (
            "",
            r#"{"allocatedResources":{"cpu":"1"},"resources":{"requests":{"cpu":"1500m"}}}"#.to_owned(),
            2000,
            Some(1500),
        ),
        (
            r#""resources":{"requests":{"cpu":"4"}},"overhead":{"cpu":"1"},"#,
            r#"{"allocatedResources":{"cpu":"3"},"resources":{"requests":{"cpu":"3"}}}"#.to_owned(),
            5000,
            Some(4000),
        ),
        (
            r#""resources":{"requests":{"cpu":"4"}},"overhead":{"cpu":"1"},"#,
            r#"{"allocatedResources":{"cpu":"2"},"resources":{"requests":{"cpu":"3"}}}"#.to_owned(),
            5000,
            Some(4000),
        ),
        // What the node can never grant is counted by neither.
        (
            r#""resources":{"requests":{"cpu":"4"}},"#,
            format!(r#"{{"resources":{{"requests":{{"cpu":"3"}}}},{infeasible}}}"#),
            3000,
            None,
        ),
    ] {
        let json = format!(r#"{{"spec":{{{spec}"containers":{container}}},"status":{status}}}"#);
        let requests = PodRequests::of(&pod(&json)).unwrap_or_else(|error| panic!("{json}: {error}"));
        let found = requests.allocated.map(|allocated| allocated.milli_cpu);
        assert_eq!((requests.on_node.milli_cpu, found), (on_node, allocated), "{json}");
    }
}

#[test]
fn a_bad_quantity_is_named_with_its_place() {
    for (json, path) in [
        (
            r#"{"spec":{"containers":[{},{"resources":{"requests":{"cpu":"1 core"}}}]}}"#,
            r#"spec.containers[1].resources.requests["cpu"]"#,
        ),
        (
            r#"{"spec":{"initContainers":[{"resources":{"requests":{"a.b/c":"1 core"}}}]}}"#,
            r#"spec.initContainers[0].resources.requests["a.b/c"]"#,
        ),
        (r#"{"spec":{"overhead":{"memory":"1 core"}}}"#, r#"spec.overhead["memory"]"#),
        (
            r#"{"spec":{"resources":{"requests":{"memory":"1 core"}}}}"#,
            r#"spec.resources.requests["memory"]"#,
        ),
        (
            r#"{"spec":{"resources":{"requests":{"memory":"1"}}},"status":{"resources":{},"allocatedResources":{"cpu":"1 core"}}}"#,
            r#"status.allocatedResources["cpu"]"#,
        ),
        (
            r#"{"spec":{"containers":[{"name":"a"}]},"status":{"containerStatuses":[{"name":"a","resources":{"requests":{"cpu":"1 core"}}}]}}"#,
            r#"status.containerStatuses[0].resources.requests["cpu"]"#,
        ),
        (
            r#"{"spec":{"initContainers":[{"name":"s","restartPolicy":"Always"}]},"status":{"initContainerStatuses":[{"name":"s","resources":{},"allocatedResources":{"cpu":"1 core"}}]}}"#,
            r#"status.initContainerStatuses[0].allocatedResources["cpu"]"#,
        ),
    ] {
        let error = PodRequests::of(&pod(json)).expect_err(json);
        assert_eq!((&*error.path, &*error.text, error.cause), (path, "1 core", QuantityError::Form));
    }
    let error = PodRequests::of(&pod(r#"{"spec":{"overhead":{"cpu":"1x"}}}"#)).expect_err("not a quantity");
    assert_eq!(
        error.to_string(),
        r#"spec.overhead["cpu"]: "1x" is no quantity: it is not a number with an optional suffix; write a number with an optional suffix, such as 500m, 2, 1.5, 128Mi or 1G"#
    );
}

#[test]
fn allocatable_keeps_native_and_scalar_names_and_the_number_of_pods() {
    let node: wire::Node = serde_json::from_str(
        r#"{"status":{"allocatable":{"cpu":"3920m","memory":"15Gi","ephemeral-storage":"1.5","pods":"110","nvidia.com/gpu":"0",
            "hugepages-2Mi":"1Gi","attachable-volumes-csi-x":"25","weird":"not read","requests.a.b/c":"1","memory.kubernetes.io/x":"7"}}}"#,
    )
    .expect("a node");
    let allocatable = Allocatable::from_list(&node.status.allocatable.expect("set")).expect("quantities");
    assert_eq!(
        (vector(&allocatable.resources).as_str(), allocatable.pods),
        (
            r#"3920 16106127360 2 {"attachable-volumes-csi-x":25,"hugepages-2Mi":1073741824,"memory.kubernetes.io/x":7,"nvidia.com/gpu":0}"#,
            110
        )
    );
    let list = [("pods".into(), wire::QuantityText("many".into()))].into();
    let error = Allocatable::from_list(&list).expect_err("not a quantity");
    assert_eq!(&*error.path, r#"status.allocatable["pods"]"#);
}

/// Name, whether it is extended, and whether it is scalar, according to upstream.
#[test]
fn names_are_told_apart_as_upstream_does() {
    let long = |n: usize| "x".repeat(n);
    for (name, extended, scalar) in [
        ("cpu", false, false),
        ("pods", false, false),
        ("", false, false),
        ("nvidia.com/gpu", true, true),
        ("a/b", true, true),
        ("a-1.b2/B_c.d-E", true, true),
        ("requests.nvidia.com/gpu", false, false),
        ("kubernetes.io/batch", false, true),
        ("x.kubernetes.io/y", false, true),
        ("notkubernetes.io/y", false, true),
        ("kubernetes.io", false, false),
        ("hugepages-2Mi", false, true),
        ("hugepages-", false, true),
        ("attachable-volumes-csi-x", false, true),
        ("A.com/gpu", false, false),
        ("a..b/gpu", false, false),
        ("-a/gpu", false, false),
        ("a-/gpu", false, false),
        ("/gpu", false, false),
        ("a/", false, false),
        ("a/b/c", false, false),
        ("a/-b", false, false),
        ("a/b.", false, false),
        ("a/b c", false, false),
        ("a/é", false, false),
        (&format!("a/{}", long(63)), true, true),
        (&format!("a/{}", long(64)), false, false),
        (&format!("{}/a", long(244)), true, true),
        (&format!("{}/a", long(245)), false, false),
    ] {
        assert_eq!(
            (is_extended_resource_name(name), is_scalar_resource_name(name)),
            (extended, scalar),
            "{name:?}"
        );
    }
}

#[test]
fn keys_find_what_a_vector_has() {
    let vector = Resources { memory: 2, ephemeral_storage: 3, ..resources(1, &[("a.b/c", 4), ("a.b/d", 0)]) };
    let get = |name| vector.get(&ResourceKey::new(name));
    assert_eq!(
        ["cpu", "memory", "ephemeral-storage", "a.b/c", "a.b/d", "a.b/e", "pods"].map(get),
        [1, 2, 3, 4, 0, 0, 0]
    );
    assert_eq!(vector.scalar(&Atom::new("a.b/d")), Some(0));
    assert_eq!(vector.scalar(&Atom::new("a.b/e")), None);
    assert!(
        ResourceKey::new("a.b/c").is_scalar()
            && !ResourceKey::new("cpu").is_scalar()
            && !ResourceKey::new("pods").is_scalar()
    );
    assert_eq!(ResourceKey::new("ephemeral-storage").to_string(), "ephemeral-storage");
}

#[test]
fn vectors_add_up_and_keep_the_names_they_have_seen() {
    let mut sum = resources(1, &[("b/b", 1)]);
    sum.add_assign(&resources(2, &[("a/a", 3), ("b/b", 2), ("c/c", 0)]));
    assert_eq!(sum, resources(3, &[("a/a", 3), ("b/b", 3), ("c/c", 0)]));
    sum.sub_assign(&resources(3, &[("a/a", 3), ("d/d", 1)]));
    assert_eq!(sum, resources(0, &[("a/a", 0), ("b/b", 3), ("c/c", 0), ("d/d", -1)]));
    sum.set_max(&resources(-1, &[("b/b", 2), ("d/d", 1), ("e/e", -1)]));
    assert_eq!(sum, resources(0, &[("a/a", 0), ("b/b", 3), ("c/c", 0), ("d/d", 1), ("e/e", 0)]));
    let mut wrapping = resources(i64::MAX, &[]);
    wrapping.add_assign(&resources(1, &[]));
    assert_eq!(wrapping.milli_cpu, i64::MIN, "as in Go");
}

#[test]
fn a_scalar_of_zero_makes_a_vector_not_empty() {
    assert!(Resources::default().is_empty());
    assert!(!resources(0, &[("a/a", 0)]).is_empty());
    assert!(!resources(1, &[]).is_empty());
}

#[test]
fn amounts_beyond_all_bounds_are_bounded_where_that_is_wanted() {
    let asking = |cpu: &str, memory: &str| {
        let json = format!(
            r#"{{"spec":{{"containers":[{{"name":"a","resources":{{"requests":{{"cpu":"{cpu}","memory":"{memory}"}}}}}}]}}}}"#
        );
        std::sync::Arc::new(crate::Pod::new(&pod(&json)).expect("quantities"))
    };
    let shown = |pod: &crate::Pod| {
        let PodRequests { filter, on_node, scoring, non_zero_milli_cpu, non_zero_memory, .. } = &pod.requests;
        assert_eq!((filter, on_node), (scoring, on_node));
        assert_eq!((*non_zero_milli_cpu, *non_zero_memory), (on_node.milli_cpu, on_node.memory));
        (on_node.milli_cpu, on_node.memory)
    };
    let most = AMOUNT_MAX;
    for (cpu, memory, as_upstream, bounded) in [
        ("8", "64Gi", (8_000, 64 << 30), (8_000, 64 << 30)),
        // 2^62 thousandths: three of them overflow.
        ("4611686018427387.904", "1", (1 << 62, 1), (most, 1)),
        // It overflows to 0.
        ("8E", "1", (0, 1), (most, 1)),
        ("1", "8E", (1_000, 8_000_000_000_000_000_000), (1_000, most)),
        ("1", "1Pi", (1_000, most), (1_000, most)),
    ] {
        let pod = asking(cpu, memory);
        assert_eq!(shown(&pod), as_upstream, "{cpu} {memory}");
        assert_eq!(shown(&pod.bounded()), bounded, "{cpu} {memory}");
    }
    let node: wire::Node = serde_json::from_str(
        r#"{"status":{"allocatable":{"cpu":"8E","example.com/gpu":"9223372036854775807","pods":"1"}}}"#,
    )
    .expect("a node");
    let node = std::sync::Arc::new(crate::Node::new(&node).expect("quantities")).bounded();
    assert_eq!(vector(&node.allocatable.resources), format!(r#"{most} 0 0 {{"example.com/gpu":{most}}}"#));
}

type Map = std::collections::BTreeMap<String, i64>;

/// Vectors with names drawn from a few or many, against a map for each.
#[test]
fn vectors_combine_as_maps_do_whichever_names_they_have() {
    let mut state = 1_u64;
    let mut below = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    for round in 0..300 {
        let names = [3, 12, 60][round % 3];
        let mut draw = || -> Map {
            let drawn = 0..below(names);
            drawn
                .map(|_| (format!("a.b/{:02}", below(names)), i64::try_from(below(7)).expect("small") - 3))
                .collect()
        };
        let vector = |map: &Map| {
            let scalars: Vec<(&str, i64)> =
                map.iter().map(|(name, amount)| (name.as_str(), *amount)).collect();
            resources(0, &scalars)
        };
        let mut map = draw();
        let mut sum = vector(&map);
        for operation in 0..6 {
            let other = draw();
            let with: [fn(i64, i64) -> i64; 3] = [i64::wrapping_add, i64::wrapping_sub, Ord::max];
            let with = with[operation % 3];
            for (name, amount) in &other {
                let own = map.entry(name.clone()).or_insert(0);
                *own = with(*own, *amount);
            }
            match operation % 3 {
                0 => sum.add_assign(&vector(&other)),
                1 => sum.sub_assign(&vector(&other)),
                _ => sum.set_max(&vector(&other)),
            }
            assert_eq!(sum, vector(&map), "round {round}");
            for at in 0..names {
                let name = format!("a.b/{at:02}");
                assert_eq!(sum.scalar(&Atom::new(&name)), map.get(&name).copied(), "round {round}, {name}");
            }
        }
        map.retain(|_, amount| *amount != 0);
        sum.drop_zeros();
        assert_eq!(sum, vector(&map), "round {round}");
    }
}
