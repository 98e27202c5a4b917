//! The chart agrees with `manifests`, is refused values that make no sense, and its workload runs.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use secondmate_chart::{Objects, Tools, manifests};
use secondmate_harness::{Lines, secondmate_binary};
use serde_json::{Value, json};

/// Whoever waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// What each side has and the other cannot have: kustomize makes the namespace, Helm has it from its command line. Both name the ConfigMap
/// after its content, so that a new content makes a rollout, but by different hashes.
fn comparable(objects: Objects) -> Result<Objects> {
    let mut result = Objects::new();
    for (name, mut object) in objects {
        let name = match object["kind"].as_str() {
            Some("Namespace") => continue,
            Some("ConfigMap") if !object["data"]["config.yaml"].is_null() => {
                object["metadata"]["name"] = "CONFIG".into();
                // The same configuration may be written in more than one way.
                let text = object["data"]["config.yaml"].as_str().context("a configuration")?;
                let documents = serde_saphyr::from_multiple::<Value>(text)?;
                let main = documents.first().context("a configuration")?;
                let name = format!("ConfigMap of {}", main["profiles"][0]["schedulerName"]);
                object["data"]["config.yaml"] = documents.into();
                name
            }
            Some("Deployment") => {
                let pod = &mut object["spec"]["template"]["spec"];
                if let Some(volume) = pod.pointer_mut("/volumes/0/configMap/name") {
                    *volume = "CONFIG".into();
                }
                name
            }
            _ => name,
        };
        result.insert(name, object);
    }
    Ok(result)
}

/// The configuration that the Deployment of this name mounts.
fn configuration<'a>(objects: &'a Objects, deployment: &str) -> Result<&'a str> {
    let found = objects
        .values()
        .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == deployment);
    let deployment = found.context("a Deployment")?;
    let name = &deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"];
    let found =
        objects.values().find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == *name);
    found.and_then(|map| map["data"]["config.yaml"].as_str()).context("a configuration")
}

#[track_caller]
fn check(found: &Objects, expected: &Objects) {
    let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for (name, object) in expected {
        assert_eq!(&found[name], object, "{name}: the chart has the first, manifests have the second");
    }
}

#[test]
fn the_default_is_what_the_manifests_are() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("the_default_is_what_the_manifests_are") else { return Ok(()) };
    let chart = tools.render("secondmate", "secondmate", &json!({}))?;
    check(&comparable(chart)?, &comparable(tools.kustomize(".")?)?);
    let mut monitored = tools.render(
        "secondmate",
        "secondmate",
        &json!({ "monitoring": {
            "podMonitor": { "enabled": true },
            "prometheusRule": { "enabled": true },
            "dashboard": { "enabled": true },
        } }),
    )?;
    // The chart knows its Leases, so that it also tells of one that nobody ever had.
    let rule = monitored.get_mut("PrometheusRule secondmate/secondmate").context("alerts")?;
    for alert in rule["spec"]["groups"][0]["rules"].as_array_mut().context("rules")? {
        if alert["alert"] == "SecondmateGone" {
            let known = alert["expr"].as_str().and_then(|expr| {
                expr.strip_suffix("\nor (absent(leader_election_master_status{name=\"my-scheduler\"}) and on () count(secondmate_build_info) > 0)")
            });
            alert["expr"] = known.context("the Lease")?.into();
        }
    }
    check(&comparable(monitored)?, &comparable(tools.kustomize("overlays/monitoring")?)?);
    Ok(())
}

