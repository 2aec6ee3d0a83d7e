output "cluster_name" {
  description = "Name of the EKS cluster."
  value       = aws_eks_cluster.this.name
}

output "cluster_endpoint" {
  description = "URL of the Kubernetes API."
  value       = aws_eks_cluster.this.endpoint
}

output "cluster_ca" {
  description = "Certificate authority of the Kubernetes API, base64."
  value       = aws_eks_cluster.this.certificate_authority[0].data
}

output "artifact_bucket" {
  description = "Bucket for model artifacts."
  value       = aws_s3_bucket.artifacts.id
}

output "image_registry" {
  description = "Repository for serving images."
  value       = aws_ecr_repository.serving.repository_url
}

output "region" {
  description = "Region of the cluster."
  value       = var.region
}
