{{- define "weir.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "weir.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "weir.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "weir.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "weir.selectorLabels" -}}
app.kubernetes.io/name: {{ include "weir.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weir.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "weir.selectorLabels" . }}
app.kubernetes.io/component: control-plane
app.kubernetes.io/part-of: weir
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "weir.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "weir.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* An image: (dict "root" $ "image" .Values.image "tag" "the default tag") */}}
{{- define "weir.image" -}}
{{- $registry := .root.Values.global.imageRegistry | default .image.registry }}
{{- $name := .image.repository }}
{{- if $registry }}{{ $name = printf "%s/%s" $registry $name }}{{ end }}
{{- if .image.digest }}
{{- printf "%s@%s" $name .image.digest }}
{{- else }}
{{- printf "%s:%s" $name (.image.tag | default .tag) }}
{{- end }}
{{- end }}

{{- define "weir.tlsSecret" -}}
{{- if eq .Values.xds.tls.mode "existing" }}
{{- required "xds.tls.mode existing wants xds.tls.secretName: a Secret with tls.crt, tls.key and ca.crt" .Values.xds.tls.secretName }}
{{- else }}
{{- printf "%s-xds" (include "weir.fullname" .) }}
{{- end }}
{{- end }}

{{- define "weir.envoySecret" -}}
{{- printf "%s-envoy" (include "weir.fullname" .) }}
{{- end }}

{{/* The name by which Envoys reach Weir and that its certificate has. */}}
{{- define "weir.host" -}}
{{- printf "%s.%s.svc" (include "weir.fullname" .) .Release.Namespace }}
{{- end }}

{{- define "weir.dnsNames" -}}
{{- $host := include "weir.host" . }}
{{- concat (list $host (printf "%s.cluster.local" $host) (include "weir.fullname" .)) .Values.xds.tls.extraDnsNames | toJson }}
{{- end }}

{{- define "weir.subject" }}
  - kind: ServiceAccount
    name: {{ include "weir.serviceAccountName" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}

{{/* What an Envoy is started with: a file of bootstrap/, which `controlplane.translate.examples` writes, with
     the words of this installation in it. */}}
{{- define "weir.envoyBootstrap" -}}
{{- $envoy := .Values.envoy }}
{{- $text := .Files.Get (printf "bootstrap/%s.yaml" $envoy.mode) }}
{{- $words := dict "NODE_CLUSTER" $envoy.gateway "WORKERS" $envoy.concurrency "WEIR_HOST" (include "weir.host" .) "XDS_PORT" .Values.xds.port }}
{{- if eq $envoy.mode "overlay" }}
{{- $target := required "envoy.mode overlay wants envoy.target: namespace/name of a Backend, namespace/name:port of a Service" $envoy.target }}
{{- $host := ternary "127.0.0.1" "0.0.0.0" (eq $envoy.style "sidecar") }}
{{- $words = merge $words (dict "TARGET" $target "LISTEN_HOST" $host "LISTEN_PORT" (first $envoy.ports).targetPort) }}
{{- end }}
{{- range $word, $value := $words }}
{{- $text = replace $word (toString $value) $text }}
{{- end }}
{{- $text }}
{{- end }}

{{/* Whether there is a webhook: its configuration is of the whole cluster. */}}
{{- define "weir.webhook" -}}
{{- if and .Values.webhook.enabled (not .Values.watchNamespace) }}true{{ end }}
{{- end }}

{{- define "weir.webhookSecret" -}}
{{- if eq .Values.webhook.certificate.mode "existing" }}
{{- required "webhook.certificate.mode existing wants webhook.certificate.secretName: a Secret with tls.crt and tls.key" .Values.webhook.certificate.secretName }}
{{- else }}
{{- printf "%s-webhook" (include "weir.fullname" .) }}
{{- end }}
{{- end }}