/// A container of before a change, started again, still finds its own configuration, and only what changed is rolled out.
#[test]
fn a_new_configuration_has_a_new_name() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("a_new_configuration_has_a_new_name") else { return Ok(()) };
    let mounted = |values: Value| -> Result<Vec<String>> {
        let objects = tools.render("team", "schedulers", &values)?;
        let names = ["team-red", "team-blue"].map(|name| {
            let deployment = &objects[&format!("Deployment schedulers/{name}")]["spec"]["template"];
            let name = deployment["spec"]["volumes"][0]["configMap"]["name"].as_str();
            let name = name.context("the name of a ConfigMap")?.to_owned();
            ensure!(objects.contains_key(&format!("ConfigMap schedulers/{name}")), "{name} is not there");
            Ok(name)
        });
        names.into_iter().collect()
    };
    let before = mounted(json!({ "tenants": { "red": {}, "blue": {} } }))?;
    let other = json!({ "config": { "podMaxBackoffSeconds": 30 } });
    let after = mounted(json!({ "tenants": { "red": {}, "blue": other } }))?;
    assert_eq!(before, mounted(json!({ "replicas": 3, "tenants": { "red": {}, "blue": {} } }))?);
    assert_eq!(before[0], after[0]);
    assert_ne!(before[1], after[1]);
    assert!(after[1].starts_with("team-config-blue-"), "{after:?}");
    Ok(())
}

/// What `docs/install.md` tells to apply, once as it stands and once with all that it has as comments.
#[test]
fn the_kustomization_of_the_docs_names_the_image_everywhere() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("the_kustomization_of_the_docs_names_the_image_everywhere")
    else {
        return Ok(());
    };
    let text = std::fs::read_to_string(manifests().join("../docs/install.md"))?;
    let block =
        text.split("```yaml\n# kustomization.yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.context("a kustomization in docs/install.md")?;
    let all = block.replace("# components:", "components:").replace("# - ", "- ");
    for (kustomization, deployments, monitors) in [(block, 1, 0), (all.as_str(), 2, 2)] {
        let objects = tools.kustomize_beside_clone(kustomization)?;
        let of = |kind: &str| objects.values().filter(|object| object["kind"] == kind).collect::<Vec<_>>();
        assert_eq!((of("Deployment").len(), of("PodMonitor").len()), (deployments, monitors));
        for deployment in of("Deployment") {
            assert_eq!(
                deployment["spec"]["template"]["spec"]["containers"][0]["image"],
                format!("registry.example.com/secondmate:{}", env!("CARGO_PKG_VERSION"))
            );
        }
    }
    Ok(())
}

/// With HTTPS the program takes the arguments, and its port is the one that is declared, probed, scraped and open.
#[test]
fn https_is_served_probed_and_scraped_at_one_port() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("https_is_served_probed_and_scraped_at_one_port") else {
        return Ok(());
    };
    let monitoring = json!({ "podMonitor": { "enabled": true } });
    let given = json!({ "secure": { "enabled": true }, "monitoring": monitoring });
    let chart = tools.render("secondmate", "secondmate", &given)?;
    let kustomization = "\
resources: [secondmate/manifests]
components:
  - secondmate/manifests/components/https
  - secondmate/manifests/components/pod-monitor-https
";
    let objects = tools.kustomize_beside_clone(kustomization)?;
    check(&comparable(chart)?, &comparable(objects.clone())?);

    let container = &objects["Deployment secondmate/secondmate"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["ports"], json!([{ "name": "metrics", "containerPort": 10259 }]));
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!((&get["port"], &get["scheme"]), (&json!("metrics"), &json!("HTTPS")), "{probe}");
    }
    assert_eq!(objects["Service secondmate/secondmate"]["spec"]["ports"][0]["port"], 10259);
    let policy = &objects["NetworkPolicy secondmate/secondmate"]["spec"]["ingress"];
    assert_eq!(policy, &json!([{ "ports": [{ "port": "metrics", "protocol": "TCP" }] }]));
    let monitor = &objects["PodMonitor secondmate/secondmate"]["spec"]["podMetricsEndpoints"];
    for endpoint in monitor.as_array().context("endpoints")? {
        let secret = format!("Secret secondmate/{}", endpoint["authorization"]["credentials"]["name"])
            .replace('"', "");
        assert_eq!(endpoint["scheme"], "https");
        assert!(objects.contains_key(&secret), "{secret}");
    }

    let args = container["args"].as_array().context("args")?.iter().filter_map(Value::as_str);
    let args: Vec<&str> = args.collect();
    assert!(args.contains(&"--secure-listen=0.0.0.0:10259"), "{args:?}");
    let args = args.into_iter().map(|arg| match arg {
        "--config=/etc/secondmate/config.yaml" => {
            format!("--config={}", manifests().join("base/config.yaml").display())
        }
        arg => arg.replace("0.0.0.0:10259", "127.0.0.1:0"),
    });
    let output = Command::new(secondmate_binary()?).args(args).args(["--kubeconfig=/nowhere"]).output()?;
    let text = String::from_utf8(output.stderr)?;
    // It came as far as the cluster, which there is none of.
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("kubeconfig /nowhere: "), "{text}");
    Ok(())
}

