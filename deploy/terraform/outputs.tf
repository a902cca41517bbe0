output "namespace" {
  description = "Where Weir runs."
  value       = local.namespace
}

output "release" {
  description = "Name of the Helm release."
  value       = helm_release.this.name
}

output "xds_address" {
  description = "Where Envoys of this cluster connect to, by mutual TLS."
  value       = "${local.fullname}.${local.namespace}.svc:18000"
}

output "envoy_secret" {
  description = "The Secret with the certificate of Envoys; null where certificates are your own."
  value       = var.tls.mode == "existing" ? null : "${local.fullname}-envoy"
}

output "values" {
  description = "What the chart was given, but for extra_values."
  value       = module.values.yaml
}
