-- Parks a stream: nobody works on it until it is retried.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:log
-- KEYS[3]  {ns:p}:leases:<group>
-- KEYS[4]  {ns:p}:parked:<group>
-- ARGV[1]  group
-- ARGV[2]  session
-- ARGV[3]  stream
-- ARGV[4]  what the parked hash shall hold for it
-- ARGV[5…] its pointers
--
-- Returns 0 where the session is dead (fenced), 1 when parked, or 3 where the
-- lease is not the caller's and nothing was written.

local group, me, stream = ARGV[1], ARGV[2], ARGV[3]
if not alive(me) then return 0 end
if redis.call('HGET', KEYS[3], stream) ~= me then return 3 end

-- First what can fail, for lack of memory.
redis.call('HSET', KEYS[4], stream, ARGV[4])
redis.call('HDEL', KEYS[3], stream)
local done = {}
for k = 5, #ARGV do done[#done + 1] = ARGV[k] end
acknowledge(group, done)
return 1