#[test]
fn load_aware_has_the_right_to_read_the_use_of_nodes() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("load_aware_has_the_right_to_read_the_use_of_nodes") else {
        return Ok(());
    };
    let plugins = json!({ "multiPoint": { "enabled": [{ "name": "LoadAware", "weight": 5 }] } });
    let given = json!({ "nodeMetrics": true, "profile": { "plugins": plugins } });
    let chart = tools.render("secondmate", "secondmate", &given)?;
    let rules = chart["ClusterRole /secondmate"]["rules"].as_array().context("rules")?;
    let right = json!({ "apiGroups": ["metrics.k8s.io"], "resources": ["nodes"], "verbs": ["list"] });
    assert_eq!(rules.last(), Some(&right));
    check(&comparable(chart)?, &comparable(tools.kustomize("overlays/load-aware")?)?);
    Ok(())
}

#[test]
fn tenants_are_those_of_the_overlay() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("tenants_are_those_of_the_overlay") else { return Ok(()) };
    // What the overlay is made from has the document with the tenants.
    let example = std::fs::read_to_string(manifests().join("../examples/tenants/config.yaml"))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&example)?;
    let own = documents.get(1).context("a SecondmateConfiguration")?;
    ensure!(own["tenants"].as_array().is_some_and(|tenants| tenants.len() == 2), "{own}");
    let given = json!({
        "secondmateConfig": { "tenants": own["tenants"] },
        "tenants": { "red": {}, "blue": null },
    });
    let chart = tools.render("secondmate", "secondmate", &given)?;
    check(&comparable(chart)?, &comparable(tools.kustomize("overlays/tenants")?)?);
    Ok(())
}

#[test]
fn the_guard_is_that_of_the_overlay() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("the_guard_is_that_of_the_overlay") else { return Ok(()) };
    let alone = json!({ "scheduler": { "enabled": false }, "guard": { "enabled": true } });
    let chart = tools.render("guard", "secondmate-guard", &alone)?;
    check(&comparable(chart)?, &comparable(tools.kustomize("overlays/guard")?)?);
    let scraped = json!({
        "scheduler": { "enabled": false }, "guard": { "enabled": true },
        "monitoring": { "podMonitor": { "enabled": true } },
    });
    let chart = tools.render("guard", "secondmate-guard", &scraped)?;
    let kustomization = "\
resources: [secondmate/manifests/overlays/guard]
components: [secondmate/manifests/components/guard-pod-monitor]
";
    check(&comparable(chart)?, &comparable(tools.kustomize_beside_clone(kustomization)?)?);

    // Beside the scheduler: in its namespace, and everything that names it follows.
    let both = tools.render("secondmate", "schedulers", &json!({ "guard": { "enabled": true } }))?;
    let scheduler = tools.render("secondmate", "schedulers", &json!({}))?;
    for (name, object) in &scheduler {
        assert_eq!(both.get(name), Some(object), "{name}: the guard changes the scheduler");
    }
    let added: Vec<&String> = both.keys().filter(|name| !scheduler.contains_key(*name)).collect();
    assert_eq!(added.len(), 12, "{added:?}");
    let webhook = &both["ValidatingWebhookConfiguration /secondmate-guard"]["webhooks"][0];
    assert_eq!(webhook["clientConfig"]["service"]["namespace"], "schedulers");
    assert_eq!((&webhook["failurePolicy"], &webhook["timeoutSeconds"]), (&json!("Ignore"), &json!(5)));
    assert!(both.contains_key("Service schedulers/secondmate-guard"), "{added:?}");
    for binding in
        ["ClusterRoleBinding /secondmate-guard", "RoleBinding kube-system/secondmate-guard-leader-election"]
    {
        assert_eq!(both[binding]["subjects"][0]["namespace"], "schedulers", "{binding}");
    }
    Ok(())
}

