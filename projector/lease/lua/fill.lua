-- Fills the backfill of a group in one partition: what a new generation is to be
-- built from.
--
-- KEYS[1]  {ns:p}:backfill:<group>
-- KEYS[2]  {ns:p}:backfilled:<group>
-- ARGV[1]  group
-- ARGV[2]  who fills; of two the one that began last goes on
-- ARGV[3]  'begin', 'add' or 'end'
-- for 'add':
-- ARGV[4]  a chunk
-- ARGV[5]  how many streams it has
-- ARGV[6]  how many events those have
-- ARGV[7]  its number, from 1; one that was added before is not added again
--
-- Returns 1 where it was done, 0 where another one fills, 2 where the partition was
-- filled before.

local group, me, what = ARGV[1], ARGV[2], ARGV[3]
local filler = redis.call('HGET', KEYS[2], 'filler')
if redis.call('HGET', KEYS[2], 'filled') then
  if what == 'end' and filler == me then return 1 end
  return 2
end

if what == 'begin' then
  -- What somebody left who did not come to the end is not gone on with: where they
  -- stopped is a cursor that may mean nothing any more.
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('XGROUP', 'CREATE', KEYS[1], group, '0', 'MKSTREAM')
  redis.call('HSET', KEYS[2], 'filler', me)
  return 1
end

if filler ~= me then return 0 end
if what == 'add' then
  if tonumber(ARGV[7]) <= (tonumber(redis.call('HGET', KEYS[2], 'number')) or 0) then return 1 end
  redis.call('HSET', KEYS[2], 'number', ARGV[7])
  redis.call('XADD', KEYS[1], '*', 'c', ARGV[4])
  redis.call('HINCRBY', KEYS[2], 'streams', ARGV[5])
  redis.call('HINCRBY', KEYS[2], 'events', ARGV[6])
else
  redis.call('HSET', KEYS[2], 'filled', 1)
end
return 1
