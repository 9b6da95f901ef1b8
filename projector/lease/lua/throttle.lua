-- Says whether some more work may begin, so that in the long run no more is begun than a
-- rate allows, by all together. Nobody has a place in a queue: who stops waiting leaves
-- nothing behind.
--
-- KEYS[1]  {ns}:throttle:<group>  when the work that was begun so far is done, in
--          microseconds by the clock of this server
-- ARGV[1]  how many microseconds the work takes at that rate
-- ARGV[2]  'begin', or 'spend' for work that was done without asking
-- ARGV[3]  how many microseconds late one may come without losing them
--
-- Returns 0 where it is counted, and may begin; else in how many microseconds to ask
-- again.

local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local free = tonumber(redis.call('GET', KEYS[1])) or 0
if ARGV[2] == 'begin' and free > now then return free - now end
free = math.max(free, now - ARGV[3]) + ARGV[1]
redis.call('SET', KEYS[1], string.format('%.0f', free), 'PX', math.max(0, math.ceil((free - now) / 1000)) + 1000)
return 0
