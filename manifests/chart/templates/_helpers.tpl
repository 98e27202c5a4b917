{{/* The release's name is what selectors select, so that two releases in one namespace leave each other's pods alone. */}}
{{- define "secondmate.labels" -}}
app.kubernetes.io/name: {{ .Release.Name }}
{{- end }}

{{/* The name of the Lease: the scheduler derives the same one from its names. */}}
{{- define "secondmate.lease" -}}
{{ first (sortAlpha .Values.schedulerNames) }}
{{- end }}

{{- define "secondmate.config" -}}
{{- $profiles := list }}
{{- range .Values.schedulerNames }}
{{- $profiles = append $profiles (merge (dict "schedulerName" .) $.Values.profile) }}
{{- end }}
{{- $elect := dict "leaderElection" (dict "leaderElect" true) }}
{{- $main := dict "apiVersion" "kubescheduler.config.k8s.io/v1" "kind" "KubeSchedulerConfiguration" "profiles" $profiles }}
{{- toYaml (mergeOverwrite (dict) (deepCopy .Values.config) $elect $main) }}
{{- with .Values.secondmateConfig }}
---
{{ toYaml (merge (dict "apiVersion" "secondmate.dev/v1alpha1" "kind" "SecondmateConfiguration") .) }}
{{- end }}
{{- end }}

{{- define "secondmate.configName" -}}
{{ .Release.Name }}-config
{{- end }}
