variables {
  image                       = { registry = "registry.example.org", repository = "weir", tag = "", digest = "" }
  replicas                    = 2
  watch_namespace             = null
  tls                         = { mode = "generated", secret_name = "", issuer = null }
  identities                  = []
  settings                    = {}
  secret_environment          = {}
  service_account_annotations = {}
  monitoring                  = { enabled = false, labels = {} }
  envoy = {
    enabled             = false
    gateway             = "default/edge"
    replicas            = 2
    service_type        = "ClusterIP"
    service_annotations = {}
    ports               = [{ name = "http", port = 80, target_port = 8080 }]
  }
}

run "what_is_said_goes_before_what_is_usual" {
  command = plan
  variables {
    settings = { logFormat = "console", workers = "8" }
  }
  assert {
    condition     = yamldecode(output.yaml).settings == { logFormat = "console", workers = "8" }
    error_message = "logs for people were asked for"
  }
}

run "a_secret_is_named_and_never_written" {
  command = plan
  variables {
    secret_environment = { WEIR_RATE_LIMIT_REDIS_URL = { name = "weir-redis", key = "url" } }
  }
  assert {
    condition     = yamldecode(output.yaml).extraEnv[0].valueFrom.secretKeyRef == { name = "weir-redis", key = "url" }
    error_message = "the environment refers to the Secret"
  }
}

run "an_issuer_is_there_with_cert_manager_alone" {
  command = plan
  variables {
    tls = { mode = "certManager", secret_name = "", issuer = { name = "mesh", kind = "ClusterIssuer", group = "cert-manager.io" } }
  }
  assert {
    condition     = yamldecode(output.yaml).xds.tls.issuerRef.name == "mesh"
    error_message = "the issuer is the one that was given"
  }
}
