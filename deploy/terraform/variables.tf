variable "name" {
  description = "Name of the Helm release."
  type        = string
  default     = "weir"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$", var.name))
    error_message = "A DNS label of at most 50 characters that begins with a letter."
  }
}

variable "namespace" {
  description = "Where Weir runs."
  type        = string
  default     = "weir-system"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", var.namespace)) && var.namespace != "default"
    error_message = "A DNS label, and a namespace of Weir's own rather than default."
  }
}

variable "create_namespace" {
  description = "Make the namespace, with the restricted profile of the Pod Security Standards enforced."
  type        = bool
  default     = true
  nullable    = false
}

variable "chart" {
  description = "A path, or oci://REGISTRY/REPOSITORY/weir. Null: the chart beside this module."
  type        = string
  default     = null
}

variable "chart_version" {
  description = "Version of a chart that comes from a registry. Null with a path."
  type        = string
  default     = null

  validation {
    condition     = var.chart_version == null || can(regex("^\\d+\\.\\d+\\.\\d+(-[0-9A-Za-z.]+)?$", var.chart_version))
    error_message = "One version, as 0.1.0: a range would upgrade by itself."
  }

  validation {
    condition     = (var.chart_version != null) == startswith(coalesce(var.chart, "."), "oci://")
    error_message = "A chart from a registry needs its version; one at a path has its own."
  }
}

variable "image" {
  description = "Where the image is. `digest` (sha256:...) wins over `tag`; without both it is the version of the chart."
  type = object({
    registry   = optional(string, "")
    repository = optional(string, "weir")
    tag        = optional(string, "")
    digest     = optional(string, "")
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.image.digest == "" || can(regex("^sha256:[0-9a-f]{64}$", var.image.digest))
    error_message = "image.digest is sha256: and 64 hexadecimal digits."
  }
}

variable "replicas" {
  description = "Replicas of Weir. One of them decides, all serve. Requests and limits are values: extra_values."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.replicas >= 1 && floor(var.replicas) == var.replicas
    error_message = "At least one."
  }
}

variable "watch_namespace" {
  description = "Serve objects of this namespace alone, with a Role instead of a ClusterRole. Null: of all."
  type        = string
  default     = null
}

variable "tls" {
  description = <<-EOT
    How the xDS address gets its certificate: generated (by Helm, once), certManager (by `issuer`) or existing (the
    Secret `secret_name` with tls.crt, tls.key and ca.crt).
  EOT
  type = object({
    mode        = optional(string, "generated")
    secret_name = optional(string, "")
    issuer = optional(object({
      name  = string
      kind  = optional(string, "ClusterIssuer")
      group = optional(string, "cert-manager.io")
    }))
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["generated", "certManager", "existing"], var.tls.mode)
    error_message = "tls.mode is generated, certManager or existing."
  }

  validation {
    condition     = (var.tls.mode == "existing") == (var.tls.secret_name != "")
    error_message = "tls.secret_name goes with tls.mode existing, and that with it."
  }

  validation {
    condition     = (var.tls.mode == "certManager") == (var.tls.issuer != null)
    error_message = "tls.issuer goes with tls.mode certManager, and that with it."
  }
}

variable "identities" {
  description = "Templates of names that entitle to a node, as spiffe://example.org/ns/{namespace}/envoy/{node_id}."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "settings" {
  description = "Further options of `weir serve`, in camel case: {logLevel = \"debug\"}."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.settings) : can(regex("^[a-z][A-Za-z0-9]*$", name))])
    error_message = "Names of settings are in camel case."
  }

  validation {
    condition     = !contains(keys(var.settings), "rateLimitRedisUrl")
    error_message = "That URL holds a password: give it as redis_url."
  }
}

variable "redis_url" {
  description = "redis://... or rediss://... that rate limits of all replicas are counted in. Null: each counts for itself."
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.redis_url == null || can(regex("^rediss?://", var.redis_url))
    error_message = "redis_url begins with redis:// or rediss://."
  }
}

variable "secret_environment" {
  description = "Environment of Weir from Secrets that are there: {WEIR_X = {name = \"secret\", key = \"key\"}}."
  type        = map(object({ name = string, key = string }))
  default     = {}
  nullable    = false
}

variable "service_account_annotations" {
  description = "Annotations of the service account, by which clouds give pods an identity. Weir itself asks no cloud for anything."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "envoy" {
  description = "Envoys of the chart's own for one Gateway (NAMESPACE/NAME). `ports` are those of its listeners."
  type = object({
    enabled             = optional(bool, false)
    gateway             = optional(string, "default/edge")
    replicas            = optional(number, 2)
    service_type        = optional(string, "ClusterIP")
    service_annotations = optional(map(string), {})
    ports = optional(list(object({
      name        = string
      port        = number
      target_port = number
    })), [{ name = "http", port = 80, target_port = 8080 }])
  })
  default  = {}
  nullable = false

  validation {
    condition     = can(regex("^[a-z0-9.-]+/[a-z0-9.-]+$", var.envoy.gateway))
    error_message = "envoy.gateway is NAMESPACE/NAME."
  }

  validation {
    condition     = contains(["ClusterIP", "NodePort", "LoadBalancer"], var.envoy.service_type)
    error_message = "envoy.service_type is ClusterIP, NodePort or LoadBalancer."
  }

  validation {
    condition     = var.envoy.replicas >= 1
    error_message = "envoy.replicas is at least 1."
  }
}

variable "monitoring" {
  description = "What the Prometheus Operator and Grafana's sidecar take. `labels` are those that they select by."
  type = object({
    enabled = optional(bool, false)
    labels  = optional(map(string), {})
  })
  default  = {}
  nullable = false
}

variable "extra_values" {
  description = "Further values of the chart as YAML, each over the ones before: yamlencode({...}), or a file of charts/weir."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "timeout_seconds" {
  description = "How long an installation or an upgrade may take until it is taken back."
  type        = number
  default     = 300
  nullable    = false

  validation {
    condition     = var.timeout_seconds >= 60 && var.timeout_seconds <= 3600
    error_message = "Between a minute and an hour."
  }
}
