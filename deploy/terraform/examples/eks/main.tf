# Weir in an EKS cluster that is there, with certificates of cert-manager, limits counted in an ElastiCache, Envoys behind
# an internal load balancer, and the Prometheus Operator's objects.

terraform {
  required_version = ">= 1.9.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80.0, < 7.0.0"
    }
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

variable "region" {
  description = "Of the cluster."
  type        = string
}

variable "cluster" {
  description = "Its name."
  type        = string
}

variable "registry" {
  description = "Where the image is, as 123456789012.dkr.ecr.eu-west-1.amazonaws.com."
  type        = string
}

variable "image_digest" {
  description = "Of the image: sha256:..."
  type        = string
}

variable "issuer" {
  description = "A ClusterIssuer of cert-manager with a CA of your own."
  type        = string
}

provider "aws" {
  region = var.region
}

data "aws_eks_cluster" "this" {
  name = var.cluster
}

# A token of a few minutes, asked for when it is needed: none is kept in the state.
locals {
  login = {
    api_version = "client.authentication.k8s.io/v1beta1"
    command     = "aws"
    args        = ["eks", "get-token", "--cluster-name", var.cluster, "--region", var.region]
  }
}

provider "kubernetes" {
  host                   = data.aws_eks_cluster.this.endpoint
  cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
  exec {
    api_version = local.login.api_version
    command     = local.login.command
    args        = local.login.args
  }
}

provider "helm" {
  kubernetes = {
    host                   = data.aws_eks_cluster.this.endpoint
    cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
    exec                   = local.login
  }
}

module "redis" {
  source = "../../modules/aws"

  name                     = var.cluster
  vpc_id                   = data.aws_eks_cluster.this.vpc_config[0].vpc_id
  subnet_ids               = tolist(data.aws_eks_cluster.this.vpc_config[0].subnet_ids)
  client_security_group_id = data.aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

module "weir" {
  source = "../.."

  image = {
    registry = var.registry
    digest   = var.image_digest
  }
  tls = {
    mode   = "certManager"
    issuer = { name = var.issuer }
  }
  redis_url = module.redis.redis_url
  envoy = {
    enabled      = true
    gateway      = "default/edge"
    replicas     = 3
    service_type = "LoadBalancer"
    service_annotations = {
      "service.beta.kubernetes.io/aws-load-balancer-type"            = "external"
      "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type" = "ip"
      "service.beta.kubernetes.io/aws-load-balancer-scheme"          = "internal"
    }
  }
  monitoring = {
    enabled = true
  }
  # Redis is beyond the cluster: the NetworkPolicy has to let Weir reach it.
  extra_values = [yamlencode({
    networkPolicy = { extraEgress = [{ ports = [{ port = 6379, protocol = "TCP" }] }] }
  })]
}

output "xds_address" {
  description = "Where Envoys connect to."
  value       = module.weir.xds_address
}
