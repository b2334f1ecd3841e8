"""The embedded collector: OTLP in, rows of the store out, and an answer only when they are durable."""
