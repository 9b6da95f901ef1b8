-- Leaves out the entry that a key is parked at, if it is still parked as it was.
--
-- KEYS[1]  {ns}:adopted_parked:<source>
-- KEYS[2]  {ns}:adopted_skipped:<source>
-- ARGV[1]  key
-- ARGV[2]  how it is parked
-- ARGV[3]  <key>@<entry>
-- ARGV[4]  who leaves it out, and why
--
-- Returns 1 where it was done, also by an earlier run of this call, else 0.

if redis.call('HGET', KEYS[2], ARGV[3]) == ARGV[4] then
	return 1
end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
	return 0
end
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
