# Checked where people give them, in the module around this one.
variable "image" {
  description = "Where the image is."
  type = object({
    registry   = string
    repository = string
    tag        = string
    digest     = string
  })
}

variable "replicas" {
  description = "Replicas of Weir."
  type        = number
}

variable "watch_namespace" {
  description = "One namespace alone; null: all."
  type        = string
}

variable "tls" {
  description = "How the xDS address gets its certificate."
  type = object({
    mode        = string
    secret_name = string
    issuer      = object({ name = string, kind = string, group = string })
  })
}

variable "identities" {
  description = "Templates of names that entitle to a node."
  type        = list(string)
}

variable "settings" {
  description = "Options of `weir serve` in camel case."
  type        = map(string)
}

variable "secret_environment" {
  description = "Environment from Secrets."
  type        = map(object({ name = string, key = string }))
}

variable "service_account_annotations" {
  description = "Annotations of the service account."
  type        = map(string)
}

variable "envoy" {
  description = "Envoys of the chart's own."
  type = object({
    enabled             = bool
    gateway             = string
    replicas            = number
    service_type        = string
    service_annotations = map(string)
    ports               = list(object({ name = string, port = number, target_port = number }))
  })
}

variable "monitoring" {
  description = "What the Prometheus Operator and Grafana's sidecar take."
  type = object({
    enabled = bool
    labels  = map(string)
  })
}
