{{/* Both parts by their name: (dict "root" . "name" "prometheus") */}}
{{- define "monitoring.labels" -}}
{{- $image := (index .root.Values .name).image }}
{{- include "weir.partLabels" (dict "root" .root "name" .name "component" "monitoring" "version" $image.tag) }}
{{- end }}

{{- define "monitoring.prometheus" -}}
{{- include "weir.partName" (dict "root" . "name" "prometheus") }}
{{- end }}

{{- define "monitoring.grafana" -}}
{{- include "weir.partName" (dict "root" . "name" "grafana") }}
{{- end }}

{{/* What the chart weir makes of its files. */}}
{{- define "monitoring.rules" -}}
{{- include "monitoring.prometheus" . }}-rules
{{- end }}

{{- define "monitoring.dashboards" -}}
{{- include "monitoring.grafana" . }}-dashboards
{{- end }}

{{- define "monitoring.adminSecret" -}}
{{- .Values.grafana.admin.existingSecret | default (include "monitoring.grafana" .) }}
{{- end }}

{{- define "monitoring.envoyNamespaces" -}}
{{- prepend (.Values.envoyNamespaces | default list) .Release.Namespace | uniq | toJson }}
{{- end }}

{{/* Pods by their labels, and the one port that is scraped: (dict "root" . "job" "weir" "namespaces" (list "a")
     "labels" "a=b" "port" "probe" "path" "/metrics") */}}
{{- define "monitoring.job" -}}
- job_name: {{ .job }}
  metrics_path: {{ .path }}
  kubernetes_sd_configs:
    - role: pod
      namespaces: {names: {{ toJson .namespaces }}}
      selectors: [{role: pod, label: {{ .labels | quote }}}]
  relabel_configs:
    - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: {{ .port }}}
    - {source_labels: [__meta_kubernetes_pod_phase], action: keep, regex: Running}
    - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
    - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
{{- end }}

{{- define "monitoring.configuration" -}}
{{- $own := list .Release.Namespace }}
{{- $labels := include "weir.controlPlane" . | fromYaml }}
{{- $pairs := list }}
{{- range $key, $value := $labels }}{{ $pairs = append $pairs (printf "%s=%s" $key $value) }}{{ end }}
global:
  scrape_interval: {{ .Values.prometheus.scrapeInterval }}
  evaluation_interval: 15s
rule_files:
  - /etc/weir/rules/weir.yaml
scrape_configs:
  {{- include "monitoring.job" (dict "job" "weir" "namespaces" $own "labels" (join "," $pairs) "port" "probe" "path" "/metrics") | nindent 2 }}
  {{- $everywhere := include "monitoring.envoyNamespaces" . | fromJsonArray }}
  {{- include "monitoring.job" (dict "job" "envoy" "namespaces" $everywhere "labels" "weir.dev/envoy=true" "port" "stats" "path" "/stats/prometheus") | nindent 2 }}
{{- end }}
