"""The SELECTs of the Grafana dashboards and alert rules, which ``ell_otel.dashboards`` lays out.

They are Grafana's to run: the time range and the bucket width come from the macros of the ClickHouse data source
(``$__timeFilter``, ``$__timeInterval``), the rest from dashboard variables, which appear only through
``parts.chosen`` and ``parts.among``. All else is as in ``store.queries``: duplicates count once, and lists never read
content columns.
"""
