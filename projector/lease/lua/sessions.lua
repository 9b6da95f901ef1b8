-- Lists the sessions of one partition that live.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:draining
--
-- Returns a flat list of sessions, each with how many ms it lives unless it sends a
-- heartbeat, and 1 where it was asked to end, else 0. It writes nothing: the dead are for others to delete.

local live = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local left = (tonumber(all[i + 1]) or 0) - NOW
  if left > 0 then
    live[#live + 1] = all[i]
    live[#live + 1] = left
    live[#live + 1] = redis.call('HEXISTS', KEYS[2], all[i])
  end
end
return live
