-- A part whose columns lie in a file each has 126 files, which are made and fsync'd for each insert, and taken away by
-- the next merge: a third of what an insert of 24 MB takes of the processor. So what is inserted, and what the first
-- merges make of it, has all its columns in one file, as the engine's default is for parts below 10 MB. Only what
-- merges make of these is read often, and column by column.

ALTER TABLE otel_traces MODIFY SETTING min_bytes_for_wide_part = 67108864;
