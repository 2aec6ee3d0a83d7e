"""From a checkpoint to what is served: stages that are run once for each combination of what they depend on.

A stage reads its input (files, known by digest), its parameters (from the spec) and the versions of its tools. Their
SHA-256 over canonical JSON is the stage's key (`plan.py`); what it made lies in `.gitops/builds/<key>/`
(`workspace.py`) and is not made again. `runner.py` goes through the stages of a build. Each one runs in a process of
its own (`child.py`, `work.py`) with a Python that has the heavy tools; the modules that such a process loads use
nothing of ours but errors and results.
"""
