{{- define "redis.labels" -}}
{{- include "weir.partLabels" (dict "root" . "name" "redis" "component" "rate-limit-counters" "version" .Values.image.tag) }}
{{- end }}

{{- define "redis.selectorLabels" -}}
{{- include "weir.partSelectorLabels" (dict "root" . "name" "redis") }}
{{- end }}

{{- define "redis.fullname" -}}
{{- include "weir.partName" (dict "root" . "name" "redis") }}
{{- end }}

{{- define "redis.secret" -}}
{{- .Values.auth.existingSecret | default (include "redis.fullname" .) }}
{{- end }}
