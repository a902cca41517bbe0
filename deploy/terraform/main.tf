# Weir in a cluster: its namespace, a Secret for what is secret, and the chart.

locals {
  namespace    = var.create_namespace ? kubernetes_namespace_v1.this[0].metadata[0].name : var.namespace
  redis_secret = "${var.name}-redis"
  # As the chart names its objects.
  fullname = strcontains(var.name, "weir") ? var.name : "${var.name}-weir"
}

resource "kubernetes_namespace_v1" "this" {
  count = var.create_namespace ? 1 : 0

  metadata {
    name = var.namespace
    labels = {
      "pod-security.kubernetes.io/enforce" = "restricted"
    }
  }
}

# Whether there is a URL is no secret; what it is stays out of the values, which Helm keeps.
resource "kubernetes_secret_v1" "redis" {
  count = nonsensitive(var.redis_url != null) ? 1 : 0

  metadata {
    name      = local.redis_secret
    namespace = local.namespace
  }

  data = {
    url = var.redis_url
  }
}

module "values" {
  source = "./modules/values"

  image                       = var.image
  replicas                    = var.replicas
  watch_namespace             = var.watch_namespace
  tls                         = var.tls
  identities                  = var.identities
  settings                    = var.settings
  service_account_annotations = var.service_account_annotations
  envoy                       = var.envoy
  monitoring                  = var.monitoring
  secret_environment = merge(
    var.secret_environment,
    { for one in kubernetes_secret_v1.redis : "WEIR_RATE_LIMIT_REDIS_URL" => { name = local.redis_secret, key = "url" } },
  )
}

resource "helm_release" "this" {
  name      = var.name
  namespace = local.namespace
  chart     = coalesce(var.chart, "${path.module}/../../charts/weir")
  version   = var.chart_version

  # All of it or none of it: a failed upgrade goes back to what served before.
  atomic          = true
  cleanup_on_fail = true
  wait            = true
  timeout         = var.timeout_seconds
  max_history     = 10

  values = concat([module.values.yaml], var.extra_values)
}
