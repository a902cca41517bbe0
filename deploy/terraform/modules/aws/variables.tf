variable "name" {
  description = "Begins the names of what is made."
  type        = string
  default     = "weir"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][-a-z0-9]{0,30}$", var.name))
    error_message = "At most 31 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "vpc_id" {
  description = "The VPC of the cluster."
  type        = string
  nullable    = false
}

variable "subnet_ids" {
  description = "Private subnets of at least two zones."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "Two subnets at least, or the Redis has nowhere to fail over to."
  }
}

variable "client_security_group_id" {
  description = "The security group of the nodes that Weir runs on: nobody else may connect."
  type        = string
  nullable    = false
}

variable "node_type" {
  description = "Of the Redis. It holds counters of a few seconds, so a small one does."
  type        = string
  default     = "cache.t4g.small"
  nullable    = false
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
  nullable    = false
}
