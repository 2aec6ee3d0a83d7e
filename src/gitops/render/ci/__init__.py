"""The CI workflow from the spec: what it does (`workflow`), how its templates are read, which actions it uses."""
