//! What each field means: the part of the reference that the reader cannot tell.

/// What a field means; `None`: nobody said.
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
        "kube-scheduler's number of goroutines. Read and checked, without effect: one thread decides",
    ),
    ("leaderElection", "How one of several processes is chosen to schedule"),
    ("leaderElection.leaderElect", "Whether there is an election. Also `--leader-elect`"),
    (
        "leaderElection.leaseDuration",
        "How long a standby waits after the last observed renewal. Also `--lease-duration`",
    ),
    (
        "leaderElection.renewDeadline",
        "How long the leader tries to renew before it stops. Also `--renew-deadline`",
    ),
    ("leaderElection.retryPeriod", "Pause between attempts. Also `--retry-period`"),
    ("leaderElection.resourceLock", "The only kind of lock"),
    (
        "leaderElection.resourceName",
        "Name of the Lease. Leave it out: it is then the scheduler name (of several the alphabetically first), which is the same for \
         every process of the name",
    ),
    ("leaderElection.resourceNamespace", "Namespace of the Lease. Leave it out: it is then `kube-system`"),
    ("clientConnection", "How the API server is reached"),
    (
        "clientConnection.kubeconfig",
        "Path of a kubeconfig file. Empty: `KUBECONFIG`, `~/.kube/config` or the pod's service account. `--kubeconfig` comes first",
    ),
    ("clientConnection.acceptContentTypes", "Content types that the API server may answer with"),
    ("clientConnection.contentType", "Content type of requests"),
    (
        "clientConnection.qps",
        "Maximum writes per second, on average; negative means no limit. Only a value that is written limits: the API server's own \
         limits do it better",
    ),
    ("clientConnection.burst", "Writes at once above that"),
    ("enableProfiling", "Whether `/debug/pprof/profile` gives CPU profiles"),
    ("enableContentionProfiling", "kube-scheduler's profiles of blocked goroutines"),
    (
        "percentageOfNodesToScore",
        "Percentage of the nodes after which the search for feasible nodes may end. Not given, 0 and 100: \
         [every node is scored](every-node-scored.md)",
    ),
    ("podInitialBackoffSeconds", "Backoff of a pod after its first failure; it doubles with each"),
    ("podMaxBackoffSeconds", "Longest backoff of a pod"),
    (
        "profiles",
        "A scheduler name each, with its plugins. Without one: the default plugins under `default-scheduler`",
    ),
    (
        "profiles[].schedulerName",
        "Pods with this `spec.schedulerName` are scheduled by this profile. Required with several profiles; a lone one is \
         `default-scheduler` by default, which has to be asked for with `--i-replace-the-default-scheduler`",
    ),
    ("profiles[].percentageOfNodesToScore", "As `percentageOfNodesToScore`, for this profile"),
    ("profiles[].plugins", "What differs from the default plugins, by extension point"),
    ("profiles[].plugins.preEnqueue", "May a pod enter the queue? Fields as in `multiPoint`"),
    (
        "profiles[].plugins.queueSort",
        "The order of the queue: one plugin, the same in all profiles. Fields as in `multiPoint`",
    ),
    ("profiles[].plugins.preFilter", "Once for a pod, before filters. Fields as in `multiPoint`"),
    ("profiles[].plugins.filter", "May the pod run on this node? Fields as in `multiPoint`"),
    ("profiles[].plugins.postFilter", "When no node was found: preemption. Fields as in `multiPoint`"),
    ("profiles[].plugins.preScore", "Once for a pod, before scores. Fields as in `multiPoint`"),
    ("profiles[].plugins.score", "How good is this node? Fields as in `multiPoint`"),
    ("profiles[].plugins.reserve", "What is claimed when a node is chosen. Fields as in `multiPoint`"),
    (
        "profiles[].plugins.permit",
        "Whether the binding may go on, must wait, or ends. Fields as in `multiPoint`",
    ),
    ("profiles[].plugins.preBind", "What is written before the binding. Fields as in `multiPoint`"),
    ("profiles[].plugins.bind", "Who binds: the first plugin that does. Fields as in `multiPoint`"),
    ("profiles[].plugins.postBind", "After the binding. Fields as in `multiPoint`"),
    (
        "profiles[].plugins.multiPoint",
        "Plugins at all of their extension points. What a single extension point says of a plugin comes first",
    ),
    (
        "profiles[].plugins.multiPoint.enabled",
        "Plugins to add after the default ones, or to give another weight",
    ),
    ("profiles[].plugins.multiPoint.enabled[].name", "The plugin"),
    (
        "profiles[].plugins.multiPoint.enabled[].weight",
        "Factor of its scores; 0 is 1. At `score` and `multiPoint` only",
    ),
    ("profiles[].plugins.multiPoint.disabled", "Default plugins to leave out"),
    ("profiles[].plugins.multiPoint.disabled[].name", "The plugin; `*`: all of them"),
    ("profiles[].plugins.multiPoint.disabled[].weight", "Without effect"),
    ("profiles[].plugins.placementGenerate", "For pod groups"),
    ("profiles[].plugins.placementScore", "For pod groups"),
    ("profiles[].plugins.podGroupPostFilter", "For pod groups"),
    ("profiles[].pluginConfig", "Arguments of plugins, at most one entry for each"),
    ("profiles[].pluginConfig[].name", "The plugin"),
    (
        "profiles[].pluginConfig[].args",
        "Its arguments: see [Arguments of plugins](#arguments-of-plugins). A plugin of your own reads them itself",
    ),
    ("extenders", "HTTP extenders, in the order of their calls"),
    ("extenders[].urlPrefix", "The URL in front of every verb"),
    ("extenders[].filterVerb", "Verb of the filter call; empty: not called"),
    ("extenders[].preemptVerb", "Verb of the preempt call; empty: not called"),
    ("extenders[].prioritizeVerb", "Verb of the prioritize call; empty: not called"),
    ("extenders[].weight", "Factor of its scores"),
    ("extenders[].bindVerb", "Verb of the bind call; empty: not called. One extender at most has it"),
    ("extenders[].enableHTTPS", "Whether TLS is set up"),
    ("extenders[].tlsConfig", "How TLS is set up. Data come before files"),
    ("extenders[].tlsConfig.insecure", "The server's certificate is not checked"),
    ("extenders[].tlsConfig.serverName", "The name that the server's certificate must have"),
    ("extenders[].tlsConfig.certFile", "File with the client certificate"),
    ("extenders[].tlsConfig.keyFile", "File with the client key"),
    ("extenders[].tlsConfig.caFile", "File with the trusted certificates"),
    ("extenders[].tlsConfig.certData", "The client certificate, base64"),
    ("extenders[].tlsConfig.keyData", "The client key, base64"),
    ("extenders[].tlsConfig.caData", "The trusted certificates, base64"),
    ("extenders[].httpTimeout", "Longest wait for an answer; not given: 5 s"),
    ("extenders[].nodeCacheCapable", "It knows the nodes itself: only their names are sent"),
    ("extenders[].managedResources", "Only pods that ask for one of these are sent; empty: all pods"),
    ("extenders[].managedResources[].name", "An extended resource"),
    ("extenders[].managedResources[].ignoredByScheduler", "NodeResourcesFit does not look at it"),
    ("extenders[].ignorable", "A pod is scheduled although the extender fails"),
    (
        "delayCacheUntilActive",
        "Whether caches are filled only once the process leads; a standby is ready without them",
    ),
    ("parity", "Whether the [quirks of kube-scheduler](quirks.md) are reproduced"),
    ("preemption", "Preemption beside other schedulers"),
    (
        "preemption.victims",
        "Whose pods may be evicted: those of all names that the process serves, of the name of the pod that needs room, or of any scheduler. \
         Not given: `own`, or `all` in a process that serves `default-scheduler`",
    ),
    (
        "preemption.breakLoops",
        "Whether a pod preempts again only after a growing delay, where the room that was made for it is taken by others again and again",
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
        "Whether the pods of a node that is nearly full are read from the API server before a pod is bound there, where other schedulers have \
         bound pods within ten seconds",
    ),
    (
        "yieldLastRoom",
        "How long a pod waits at most before it is bound to a node that is nearly full, while other schedulers bind pods to that node: it \
         is bound, or gives way, when nobody else has bound a pod there for a second or two. 0s: it does not wait. A pod for which pods were \
         evicted never waits",
    ),
    (
        "tenants",
        "Who may use which scheduler name, and for what. Where there are tenants, each name that the process serves needs one; tenants of \
         other names only appear in messages",
    ),
    ("tenants[].schedulerName", "The name by which the tenant's pods ask to be scheduled"),
    (
        "tenants[].namespaces",
        "The namespaces whose pods may use the name, by `names`, `selector`, or both. Not given: all. Other pods wait, with an event that says \
         who may",
    ),
    ("tenants[].namespaces.names", "Their names"),
    ("tenants[].namespaces.selector", "A `metav1.LabelSelector` of namespaces"),
    ("tenants[].nodes", "The nodes that the tenant's pods may use. Not given: all"),
    ("tenants[].nodes.selector", "A `metav1.LabelSelector` of nodes"),
    (
        "tenants[].evicts",
        "As `preemption.victims`, for the tenant's pods. Not given: as that, and if that is not given, `tenant`",
    ),
    (
        "tenants[].weight",
        "Where a tenant has a weight, tenants share the attempts by their weights while pods of the same priority wait. Not given: 1",
    ),
    ("DefaultPreemption: minCandidateNodesPercentage", "Share of the nodes that a dry run looks at"),
    ("DefaultPreemption: minCandidateNodesAbsolute", "At least this many nodes"),
    ("DynamicResources: filterTimeout", "Longest time for one node in Filter; 0: no limit"),
    ("DynamicResources: bindingTimeout", "Longest wait for device binding conditions"),
    (
        "InterPodAffinity: hardPodAffinityWeight",
        "Weight in the score of required affinity that existing pods have to the incoming one",
    ),
    (
        "InterPodAffinity: ignorePreferredTermsOfExistingPods",
        "Preferred terms of existing pods count only for a pod that has terms of its own",
    ),
    (
        "NodeAffinity: addedAffinity",
        "A core/v1 `NodeAffinity` that nodes have to match besides the pod's own",
    ),
    ("NodeResourcesBalancedAllocation: resources", "What is balanced"),
    ("NodeResourcesBalancedAllocation: resources[].name", "A resource"),
    ("NodeResourcesBalancedAllocation: resources[].weight", "1; 0 is 1"),
    ("NodeResourcesFit: ignoredResources", "Extended resources that Filter does not look at"),
    ("NodeResourcesFit: ignoredResourceGroups", "Domains of extended resources that Filter does not look at"),
    ("NodeResourcesFit: scoringStrategy", "How nodes are scored"),
    ("NodeResourcesFit: scoringStrategy.resources", "What counts in the score"),
    ("NodeResourcesFit: scoringStrategy.resources[].name", "A resource"),
    ("NodeResourcesFit: scoringStrategy.resources[].weight", "Its share; 0 is 1"),
    (
        "NodeResourcesFit: scoringStrategy.requestedToCapacityRatio",
        "For the type `RequestedToCapacityRatio`, which requires it, and for no other",
    ),
    (
        "NodeResourcesFit: scoringStrategy.requestedToCapacityRatio.shape",
        "Points of the function from utilization to score, in increasing utilization; linear between them",
    ),
    ("NodeResourcesFit: scoringStrategy.requestedToCapacityRatio.shape[].utilization", "Percent"),
    ("NodeResourcesFit: scoringStrategy.requestedToCapacityRatio.shape[].score", "The score there"),
    (
        "NodeResourcesFit: scoringStrategy.type",
        "The emptier the better, the fuller the better, or a function of the utilization. Required where a strategy is written",
    ),
    ("PodTopologySpread: defaultConstraints", "core/v1 `TopologySpreadConstraint`s for pods that have none"),
    ("PodTopologySpread: defaultConstraints[].maxSkew", "As in a pod"),
    ("PodTopologySpread: defaultConstraints[].topologyKey", "As in a pod"),
    ("PodTopologySpread: defaultConstraints[].whenUnsatisfiable", "As in a pod"),
    (
        "PodTopologySpread: defaultConstraints[].labelSelector",
        "Must not be there: it follows from the pod's Services and owners",
    ),
    ("PodTopologySpread: defaultConstraints[].minDomains", "As in a pod"),
    ("PodTopologySpread: defaultConstraints[].nodeAffinityPolicy", "As in a pod"),
    ("PodTopologySpread: defaultConstraints[].nodeTaintsPolicy", "As in a pod"),
    ("PodTopologySpread: defaultConstraints[].matchLabelKeys", "As in a pod"),
    (
        "PodTopologySpread: defaultingType",
        "`System`: kube-scheduler's built-in constraints (hostname and zone, preferred); `List`: those in `defaultConstraints`",
    ),
    ("VolumeBinding: bindTimeoutSeconds", "Longest wait for volumes to be bound; 0: no waiting"),
    (
        "VolumeBinding: shape",
        "Points of the function from the part of its storage capacity that the pod's volumes take to the score of a node",
    ),
    ("VolumeBinding: shape[].utilization", "Percent"),
    ("VolumeBinding: shape[].score", "The score there"),
];
