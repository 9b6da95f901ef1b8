-- Fills the backfill of a group in one partition: what a new generation is to be
-- built from.
--
-- KEYS[1]  {ns:p}:backfill:<group>
-- KEYS[2]  {ns:p}:backfilled:<group>
-- ARGV[1]  group
-- ARGV[2]  who fills; of two the one that began last goes on
-- ARGV[3]  'begin', 'add' or 'end'
-- for 'add':
-- ARGV[4]  the number of a chunk, from 1; one that was added before is not added again
-- ARGV[5]  the chunk
-- ARGV[6]  how many streams it has
-- ARGV[7]  how many events those have
-- for 'end':
-- ARGV[4]  the number of the last chunk, 0 where there is none
--
-- Returns 1 where it was done, 0 where another one fills or has filled in between, 2
-- where the partition was filled before.
--
-- Each call may come twice, the second time long after the next ones: a connection was
-- cut, and the packet that was sent again is not the one that is late.

local group, me, what = ARGV[1], ARGV[2], ARGV[3]
local filler = redis.call('HGET', KEYS[2], 'filler')
if redis.call('HGET', KEYS[2], 'filled') then
  if what == 'end' and filler == me then return 1 end
  return 2
end

if what == 'begin' then
  if filler == me then return 1 end
  -- What somebody left who did not come to the end is not gone on with: where they
  -- stopped is a cursor that may mean nothing any more.
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('XGROUP', 'CREATE', KEYS[1], group, '0', 'MKSTREAM')
  redis.call('HSET', KEYS[2], 'filler', me)
  return 1
end

if filler ~= me then return 0 end
local had, number = tonumber(redis.call('HGET', KEYS[2], 'number')) or 0, tonumber(ARGV[4])
if what == 'add' then
  if number <= had then return 1 end
  -- What is missing was deleted by another one, from whom a late 'begin' took over.
  if number > had + 1 then return 0 end
  redis.call('HSET', KEYS[2], 'number', number)
  redis.call('XADD', KEYS[1], '*', 'c', ARGV[5])
  redis.call('HINCRBY', KEYS[2], 'streams', ARGV[6])
  redis.call('HINCRBY', KEYS[2], 'events', ARGV[7])
else
  if number ~= had then return 0 end
  redis.call('HSET', KEYS[2], 'filled', 1)
end
return 1
