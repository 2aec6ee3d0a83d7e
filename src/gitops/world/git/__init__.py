"""Git, by plumbing commands: the GitOps repository, and facts of the spec's own checkout."""
