{{- define "cpi-hub.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "cpi-hub.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "cpi-hub.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "cpi-hub.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cpi-hub.selector" -}}
app.kubernetes.io/name: {{ include "cpi-hub.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cpi-hub.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "cpi-hub.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "cpi-hub.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* What can't work is refused before it is installed. */}}
{{- define "cpi-hub.checks" -}}
{{- if not (or .Values.auth.secretName .Values.auth.insecure) -}}
{{- fail "auth.secretName: name a Secret with jwt_secret or api_keys; or say auth.insecure, and everybody is who they say" -}}
{{- end -}}
{{- if and .Values.database.standby (not .Values.database.secretName) -}}
{{- fail "database.standby: a second hub needs PostgreSQL: name its Secret in database.secretName" -}}
{{- end -}}
{{- if lt (int .Values.drain.stopWait) (add (int .Values.drain.window) 3) -}}
{{- fail "drain.stopWait: drain.window and 3 s at least" -}}
{{- end -}}
{{- if and .Values.database.standby (not (kindIs "invalid" .Values.podDisruptionBudget.maxUnavailable)) (lt (int .Values.podDisruptionBudget.maxUnavailable) 2) -}}
{{- fail "podDisruptionBudget.maxUnavailable: with a standby, which is never Ready, less than 2 keeps nodes from being drained" -}}
{{- end -}}
{{- range $name := list "listen" "data_dir" "database_url" "pinned" "insecure" "origins" "hosts" "trusted_proxies" "drain_window" "stop_wait" "tls_certificate" "tls_key" "tls_plain_listen" -}}
{{- if hasKey $.Values.settings $name -}}
{{- fail (printf "settings.%s: this setting has a value of its own in the chart" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Names that the hub goes by. */}}
{{- define "cpi-hub.hosts" -}}
{{- $name := include "cpi-hub.fullname" . -}}
{{- $space := .Release.Namespace -}}
{{- $own := list $name (printf "%s.%s" $name $space) (printf "%s.%s.svc" $name $space) (printf "%s.%s.svc.cluster.local" $name $space) -}}
{{- if .Values.ingress.enabled -}}
{{- $own = append $own .Values.ingress.host -}}
{{- end -}}
{{- concat $own .Values.hosts | uniq | join "," -}}
{{- end -}}