#[test]
fn the_guard_serves_with_a_certificate_from_elsewhere() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("the_guard_serves_with_a_certificate_from_elsewhere") else {
        return Ok(());
    };
    let render = |certificate: Value, clients: &str| {
        let guard = json!({ "enabled": true, "certificate": certificate, "clientCAConfigMap": clients });
        tools.render("guard", "fences", &json!({ "scheduler": { "enabled": false }, "guard": guard }))
    };
    let given = json!({ "secretName": "from-cert-manager", "injectCAFrom": "fences/guard" });
    let issued = render(given, "api-servers")?;
    let webhook = &issued["ValidatingWebhookConfiguration /secondmate-guard"];
    assert_eq!(
        webhook["metadata"]["annotations"],
        json!({ "cert-manager.io/inject-ca-from": "fences/guard" })
    );
    assert_eq!(webhook["webhooks"][0]["clientConfig"]["caBundle"], Value::Null);

    // Every file that the program is given is there, and it takes the options.
    let pod = &issued["Deployment fences/secondmate-guard"]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mounts = json!([
        { "name": "certificate", "mountPath": "/etc/secondmate-guard/certificate", "readOnly": true },
        { "name": "clients", "mountPath": "/etc/secondmate-guard/clients", "readOnly": true },
    ]);
    let volumes = json!([
        { "name": "certificate", "secret": { "secretName": "from-cert-manager" } },
        { "name": "clients", "configMap": { "name": "api-servers" } },
    ]);
    assert_eq!((&container["volumeMounts"], &pod["volumes"]), (&mounts, &volumes));
    let args: Vec<&str> =
        container["args"].as_array().context("args")?.iter().filter_map(Value::as_str).collect();
    let files: Vec<&str> = args
        .iter()
        .filter_map(|arg| arg.split_once("=/etc/secondmate-guard/"))
        .map(|(_, file)| file)
        .collect();
    assert_eq!(files, ["certificate/tls.crt", "certificate/tls.key", "clients/ca.crt"]);
    let output =
        Command::new(secondmate_binary()?)
            .args(args.iter().map(|arg| {
                arg.replace("0.0.0.0:10362", "127.0.0.1:0").replace("0.0.0.0:10361", "127.0.0.1:0")
            }))
            .arg("--kubeconfig=/nowhere")
            .output()?;
    let text = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("kubeconfig /nowhere: "), "{text}");

    let authority = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let own = render(json!({ "secretName": "bought", "caBundle": authority }), "")?;
    let webhook = &own["ValidatingWebhookConfiguration /secondmate-guard"];
    assert_eq!(webhook["metadata"]["annotations"], Value::Null);
    let bundle = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUIKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";
    assert_eq!(webhook["webhooks"][0]["clientConfig"]["caBundle"], bundle);
    let volumes = &own["Deployment fences/secondmate-guard"]["spec"]["template"]["spec"]["volumes"];
    assert_eq!(volumes.as_array().map(Vec::len), Some(1), "{volumes}");

    // Only the clients are checked: the guard keeps a certificate of its own.
    let checked = render(json!({}), "api-servers")?;
    let pod = &checked["Deployment fences/secondmate-guard"]["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"], json!([{ "name": "clients", "configMap": { "name": "api-servers" } }]));
    let args = pod["containers"][0]["args"].to_string();
    assert!(!args.contains("tls") && args.contains("--guard-client-ca-file="), "{args}");
    Ok(())
}

