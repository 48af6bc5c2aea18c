{{- /*
What values.schema.json cannot say in a sentence, or not at all. Each failure names the value and what to write.
*/ -}}

{{- define "forebay.checks" -}}
{{- if not (and (hasKey .Values "watchNamespaces") (hasKey .Values.operator "enabled") (hasKey .Values "podMonitor")) }}
{{- fail "values of an older chart lack what is new: upgrade with --reset-then-reuse-values instead of --reuse-values" }}
{{- end }}
{{- include "forebay.checks.durations" . }}
{{- include "forebay.checks.prometheus" . }}
{{- include "forebay.checks.namespaces" . }}
{{- include "forebay.checks.image" . }}
{{- include "forebay.checks.monitoring" . }}
{{- include "forebay.checks.labels" . }}
{{- include "forebay.checks.resources" . }}
{{- end }}

{{- define "forebay.checks.durations" -}}
{{- $durations := dict }}
{{- include "forebay.settingDurations" (dict "durations" $durations "values" .Values) }}
{{- range $name := list "serviceMonitor" "podMonitor" }}
{{- $_ := set $durations (printf "%s.interval" $name) (get $.Values $name).interval }}
{{- $_ := set $durations (printf "%s.scrapeTimeout" $name) (get $.Values $name).scrapeTimeout }}
{{- end }}
{{- $start := toDate "2006-01-02" "2000-01-01" }}
{{- range $name, $value := $durations }}
{{- if and (eq $name "operator.history") (regexMatch "^(0|[0-9]+d)$" $value) }}
{{- else if not (regexMatch "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$" $value) }}
{{- fail (printf "%s: %q is no duration; write it with a unit, such as 15s, 5m or 1h30m" $name $value) }}
{{- else if ne $name "operator.history" }}
{{- $milliseconds := sub ($start | mustDateModify $value).UnixMilli $start.UnixMilli }}
{{- if not (and (gt $milliseconds 0) (le $milliseconds 86400000)) }}
{{- fail (printf "%s: %s is out of range; write more than 0s and at most 24h" $name $value) }}
{{- end }}
{{- end }}
{{- end }}
{{- $retry := ($start | mustDateModify .Values.lease.retryPeriod).UnixMilli }}
{{- $renew := ($start | mustDateModify .Values.lease.renewDeadline).UnixMilli }}
{{- $duration := ($start | mustDateModify .Values.lease.duration).UnixMilli }}
{{- if not (and (lt $retry $renew) (lt $renew $duration)) }}
{{- fail (printf "lease: times must rise, retryPeriod < renewDeadline < duration; they are %s, %s and %s" .Values.lease.retryPeriod .Values.lease.renewDeadline .Values.lease.duration) }}
{{- end }}
{{- end }}

{{- define "forebay.checks.prometheus" -}}
{{- with .Values.prometheus }}
{{- if .urlSecret.name }}
{{- else if not .url }}
{{- fail "prometheus.url: give the address of Prometheus, or prometheus.urlSecret" }}
{{- else if not (regexMatch "^https?://[^/?#@[:space:]]+(/[^?#[:space:]]*)?$" .url) }}
{{- fail (printf "prometheus.url: write http(s)://host[:port][/path], without user, query or fragment, not %q; credentials go into a Secret" .url) }}
{{- end }}
{{- if and .ca.secretName .ca.configMapName }}
{{- fail "prometheus.ca: set secretName or configMapName, not both" }}
{{- end }}
{{- if and .tokenSecret.name .basicAuthSecret.name }}
{{- fail "prometheus: set tokenSecret or basicAuthSecret, not both" }}
{{- end }}
{{- range $index, $header := .headers }}
{{- if eq (hasKey $header "value") (hasKey $header "secret") }}
{{- fail (printf "prometheus.headers[%d]: header %s needs either a value or a secret with name and key" $index $header.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "forebay.checks.namespaces" -}}
{{- range (concat .Values.watchNamespaces .Values.rbac.scaling.namespaces) }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" .) }}
{{- fail (printf "watchNamespaces, rbac.scaling.namespaces: %q cannot be a namespace's name; give names, not patterns" .) }}
{{- end }}
{{- end }}
{{- with .Values.watchNamespaces }}
{{- range $.Values.rbac.scaling.namespaces }}
{{- if not (has . $.Values.watchNamespaces) }}
{{- fail (printf "rbac.scaling.namespaces: %q is not watched; add it to watchNamespaces, or take it out" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "forebay.checks.image" -}}
{{- with .Values.image }}
{{- if not (regexMatch "^(sha256:[0-9a-f]{64})?$" .digest) }}
{{- fail (printf "image.digest: %q is no digest; write sha256: and 64 hexadecimal digits" .digest) }}
{{- end }}
{{- if or (contains "://" .repository) (not (regexMatch "^[A-Za-z0-9][^[:space:]]*$" .repository)) }}
{{- fail (printf "image.repository: %q is no image; write it as in registry.example.org/forebay, without http" .repository) }}
{{- end }}
{{- if regexMatch "(@|:[^/]*$)" .repository }}
{{- fail (printf "image.repository: %q has a tag or digest; write those into image.tag or image.digest" .repository) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "forebay.checks.monitoring" -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor, podMonitor: enable one of them, or every metric is counted twice" }}
{{- end }}
{{- $start := toDate "2006-01-02" "2000-01-01" }}
{{- range $name := list "serviceMonitor" "podMonitor" }}
{{- with get $.Values $name }}
{{- if le ($start | mustDateModify .interval).UnixMilli ($start | mustDateModify .scrapeTimeout).UnixMilli }}
{{- fail (printf "%s.scrapeTimeout: %s is not less than the interval of %s, and Prometheus refuses that" $name .scrapeTimeout .interval) }}
{{- end }}
{{- end }}
{{- end }}
{{- $alerts := list }}
{{- range (index (.Files.Get "files/alerts.yaml" | fromYaml).groups 0).rules }}{{ $alerts = append $alerts .alert }}{{ end }}
{{- range .Values.prometheusRule.disabled }}
{{- if not (has . $alerts) }}
{{- fail (printf "prometheusRule.disabled: there is no alert %q; there are %s" . (join ", " $alerts)) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "forebay.checks.labels" -}}
{{- range $name := list "commonLabels" "podLabels" }}
{{- range $label, $_ := get $.Values $name }}
{{- if or (hasPrefix "app.kubernetes.io/" $label) (hasPrefix "helm.sh/" $label) }}
{{- fail (printf "%s: the chart sets %s itself; see nameOverride, or choose another label" $name $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "forebay.checks.resources" -}}
{{- range $name := list "requests" "limits" }}
{{- with get $.Values.resources $name }}
{{- if and (hasKey . "memory") (not (regexMatch "^[0-9]+(\\.[0-9]+)?([KMGT]i|[kMGT])$" (toString .memory))) }}
{{- fail (printf "resources.%s.memory: %v is no amount of memory; write it with a unit, such as 512Mi or 1Gi" $name .memory) }}
{{- end }}
{{- if and (hasKey . "cpu") (not (regexMatch "^([0-9]+m|[0-9]+(\\.[0-9]+)?)$" (toString .cpu))) }}
{{- fail (printf "resources.%s.cpu: %v is no number of CPUs; write it as in 500m or 1.5" $name .cpu) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
