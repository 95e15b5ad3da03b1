{{- define "resonance.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "resonance.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "resonance.labels" -}}
{{ include "resonance.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "resonance.claim" -}}
{{ .Values.models.persistence.existingClaim | default (printf "%s-models" (include "resonance.name" .)) }}
{{- end -}}

{{- define "resonance.environment" -}}
- name: RESONANCE_TARGET
  value: {{ .Values.target | quote }}
- name: RESONANCE_FAMILY
  value: {{ .Values.family | quote }}
- name: RESONANCE_EXPORT_OPTIONS
  value: {{ .Values.exportOptions | quote }}
{{- end -}}

{{- define "resonance.gpuLimit" -}}
{{- if .Values.gpu.count }}
{{ .Values.gpu.resourceName }}: {{ .Values.gpu.count }}
{{- end }}
{{- end -}}

{{- /* What cannot work is refused before anything is installed. */ -}}
{{- define "resonance.check" -}}
{{- $disk := .Values.models.persistence -}}
{{- $many := or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) -}}
{{- if and $disk.enabled (not $disk.existingClaim) $many (not (has "ReadWriteMany" $disk.accessModes)) -}}
{{- fail (printf "several replicas share one volume: models.persistence.accessModes is %v, expected ReadWriteMany in it; or set models.persistence.enabled=false" $disk.accessModes) -}}
{{- end -}}
{{- if and (eq .Values.target "gpu") (lt (int .Values.gpu.count) 1) -}}
{{- fail (printf "target gpu needs a GPU: gpu.count is %v, expected 1 or more; or set target=cpu" .Values.gpu.count) -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail (printf "autoscaling.maxReplicas is %v, expected at least minReplicas (%v)" .Values.autoscaling.maxReplicas .Values.autoscaling.minReplicas) -}}
{{- end -}}
{{- end -}}