#[test]
fn what_a_tenant_leaves_out_is_as_it_stands_for_all() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("what_a_tenant_leaves_out_is_as_it_stands_for_all") else {
        return Ok(());
    };
    let given = json!({
        "image": { "repository": "registry.example.com/secondmate" },
        "config": { "podMaxBackoffSeconds": 30 },
        "monitoring": { "podMonitor": { "enabled": true } },
        "guard": { "enabled": true, "replicas": 3, "nodeSelector": { "pool": "system" } },
        "tenants": {
            "red": { "replicas": 1, "config": { "podInitialBackoffSeconds": 2 } },
            "blue": { "schedulerNames": ["web", "batch"], "image": { "tag": "2.0.0" }, "verbosity": 2 },
        },
    });
    let objects = tools.render("team", "schedulers", &given)?;
    let deployment = |name: &str| &objects[&format!("Deployment schedulers/{name}")]["spec"];
    let container = |name: &str| &deployment(name)["template"]["spec"]["containers"][0];
    assert_eq!(
        (&deployment("team-red")["replicas"], &deployment("team-blue")["replicas"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        container("team-red")["image"],
        format!("registry.example.com/secondmate:{}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(container("team-blue")["image"], "registry.example.com/secondmate:2.0.0");
    let verbose =
        |name: &str| container(name)["args"].as_array().is_some_and(|args| args.contains(&"-v=2".into()));
    assert_eq!((verbose("team-red"), verbose("team-blue")), (false, true));
    let config = |tenant: &str| -> Result<Value> {
        Ok(serde_saphyr::from_str(configuration(&objects, &format!("team-{tenant}"))?)?)
    };
    let (red, blue) = (config("red")?, config("blue")?);
    assert_eq!((&red["podMaxBackoffSeconds"], &red["podInitialBackoffSeconds"]), (&json!(30), &json!(2)));
    assert_eq!(
        (&blue["podMaxBackoffSeconds"], &blue["podInitialBackoffSeconds"]),
        (&json!(30), &Value::Null)
    );
    assert_eq!(blue["profiles"], json!([{ "schedulerName": "web" }, { "schedulerName": "batch" }]));
    let lease = |tenant: &str| {
        &objects[&format!("Role kube-system/team-leader-election-{tenant}")]["rules"][1]["resourceNames"]
    };
    assert_eq!((lease("red"), lease("blue")), (&json!(["red-scheduler"]), &json!(["batch"])));
    let guard = deployment("secondmate-guard");
    assert_eq!(
        (&guard["replicas"], &guard["template"]["spec"]["nodeSelector"]["pool"]),
        (&json!(3), &json!("system"))
    );
    for name in ["team-red", "team-blue", "secondmate-guard"] {
        let monitor = &objects[&format!("PodMonitor schedulers/{name}")];
        assert_eq!(monitor["spec"]["selector"], deployment(name)["selector"], "{name}");
    }
    Ok(())
}

#[test]
fn the_chart_passes_lint_and_has_the_version_of_the_program() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("the_chart_passes_lint_and_has_the_version_of_the_program")
    else {
        return Ok(());
    };
    // Helm would like an icon, which we do not have.
    let said = tools.lint()?;
    let said: Vec<&str> = said.lines().filter(|line| !line.contains("icon is recommended")).collect();
    assert!(said.is_empty(), "{said:?}");
    let about: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(manifests().join("chart/Chart.yaml"))?)?;
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(about["appVersion"], env!("CARGO_PKG_VERSION"));
    Ok(())
}

#[test]
fn values_arrive_where_they_belong() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("values_arrive_where_they_belong") else { return Ok(()) };
    let given = json!({
        "schedulerNames": ["red", "blue"],
        "replicas": 3,
        "image": { "repository": "registry.example.com/secondmate", "tag": "1.2.3" },
        "profile": { "plugins": { "score": { "disabled": [{ "name": "ImageLocality" }] } } },
        "config": { "podMaxBackoffSeconds": 30, "leaderElection": { "leaseDuration": "20s" } },
        "secondmateConfig": { "parity": "sensible" },
        "verbosity": 4,
        "resources": { "requests": { "cpu": "1" } },
        "nodeSelector": { "pool": "system" },
        "extraRules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"] }],
        "networkPolicy": { "enabled": false },
    });
    let objects = tools.render("tenants", "schedulers", &given)?;

    let documents: Vec<Value> = serde_saphyr::from_multiple(configuration(&objects, "tenants")?)?;
    let plugins = &given["profile"]["plugins"];
    let main = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "podMaxBackoffSeconds": 30,
        "leaderElection": { "leaderElect": true, "leaseDuration": "20s" },
        "profiles": [
            { "schedulerName": "red", "plugins": plugins },
            { "schedulerName": "blue", "plugins": plugins },
        ],
    });
    let own = json!({ "apiVersion": "secondmate.dev/v1alpha1", "kind": "SecondmateConfiguration", "parity": "sensible" });
    assert_eq!(documents, [main, own]);

    let deployment = &objects["Deployment schedulers/tenants"];
    assert_eq!(deployment["spec"]["replicas"], 3);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["nodeSelector"], given["nodeSelector"]);
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry.example.com/secondmate:1.2.3");
    // Values are merged into those of the chart.
    assert_eq!(container["resources"]["requests"], json!({ "cpu": "1", "memory": "128Mi" }));
    assert!(container["args"].as_array().is_some_and(|args| args.contains(&"-v=4".into())), "{container}");
    // The Lease of several names is that of the alphabetically first.
    let role = &objects["Role kube-system/tenants-leader-election"];
    assert_eq!(role["rules"][1]["resourceNames"], json!(["blue"]));
    let rules = objects["ClusterRole /tenants"]["rules"].as_array().context("rules")?;
    assert_eq!(rules.last(), Some(&given["extraRules"][0]));
    assert!(!objects.keys().any(|name| name.starts_with("NetworkPolicy")), "{:?}", objects.keys());
    let binding = &objects["ClusterRoleBinding /tenants"];
    assert_eq!(binding["subjects"][0]["namespace"], "schedulers");
    Ok(())
}

