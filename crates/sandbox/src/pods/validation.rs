//! The checks of a pod's spec that users of a scheduler run into; the wording follows the API server's.

use serde_json::Value;

use crate::decode;
use crate::error::FieldError;
use crate::resource;
use crate::selectors;
use secondmate_admission::Quantity;

/// All field errors of a pod.
pub(crate) fn validate(pod: &Value) -> Vec<FieldError> {
    let mut errors = decode::check_metadata(resource::stored_as(resource::PODS), pod);
    let spec = &pod["spec"];
    check_containers(spec, &mut errors);
    one_of(spec, "spec", "restartPolicy", &["Always", "OnFailure", "Never"], &mut errors);
    one_of(
        spec,
        "spec",
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        &mut errors,
    );
    one_of(spec, "spec", "preemptionPolicy", &["Never", "PreemptLowerPriority"], &mut errors);
    check_gates(spec, &mut errors);
    for (key, value) in spec["nodeSelector"].as_object().into_iter().flatten() {
        check_label("spec.nodeSelector", key, value.as_str(), &mut errors);
    }
    for (i, toleration) in spec["tolerations"].as_array().into_iter().flatten().enumerate() {
        check_toleration(&format!("spec.tolerations[{i}]"), toleration, &mut errors);
    }
    check_node_affinity(&spec["affinity"]["nodeAffinity"], &mut errors);
    for kind in ["podAffinity", "podAntiAffinity"] {
        check_pod_affinity(&format!("spec.affinity.{kind}"), &spec["affinity"][kind], &mut errors);
    }
    for (i, constraint) in spec["topologySpreadConstraints"].as_array().into_iter().flatten().enumerate() {
        check_spread(&format!("spec.topologySpreadConstraints[{i}]"), constraint, &mut errors);
    }
    errors
}

fn one_of(map: &Value, path: &str, field: &str, supported: &[&str], errors: &mut Vec<FieldError>) {
    if let Some(value) = map[field].as_str().filter(|v| !supported.contains(v)) {
        errors.push(FieldError::not_supported(format!("{path}.{field}"), value, supported));
    }
}

fn check_containers(spec: &Value, errors: &mut Vec<FieldError>) {
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        errors.push(FieldError::required("spec.containers", ""));
    }
    let mut names: Vec<&str> = Vec::new();
    let mut host_ports: Vec<(&str, &str, i64)> = Vec::new();
    for (path, container) in secondmate_admission::all_containers(spec) {
        match container["name"].as_str().unwrap_or_default() {
            "" => errors.push(FieldError::required(format!("{path}.name"), "")),
            name if !selectors::is_dns_label(name) => errors.push(FieldError::invalid(
                format!("{path}.name"),
                name,
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                 start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
                 validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            )),
            name if names.contains(&name) => {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
            name => names.push(name),
        }
        if container["image"].as_str().is_none_or(str::is_empty) {
            errors.push(FieldError::required(format!("{path}.image"), ""));
        }
        one_of(container, &path, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], errors);
        check_resources(&format!("{path}.resources"), &container["resources"], errors);
        for (i, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
            check_port(&format!("{path}.ports[{i}]"), port, errors);
            if path.starts_with("spec.containers")
                && let Some(host_port) = port["hostPort"].as_i64().filter(|p| *p != 0)
            {
                let key = (
                    port["hostIP"].as_str().unwrap_or_default(),
                    port["protocol"].as_str().unwrap_or("TCP"),
                    host_port,
                );
                if host_ports.contains(&key) {
                    errors.push(FieldError::duplicate(
                        format!("{path}.ports[{i}].hostPort"),
                        format!("{}/{}/{}", key.1, key.0, key.2),
                    ));
                } else {
                    host_ports.push(key);
                }
            }
        }
    }
    check_resources("spec.resources", &spec["resources"], errors);
    for (name, quantity) in spec["overhead"].as_object().into_iter().flatten() {
        check_not_negative(&format!("spec.overhead.{name}"), quantity, errors);
    }
}

fn check_port(path: &str, port: &Value, errors: &mut Vec<FieldError>) {
    let in_range = |n: i64| (1..=65535).contains(&n);
    match port["containerPort"].as_i64().unwrap_or(0) {
        0 => errors.push(FieldError::required(format!("{path}.containerPort"), "")),
        n if !in_range(n) => errors.push(FieldError::invalid(
            format!("{path}.containerPort"),
            n,
            "must be between 1 and 65535, inclusive",
        )),
        _ => {}
    }
    if let Some(n) = port["hostPort"].as_i64().filter(|n| *n != 0 && !in_range(*n)) {
        errors.push(FieldError::invalid(
            format!("{path}.hostPort"),
            n,
            "must be between 1 and 65535, inclusive",
        ));
    }
    one_of(port, path, "protocol", &["SCTP", "TCP", "UDP"], errors);
}

fn check_not_negative(path: &str, quantity: &Value, errors: &mut Vec<FieldError>) {
    if quantity.as_str().and_then(Quantity::parse).is_some_and(Quantity::is_negative) {
        errors.push(FieldError::invalid(path, quantity.clone(), "must be greater than or equal to 0"));
    }
}

