"""Everything that touches the world: Git, Kubernetes, Terraform, files, and the embedded world."""
