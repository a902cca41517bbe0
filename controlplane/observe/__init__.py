"""Numbers in: access logs, load reports and Prometheus, made into observations. No gRPC here.

What is unknown is NaN and stays so. Nothing here grows with what a stranger sends: services and
endpoints are those that were declared, and all else is counted and ignored.
"""
