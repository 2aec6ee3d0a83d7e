# One system node group, and one GPU node group per entry of gpu_pools.

locals {
  pools = {
    for name, pool in var.gpu_pools : name => merge(pool, {
      capacity_block = pool.capacity_type == "CAPACITY_BLOCK"
      zones          = length(pool.availability_zones) > 0 ? pool.availability_zones : var.availability_zones
    })
  }
}

resource "aws_launch_template" "system" {
  name_prefix            = "${var.name}-system-"
  update_default_version = true

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = 50
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1 # pods cannot take the node's credentials
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])

    content {
      resource_type = tag_specifications.key
      tags          = merge(var.tags, { Name = "${var.name}-system" })
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_eks_node_group" "system" {
  cluster_name           = aws_eks_cluster.this.name
  node_group_name_prefix = "system-"
  node_role_arn          = aws_iam_role.node.arn
  subnet_ids             = [for zone in var.availability_zones : aws_subnet.private[zone].id]
  ami_type               = "AL2023_x86_64_STANDARD"
  version                = var.kubernetes_version
  instance_types         = [var.system_nodes.instance_type]

  labels = { "gitops/pool" = "system" }

  scaling_config {
    min_size     = var.system_nodes.min
    max_size     = var.system_nodes.max
    desired_size = var.system_nodes.min
  }

  update_config {
    max_unavailable = 1
  }

  launch_template {
    id      = aws_launch_template.system.id
    version = aws_launch_template.system.latest_version
  }

  lifecycle {
    create_before_destroy = true
    ignore_changes        = [scaling_config[0].desired_size] # the autoscaler's
  }

  depends_on = [aws_eks_addon.node, aws_iam_role_policy_attachment.node]
}

resource "aws_launch_template" "gpu" {
  for_each = local.pools

  name_prefix            = "${var.name}-${each.key}-"
  update_default_version = true

  # A capacity block must be named here together with its instance type; otherwise the node group names the type.
  instance_type = each.value.capacity_block ? each.value.instance_type : null

  dynamic "instance_market_options" {
    for_each = each.value.capacity_block ? [true] : []

    content {
      market_type = "capacity-block"
    }
  }

  dynamic "capacity_reservation_specification" {
    for_each = each.value.capacity_block ? [each.value.capacity_reservation_id] : []

    content {
      capacity_reservation_target {
        capacity_reservation_id = capacity_reservation_specification.value
      }
    }
  }

  # Images and, where pods keep them on the node, model weights. Encrypted with the account's EBS key: a key of our
  # own would need a grant to the account-wide service-linked role of Auto Scaling.
  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = each.value.disk_gb
      volume_type           = "gp3"
      throughput            = 500 # MiB/s: a cold start reads tens of gigabytes
      iops                  = 4000
      encrypted             = true
      delete_on_termination = true
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1 # pods cannot take the node's credentials
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])

    content {
      resource_type = tag_specifications.key
      tags          = merge(var.tags, { Name = "${var.name}-${each.key}" })
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_eks_node_group" "gpu" {
  for_each = local.pools

  cluster_name = aws_eks_cluster.this.name
  # A prefix, so that a change of instance type brings up the new group before the old one goes.
  node_group_name_prefix = "${each.key}-"
  node_role_arn          = aws_iam_role.node.arn
  subnet_ids             = [for zone in each.value.zones : aws_subnet.private[zone].id]
  ami_type               = "AL2023_x86_64_NVIDIA"
  version                = var.kubernetes_version
  capacity_type          = each.value.capacity_type
  instance_types         = each.value.capacity_block ? null : [each.value.instance_type]

  labels = merge(each.value.labels, {
    "gitops/pool"          = each.key
    "gitops/gpu-type"      = each.value.gpu_type
    "gitops/gpus-per-node" = tostring(each.value.gpus_per_node)
  })

  taint {
    key    = "nvidia.com/gpu"
    value  = "present"
    effect = "NO_SCHEDULE"
  }

  scaling_config {
    min_size     = each.value.min
    max_size     = each.value.max
    desired_size = each.value.min
  }

  update_config {
    max_unavailable = 1 # GPUs are scarce: one node at a time
  }

  launch_template {
    id      = aws_launch_template.gpu[each.key].id
    version = aws_launch_template.gpu[each.key].latest_version
  }

  lifecycle {
    create_before_destroy = true
    ignore_changes        = [scaling_config[0].desired_size] # the autoscaler's
  }

  depends_on = [aws_eks_addon.node, aws_iam_role_policy_attachment.node]
}
