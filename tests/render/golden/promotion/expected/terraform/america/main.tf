# Rendered by gitops; edits here are overwritten. Change pipeline.yaml or environments/ instead.
# Generated from pipeline.yaml and environments/ by gitops. Change those; the values are in terraform.tfvars.json.

terraform {
  required_version = ">= 1.11.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = merge(var.tags, {
      "gitops-cluster" = "america"
    })
  }
}

module "cluster" {
  source = "../modules/aws-gpu-cluster"

  name                   = var.name
  region                 = var.region
  availability_zones     = var.availability_zones
  kubernetes_version     = var.kubernetes_version
  cidr                   = var.cidr
  endpoint_allowed_cidrs = var.endpoint_allowed_cidrs
  system_nodes           = var.system_nodes
  gpu_pools              = var.gpu_pools
  pod_identities         = var.pod_identities
  administrators         = var.administrators
  artifact_buckets       = var.artifact_buckets
  artifact_prefixes      = var.artifact_prefixes
  tags                   = var.tags
}

# Passed through: the module describes, types and checks them.

variable "name" {
  type = string
}

variable "region" {
  type = string
}

variable "availability_zones" {
  type = list(string)
}

variable "kubernetes_version" {
  type = string
}

variable "cidr" {
  type    = string
  default = null
}

variable "endpoint_allowed_cidrs" {
  type = list(string)
}

variable "system_nodes" {
  type = any
}

variable "gpu_pools" {
  type = any
}

variable "pod_identities" {
  type = any
}

variable "administrators" {
  type = list(string)
}

variable "artifact_buckets" {
  type = list(string)
}

variable "artifact_prefixes" {
  type = list(string)
}

variable "tags" {
  type = map(string)
}

output "cluster_name" {
  value = module.cluster.cluster_name
}

output "cluster_endpoint" {
  value = module.cluster.cluster_endpoint
}

output "cluster_ca" {
  value = module.cluster.cluster_ca
}

output "artifact_bucket" {
  value = module.cluster.artifact_bucket
}

output "image_registry" {
  value = module.cluster.image_registry
}

output "region" {
  value = module.cluster.region
}
