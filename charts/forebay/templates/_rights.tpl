{{- /* What Forebay may do. One home for the rules, since they go into ClusterRoles or, with watchNamespaces, Roles. */ -}}

{{- define "forebay.subjects" -}}
- {kind: ServiceAccount, name: {{ include "forebay.serviceAccountName" . }}, namespace: {{ .Release.Namespace }}}
{{- end }}

{{- /*
Kinds of workload that may be scaled, under `targets`. They come from files/workload-kinds.yaml, one row per kind, and
from rbac.extraTargets.
*/ -}}
{{- define "forebay.targets" -}}
targets:
{{- range .Files.Get "files/workload-kinds.yaml" | fromYamlArray }}
{{- if index $.Values.rbac.targets .value }}
- {group: {{ .group }}, resource: {{ .resource }}}
{{- end }}
{{- end }}
{{- end }}

{{- /* What it watches in namespaces. No Secret, no ConfigMap, no log. */ -}}
{{- define "forebay.rules.read" -}}
# Its own resources.
- apiGroups: [forebay.io]
  resources: [inferencepools, scalingpolicies]
  verbs: [list, watch]
# Replicas that are ready, starting or waiting for a node.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Replicas, selector, and who set them last. These two are watched, whichever may be scaled.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [list, watch]
{{- range (include "forebay.targets" . | fromYaml).targets }}
{{- if ne .group "apps" }}
- apiGroups: [{{ .group }}]
  resources: [{{ .resource }}]
  verbs: [list, watch]
{{- end }}
{{- end }}
# Other autoscalers of the same targets, which are reported and never fought.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
{{- if .Values.rbac.keda }}
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [list]
{{- end }}
{{- if .Values.rbac.aibrix }}
- apiGroups: [autoscaling.aibrix.ai]
  resources: [podautoscalers]
  verbs: [list]
{{- end }}
{{- range .Values.rbac.extraTargets }}
# A kind that Forebay does not know: each target is read by its name.
- apiGroups: [{{ .group }}]
  resources: [{{ .resource }}, {{ .resource }}/scale]
  verbs: [get]
{{- end }}
{{- if .Values.rbac.gatewayPools }}
# The gateway's pool that spec.inferencePoolRef names, read by name.
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools]
  verbs: [get]
{{- end }}
{{- end }}

{{- /* What it watches that is in no namespace: GPUs that are allocatable, node pools, profiles. */ -}}
{{- define "forebay.rules.readNodes" -}}
- apiGroups: [forebay.io]
  resources: [gpunodepools, servingprofiles, fleetpolicies]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
# Labels of namespaces, by which a FleetPolicy tells tenants apart.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list]
{{- end }}

{{- /* What it hears of those who bring nodes: only an operator of the whole cluster listens. */ -}}
{{- define "forebay.rules.hear" -}}
{{- if .Values.rbac.nodeProviders.karpenter }}
# Nodes that are on their way, limits, and what a cloud does not have.
- apiGroups: [karpenter.sh]
  resources: [nodepools, nodeclaims]
  verbs: [list]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}
{{- end }}

{{- /* What it says. All that mode Recommend needs. */ -}}
{{- define "forebay.rules.report" -}}
- apiGroups: [forebay.io]
  resources: [inferencepools/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "forebay.rules.reportNodes" -}}
- apiGroups: [forebay.io]
  resources: [gpunodepools/status]
  verbs: [patch]
{{- end }}

{{- /* What it changes: replica counts, through /scale, and marks of pods. It cannot edit the workloads themselves. */ -}}
{{- define "forebay.rules.scale" -}}
{{- range concat ((include "forebay.targets" . | fromYaml).targets | default list) .Values.rbac.extraTargets }}
- apiGroups: [{{ .group }}]
  resources: [{{ .resource }}/scale]
  verbs: [patch]
{{- end }}
{{- if (include "forebay.choosesPods" .) }}
# Which pods of Deployments and Rollouts go first: annotations and a label of pods. pod-guard.yaml refuses all else.
- apiGroups: [""]
  resources: [pods]
  verbs: [patch]
{{- end }}
{{- end }}

{{- /* Whether it may mark pods that go: kinds whose controller heeds the mark. */ -}}
{{- define "forebay.choosesPods" -}}
{{- $targets := .Values.rbac.targets }}
{{- if and .Values.rbac.scaling.pods (or $targets.deployments $targets.argoRollouts) }}true{{ end }}
{{- end }}

{{- /*
A role and its binding: given the release as `root`, the role's last name as `part`, its rules, and the namespaces that
it is for; for the whole cluster where there are none.
*/ -}}
{{- define "forebay.role" -}}
{{- $root := .root }}
{{- $name := printf "%s-%s" (include "forebay.clusterName" $root) .part }}
{{- $rules := .rules }}
{{- range .namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  namespace: {{ . }}
  labels: {{- include "forebay.labels" $root | nindent 4 }}
rules: {{- $rules | nindent 0 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ . }}
  labels: {{- include "forebay.labels" $root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $name }}}
subjects:
{{ include "forebay.subjects" $root }}
{{- else }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $name }}
  labels: {{- include "forebay.labels" $root | nindent 4 }}
rules: {{- $rules | nindent 0 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  labels: {{- include "forebay.labels" $root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $name }}}
subjects:
{{ include "forebay.subjects" $root }}
{{- end }}
{{- end }}

{{- /* Annotations and labels of pods that Forebay writes, as strings of CEL. */ -}}
{{- define "forebay.podMarks" -}}
'controller.kubernetes.io/pod-deletion-cost', 'forebay.io/deletion-cost-before', 'forebay.io/chosen-by', 'forebay.io/serving', 'forebay.io/parked-at'
{{- end }}
