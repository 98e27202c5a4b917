//! What each field means: the part of the reference that the reader does not know.

/// What a field means; `None` if it is not documented.
pub fn meaning(key: &str) -> Option<&'static str> {
    MEANINGS.iter().find(|(field, _)| *field == key).map(|(_, text)| *text)
}

/// The fields that have a meaning.
pub fn keys() -> impl Iterator<Item = &'static str> {
    MEANINGS.iter().map(|(field, _)| *field)
}

const MEANINGS: &[(&str, &str)] = &[
    ("apiVersion", "As in the example"),
    ("kind", "As in the example"),
    (
        "parallelism",
        "kube-scheduler's number of goroutines. Validated, but without effect: one thread decides",
    ),
    ("leaderElection", "How one of several processes is chosen as the leader"),
    ("leaderElection.leaderElect", "Whether leader election is used. Also `--leader-elect`"),
    (
        "leaderElection.leaseDuration",
        "How long a standby waits after the last observed renewal. Also `--lease-duration`",
    ),
    (
        "leaderElection.renewDeadline",
        "How long the leader tries to renew before it stops. Also `--renew-deadline`",
    ),
    ("leaderElection.retryPeriod", "Wait between attempts. Also `--retry-period`"),
    ("leaderElection.resourceLock", "The only kind of lock"),
    (
        "leaderElection.resourceName",
        "Name of the Lease. Leave it unset: it is then the scheduler name (with several names, the alphabetically first), which is the same \
         for every process with that name",
    ),
    ("leaderElection.resourceNamespace", "Namespace of the Lease. Leave it unset: it is then `kube-system`"),
    ("clientConnection", "How the API server is reached"),
    (
        "clientConnection.kubeconfig",
        "Path of a kubeconfig file. If empty: `KUBECONFIG`, `~/.kube/config` or the pod's service account. `--kubeconfig` takes precedence",
    ),
    ("clientConnection.acceptContentTypes", "Content types accepted in the API server's responses"),
    ("clientConnection.contentType", "Content type of requests"),
    (
        "clientConnection.qps",
        "Maximum writes per second, on average; negative means no limit. Applies only if it is set explicitly: the API server's own limits \
         work better",
    ),
    ("clientConnection.burst", "Writes allowed at once above that"),
    ("enableProfiling", "Whether `/debug/pprof/profile` serves CPU profiles"),
    ("enableContentionProfiling", "kube-scheduler's profiles of blocked goroutines"),
    (
        "percentageOfNodesToScore",
        "Percentage of the nodes after which the search for feasible nodes may stop. Unset, 0 or 100: [every node is \
         scored](every-node-scored.md)",
    ),
    (
        "podInitialBackoffSeconds",
        "Backoff of a pod after its first failure; it doubles with each further failure",
    ),
    ("podMaxBackoffSeconds", "Longest backoff of a pod"),
    (
        "profiles",
        "Each has a scheduler name and its plugins. Without a profile: the default plugins under `default-scheduler`",
    ),
    (
        "profiles[].schedulerName",
        "Pods with this `spec.schedulerName` are scheduled by this profile. Required with several profiles; a single profile defaults to \
         `default-scheduler`, which also requires `--i-replace-the-default-scheduler`",
    ),
    ("profiles[].percentageOfNodesToScore", "As `percentageOfNodesToScore`, for this profile"),
    ("profiles[].plugins", "Changes to the default plugins, by extension point"),
    ("profiles[].plugins.preEnqueue", "Whether a pod may enter the queue. Fields as in `multiPoint`"),
    (
        "profiles[].plugins.queueSort",
        "The order of the queue: one plugin, the same in all profiles. Fields as in `multiPoint`",
    ),
    ("profiles[].plugins.preFilter", "Called once for a pod, before filters. Fields as in `multiPoint`"),
    ("profiles[].plugins.filter", "Whether the pod may run on a node. Fields as in `multiPoint`"),
    ("profiles[].plugins.postFilter", "Called when no node was found: preemption. Fields as in `multiPoint`"),
    ("profiles[].plugins.preScore", "Called once for a pod, before scores. Fields as in `multiPoint`"),
    ("profiles[].plugins.score", "How good a node is. Fields as in `multiPoint`"),
    ("profiles[].plugins.reserve", "What is claimed when a node is chosen. Fields as in `multiPoint`"),
    (
        "profiles[].plugins.permit",
        "Whether the binding may proceed, must wait, or is rejected. Fields as in `multiPoint`",
    ),
    ("profiles[].plugins.preBind", "What is written before the binding. Fields as in `multiPoint`"),
    ("profiles[].plugins.bind", "Which plugin binds: the first that does. Fields as in `multiPoint`"),
    ("profiles[].plugins.postBind", "Called after the binding. Fields as in `multiPoint`"),
    (
        "profiles[].plugins.multiPoint",
        "Plugins at all of their extension points. Settings for a single extension point take precedence",
    ),
    (
        "profiles[].plugins.multiPoint.enabled",
        "Plugins to add after the default ones, or whose weight to change",
    ),
    ("profiles[].plugins.multiPoint.enabled[].name", "The plugin"),
    (
        "profiles[].plugins.multiPoint.enabled[].weight",
        "Factor of its scores; 0 means 1. At `score` and `multiPoint` only",
    ),
    ("profiles[].plugins.multiPoint.disabled", "Default plugins to disable"),
    ("profiles[].plugins.multiPoint.disabled[].name", "The plugin; `*`: all of them"),
    ("profiles[].plugins.multiPoint.disabled[].weight", "Without effect"),
    ("profiles[].plugins.placementGenerate", "For pod groups"),
    ("profiles[].plugins.placementScore", "For pod groups"),
    ("profiles[].plugins.podGroupPostFilter", "For pod groups"),
    ("profiles[].pluginConfig", "Arguments of plugins, at most one entry per plugin"),
    ("profiles[].pluginConfig[].name", "The plugin"),
    (
        "profiles[].pluginConfig[].args",
        "Its arguments: see [Arguments of plugins](#arguments-of-plugins). A plugin of your own reads them itself",
    ),
    ("extenders", "HTTP extenders, in the order in which they are called"),
    ("extenders[].urlPrefix", "The URL prefix of every verb"),
    ("extenders[].filterVerb", "Verb of the filter call; empty: not called"),
    ("extenders[].preemptVerb", "Verb of the preempt call; empty: not called"),
    ("extenders[].prioritizeVerb", "Verb of the prioritize call; empty: not called"),
    ("extenders[].weight", "Factor of its scores"),
    ("extenders[].bindVerb", "Verb of the bind call; empty: not called. At most one extender may have it"),
    ("extenders[].enableHTTPS", "Whether TLS is configured"),
    ("extenders[].tlsConfig", "TLS settings. Data fields take precedence over files"),
    ("extenders[].tlsConfig.insecure", "The server's certificate is not checked"),
    ("extenders[].tlsConfig.serverName", "The name that the server's certificate must have"),
    ("extenders[].tlsConfig.certFile", "File with the client certificate"),
    ("extenders[].tlsConfig.keyFile", "File with the client key"),
    ("extenders[].tlsConfig.caFile", "File with the trusted certificates"),
    ("extenders[].tlsConfig.certData", "The client certificate, base64"),
    ("extenders[].tlsConfig.keyData", "The client key, base64"),
    ("extenders[].tlsConfig.caData", "The trusted certificates, base64"),
    ("extenders[].httpTimeout", "Maximum wait for an answer; unset: 5 s"),
    ("extenders[].nodeCacheCapable", "It knows the nodes itself: only their names are sent"),
    ("extenders[].managedResources", "Only pods that request one of these are sent; empty: all pods"),
    ("extenders[].managedResources[].name", "An extended resource"),
    ("extenders[].managedResources[].ignoredByScheduler", "NodeResourcesFit ignores the resource"),
    ("extenders[].ignorable", "A pod is scheduled even if the extender fails"),
    (
        "delayCacheUntilActive",
        "Whether caches are filled only once the process leads; a standby is ready without them",
    ),
    ("parity", "Whether the [quirks of kube-scheduler](quirks.md) are reproduced"),
    ("preemption", "Preemption beside other schedulers"),
    (
        "preemption.victims",
        "Whose pods may be evicted: those with any name that the process serves, those with the name of the pod that needs room, or those of \
         any scheduler. Unset: `own`, or `all` in a process that serves `default-scheduler`",
    ),
    (
        "preemption.breakLoops",
        "Whether a pod may preempt again only after a growing delay if others repeatedly take the room that was made for it",
    ),
    (
        "preemptOtherSchedulers",
        "The older way to write `preemption.victims`: `true` is `all`, `false` is `own`",
    ),
    (
        "nominationsOfOthers",
        "Whether pods of other schedulers that are nominated to a node hold room there against pods of lower priority",
    ),
    (
        "readBeforeBind",
        "Whether the pods of a node that is nearly full, or that other schedulers may be about to fill, are read from the API server before a \
         pod is bound there, if other schedulers have bound pods within ten seconds",
    ),
    (
        "yieldLastRoom",
        "How long a pod waits at most, in all attempts, before it is bound to a node that other schedulers may be about to fill: they have just \
         bound a pod there and it is nearly full, or the node's share of the pods that they have yet to bind would leave no room. It is bound, or gives \
         way, once that is over. 0s: it does not wait. A pod for which pods were evicted from the node does not wait there",
    ),
    (
        "tenants",
        "Who may use which scheduler name, and for what. If there are tenants, each name that the process serves needs one; tenants of other \
         names only appear in messages",
    ),
    ("tenants[].schedulerName", "The scheduler name that the tenant's pods use"),
    (
        "tenants[].namespaces",
        "The namespaces whose pods may use the name, by `names`, `selector`, or both. Unset: all. Other pods wait, with an event that says who \
         may use it",
    ),
    ("tenants[].namespaces.names", "Their names"),
    ("tenants[].namespaces.selector", "A `metav1.LabelSelector` of namespaces"),
    ("tenants[].nodes", "The nodes that the tenant's pods may use. Unset: all"),
    ("tenants[].nodes.selector", "A `metav1.LabelSelector` of nodes"),
    (
        "tenants[].evicts",
        "As `preemption.victims`, for the tenant's pods. Unset: the value of `preemption.victims`, or `tenant` if that is unset too",
    ),
    (
        "tenants[].weight",
        "If any tenant has a weight, tenants share the scheduling attempts by weight among waiting pods of the same priority. Unset: 1",
    ),
    ("DefaultPreemption: minCandidateNodesPercentage", "Percentage of the nodes that a dry run looks at"),
    ("DefaultPreemption: minCandidateNodesAbsolute", "At least this many nodes"),
    ("DynamicResources: filterTimeout", "Maximum time for one node in Filter; 0: no limit"),
    ("DynamicResources: bindingTimeout", "Maximum wait for device binding conditions"),
    (
        "InterPodAffinity: hardPodAffinityWeight",
        "Weight in the score of existing pods' required affinity to the incoming pod",
    ),
    (
        "InterPodAffinity: ignorePreferredTermsOfExistingPods",
        "Preferred terms of existing pods count only for a pod that has terms itself",
    ),
    (
        "NodeAffinity: addedAffinity",
        "A core/v1 `NodeAffinity` that nodes have to match in addition to the pod's own",
    ),
    ("NodeResourcesBalancedAllocation: resources", "Resources to balance"),
    ("NodeResourcesBalancedAllocation: resources[].name", "A resource"),
    ("NodeResourcesBalancedAllocation: resources[].weight", "1; 0 means 1"),
    ("NodeResourcesFit: ignoredResources", "Extended resources that Filter ignores"),
    ("NodeResourcesFit: ignoredResourceGroups", "Domains of extended resources that Filter ignores"),
    ("NodeResourcesFit: scoringStrategy", "How nodes are scored"),
    ("NodeResourcesFit: scoringStrategy.resources", "Resources that count in the score"),
    ("NodeResourcesFit: scoringStrategy.resources[].name", "A resource"),
    ("NodeResourcesFit: scoringStrategy.resources[].weight", "Its weight; 0 means 1"),
    (
        "NodeResourcesFit: scoringStrategy.requestedToCapacityRatio",
        "Required for the type `RequestedToCapacityRatio`, and not allowed for any other",
    ),
    (
        "NodeResourcesFit: scoringStrategy.requestedToCapacityRatio.shape",
        "Points of the function from utilization to score, by increasing utilization; linear between them",
    ),
    ("NodeResourcesFit: scoringStrategy.requestedToCapacityRatio.shape[].utilization", "Percent"),
    ("NodeResourcesFit: scoringStrategy.requestedToCapacityRatio.shape[].score", "The score at that point"),
    (
        "NodeResourcesFit: scoringStrategy.type",
        "The emptier the better, the fuller the better, or a function of the utilization. Required if a strategy is set",
    ),
    ("PodTopologySpread: defaultConstraints", "core/v1 `TopologySpreadConstraint`s for pods that have none"),
    ("PodTopologySpread: defaultConstraints[].maxSkew", "As in a pod"),
    ("PodTopologySpread: defaultConstraints[].topologyKey", "As in a pod"),
    ("PodTopologySpread: defaultConstraints[].whenUnsatisfiable", "As in a pod"),
    (
        "PodTopologySpread: defaultConstraints[].labelSelector",
        "Must not be set: it is derived from the pod's Services and owners",
    ),
    ("PodTopologySpread: defaultConstraints[].minDomains", "As in a pod"),
    ("PodTopologySpread: defaultConstraints[].nodeAffinityPolicy", "As in a pod"),
    ("PodTopologySpread: defaultConstraints[].nodeTaintsPolicy", "As in a pod"),
    ("PodTopologySpread: defaultConstraints[].matchLabelKeys", "As in a pod"),
    (
        "PodTopologySpread: defaultingType",
        "`System`: kube-scheduler's built-in constraints (hostname and zone, preferred); `List`: those in `defaultConstraints`",
    ),
    ("VolumeBinding: bindTimeoutSeconds", "Maximum wait for volumes to be bound; 0: no waiting"),
    (
        "VolumeBinding: shape",
        "Points of the function from the share of a node's storage capacity that the pod's volumes take to the node's score",
    ),
    ("VolumeBinding: shape[].utilization", "Percent"),
    ("VolumeBinding: shape[].score", "The score at that point"),
];
