# Rendered by gitops; edits here are overwritten. Change pipeline.yaml or environments/ instead.
# Generated from environments/ by gitops. Credentials come from the environment, never from here.

terraform {
  backend "local" {
    path = "terraform.tfstate"
  }
}
