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
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "resonance.gpuLimit" -}}
{{- if .Values.gpu.count }}
{{ .Values.gpu.resourceName }}: {{ .Values.gpu.count }}
{{- end }}
{{- end -}}

{{- /* 7/8 of the spool's GiB, in bytes. */ -}}
{{- define "resonance.spoolBytes" -}}
{{ mul .Values.spool.sizeGi 7 134217728 }}
{{- end -}}

{{- /* The groups of prometheus/alerts.yml without the alerts that are left out, as YAML. */ -}}
{{- define "resonance.alerts" -}}
{{- $groups := list -}}
{{- range (.Files.Get "files/alerts.yml" | fromYaml).groups -}}
{{- $kept := list -}}
{{- range .rules -}}
{{- if not (has .alert $.Values.prometheusRule.leaveOut) -}}
{{- $kept = append $kept . -}}
{{- end -}}
{{- end -}}
{{- if $kept -}}
{{- $groups = append $groups (dict "name" .name "rules" $kept) -}}
{{- end -}}
{{- end -}}
{{ toYaml (dict "groups" $groups) }}
{{- end -}}

{{- /* What follows -- after `resonance serve`. */ -}}
{{- define "resonance.gatewayArgs" -}}
{{- if .Values.tls.existingSecret }}
- --tls-cert=/etc/resonance/tls/tls.crt
- --tls-key=/etc/resonance/tls/tls.key
{{- if .Values.tls.clientCa }}
- --tls-client-ca=/etc/resonance/tls/ca.crt
{{- end }}
{{- else }}
- --insecure-anywhere
{{- end }}
{{- if .Values.tokens.existingSecret }}
- --token-file=/etc/resonance/tokens/tokens
{{- end }}
- --max-spool-bytes={{ include "resonance.spoolBytes" . }}
- --max-media-bytes={{ include "resonance.spoolBytes" . }}
{{- with .Values.gatewayArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* What cannot work is refused before anything is installed. */ -}}
{{- define "resonance.check" -}}
{{- $disk := .Values.models.persistence -}}
{{- $many := or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) -}}
{{- if and $disk.enabled (not $disk.existingClaim) $many (not (has "ReadWriteMany" $disk.accessModes)) -}}
{{- fail (printf "several replicas share one volume: models.persistence.accessModes is %v, expected ReadWriteMany in it; or set models.persistence.enabled=false" $disk.accessModes) -}}
{{- end -}}
{{- if not (or .Values.tls.existingSecret .Values.allowPlainText) -}}
{{- fail "tls.existingSecret is empty, and media, vectors and tokens would cross the network in plain text: expected the name of a secret of type kubernetes.io/tls; or set allowPlainText=true where something before the gateway encrypts" -}}
{{- end -}}
{{- if and .Values.tls.clientCa (not .Values.tls.existingSecret) -}}
{{- fail "tls.clientCa is true without TLS: expected tls.existingSecret with ca.crt in it" -}}
{{- end -}}
{{- if not (or .Values.tokens.existingSecret .Values.tls.clientCa .Values.allowEverybody) -}}
{{- fail "tokens.existingSecret is empty, and everybody who reaches the gateway could call it: expected the name of a secret with the key tokens, or tls.clientCa=true; or set allowEverybody=true" -}}
{{- end -}}
{{- if and (eq .Values.target "gpu") (lt (int .Values.gpu.count) 1) -}}
{{- fail (printf "target gpu needs a GPU: gpu.count is %v, expected 1 or more; or set target=cpu" .Values.gpu.count) -}}
{{- end -}}
{{- range .Values.extraArgs -}}
{{- if or (eq . "--target") (hasPrefix "--target=" .) -}}
{{- fail (printf "extraArgs has %s, and models are exported for the target %s: expected target alone to say it" . $.Values.target) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has .name (list "RESONANCE_TARGET" "RESONANCE_FAMILY" "RESONANCE_EXPORT_OPTIONS" "RESONANCE_FINGERPRINT") -}}
{{- fail (printf "extraEnv has %s, which a value of this chart sets: expected it in target, family, exportOptions or fingerprint" .name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled .Values.serviceMonitor.enabled (not .Values.networkPolicy.metricsFrom) -}}
{{- fail "networkPolicy.metricsFrom is empty, and the policy would keep out the Prometheus that serviceMonitor.enabled=true calls: expected its peers, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- if .Values.prometheusRule.leaveOut -}}
{{- $names := list -}}
{{- range (.Files.Get "files/alerts.yml" | fromYaml).groups -}}
{{- range .rules -}}
{{- $names = append $names .alert -}}
{{- end -}}
{{- end -}}
{{- range .Values.prometheusRule.leaveOut -}}
{{- if not (has . $names) -}}
{{- fail (printf "prometheusRule.leaveOut has %s, expected some of %s" . (join ", " $names)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail (printf "autoscaling.maxReplicas is %v, expected at least minReplicas (%v)" .Values.autoscaling.maxReplicas .Values.autoscaling.minReplicas) -}}
{{- end -}}
{{- end -}}
