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
{{- include "weir.partLabels" (dict "root" . "name" (include "weir.name" .) "component" "control-plane" "version" .Chart.AppVersion) }}
{{- end }}

{{/* Of a part beside the control plane, such as those of sub-charts: (dict "root" . "name" "redis") */}}
{{- define "weir.partSelectorLabels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* The same with "component" and "version" of the part */}}
{{- define "weir.partLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "weir.partSelectorLabels" . }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: weir
app.kubernetes.io/version: {{ .version | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The name of such a part: (dict "root" . "name" "redis") */}}
{{- define "weir.partName" -}}
{{- printf "%s-%s" (.root.Release.Name | trunc 50 | trimSuffix "-") .name }}
{{- end }}

{{/* Labels of the pods that decide and serve, for sub-charts, which do not know what the parent is called. */}}
{{- define "weir.controlPlane" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: weir
app.kubernetes.io/component: control-plane
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

{{/* With which Secrets the images of a pod are pulled. */}}
{{- define "weir.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Where pods go: (dict "of" .Values "labels" "the labels of the selector"); without labels they are not spread. */}}
{{- define "weir.placement" -}}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $.of $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if or .labels .of.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- if .of.topologySpreadConstraints }}
  {{- toYaml .of.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $.labels | nindent 8 }}
  {{- end }}
  {{- end }}
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

{{- define "weir.envoySelectorLabels" -}}
app.kubernetes.io/name: {{ include "weir.name" . }}-envoy
app.kubernetes.io/instance: {{ .Release.Name }}
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
