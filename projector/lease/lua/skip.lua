-- Has a projection leave out the event at which a stream is parked: ends the
-- parking and announces the stream anew.
--
-- KEYS[1]  {ns:p}:parked:<group>
-- KEYS[2]  {ns:p}:log
-- KEYS[3]  {ns:p}:heads
-- KEYS[4]  {ns:p}:skipped:<projection>
-- ARGV[1]  stream
-- ARGV[2]  version of the event
-- ARGV[3]  what the skipped hash shall hold for it
--
-- Returns
--   0  where the stream is not parked
--   1  where it is done, or was before, by a call whose reply was lost
--   what the parked hash holds for the stream, where that is another version or
--   cannot be read
-- Only with 1 something was written.

local stream, version, note = ARGV[1], ARGV[2], ARGV[3]
local skipped = redis.call('HGET', KEYS[4], stream .. '@' .. version)
local parked = redis.call('HGET', KEYS[1], stream)
if not parked then return skipped and 1 or 0 end

-- What cannot be read is an error here and nil there.
local read, parking = pcall(cjson.decode, parked)
local at = read and type(parking) == 'table' and parking.version
if type(at) ~= 'number' or string.format('%.0f', at) ~= version then
  -- The stream may have gone on since this very call did its work.
  if skipped == note then return 1 end
  return parked
end
-- Behind the version stands a letter where the stream has ended.
local head = string.gsub(redis.call('HGET', KEYS[3], stream) or '0', '[dt]$', '')

-- First what can fail, for lack of memory.
redis.call('HSET', KEYS[4], stream .. '@' .. version, note)
redis.call('XADD', KEYS[2], '*', 's', stream, 'v', head)
redis.call('HDEL', KEYS[1], stream)
return 1
