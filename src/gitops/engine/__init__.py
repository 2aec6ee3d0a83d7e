"""Where decision and I/O meet: short recipes that gather, decide, and execute.

session: what all start from. planning: `plan`, `diff`, `rendered`. observing: live systems. applying: `apply`.
status: `status`. A command imports the recipe that it runs: an offline plan takes half its time for imports.
"""