#[test]
fn values_that_make_no_sense_are_refused() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("values_that_make_no_sense_are_refused") else { return Ok(()) };
    for (value, said) in [
        (json!({ "replica": 3 }), "replica"),
        (json!({ "schedulerNames": ["default-scheduler"] }), "schedulerNames"),
        (json!({ "schedulerNames": ["secondmate-guard"] }), "schedulerNames"),
        (json!({ "schedulerNames": ["My Scheduler"] }), "schedulerNames"),
        (json!({ "schedulerNames": [] }), "schedulerNames"),
        (json!({ "replicas": 0 }), "replicas"),
        (json!({ "nodeMetrics": "yes" }), "nodeMetrics"),
        (json!({ "config": { "leaderElection": { "resourceName": "mine" } } }), "leaderElection"),
        (json!({ "config": { "profiles": [] } }), "config"),
        (json!({ "secondmateConfig": { "parity": "loose" } }), "parity"),
        (json!({ "scheduler": { "enabled": false } }), "nothing to install"),
        (
            json!({ "scheduler": { "enabled": false }, "tenants": { "red": {} } }),
            "scheduler.enabled is false",
        ),
        (json!({ "tenants": { "red": { "tenants": {} } } }), "tenants"),
        (json!({ "tenants": { "Red": {} } }), "Red"),
        (json!({ "tenants": { "red": { "schedulerNames": ["default-scheduler"] } } }), "schedulerNames"),
        (
            json!({ "tenants": { "red": {}, "blue": { "schedulerNames": ["red-scheduler"] } } }),
            "red-scheduler is there twice",
        ),
        (json!({ "guard": { "enabled": true }, "tenants": { "guard": {} } }), "choose another name"),
        (json!({ "guard": { "failurePolicy": "Fail" } }), "failurePolicy"),
        (json!({ "secure": { "enabled": "yes" } }), "secure"),
        (json!({ "tenants": { "red": { "secure": { "enabled": true } } } }), "secure"),
        (json!({ "guard": { "clusterIP": "10.96.0.62" } }), "clusterIP"),
        (
            json!({ "guard": { "enabled": true, "certificate": { "secretName": "tls" } } }),
            "injectCAFrom or caBundle",
        ),
        (json!({ "guard": { "enabled": true, "certificate": { "injectCAFrom": "a/b" } } }), "no secretName"),
        (
            json!({ "guard": { "enabled": true, "certificate": {
                "secretName": "tls", "injectCAFrom": "a/b", "caBundle": "-----BEGIN CERTIFICATE-----",
            } } }),
            "give one of them",
        ),
        (json!({ "guard": { "certificate": { "injectCAFrom": "guard" } } }), "injectCAFrom"),
        (json!({ "guard": { "certificate": { "caBundle": "TUlJQg==" } } }), "caBundle"),
    ] {
        let error = tools.render("secondmate", "secondmate", &value);
        let error = error.err().with_context(|| format!("{value} is not refused"))?;
        ensure!(error.to_string().contains(said), "{value}: {error}");
    }
    Ok(())
}

