//! The manifests agree with each other and with the program.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests")
}

fn read(file: &str) -> Result<Value> {
    let path = manifests().join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
}

/// Every folder with a kustomization.
fn kustomizations(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if folder.join("kustomization.yaml").exists() {
        found.push(folder.to_owned());
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            kustomizations(&path, found)?;
        }
    }
    Ok(())
}

#[test]
fn every_file_is_used_and_every_file_that_is_used_is_there() -> Result<()> {
    let mut folders = Vec::new();
    kustomizations(&manifests(), &mut folders)?;
    assert!(folders.len() >= 8, "{folders:?}");
    for folder in folders {
        let text = std::fs::read_to_string(folder.join("kustomization.yaml"))?;
        let kustomization: Value = serde_saphyr::from_str(&text)?;
        let mut used: Vec<String> = vec!["kustomization.yaml".to_owned()];
        let generators = kustomization["configMapGenerator"].as_array().into_iter().flatten();
        let lists = [&kustomization["resources"], &kustomization["components"]].into_iter();
        for name in
            lists.chain(generators.map(|generator| &generator["files"])).flat_map(Value::as_array).flatten()
        {
            let name = name.as_str().context("a path")?;
            ensure!(folder.join(name).exists(), "{}: {name} is not there", folder.display());
            used.push(name.to_owned());
        }
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            ensure!(
                entry.path().is_dir() || used.contains(&name),
                "{}: nothing uses {name}",
                folder.display()
            );
        }
    }
    Ok(())
}

/// The port on which the program serves probes and metrics is the one that is declared, probed, scraped and open.
#[test]
fn one_port_is_open_and_all_use_it_by_its_name() -> Result<()> {
    let deployment = read("base/deployment.yaml")?;
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let ports = container["ports"].as_array().context("ports")?;
    assert_eq!(ports.len(), 1, "debug endpoints are on loopback");
    assert_eq!(ports[0]["name"], "metrics");
    let arguments: Vec<&str> =
        container["args"].as_array().context("args")?.iter().filter_map(Value::as_str).collect();
    let listen = format!("--listen=0.0.0.0:{}", ports[0]["containerPort"]);
    assert!(arguments.contains(&listen.as_str()), "{arguments:?}");
    assert!(!arguments.iter().any(|argument| argument.starts_with("--debug-listen")), "{arguments:?}");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "metrics");
    }
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);

    let policy = read("base/networkpolicy.yaml")?;
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    assert_eq!(policy["spec"]["ingress"], json!([{ "ports": [{ "port": "metrics", "protocol": "TCP" }] }]));
    let service = read("base/service.yaml")?;
    assert_eq!(&service["spec"]["selector"], labels);
    let expected = json!([{ "name": "metrics", "port": ports[0]["containerPort"], "targetPort": "metrics" }]);
    assert_eq!(service["spec"]["ports"], expected);
    let monitor = read("components/pod-monitor/podmonitor.yaml")?;
    assert_eq!(&monitor["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], "metrics");
    // A tenant's pods have its name in a label, and so have their series.
    let tenant = &read("overlays/tenants/red/kustomization.yaml")?["labels"][0]["pairs"];
    let of_tenant: Vec<&String> = tenant.as_object().context("labels")?.keys().collect();
    assert_eq!(monitor["spec"]["podTargetLabels"], json!(of_tenant));
    let budget = read("base/poddisruptionbudget.yaml")?;
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
    let replicas = deployment["spec"]["replicas"].as_u64().context("replicas")?;
    assert!(budget["spec"]["maxUnavailable"].as_u64().is_some_and(|count| count < replicas));
    Ok(())
}

/// The alerts are about schedulers and guards: each Deployment with metrics has a PodMonitor that finds its pods and their port.
#[test]
fn each_deployment_is_scraped_by_a_pod_monitor() -> Result<()> {
    let mut folders = Vec::new();
    kustomizations(&manifests(), &mut folders)?;
    let mut objects: Vec<Value> = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.contains("deployment") || name.contains("podmonitor") {
                objects.push(read(path.to_str().context("a path that is text")?)?);
            }
        }
    }
    let of = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).collect::<Vec<_>>();
    let (deployments, monitors) = (of("Deployment"), of("PodMonitor"));
    assert_eq!(deployments.len(), 2, "the scheduler's and the guard's");
    for deployment in deployments {
        let (metadata, template) = (&deployment["metadata"], &deployment["spec"]["template"]);
        let ports = template["spec"]["containers"][0]["ports"].as_array().context("ports")?;
        assert!(ports.iter().any(|port| port["name"] == "metrics"), "{metadata}");
        let monitor = monitors.iter().find(|monitor| {
            monitor["metadata"]["namespace"] == metadata["namespace"]
                && monitor["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
        });
        let monitor = monitor.with_context(|| format!("nothing scrapes {metadata}"))?;
        let endpoints = monitor["spec"]["podMetricsEndpoints"].as_array().context("endpoints")?;
        let scraped: Vec<_> =
            endpoints.iter().map(|endpoint| (&endpoint["port"], &endpoint["path"])).collect();
        let metrics = &json!("metrics");
        let expected = [(metrics, &json!("/metrics")), (metrics, &json!("/metrics/slis"))];
        assert_eq!(scraped, expected, "{metadata}");
    }
    Ok(())
}

