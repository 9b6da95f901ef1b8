-- Checkpoints of the projections that keep effects. The name of a projection has
-- its generation behind it, product_totals@1, and each has a partition of its own:
-- retiring a generation is dropping a table. The sink makes the partitions, with
-- stream as their primary key. It is not (projection, stream) of the whole table,
-- because Postgres takes no key of two columns for a reason to use its index before
-- a table was analyzed, and reads a fresh generation from end to end for every
-- commit.

-- +goose Up
CREATE TABLE _checkpoints (
	projection text   NOT NULL,
	stream     text   NOT NULL,
	_major     bigint NOT NULL, -- 7 and 0 for version 7
	_minor     bigint NOT NULL,
	_event     uuid   NOT NULL
) PARTITION BY LIST (projection);
