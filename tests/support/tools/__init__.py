"""Programs that tests run and no virtual environment holds: built or fetched by `make tools`, never by a test.

A module for each; `TOOLS` in `__main__` names those that `make test` needs.
"""