fn check_resources(path: &str, resources: &Value, errors: &mut Vec<FieldError>) {
    for kind in ["limits", "requests"] {
        for (name, quantity) in resources[kind].as_object().into_iter().flatten() {
            let path = format!("{path}.{kind}[{name}]");
            check_not_negative(&path, quantity, errors);
            let standard = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage" | "storage")
                || name.starts_with("hugepages-");
            if !standard && !name.contains('/') {
                errors.push(FieldError::invalid(
                    path,
                    name.as_str(),
                    "must be a standard resource for containers",
                ));
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let request_path = format!("{path}.requests");
        let limit = &resources["limits"][name];
        let pair = (request.as_str().and_then(Quantity::parse), limit.as_str().and_then(Quantity::parse));
        let extended = name.contains('/') && !name.starts_with("kubernetes.io/");
        match pair {
            (Some(wanted), Some(most)) if extended && wanted != most => errors.push(FieldError::invalid(
                request_path,
                request.clone(),
                format!("must be equal to {name} limit of {}", limit.as_str().unwrap_or_default()),
            )),
            (Some(wanted), Some(most)) if wanted > most => errors.push(FieldError::invalid(
                request_path,
                request.clone(),
                format!(
                    "must be less than or equal to {name} limit of {}",
                    limit.as_str().unwrap_or_default()
                ),
            )),
            (Some(_), None) if extended => errors.push(FieldError::required(
                format!("{path}.limits"),
                "Limit must be set for non overcommitable resources",
            )),
            _ => {}
        }
    }
}

fn check_gates(spec: &Value, errors: &mut Vec<FieldError>) {
    let gates = spec["schedulingGates"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !gates.is_empty() && spec["nodeName"].as_str().is_some_and(|n| !n.is_empty()) {
        errors.push(FieldError::forbidden(
            "spec.nodeName",
            "cannot be set until all schedulingGates have been cleared",
        ));
    }
    for (i, gate) in gates.iter().enumerate() {
        let path = format!("spec.schedulingGates[{i}]");
        let name = gate["name"].as_str().unwrap_or_default();
        if let Err(why) = selectors::check_label_key(name) {
            errors.push(FieldError::invalid(path, name, why));
        } else if gates[..i].iter().any(|g| g["name"] == name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
}

fn check_label(path: &str, key: &str, value: Option<&str>, errors: &mut Vec<FieldError>) {
    if let Err(why) = selectors::check_label_key(key) {
        errors.push(FieldError::invalid(path, key, why));
    }
    if let Err(why) = selectors::check_label_value(value.unwrap_or_default()) {
        errors.push(FieldError::invalid(path, value.unwrap_or_default(), why));
    }
}

fn check_toleration(path: &str, toleration: &Value, errors: &mut Vec<FieldError>) {
    let text = |field: &str| toleration[field].as_str().unwrap_or_default();
    let (key, operator, effect) = (text("key"), text("operator"), text("effect"));
    if !key.is_empty()
        && let Err(why) = selectors::check_label_key(key)
    {
        errors.push(FieldError::invalid(format!("{path}.key"), key, why));
    }
    if key.is_empty() && operator != "Exists" {
        errors.push(FieldError::invalid(
            format!("{path}.operator"),
            operator,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ));
    }
    if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
        errors.push(FieldError::invalid(
            format!("{path}.effect"),
            effect,
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        ));
    }
    match operator {
        "" | "Equal" => {
            if let Err(why) = selectors::check_label_value(text("value")) {
                errors.push(FieldError::invalid(format!("{path}.operator"), text("value"), why));
            }
        }
        "Exists" if !text("value").is_empty() => errors.push(FieldError::invalid(
            format!("{path}.operator"),
            text("value"),
            "value must be empty when `operator` is 'Exists'",
        )),
        "Exists" => {}
        // Lt and Gt are behind a gate that is off by default, although the list names them.
        other => {
            let named = ["Equal", "Exists", "Lt", "Gt"];
            errors.push(FieldError::not_supported(format!("{path}.operator"), other, &named));
        }
    }
    if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        errors.push(FieldError::not_supported(
            format!("{path}.effect"),
            effect,
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
        ));
    }
}

fn check_node_affinity(affinity: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";
    let required = &affinity["requiredDuringSchedulingIgnoredDuringExecution"];
    if required.is_object() {
        let terms = required["nodeSelectorTerms"].as_array().map(Vec::as_slice).unwrap_or_default();
        if terms.is_empty() {
            errors.push(FieldError::required(
                format!("{path}.nodeSelectorTerms"),
                "must have at least one node selector term",
            ));
        }
        for (i, term) in terms.iter().enumerate() {
            check_node_term(&format!("{path}.nodeSelectorTerms[{i}]"), term, errors);
        }
    }
    let path = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution";
    let preferred = &affinity["preferredDuringSchedulingIgnoredDuringExecution"];
    for (i, term) in preferred.as_array().into_iter().flatten().enumerate() {
        check_weight(&format!("{path}[{i}]"), term, errors);
        check_node_term(&format!("{path}[{i}].preference"), &term["preference"], errors);
    }
}

fn check_weight(path: &str, term: &Value, errors: &mut Vec<FieldError>) {
    let weight = term["weight"].as_i64().unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(format!("{path}.weight"), weight, "must be in the range 1-100"));
    }
}

fn check_node_term(path: &str, term: &Value, errors: &mut Vec<FieldError>) {
    for (i, expression) in term["matchExpressions"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        let known = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
        check_expression(&path, expression, &known, errors);
    }
    for (i, expression) in term["matchFields"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.matchFields[{i}]");
        let key = expression["key"].as_str().unwrap_or_default();
        if key != "metadata.name" {
            errors.push(FieldError::invalid(format!("{path}.key"), key, "not a valid field selector key"));
        }
        let operator = expression["operator"].as_str().unwrap_or_default();
        if !matches!(operator, "In" | "NotIn") {
            errors.push(FieldError::invalid(
                format!("{path}.operator"),
                operator,
                "not a valid selector operator",
            ));
        } else if expression["values"].as_array().is_none_or(|v| v.len() != 1) {
            errors.push(FieldError::required(
                format!("{path}.values"),
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            ));
        }
    }
}

fn check_expression(path: &str, expression: &Value, known: &[&str], errors: &mut Vec<FieldError>) {
    let key = expression["key"].as_str().unwrap_or_default();
    if let Err(why) = selectors::check_label_key(key) {
        errors.push(FieldError::invalid(format!("{path}.key"), key, why));
    }
    let values = expression["values"].as_array().map_or(0, Vec::len);
    let operator = expression["operator"].as_str().unwrap_or_default();
    match operator {
        other if !known.contains(&other) => errors.push(FieldError::invalid(
            format!("{path}.operator"),
            other,
            "not a valid selector operator",
        )),
        "In" | "NotIn" if values == 0 => errors.push(FieldError::required(
            format!("{path}.values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if values > 0 => errors.push(FieldError::forbidden(
            format!("{path}.values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "Gt" | "Lt" if values != 1 => errors.push(FieldError::required(
            format!("{path}.values"),
            "must be specified single value when `operator` is 'Lt' or 'Gt'",
        )),
        _ => {}
    }
}

/// A structured label selector.
pub(crate) fn check_selector(path: &str, selector: &Value, errors: &mut Vec<FieldError>) {
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        check_label(&format!("{path}.matchLabels"), key, value.as_str(), errors);
    }
    for (i, expression) in selector["matchExpressions"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        check_expression(&path, expression, &["In", "NotIn", "Exists", "DoesNotExist"], errors);
    }
}

fn check_pod_affinity(path: &str, affinity: &Value, errors: &mut Vec<FieldError>) {
    let required = &affinity["requiredDuringSchedulingIgnoredDuringExecution"];
    for (i, term) in required.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution[{i}]");
        check_affinity_term(&path, term, errors);
    }
    let preferred = &affinity["preferredDuringSchedulingIgnoredDuringExecution"];
    for (i, term) in preferred.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{i}]");
        check_weight(&path, term, errors);
        check_affinity_term(&format!("{path}.podAffinityTerm"), &term["podAffinityTerm"], errors);
    }
}

