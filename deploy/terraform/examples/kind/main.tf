# Weir and two Envoys in a cluster of kind that is there:
#
#   kind create cluster
#   kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.4.0/standard-install.yaml
#   docker build -f deploy/images/serve.Dockerfile -t weir:0.1.0 . && kind load docker-image weir:0.1.0
#   terraform -chdir=deploy/terraform/examples/kind init
#   terraform -chdir=deploy/terraform/examples/kind apply

terraform {
  required_version = ">= 1.9.0"
  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = "~> 3.0"
    }
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = ">= 2.36.0, < 4.0.0"
    }
  }
}

variable "kubeconfig" {
  description = "The file that kubectl uses."
  type        = string
  default     = "~/.kube/config"
}

variable "context" {
  description = "The context of the cluster."
  type        = string
  default     = "kind-kind"
}

provider "kubernetes" {
  config_path    = var.kubeconfig
  config_context = var.context
}

provider "helm" {
  kubernetes = {
    config_path    = var.kubeconfig
    config_context = var.context
  }
}

module "weir" {
  source = "../.."

  replicas = 1
  envoy = {
    enabled = true
    gateway = "default/edge"
  }
}

output "xds_address" {
  description = "Where Envoys connect to."
  value       = module.weir.xds_address
}
