# Rendered by gitops; edits here are overwritten. Change pipeline.yaml or environments/ instead.
# Generated from environments/ by gitops. Credentials come from the environment, never from here.

terraform {
  backend "s3" {
    bucket       = "acme-terraform"
    key          = "gitops/america.tfstate"
    region       = "us-east-1"
    encrypt      = true
    use_lockfile = true
  }
}