/// An embedded API server with nodes and a default scheduler.
struct Playground(Child);

impl Drop for Playground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Playground {
    fn start(kubeconfig: &str) -> Result<Self> {
        let mut child = Command::new(secondmate_binary()?)
            .args(["playground", "--keep", "--nodes", "3", "--pods", "0", "--kubeconfig-out", kubeconfig])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = Lines::of(child.stderr.take().context("its standard error")?);
        // It is killed where it does not come up, too.
        let this = Self(child);
        lines.until(PATIENCE, "that it is up", |line| line.starts_with("Pods with `schedulerName: "))?;
        Ok(this)
    }
}

/// What the embedded API server serves of the chart is accepted there, and the scheduler's own pods are placed and become ready.
/// Rights and network policies, which it does not serve, are those of `manifests`, which the tests above hold them against.
#[test]
fn what_is_rendered_is_accepted_and_its_pods_run() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("what_is_rendered_is_accepted_and_its_pods_run") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_str().map(str::to_owned).context("a text");
    let kubeconfig = path("kubeconfig")?;
    let _playground = Playground::start(&kubeconfig)?;
    let kubectl =
        |arguments: &[&str]| tools.kubectl(&[&["--kubeconfig", kubeconfig.as_str()], arguments].concat());
    kubectl(&["create", "namespace", "secondmate"])?;
    let not_served = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "NetworkPolicy"];
    let objects = tools.render("secondmate", "secondmate", &json!({}))?;
    let items: Vec<Value> = objects
        .into_values()
        .filter(|object| !object["kind"].as_str().is_some_and(|kind| not_served.contains(&kind)))
        .collect();
    assert_eq!(items.len(), 5, "{items:?}");
    let file = path("objects.json")?;
    std::fs::write(&file, json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string())?;
    kubectl(&["apply", "-f", &file])?;
    kubectl(&["rollout", "status", "-n", "secondmate", "deployment/secondmate", "--timeout=90s"])?;
    let nodes = kubectl(&["get", "pods", "-n", "secondmate", "-o", "jsonpath={.items[*].spec.nodeName}"])?;
    let mut nodes: Vec<&str> = nodes.split_whitespace().collect();
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!(nodes.len(), 2, "two replicas on two nodes: {nodes:?}");
    Ok(())
}

/// The configuration that the chart makes is one that the program takes.
#[test]
fn the_program_takes_the_configuration() -> Result<()> {
    let Some(tools) = Tools::require_or_skip("the_program_takes_the_configuration") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let values =
        json!({ "schedulerNames": ["a", "b"], "secondmateConfig": { "preemption": { "victims": "all" } } });
    let objects = tools.render("secondmate", "secondmate", &values)?;
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, configuration(&objects, "secondmate")?)?;
    let cluster = manifests().join("../examples/pods/cluster.yaml");
    let output = Command::new(secondmate_binary()?)
        .args(["explain", "--from"])
        .arg(cluster)
        .arg("--config")
        .arg(file)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
