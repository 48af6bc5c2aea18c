{{- /* Names and labels. */ -}}
{{- define "forebay.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "forebay.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "forebay.name" .) .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "forebay.name" .) | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- /* ClusterRoles are shared by all namespaces: the release's namespace tells two releases of one name apart. */ -}}
{{- define "forebay.clusterName" -}}
{{- $name := include "forebay.fullname" . -}}
{{- if eq .Release.Namespace "forebay-system" -}}{{ $name }}{{- else -}}{{ printf "%s-%s" .Release.Namespace $name }}{{- end -}}
{{- end }}

{{- define "forebay.selectorLabels" -}}
app.kubernetes.io/name: {{ include "forebay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* What pods have: nothing that changes with the chart alone, which would restart them. */ -}}
{{- define "forebay.podLabels" -}}
{{ include "forebay.selectorLabels" . }}
app.kubernetes.io/part-of: forebay
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "forebay.labels" -}}
{{ include "forebay.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "forebay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "forebay.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ required "serviceAccount.name: name an existing account, or set serviceAccount.create to true" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "forebay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{- /* What every pod needs to start at all: credentials of the registry, users, and nodes that take it. */ -}}
{{- define "forebay.placement" -}}
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{- /* As Pod Security `restricted` wants it. */ -}}
{{- define "forebay.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What the monitor of this release, if it has one, calls its targets: the Prometheus Operator's defaults. */ -}}
{{- define "forebay.scrapeJob" -}}
{{- if .Values.serviceMonitor.enabled -}}
{{ include "forebay.fullname" . }}
{{- else if .Values.podMonitor.enabled -}}
{{ printf "%s/%s" .Release.Namespace (include "forebay.fullname" .) }}
{{- end -}}
{{- end }}

{{- /* The pod of `helm test`: no operator, so that neither Service nor PodDisruptionBudget takes it for one. */ -}}
{{- define "forebay.testLabels" -}}
app.kubernetes.io/name: {{ include "forebay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}

{{- /* The files with which Prometheus is spoken to, as sources of one projected volume. */ -}}
{{- define "forebay.prometheusFiles" -}}
{{- with .Values.prometheus.tokenSecret }}
{{- if .name }}
- secret: {name: {{ .name }}, items: [{key: {{ .key }}, path: token}]}
{{- end }}
{{- end }}
{{- with .Values.prometheus.basicAuthSecret }}
{{- if .name }}
- secret: {name: {{ .name }}, items: [{key: {{ .passwordKey }}, path: password}]}
{{- end }}
{{- end }}
{{- with .Values.prometheus.clientCertificateSecret }}
{{- if .name }}
- secret: {name: {{ .name }}, items: [{key: {{ .certificateKey }}, path: tls.crt}, {key: {{ .privateKeyKey }}, path: tls.key}]}
{{- end }}
{{- end }}
{{- with .Values.prometheus.ca }}
{{- if .secretName }}
- secret: {name: {{ .secretName }}, items: [{key: {{ .key }}, path: ca.crt}]}
{{- else if .configMapName }}
- configMap: {name: {{ .configMapName }}, items: [{key: {{ .key }}, path: ca.crt}]}
{{- end }}
{{- end }}
{{- end }}
