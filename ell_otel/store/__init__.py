"""The store: ClickHouse, in this process (chDB) or behind a URL. Nothing outside this package writes SQL for it."""
