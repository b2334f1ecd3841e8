-- What a model costs, in US dollars per million tokens, from a day on: this release's price list and the user's own,
-- loaded by every migration run. Cost is worked out when asked for, so a price that arrives late still counts.
-- NULL: not charged for or not published. A model that the user prices goes by the user's prices alone.

CREATE TABLE IF NOT EXISTS ell_prices
(
    Model            String,
    ValidFrom        Date32,
    InputPrice       Nullable(Float64),
    CachedInputPrice Nullable(Float64),
    OutputPrice      Nullable(Float64),
    BatchFactor      Nullable(Float64) COMMENT 'what a request in a batch, or at the flex tier, costs of these prices',
    Source           String,
    CheckedOn        Date32,
    Owner            LowCardinality(String) COMMENT 'release | user'
)
ENGINE = ReplacingMergeTree(CheckedOn)
ORDER BY (Owner, Model, ValidFrom)
SETTINGS index_granularity = 8192;
