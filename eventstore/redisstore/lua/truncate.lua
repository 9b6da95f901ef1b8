-- Removes the events of a stream below a version.
--
-- KEYS[1]  {ns:p}:heads
-- KEYS[2]  {ns:p}:s:<stream>
-- KEYS[3]  {ns:p}:ended
-- ARGV[1]  stream name
-- ARGV[2]  first version to keep
-- ARGV[3]  = to remove all below it, ~ to leave those that are costly to remove
--
-- Returns a code and a value:
--   0  done     how many events were removed
--   1  refused  version of the last event there is: it is below the first to keep
--   2  damaged  what heads holds for the stream, which is no head

local before = tonumber(ARGV[2])
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored then return {0, 0} end
local head = string.match(stored, '^(%d+)[dt]?$')
if not head then return {2, stored} end
head = tonumber(head)

-- A stream that has lost its end is shorter than its head says.
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if last then head = math.min(head, tonumber(string.match(last[1], '^%d+'))) end
if before > head then return {1, head} end
local removed = redis.call('XTRIM', KEYS[2], 'MINID', ARGV[3], ARGV[2] .. '-0')

-- What came before its last end is gone once nothing below that is there.
local ended = redis.pcall('HGET', KEYS[3], ARGV[1])
if type(ended) == 'string' then
  local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  if first and tonumber(string.match(first[1], '^%d+')) >= tonumber(ended) then
    redis.call('HDEL', KEYS[3], ARGV[1])
  end
end
return {0, removed}
