# A configuration that takes what the production plan renders. Applying it takes until somebody makes
# the file `go`.
terraform {
  backend "s3" {}
}

variable "environment" { type = string }
variable "region" { type = string }
variable "vpc_cidr" { type = string }
variable "availability_zones" { type = list(string) }
variable "private_subnets" { type = list(string) }
variable "public_subnets" { type = list(string) }
variable "vault_version" { type = string }
variable "vault_cluster_size" { type = number }
variable "vault_instance_type" { type = string }
variable "enable_hsm" { type = bool }
variable "monitoring_emails" { type = list(string) }
variable "tags" { type = map(string) }

variable "initial_secrets" {
  type = map(object({ description = string, type = string, owner = string, rotation_days = number }))
}

locals {
  subnets = concat(var.private_subnets, var.public_subnets)
  secrets = [for name, secret in var.initial_secrets : "${name} every ${secret.rotation_days} days"]
}

resource "terraform_data" "cluster" {
  input = {
    size    = "${var.vault_cluster_size} nodes"
    network = var.vpc_cidr
    subnets = [for subnet in local.subnets : cidrhost(subnet, 1)]
    secrets = local.secrets
    tags    = var.tags
  }
  triggers_replace = "ROUND"
  provisioner "local-exec" {
    command = "touch started; while [ -d . ] && [ ! -e go ]; do sleep 0.05; done"
  }
}
