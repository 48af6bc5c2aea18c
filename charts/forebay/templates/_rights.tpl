{{- /* What Forebay may do. One home for the rules, since they go into ClusterRoles or, with watchNamespaces, Roles. */ -}}

{{- define "forebay.subjects" -}}
- {kind: ServiceAccount, name: {{ include "forebay.serviceAccountName" . }}, namespace: {{ .Release.Namespace }}}
{{- end }}

{{- /* Scale targets that are read by name, when a pool asks for one: group and resource, as a list under `targets`. */ -}}
{{- define "forebay.otherTargets" -}}
{{- $targets := .Values.rbac.targets }}
targets:
{{- if $targets.leaderWorkerSets }}
- {group: leaderworkerset.x-k8s.io, resource: leaderworkersets}
{{- end }}
{{- if $targets.disaggregatedSets }}
- {group: disaggregatedset.x-k8s.io, resource: disaggregatedsetrolescalers}
{{- end }}
{{- if $targets.dynamoGraphs }}
- {group: nvidia.com, resource: dynamographdeploymentscalingadapters}
{{- end }}
{{- if $targets.roleBasedGroups }}
- {group: workloads.x-k8s.io, resource: rolebasedgroupscalingadapters}
{{- end }}
{{- range .Values.rbac.extraTargets }}
- {group: {{ .group }}, resource: {{ .resource }}}
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
# Replicas, selector, and who set them last. The informer watches both kinds, whichever may be scaled.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [list, watch]
# Other autoscalers of the same targets, which are reported and never fought.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
{{- if .Values.rbac.keda }}
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [list]
{{- end }}
{{- range (include "forebay.otherTargets" . | fromYaml).targets }}
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
  resources: [gpunodepools, servingprofiles]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
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

{{- /* The one thing that it changes: replica counts, through /scale. It cannot edit the workloads themselves. */ -}}
{{- define "forebay.rules.scale" -}}
{{- $apps := list }}
{{- if .Values.rbac.targets.deployments }}{{ $apps = append $apps "deployments/scale" }}{{ end }}
{{- if .Values.rbac.targets.statefulSets }}{{ $apps = append $apps "statefulsets/scale" }}{{ end }}
{{- if $apps }}
- apiGroups: [apps]
  resources: [{{ join ", " $apps }}]
  verbs: [patch]
{{- end }}
{{- range (include "forebay.otherTargets" . | fromYaml).targets }}
- apiGroups: [{{ .group }}]
  resources: [{{ .resource }}/scale]
  verbs: [patch]
{{- end }}
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
