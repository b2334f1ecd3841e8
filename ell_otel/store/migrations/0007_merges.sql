-- A merge takes some 25 MB of memory for each of its parts, and 16 MB for one of ell_spans, however little is in them.
-- Where many wait, after a load that left no time for merging, the engine would merge a hundred at once.

ALTER TABLE otel_traces MODIFY SETTING max_parts_to_merge_at_once = 16;

ALTER TABLE ell_spans MODIFY SETTING max_parts_to_merge_at_once = 16;