#[test]
fn the_image_is_pinned_to_this_version_and_the_namespaces_are_restricted() -> Result<()> {
    for folder in ["base", "overlays/guard"] {
        let kustomization = read(&format!("{folder}/kustomization.yaml"))?;
        let image = &kustomization["images"][0];
        let expected = (&"secondmate".into(), &env!("CARGO_PKG_VERSION").into());
        assert_eq!((&image["name"], &image["newTag"]), expected);
        let deployment = read(&format!("{folder}/deployment.yaml"))?;
        assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "secondmate");
    }
    for file in ["base/namespace.yaml", "overlays/tenants/namespace.yaml", "overlays/guard/namespace.yaml"] {
        let labels = &read(file)?["metadata"]["labels"];
        for mode in ["enforce", "audit", "warn"] {
            assert_eq!(labels[format!("pod-security.kubernetes.io/{mode}")], "restricted", "{file}");
        }
    }
    Ok(())
}

/// An image from scratch contains only what is copied into it.
#[test]
fn the_images_have_the_authorities_of_certificates_and_ours_has_the_name_of_kube_schedulers_program()
-> Result<()> {
    let root = manifests().join("..");
    for file in ["Containerfile", "crates/secondmate/src/new_plugin/template/Containerfile.txt"] {
        let text = std::fs::read_to_string(root.join(file))?;
        let (build, image) = text.split_once("FROM scratch").context("an image from scratch")?;
        ensure!(build.contains("ca-certificates"), "{file}");
        let copied = image.contains("/etc/ssl/certs/ca-certificates.crt")
            || build.contains("cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/")
                && image.contains("/image/ /");
        ensure!(copied, "{file}");
    }
    let text = std::fs::read_to_string(root.join("Containerfile"))?;
    ensure!(text.contains("ln -s /secondmate /image/usr/local/bin/kube-scheduler"));
    // Without a clone, this is the program's only source for its commit, in the stage that builds it.
    let (before, _) = text.split_once("RUN cargo build").context("a build")?;
    ensure!(before.contains("ARG SECONDMATE_COMMIT"));
    // Podman reads one, Docker the other.
    let ignored = |file: &str| std::fs::read_to_string(root.join(file));
    assert_eq!(ignored(".containerignore")?, ignored(".dockerignore")?);
    Ok(())
}

