"""How model servers are asked over HTTP: what each protocol says, and the bytes of an answer as they come in.

Only `connection` touches the network; all else is a function of bytes and times.
"""
