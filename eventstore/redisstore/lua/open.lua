-- Creates the settings of a namespace, or reads those it was created with.
--
-- KEYS[1]  {ns}:meta
-- ARGV[1]  partitions to create it with
-- ARGV[2]  layout version to create it with
--
-- Returns {partitions, layout} as stored.

redis.call('HSETNX', KEYS[1], 'partitions', ARGV[1])
redis.call('HSETNX', KEYS[1], 'layout', ARGV[2])
return redis.call('HMGET', KEYS[1], 'partitions', 'layout')
