-- Asks a session that is alive to end. It sees that at its next heartbeat. The mark is
-- the session's own: one that begins later has another name. It holds the time, and
-- behind that an e once the session was ended knowing of it (stop.lua). An s is behind it
-- where nobody asked: the session leaves by itself (leave.lua).
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:draining
-- ARGV[1]  session
--
-- Returns 1, or 0 where the session is dead.

if not alive(ARGV[1]) then return 0 end
local asked = redis.call('HGET', KEYS[2], ARGV[1])
if not asked or string.find(asked, 's', 1, true) then redis.call('HSET', KEYS[2], ARGV[1], NOW) end
return 1
