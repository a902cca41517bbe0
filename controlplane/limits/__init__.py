"""Rate limits: what the rate limit service answers. No gRPC here; `xds` carries the messages.

limiter.py reads a question and answers it; rules.py has what is declared; memory.py and redis.py
count, by the windows of windows.py.
"""
