"""The capture plane's OpenTelemetry side: from a span that ends to bytes on their way."""
