"""Pure: Spec and release records to the files of the GitOps repository."""
