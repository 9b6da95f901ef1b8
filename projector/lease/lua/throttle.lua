-- Says when some more work may begin, so that in the long run no more is begun than a
-- rate allows, by all together.
--
-- KEYS[1]  {ns}:throttle:<group>  when the work that was allowed so far is done, in
--          microseconds by the clock of this server
-- ARGV[1]  how many microseconds the work may take at that rate
--
-- Returns in how many microseconds it may begin.

local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local free = math.max(now, tonumber(redis.call('GET', KEYS[1])) or 0)
local cost = tonumber(ARGV[1])
redis.call('SET', KEYS[1], string.format('%.0f', free + cost), 'PX', math.ceil((free - now + cost) / 1000) + 1000)
return free - now
