variable "name" {
  description = "Name of the cluster; prefixes everything that the module creates."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,38}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "name must be 3 to 40 characters of a-z, 0-9 and single '-', and start with a letter."
  }
}

variable "region" {
  description = "AWS region of the cluster."
  type        = string
}

variable "availability_zones" {
  description = "Availability zones, in a stable order: each position fixes the address ranges of that zone's subnets, so add new zones at the end."
  type        = list(string)

  validation {
    condition     = length(var.availability_zones) >= 2 && length(var.availability_zones) <= 8
    error_message = "EKS needs subnets in at least two availability zones; the address plan ends at eight."
  }

  validation {
    condition     = length(distinct(var.availability_zones)) == length(var.availability_zones)
    error_message = "availability_zones must not repeat a zone."
  }
}

variable "kubernetes_version" {
  description = "Kubernetes minor version, such as 1.33."
  type        = string

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "kubernetes_version must be a minor version such as 1.33, without a patch level."
  }

  validation {
    condition     = try(tonumber(split(".", var.kubernetes_version)[1]), 99) >= 30
    error_message = "kubernetes_version must be 1.30 or later: model pods end with preStop.sleep."
  }
}

variable "cidr" {
  description = "Address range of the VPC, /16 to /18."
  type        = string
  default     = "10.0.0.0/16"
  nullable    = false

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && tonumber(try(split("/", var.cidr)[1], "0")) >= 16 && tonumber(try(split("/", var.cidr)[1], "99")) <= 18
    error_message = "cidr must be an IPv4 range between /16 and /18."
  }
}

variable "endpoint_allowed_cidrs" {
  description = "Address ranges that may reach the public Kubernetes API endpoint. Empty: the API is reachable from inside the VPC only."
  type        = list(string)

  validation {
    condition     = alltrue([for range in var.endpoint_allowed_cidrs : can(cidrhost(range, 0))])
    error_message = "endpoint_allowed_cidrs must hold address ranges such as 203.0.113.0/24."
  }
}

variable "system_nodes" {
  description = "Node group without GPUs for CoreDNS, controllers and gateways."
  type = object({
    instance_type = string
    min           = number
    max           = number
  })

  validation {
    condition     = var.system_nodes.min >= 1 && var.system_nodes.max >= var.system_nodes.min
    error_message = "system_nodes needs 1 <= min <= max."
  }
}

variable "gpu_pools" {
  description = "GPU node groups by name. The name and gpu_type become the node labels gitops/pool and gitops/gpu-type. A capacity block lives in one zone and needs its reservation."
  type = map(object({
    instance_type           = string
    min                     = number
    max                     = number
    gpu_type                = string
    gpus_per_node           = number
    disk_gb                 = number
    capacity_type           = string
    labels                  = optional(map(string), {})
    availability_zones      = optional(list(string), [])
    capacity_reservation_id = optional(string)
  }))

  validation {
    condition     = alltrue([for name in keys(var.gpu_pools) : can(regex("^[a-z0-9][a-z0-9-]{0,28}[a-z0-9]$", name))])
    error_message = "The name of a GPU pool must be 2 to 30 characters of a-z, 0-9 and '-'."
  }

  validation {
    condition     = alltrue([for pool in values(var.gpu_pools) : pool.min >= 0 && pool.max >= 1 && pool.max >= pool.min])
    error_message = "Every GPU pool needs 0 <= min <= max and max >= 1."
  }

  validation {
    condition     = alltrue([for pool in values(var.gpu_pools) : pool.gpus_per_node >= 1 && pool.disk_gb >= 50])
    error_message = "Every GPU pool needs gpus_per_node >= 1 and disk_gb >= 50 (a serving image alone takes 20 to 30 GB)."
  }

  validation {
    condition     = alltrue([for pool in values(var.gpu_pools) : contains(["ON_DEMAND", "SPOT", "CAPACITY_BLOCK"], pool.capacity_type)])
    error_message = "capacity_type must be ON_DEMAND, SPOT or CAPACITY_BLOCK."
  }

  validation {
    condition     = alltrue([for pool in values(var.gpu_pools) : (pool.capacity_type == "CAPACITY_BLOCK") == (pool.capacity_reservation_id != null)])
    error_message = "capacity_reservation_id must be given for CAPACITY_BLOCK, and only there."
  }

  validation {
    condition     = alltrue(flatten([for pool in values(var.gpu_pools) : [for zone in pool.availability_zones : contains(var.availability_zones, zone)]]))
    error_message = "The availability_zones of a GPU pool must be among those of the cluster."
  }
}

variable "pod_identities" {
  description = "Service accounts of model pods that may read artifacts."
  type = list(object({
    namespace       = string
    service_account = string
  }))

  validation {
    condition     = alltrue([for name in flatten([for pod in var.pod_identities : [pod.namespace, pod.service_account]]) : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", name))])
    error_message = "pod_identities must name namespaces and service accounts of at most 63 characters of a-z, 0-9 and '-'."
  }
}

variable "administrators" {
  description = "ARNs of the IAM roles or users that administer the cluster. Nobody else gets in, not even the creator."
  type        = list(string)

  validation {
    condition     = alltrue([for arn in var.administrators : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/", arn))])
    error_message = "administrators must hold ARNs of IAM roles or users."
  }
}

variable "artifact_buckets" {
  description = "Names of existing buckets that every model pod may read. Buckets encrypted with a key of their own need that key's policy to admit the role <name>-models."
  type        = list(string)

  validation {
    condition     = alltrue([for bucket in var.artifact_buckets : can(regex("^[a-z0-9]+((\\.|-+)[a-z0-9]+)*$", bucket)) && length(bucket) >= 3 && length(bucket) <= 63])
    error_message = "artifact_buckets must hold names of S3 buckets."
  }
}

variable "artifact_prefixes" {
  description = "What model pods may read of existing buckets: `bucket/path/`, where a part `<model>` stands for the service account of the pod."
  type        = list(string)

  validation {
    condition     = alltrue([for place in var.artifact_prefixes : can(regex("^[a-z0-9.-]{3,63}/(([A-Za-z0-9._@:+=-]+|<model>)/)*$", place))])
    error_message = "artifact_prefixes must hold places such as acme-models/<model>/."
  }
}

variable "tags" {
  description = "Tags for the instances, volumes and interfaces that node groups launch; the provider's default_tags do not reach those."
  type        = map(string)

  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(lower(key), "aws:")])
    error_message = "Tags that begin with aws: are reserved by AWS."
  }
}
