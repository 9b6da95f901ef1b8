-- Ends the parking of a stream and announces it anew.
--
-- KEYS[1]  {ns:p}:parked:<group>
-- KEYS[2]  {ns:p}:log
-- KEYS[3]  {ns:p}:heads
-- ARGV[1]  stream
--
-- Returns 1, or 0 where the stream is not parked.

if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
-- Behind the version stands a letter where the stream has ended.
local head = string.gsub(redis.call('HGET', KEYS[3], ARGV[1]) or '0', '[dt]$', '')

-- First what can fail, for lack of memory.
redis.call('XADD', KEYS[2], '*', 's', ARGV[1], 'v', head)
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
