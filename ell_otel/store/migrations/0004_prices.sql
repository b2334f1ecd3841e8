-- What a model costs, in US dollars per million tokens, from a day on. Filled from prices.csv by every migration run;
-- cost is worked out when asked for, so a price that arrives late still counts. NULL: not charged for or not published.

CREATE TABLE IF NOT EXISTS ell_prices
(
    Model            String,
    ValidFrom        Date32,
    InputPrice       Nullable(Float64),
    CachedInputPrice Nullable(Float64),
    OutputPrice      Nullable(Float64),
    Source           String,
    CheckedOn        Date32
)
ENGINE = ReplacingMergeTree(CheckedOn)
ORDER BY (Model, ValidFrom)
SETTINGS index_granularity = 8192${durable};
