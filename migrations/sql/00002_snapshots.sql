-- Snapshots of streams, each the bytes that the package snapshots makes of one. The key
-- is its definition, a colon and the stream: aggregate.cart:cart-42. It is one column,
-- and compared by its bytes: a key of two columns is not used before a table was
-- analyzed (see 00001), and the snapshots of a definition are a range of keys.

-- +goose Up
CREATE TABLE _snapshots (
	key   text  COLLATE "C" PRIMARY KEY,
	value bytea NOT NULL
) WITH (fillfactor = 50);

-- What is worth compressing was compressed before, and uncompressed bytes are compared
-- without reading them all.
ALTER TABLE _snapshots ALTER COLUMN value SET STORAGE EXTERNAL;
