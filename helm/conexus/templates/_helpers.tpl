{{- define "conexus.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "conexus.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "conexus.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "conexus.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "conexus.selector" -}}
app.kubernetes.io/name: {{ include "conexus.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "conexus.labels" -}}
{{ include "conexus.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "conexus.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{- define "conexus.sidecarImage" -}}
{{ .Values.sidecar.image.repository }}:{{ default .Chart.AppVersion .Values.sidecar.image.tag }}
{{- end }}

{{- define "conexus.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "conexus.fullname" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "conexus.claim" -}}
{{ default (printf "%s-data" (include "conexus.fullname" .)) .Values.persistence.existingClaim }}
{{- end }}

{{/* Stops with what is wrong before anything is installed. */}}
{{- define "conexus.check" -}}
{{- $sources := list }}
{{- if .Values.source.existingClaim }}{{ $sources = append $sources "existingClaim" }}{{ end }}
{{- if .Values.source.volume }}{{ $sources = append $sources "volume" }}{{ end }}
{{- if .Values.source.git.url }}{{ $sources = append $sources "git.url" }}{{ end }}
{{- if ne (len $sources) 1 }}
{{- fail (printf "source: set exactly one of source.existingClaim, source.volume and source.git.url, which say what to index (set now: %s)" (join ", " $sources | default "none")) }}
{{- end }}
{{- if not (or .Values.auth.existingSecret .Values.auth.allowUnauthenticated) }}
{{- fail "auth: set auth.existingSecret to the name of a Secret with the key `tokens`, or auth.allowUnauthenticated=true" }}
{{- end }}
{{- end }}

{{/* What both processes are told. Each checks the whole configuration, so both get all of it. */}}
{{- define "conexus.environment" -}}
{{- $name := include "conexus.fullname" . }}
{{- $hosts := list "localhost" $name }}
{{- range list .Release.Namespace (printf "%s.svc" .Release.Namespace) (printf "%s.svc.%s" .Release.Namespace .Values.clusterDomain) }}
{{- $hosts = append $hosts (printf "%s.%s" $name .) }}
{{- end }}
- {name: CONEXUS_HOST, value: "0.0.0.0"}
- {name: CONEXUS_METRICS_HOST, value: "0.0.0.0"}
- {name: CONEXUS_SERVER_ALLOWED_HOSTS, value: {{ concat $hosts .Values.allowedHosts | uniq | join "," | quote }}}
- {name: CONEXUS_ROOT_PATH, value: /workspace}
- {name: CONEXUS_DB_PATH, value: /var/lib/conexus/index}
- {name: CONEXUS_TELEMETRY_SOCKET, value: /run/conexus/telemetry.sock}
- {name: CONEXUS_TELEMETRY_STATE_DIR, value: /var/lib/conexus/sidecar}
- {name: CONEXUS_LOG_DIR, value: /var/lib/conexus/logs}
{{- if .Values.auth.existingSecret }}
- {name: CONEXUS_AUTH_ENABLED, value: "true"}
- name: CONEXUS_AUTH_TOKENS
  valueFrom: {secretKeyRef: {name: {{ .Values.auth.existingSecret }}, key: tokens}}
{{- else }}
- {name: CONEXUS_SERVER_ALLOW_UNAUTHENTICATED, value: "true"}
{{- end }}
{{- if .Values.sentry.existingSecret }}
- {name: CONEXUS_SENTRY_ENABLED, value: "true"}
- name: CONEXUS_SENTRY_DSN
  valueFrom: {secretKeyRef: {name: {{ .Values.sentry.existingSecret }}, key: dsn}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What both processes see: the socket's folder, the data, the configuration. */}}
{{- define "conexus.mounts" -}}
- {name: run, mountPath: /run/conexus}
- {name: data, mountPath: /var/lib/conexus}
- {name: config, mountPath: /etc/conexus, readOnly: true}
{{- end }}

{{/* A container that clones or fetches source.git. */}}
{{- define "conexus.git" -}}
image: {{ .Values.source.git.image }}
command: [sh, -euc]
env:
  - {name: HOME, value: /tmp}
  - {name: URL, value: {{ .Values.source.git.url | quote }}}
  - {name: REF, value: {{ .Values.source.git.ref | quote }}}
  {{- if .Values.source.git.existingSecret }}
  - {name: GIT_CONFIG_COUNT, value: "1"}
  - {name: GIT_CONFIG_KEY_0, value: credential.helper}
  - {name: GIT_CONFIG_VALUE_0, value: store --file=/etc/git-secret/credentials}
  {{- end }}
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
resources: {{- toYaml .Values.source.git.resources | nindent 2 }}
volumeMounts:
  - {name: source, mountPath: /workspace}
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.source.git.existingSecret }}
  - {name: git-secret, mountPath: /etc/git-secret, readOnly: true}
  {{- end }}
{{- end }}