/// Compiled guests are kept where the program may write, since the root file system is read-only.
#[test]
fn the_deployment_has_a_place_for_compiled_guests() -> Result<()> {
    let deployment = read("base/deployment.yaml")?;
    let spec = &deployment["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    let cache = &container["env"][0];
    ensure!(cache["name"] == "SECONDMATE_GUEST_CACHE", "{cache}");
    let folder = Path::new(cache["value"].as_str().context("a folder")?);
    let mounts = container["volumeMounts"].as_array().context("mounts")?;
    let mount = mounts.iter().find(|mount| {
        // A folder in the volume: the volume itself is writable for everybody, and then nothing is cached there.
        mount["mountPath"].as_str().is_some_and(|path| folder.starts_with(path) && folder != Path::new(path))
    });
    let volume = &mount.context("a mount")?["name"];
    let volumes = spec["volumes"].as_array().context("volumes")?;
    ensure!(volumes.iter().any(|of| of["name"] == *volume && of["emptyDir"].is_object()), "{volumes:?}");
    Ok(())
}

/// The program accepts the arguments of the Deployment.
#[test]
fn the_program_understands_the_arguments_of_the_deployment() -> Result<()> {
    let deployment = read("base/deployment.yaml")?;
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let config = manifests().join("base/config.yaml");
    let arguments = arguments.as_array().context("args")?.iter().filter_map(Value::as_str).map(|argument| {
        if argument.starts_with("--config=") {
            format!("--config={}", config.display())
        } else {
            argument.to_owned()
        }
    });
    let output = Command::new(env!("CARGO_BIN_EXE_secondmate"))
        .args(arguments.filter(|argument| !argument.starts_with("--listen=")))
        .args(["--listen=127.0.0.1:0", "--debug-listen=off", "--kubeconfig=/nowhere"])
        .output()?;
    let text = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{text}");
    // It got as far as the cluster, which does not exist.
    assert!(text.contains("kubeconfig /nowhere: "), "{text}");
    Ok(())
}

/// The guard's manifests refer to each other, its Lease and its objects by the names that the program uses, and no bind depends on it.
#[test]
fn the_manifests_of_the_guard_agree_with_each_other() -> Result<()> {
    let guard = |file: &str| read(&format!("overlays/guard/{file}"));
    let deployment = guard("deployment.yaml")?;
    let template = &deployment["spec"]["template"];
    let labels = &template["metadata"]["labels"];
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["ports"][0], json!({ "name": "bind", "containerPort": 10362 }));
    assert_eq!(container["ports"][1], json!({ "name": "metrics", "containerPort": 10361 }));
    assert_eq!(container["env"][0]["name"], "POD_IP");
    for file in ["poddisruptionbudget.yaml", "networkpolicy.yaml"] {
        let object = guard(file)?;
        let selector = [&object["spec"]["selector"], &object["spec"]["podSelector"]];
        assert!(selector.iter().any(|selector| selector["matchLabels"] == *labels), "{file}");
    }
    let replicas = deployment["spec"]["replicas"].as_u64().context("replicas")?;
    let budget = guard("poddisruptionbudget.yaml")?;
    assert!(budget["spec"]["maxUnavailable"].as_u64().is_some_and(|count| count < replicas));

    let service = guard("service.yaml")?;
    assert_eq!(service["spec"]["selector"], Value::Null, "the guard writes the EndpointSlice");
    assert_eq!(service["spec"]["ports"], json!([{ "name": "bind", "port": 443, "targetPort": 10362 }]));
    let webhook = guard("webhook.yaml")?;
    let hook = &webhook["webhooks"][0];
    let metadata = &service["metadata"];
    let reached = &hook["clientConfig"]["service"];
    assert_eq!((&reached["namespace"], &reached["name"]), (&metadata["namespace"], &metadata["name"]));
    assert_eq!((&reached["port"], &reached["path"]), (&json!(443), &json!("/bind")));
    assert_eq!(hook["rules"][0]["resources"], json!(["pods/binding", "bindings"]));
    assert_eq!((&hook["failurePolicy"], &hook["timeoutSeconds"]), (&json!("Ignore"), &json!(5)));
    assert_eq!(hook["clientConfig"]["caBundle"], Value::Null, "the guard fills it in");
    Ok(())
}

/// The program accepts the arguments of the guard's Deployment.
#[test]
fn the_program_understands_the_arguments_of_the_guard() -> Result<()> {
    let deployment = read("overlays/guard/deployment.yaml")?;
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let arguments = arguments.as_array().context("args")?.iter().filter_map(Value::as_str);
    let output = Command::new(env!("CARGO_BIN_EXE_secondmate"))
        .args(arguments.filter(|argument| !argument.starts_with("--listen=")))
        .args(["--listen=127.0.0.1:0", "--kubeconfig=/nowhere"])
        .env("POD_IP", "10.0.0.7")
        .output()?;
    let text = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("kubeconfig /nowhere: "), "{text}");
    Ok(())
}
