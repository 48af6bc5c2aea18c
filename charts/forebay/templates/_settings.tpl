{{- /* Generated from forebay/runtime/settings.py by `python -m chartdocs`: what single values set. */ -}}
{{- define "forebay.settings" -}}
- {name: FOREBAY_INTERVAL, value: {{ .Values.operator.interval | toString | quote }}}
- {name: FOREBAY_PROMETHEUS_TIMEOUT, value: {{ .Values.prometheus.timeout | toString | quote }}}
- {name: FOREBAY_PROMETHEUS_SETTLE, value: {{ .Values.prometheus.settle | toString | quote }}}
{{- with .Values.prometheus.proxy }}
- {name: FOREBAY_PROMETHEUS_PROXY, value: {{ . | quote }}}
{{- end }}
- {name: FOREBAY_PROMETHEUS_NAMESPACE_LABEL, value: {{ .Values.prometheus.namespaceLabel | toString | quote }}}
- {name: FOREBAY_PROMETHEUS_POD_LABEL, value: {{ .Values.prometheus.podLabel | toString | quote }}}
{{- with .Values.prometheus.workloadLabel }}
- {name: FOREBAY_PROMETHEUS_WORKLOAD_LABEL, value: {{ . | quote }}}
{{- end }}
{{- with .Values.watchNamespaces }}
- {name: FOREBAY_WATCH_NAMESPACES, value: {{ join "," . | quote }}}
{{- end }}
{{- with .Values.operator.poolSelector }}
- {name: FOREBAY_POOL_SELECTOR, value: {{ . | quote }}}
{{- end }}
{{- with .Values.operator.podSelector }}
- {name: FOREBAY_POD_SELECTOR, value: {{ . | quote }}}
{{- end }}
- {name: FOREBAY_FLEET_POLICY, value: {{ .Values.operator.fleetPolicy | toString | quote }}}
- {name: FOREBAY_WARM_STANDBY, value: {{ .Values.operator.warmStandby | toString | quote }}}
- {name: FOREBAY_LEASE_DURATION, value: {{ .Values.lease.duration | toString | quote }}}
- {name: FOREBAY_RENEW_DEADLINE, value: {{ .Values.lease.renewDeadline | toString | quote }}}
- {name: FOREBAY_RETRY_PERIOD, value: {{ .Values.lease.retryPeriod | toString | quote }}}
- {name: FOREBAY_CONFLICT_WINDOW, value: {{ .Values.operator.conflictWindow | toString | quote }}}
- {name: FOREBAY_PROVISION_DEADLINE, value: {{ .Values.operator.provisionDeadline | toString | quote }}}
- {name: FOREBAY_RESYNC, value: {{ .Values.operator.resync | toString | quote }}}
- {name: FOREBAY_STATUS_DRIFT, value: {{ .Values.operator.statusDrift | toString | quote }}}
- {name: FOREBAY_HISTORY, value: {{ .Values.operator.history | toString | quote }}}
- {name: FOREBAY_LOG_FORMAT, value: {{ .Values.operator.logFormat | toString | quote }}}
- {name: FOREBAY_LOG_LEVEL, value: {{ .Values.operator.logLevel | toString | quote }}}
{{- end }}

{{- /* Adds the durations among them to the dict `durations`, by their path. */ -}}
{{- define "forebay.settingDurations" -}}
{{- $_ := set .durations "operator.interval" .values.operator.interval }}
{{- $_ := set .durations "prometheus.timeout" .values.prometheus.timeout }}
{{- $_ := set .durations "prometheus.settle" .values.prometheus.settle }}
{{- $_ := set .durations "lease.duration" .values.lease.duration }}
{{- $_ := set .durations "lease.renewDeadline" .values.lease.renewDeadline }}
{{- $_ := set .durations "lease.retryPeriod" .values.lease.retryPeriod }}
{{- $_ := set .durations "operator.conflictWindow" .values.operator.conflictWindow }}
{{- $_ := set .durations "operator.provisionDeadline" .values.operator.provisionDeadline }}
{{- $_ := set .durations "operator.resync" .values.operator.resync }}
{{- $_ := set .durations "operator.statusDrift" .values.operator.statusDrift }}
{{- $_ := set .durations "operator.history" .values.operator.history }}
{{- end }}
