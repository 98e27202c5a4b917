//! From measured usage to the usage of a node with the pod on it.

use crate::args::{LoadAwareArgs, Prometheus};
use crate::measured::{NodeUse, Samples};
use secondmate_framework::{Context, Endpoint, NodeInfo, ObjectKind, OwnObject, Pod, Poll, Right, Timestamp};
use std::fmt::Write;
use std::time::Duration;

/// A pod that started within this time before the end of a measurement is not included in it, or not fully. This is Trimaran's
/// `metricsAgentReportingIntervalSeconds`.
const UNMEASURED: Duration = Duration::from_secs(60);

/// Where the measurements are found among the objects.
#[derive(Clone, Debug)]
pub(crate) enum Loads {
    /// `metrics.k8s.io`, shared by all profiles.
    MetricsApi,
    /// The names of the answers to one profile's queries.
    Prometheus {
        queries: Box<Prometheus>,
        cpu: String,
        memory: String,
        cpu_deviation: String,
        memory_deviation: String,
    },
}

const METRICS_API: &str = "metrics.k8s.io";
const METRICS_PATH: &str = "/apis/metrics.k8s.io/v1beta1/nodes";
const METRICS_RIGHT: Right = Right { verb: "list", group: "metrics.k8s.io", resource: "nodes" };

/// The usage of a resource, as a fraction of what the node has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    /// Includes the pod, and the pods that are not in the measurement yet.
    pub used: f64,
    /// Standard deviation of the measured usage; 0 if it is not known.
    pub deviation: f64,
}

/// The usage of a node with the pod on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    pub cpu: Share,
    pub memory: Option<Share>,
}

/// The measured usage of a node, as fractions.
struct Measured {
    cpu: Share,
    memory: Option<Share>,
    at: Timestamp,
}

impl Loads {
    pub fn new(args: &LoadAwareArgs, profile: &str) -> Self {
        let Some(queries) = args.prometheus.clone() else { return Self::MetricsApi };
        let name = |what: &str| format!("{what} for {profile}");
        Self::Prometheus {
            queries: Box::new(queries),
            cpu: name("cpu"),
            memory: name("memory"),
            cpu_deviation: name("cpuDeviation"),
            memory_deviation: name("memoryDeviation"),
        }
    }

    pub fn kinds(&self) -> [ObjectKind; 1] {
        [match self {
            Self::MetricsApi => ObjectKind::own::<NodeUse>(),
            Self::Prometheus { .. } => ObjectKind::own::<Samples>(),
        }]
    }

    pub fn polls(&self, args: &LoadAwareArgs) -> Vec<Poll> {
        let stale = args.stale_after();
        let timed = |poll: Poll| poll.every(args.poll_every()).keep_for(stale);
        match self {
            Self::MetricsApi => {
                let endpoint = Endpoint::ApiServer { path: METRICS_PATH.to_owned(), right: METRICS_RIGHT };
                let left_out = move |answer: &OwnObject| {
                    answer.get::<NodeUse>().map_or(0, |used| used.left_out(answer.at(), stale))
                };
                vec![timed(Poll::new::<NodeUse>(METRICS_API, endpoint)).left_out(left_out)]
            }
            Self::Prometheus { queries, cpu, memory, cpu_deviation, memory_deviation } => {
                let poll = |name: &String, query: &String| {
                    let endpoint = Endpoint::Url {
                        url: query_url(&queries.url, query),
                        ca_file: queries.ca_file.clone(),
                        token_file: queries.token_file.clone(),
                    };
                    let left_out = move |answer: &OwnObject| {
                        answer.get::<Samples>().map_or(0, |samples| samples.left_out(answer.at(), stale))
                    };
                    timed(Poll::new::<Samples>(name.clone(), endpoint)).left_out(left_out)
                };
                let optional = [
                    (memory, &queries.memory),
                    (cpu_deviation, &queries.cpu_deviation),
                    (memory_deviation, &queries.memory_deviation),
                ];
                let optional = optional.into_iter().filter_map(|(name, query)| Some((name, query.as_ref()?)));
                std::iter::once((cpu, &queries.cpu))
                    .chain(optional)
                    .map(|(name, query)| poll(name, query))
                    .collect()
            }
        }
    }

