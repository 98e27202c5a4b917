//! Profiles, and metrics that have been disabled.

use super::{Port, touch::touch, types};

#[tokio::test]
async fn profiles_are_listed_and_those_of_go_are_told_to_be() {
    let port = Port::open().await;
    for path in ["/debug/pprof", "/debug/pprof/"] {
        let (status, text) = port.get(path).await;
        assert_eq!(status, 200);
        let paths: Vec<&str> = text.lines().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(paths, ["/debug/pprof/profile", "/debug/pprof/cmdline"]);
    }
    let (status, text) = port.get("/debug/pprof/cmdline").await;
    let own: Vec<String> = std::env::args().collect();
    assert_eq!((status, text.split('\0').map(str::to_owned).collect()), (200, own));
    for (name, why) in
        [("heap", "it is of Go's runtime"), ("goroutine", "of Go's runtime"), ("x", "there is no")]
    {
        let (status, text) = port.get(&format!("/debug/pprof/{name}")).await;
        assert_eq!((status, text.contains(why)), (404, true), "{text}");
    }
    let (status, text) = port.get("/debug/pprof/profile?seconds=61").await;
    assert_eq!((status, text.contains("expected 1 to 60")), (400, true), "{text}");

    port.admin.set_profiling(false);
    for name in ["", "profile?seconds=1", "cmdline", "heap"] {
        let (status, text) = port.get(&format!("/debug/pprof/{name}")).await;
        assert_eq!((status, text.contains("profiles are off")), (404, true), "{name}: {text}");
    }
    assert!(!port.admin.paths().iter().any(|path| path.contains("pprof")));
}

#[tokio::test]
async fn one_profile_is_taken_at_a_time() {
    let port = Port::open().await;
    // Whichever comes second is refused while the first one is running.
    for _ in 0..10 {
        let take = || port.request("GET", "/debug/pprof/profile?seconds=1", "");
        let (one, other) = tokio::join!(take(), take());
        let (taken, refused) = if one.0 == 200 { (one, other) } else { (other, one) };
        assert_eq!(taken.0, 200, "{}", taken.2);
        assert_eq!(taken.1["content-type"], "application/octet-stream");
        if refused.0 == 429 {
            assert!(refused.2.contains("another profile is being taken"), "{}", refused.2);
            return;
        }
    }
    panic!("two profiles never met");
}

#[tokio::test]
async fn metrics_that_are_disabled_are_not_shown() {
    let port = Port::open().await;
    touch(&port.admin.metrics);
    let (_, all) = port.scrape("/metrics", "*/*").await;
    let names =
        ["scheduler_preemption_attempts_total", "scheduler_pending_pods", "scheduler_preemption_victims"];
    port.admin.disable_metrics(names.map(str::to_owned));
    let (_, text) = port.scrape("/metrics", "*/*").await;
    let expected: Vec<String> =
        types(&all).into_iter().filter(|line| !names.iter().any(|name| line.starts_with(name))).collect();
    assert_eq!(types(&text), expected);
    assert_eq!(types(&all).len(), expected.len() + names.len());
    let (_, open_metrics) = port.scrape("/metrics", "application/openmetrics-text").await;
    for text in [text, open_metrics] {
        for gone in
            ["scheduler_preemption_attempts", "scheduler_pending_pods", "scheduler_preemption_victims"]
        {
            assert!(!text.contains(gone), "{gone}");
        }
    }
}
