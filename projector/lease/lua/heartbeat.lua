-- Extends a session that is alive. It never creates one and never brings one
-- back: others may have taken its work already.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:draining
-- ARGV[1]  session
-- ARGV[2]  how long it lives from now on, in ms
--
-- Returns 1, 2 where the session was asked to end, or 0 where it is dead (fenced).

if not alive(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], NOW + ARGV[2])
local asked = redis.call('HGET', KEYS[2], ARGV[1])
if asked and not string.find(asked, 's', 1, true) then return 2 end
return 1
