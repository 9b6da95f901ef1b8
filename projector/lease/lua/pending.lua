-- Lists what is pending in a group in one partition, the oldest first.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:log
-- KEYS[3]  {ns:p}:draining
-- ARGV[1]  group
-- ARGV[2]  id to begin with, - for the first
-- ARGV[3]  how many entries at most, up to 1000
-- ARGV[4]  the consumer they are pending for, nothing for all
--
-- Returns a flat list of entries, each with its id, its consumer, 1 where that is a session
-- that lives and 2 where it was asked to end, else 0, how many ms ago it was given the
-- entry, how often the entry was given to anybody, and how many ms old the entry is. It
-- writes nothing: the dead are for others to delete. Where there is no such group, because
-- the server lost it or somebody deleted it, nothing is pending.

local command = {'XPENDING', KEYS[2], ARGV[1], ARGV[2], '+', ARGV[3]}
if ARGV[4] then command[7] = ARGV[4] end
local found = redis.pcall(unpack(command))
if found.err then
  if string.find(found.err, 'NOGROUP', 1, true) then return {} end
  return found
end

local states = {}
local function state(session)
  local known = states[session]
  if not known then
    known = 0
    local deadline = redis.call('HGET', KEYS[1], session)
    if deadline and (tonumber(deadline) or 0) > NOW then
      known = 1 + redis.call('HEXISTS', KEYS[3], session)
    end
    states[session] = known
  end
  return known
end

local list = {}
for i = 1, #found do
  local id, session = found[i][1], found[i][2]
  local n = #list
  list[n + 1] = id
  list[n + 2] = session
  list[n + 3] = state(session)
  list[n + 4] = found[i][3]
  list[n + 5] = found[i][4]
  list[n + 6] = math.max(0, NOW - string.match(id, '^%d+'))
end
return list