    /// Whether there is any measurement.
    pub fn are_known(&self, cx: &Context<'_>) -> bool {
        let objects = cx.snapshot.objects();
        match self {
            Self::MetricsApi => objects.own::<NodeUse>().named(METRICS_API).is_some(),
            Self::Prometheus { cpu, .. } => objects.own::<Samples>().named(cpu).is_some(),
        }
    }

    /// The usage of the node with the pod on it; `None` if it was not measured, or too long ago.
    pub fn of(&self, cx: &Context<'_>, args: &LoadAwareArgs, pod: &Pod, node: &NodeInfo) -> Option<Load> {
        let has = &node.node().allocatable.resources;
        let (all_cpu, all_memory) = (has.milli_cpu as f64, has.memory as f64);
        if all_cpu <= 0.0 || all_memory <= 0.0 {
            return None;
        }
        let measured = self.measured(cx, args, node, (all_cpu, all_memory))?;
        let young = node
            .pods()
            .iter()
            .filter(|pod| pod.start_time.is_none_or(|started| started + UNMEASURED > measured.at));
        let (mut cpu, mut memory) = expected(args, pod);
        for young in young {
            let more = expected(args, young);
            (cpu, memory) = (cpu + more.0, memory + more.1);
        }
        let with = |share: Share, more: f64| Share { used: share.used + more, ..share };
        Some(Load {
            cpu: with(measured.cpu, cpu / all_cpu),
            memory: measured.memory.map(|share| with(share, memory / all_memory)),
        })
    }

    fn measured(
        &self,
        cx: &Context<'_>,
        args: &LoadAwareArgs,
        node: &NodeInfo,
        (all_cpu, all_memory): (f64, f64),
    ) -> Option<Measured> {
        let (objects, name) = (cx.snapshot.objects(), node.name().as_str());
        // Based on the time when the answer arrived, not on the time of the cycle: so the passing of time alone changes no score, and the
        // answer as a whole is withdrawn when it is too old.
        match self {
            Self::MetricsApi => {
                let answers = objects.own::<NodeUse>();
                let told_at = answers.told_at(METRICS_API)?;
                let used = answers.named(METRICS_API)?.nodes.get(name)?;
                if told_at.since(used.at) > args.stale_after() {
                    return None;
                }
                let steady = |used: f64| Share { used, deviation: 0.0 };
                Some(Measured {
                    cpu: steady(used.milli_cpu / all_cpu),
                    memory: Some(steady(used.memory / all_memory)),
                    at: used.at,
                })
            }
            Self::Prometheus { queries, cpu, memory, cpu_deviation, memory_deviation } => {
                let answers = objects.own::<Samples>();
                let sample = |answer: &str| {
                    let sample = answers.named(answer)?.of(&queries.node_label, name)?;
                    let age = answers.told_at(answer)?.since(sample.at);
                    (age <= args.stale_after()).then_some(sample)
                };
                let value = |answer: &str| sample(answer).map_or(0.0, |sample| sample.value);
                let of_cpu = sample(cpu)?;
                Some(Measured {
                    cpu: Share { used: of_cpu.value, deviation: value(cpu_deviation) },
                    memory: sample(memory)
                        .map(|sample| Share { used: sample.value, deviation: value(memory_deviation) }),
                    at: of_cpu.at,
                })
            }
        }
    }
}

/// CPU (in milli-CPU) and memory (in bytes) that a pod is expected to use.
fn expected(args: &LoadAwareArgs, pod: &Pod) -> (f64, f64) {
    let asked = &pod.requests.on_node;
    let cpu = match asked.milli_cpu {
        0 => f64::from(args.default_milli_cpu),
        asked => asked as f64 * args.default_requests_multiplier,
    };
    (cpu, asked.memory as f64 * args.default_requests_multiplier)
}

fn query_url(server: &str, query: &str) -> String {
    let mut url = format!("{}/api/v1/query?query=", server.trim_end_matches('/'));
    for byte in query.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}
