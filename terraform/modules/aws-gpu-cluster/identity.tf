# Three roles: the control plane's, the nodes', and the one that model pods take by EKS Pod Identity.

locals {
  arn_prefix = "arn:${data.aws_partition.this.partition}"

  # Pod Identity tags every session with the pod's service account, which has the model's name.
  model  = "$${aws:PrincipalTag/kubernetes-service-account}"
  places = concat([for bucket in var.artifact_buckets : "${bucket}/"], var.artifact_prefixes)
  # By bucket the beginnings of the names that may be read; an empty one is all of it.
  readable = {
    for place in local.places :
    split("/", place)[0] => replace(trimprefix(place, "${split("/", place)[0]}/"), "<model>", local.model)...
  }
}

resource "aws_iam_role" "cluster" {
  name = "${var.name}-cluster"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "eks.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "${local.arn_prefix}:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_iam_role_policy" "cluster_encryption" {
  name = "secrets-encryption"
  role = aws_iam_role.cluster.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["kms:Encrypt", "kms:Decrypt", "kms:ListGrants", "kms:DescribeKey"]
      Resource = aws_kms_key.this.arn
    }]
  })
}

resource "aws_iam_role" "node" {
  name = "${var.name}-node"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"])

  role       = aws_iam_role.node.name
  policy_arn = "${local.arn_prefix}:iam::aws:policy/${each.key}"
}

resource "aws_iam_role" "models" {
  name = "${var.name}-models"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      # Pods of this cluster only: Pod Identity tags every session with the cluster it comes from.
      Condition = { StringEquals = { "aws:RequestTag/eks-cluster-arn" = aws_eks_cluster.this.arn } }
    }]
  })
}

resource "aws_iam_role_policy" "models" {
  name = "read-artifacts"
  role = aws_iam_role.models.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      for bucket, prefixes in local.readable : {
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = "${local.arn_prefix}:s3:::${bucket}"
        Condition = { for test in contains(prefixes, "") ? [] : ["StringLike"] : test => { "s3:prefix" = [for prefix in prefixes : "${prefix}*"] } }
      }
      ], [
      {
        Sid       = "ListOwn"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = aws_s3_bucket.artifacts.arn
        Condition = { StringLike = { "s3:prefix" = ["${local.model}/*"] } }
      },
      {
        Sid      = "Locate"
        Effect   = "Allow"
        Action   = "s3:GetBucketLocation"
        Resource = concat([aws_s3_bucket.artifacts.arn], [for bucket in keys(local.readable) : "${local.arn_prefix}:s3:::${bucket}"])
      },
      {
        Sid    = "Read"
        Effect = "Allow"
        Action = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource = concat(
          ["${aws_s3_bucket.artifacts.arn}/${local.model}/*"],
          flatten([for bucket, prefixes in local.readable : [for prefix in prefixes : "${local.arn_prefix}:s3:::${bucket}/${prefix}*"]]),
        )
      },
      {
        Sid       = "Decrypt"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = aws_kms_key.this.arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
      },
    ])
  })
}

resource "aws_eks_pod_identity_association" "models" {
  for_each = { for pod in var.pod_identities : "${pod.namespace}/${pod.service_account}" => pod }

  cluster_name    = aws_eks_cluster.this.name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = aws_iam_role.models.arn
}
