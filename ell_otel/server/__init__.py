"""The fronts before the store: ClickHouse's HTTP interface and the REST API.

Both ask for a token, stay on the address they are told, and refuse requests that a foreign web page made.
"""
