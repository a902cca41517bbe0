# Values of the chart from the variables of the module. No provider: `terraform test` runs it anywhere.

terraform {
  required_version = ">= 1.9.0"
}

locals {
  values = {
    image          = var.image
    replicaCount   = var.replicas
    watchNamespace = var.watch_namespace == null ? "" : var.watch_namespace
    xds = {
      identity = var.identities
      tls = merge(
        { mode = var.tls.mode, secretName = var.tls.secret_name },
        { for issuer in var.tls.issuer[*] : "issuerRef" => issuer },
      )
    }
    settings       = merge({ logFormat = "json" }, var.settings)
    serviceAccount = { annotations = var.service_account_annotations }
    extraEnv = [
      for name, secret in var.secret_environment :
      { name = name, valueFrom = { secretKeyRef = { name = secret.name, key = secret.key } } }
    ]
    envoy = {
      enabled      = var.envoy.enabled
      gateway      = var.envoy.gateway
      replicaCount = var.envoy.replicas
      service      = { type = var.envoy.service_type, annotations = var.envoy.service_annotations }
      ports        = [for one in var.envoy.ports : { name = one.name, port = one.port, targetPort = one.target_port }]
    }
    metrics = {
      serviceMonitor = { enabled = var.monitoring.enabled, labels = var.monitoring.labels }
      podMonitor     = { enabled = var.monitoring.enabled && var.envoy.enabled, labels = var.monitoring.labels }
      prometheusRule = { enabled = var.monitoring.enabled, labels = var.monitoring.labels }
      dashboards     = { enabled = var.monitoring.enabled }
    }
  }
}

output "yaml" {
  description = "Values of the chart."
  value       = yamlencode(local.values)
}