fn check_affinity_term(path: &str, term: &Value, errors: &mut Vec<FieldError>) {
    check_selector(&format!("{path}.labelSelector"), &term["labelSelector"], errors);
    check_selector(&format!("{path}.namespaceSelector"), &term["namespaceSelector"], errors);
    match term["topologyKey"].as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty")),
        key => {
            if let Err(why) = selectors::check_label_key(key) {
                errors.push(FieldError::invalid(format!("{path}.topologyKey"), key, why));
            }
        }
    }
}

fn check_spread(path: &str, constraint: &Value, errors: &mut Vec<FieldError>) {
    let skew = constraint["maxSkew"].as_i64().unwrap_or(0);
    if skew <= 0 {
        errors.push(FieldError::invalid(format!("{path}.maxSkew"), skew, "must be greater than zero"));
    }
    match constraint["topologyKey"].as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty")),
        key => {
            if let Err(why) = selectors::check_label_key(key) {
                errors.push(FieldError::invalid(format!("{path}.topologyKey"), key, why));
            }
        }
    }
    let action = constraint["whenUnsatisfiable"].as_str().unwrap_or_default();
    if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
        errors.push(FieldError::not_supported(
            format!("{path}.whenUnsatisfiable"),
            action,
            &["DoNotSchedule", "ScheduleAnyway"],
        ));
    }
    if let Some(domains) = constraint["minDomains"].as_i64() {
        if domains <= 0 {
            errors.push(FieldError::invalid(
                format!("{path}.minDomains"),
                domains,
                "must be greater than zero",
            ));
        }
        if action == "ScheduleAnyway" {
            errors.push(FieldError::invalid(
                format!("{path}.minDomains"),
                domains,
                "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            ));
        }
    }
    check_selector(&format!("{path}.labelSelector"), &constraint["labelSelector"], errors);
}
