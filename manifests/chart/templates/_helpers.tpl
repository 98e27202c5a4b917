{{/* The schedulers of the release, as a JSON list: one, or one for each tenant. Each has `name`, `suffix` (of the tenant), `labels` (what its
selectors select, so that two releases in one namespace leave each other's pods alone), `ownLabels` (of the tenant), `values` (the release's,
overridden by the tenant's) and `lease`, whose name the scheduler derives in the same way. */}}
{{- define "secondmate.schedulers" -}}
{{- $schedulers := list }}
{{- $served := list }}
{{- if .Values.scheduler.enabled }}
{{- $shared := omit .Values "tenants" "guard" "scheduler" "secure" }}
{{- range $tenant, $own := default (dict "" (dict)) .Values.tenants }}
{{- $suffix := ternary (printf "-%s" $tenant) "" (ne $tenant "") }}
{{- $ownLabels := ternary (dict "secondmate.dev/tenant" $tenant) (dict) (ne $tenant "") }}
{{- $values := mustMergeOverwrite (deepCopy $shared) (deepCopy (default (dict) $own)) }}
{{- if $tenant }}
{{- $_ := set $values "schedulerNames" (default (list (printf "%s-scheduler" $tenant)) (get (default (dict) $own) "schedulerNames")) }}
{{- end }}
{{- range $values.schedulerNames }}
{{- if has . $served }}
{{- fail (printf "tenants: the scheduler name %s is there twice; a name has one scheduler" .) }}
{{- end }}
{{- $served = append $served . }}
{{- end }}
{{- if and $.Values.guard.enabled (eq (printf "%s%s" $.Release.Name $suffix) "secondmate-guard") }}
{{- fail "secondmate-guard is what the guard's objects are called: choose another name for the release or the tenant" }}
{{- end }}
{{- $scheduler := dict "name" (printf "%s%s" $.Release.Name $suffix) "suffix" $suffix "ownLabels" $ownLabels "values" $values }}
{{- $_ := set $scheduler "labels" (merge (dict "app.kubernetes.io/name" $.Release.Name) $ownLabels) }}
{{- $_ := set $scheduler "lease" (first (sortAlpha $values.schedulerNames)) }}
{{- $schedulers = append $schedulers $scheduler }}
{{- end }}
{{- else if .Values.tenants }}
{{- fail "tenants have schedulers, but scheduler.enabled is false" }}
{{- else if not .Values.guard.enabled }}
{{- fail "scheduler.enabled and guard.enabled are both false: there is nothing to install" }}
{{- end }}
{{- toJson $schedulers }}
{{- end }}

{{/* The configuration of a scheduler, from its values. */}}
{{- define "secondmate.config" -}}
{{- $values := . }}
{{- $profiles := list }}
{{- range .schedulerNames }}
{{- $profiles = append $profiles (merge (dict "schedulerName" .) $values.profile) }}
{{- end }}
{{- $elect := dict "leaderElection" (dict "leaderElect" true) }}
{{- $main := dict "apiVersion" "kubescheduler.config.k8s.io/v1" "kind" "KubeSchedulerConfiguration" "profiles" $profiles }}
{{- toYaml (mergeOverwrite (dict) (deepCopy .config) $elect $main) }}
{{- with .secondmateConfig }}
---
{{ toYaml (merge (dict "apiVersion" "secondmate.dev/v1alpha1" "kind" "SecondmateConfiguration") .) }}
{{- end }}
{{- end }}

{{/* The name of a scheduler's ConfigMap, from a list with the release's name and the scheduler. New content means a new name, and with it a
rollout; older containers keep the ConfigMap that they started with. */}}
{{- define "secondmate.configName" -}}
{{- $scheduler := last . }}
{{- $hash := include "secondmate.config" $scheduler.values | sha256sum | trunc 10 }}
{{- printf "%s-config%s-%s" (first .) $scheduler.suffix $hash }}
{{- end }}

{{/* The labels of the guard. A cluster has only one, so its names do not depend on the release; they are the program's defaults. */}}
{{- define "secondmate.guardLabels" -}}
app.kubernetes.io/name: secondmate-guard
{{- end }}

{{/* The image, from a list with the values (a scheduler's or the release's) and the chart. */}}
{{- define "secondmate.image" -}}
{{- $image := (first .).image }}
{{- printf "%s:%s" $image.repository (default (last .).AppVersion $image.tag) | quote }}
{{- end }}

{{/* How an endpoint of a PodMonitor is scraped over HTTPS: the certificate is self-signed. */}}
{{- define "secondmate.scrapeSecurely" -}}
{{- if .Values.secure.enabled -}}
scheme: https
tlsConfig:
  insecureSkipVerify: true
authorization:
  credentials:
    name: {{ .Release.Name }}-scraper
    key: token
{{- end }}
{{- end }}
