-- Claims streams of one partition for a session, each by pointers it was given.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:log
-- KEYS[3]  {ns:p}:leases:<group>
-- KEYS[4]  {ns:p}:parked:<group>
-- ARGV[1]  group
-- ARGV[2]  session
-- ARGV[3]  the smallest of all pointers below
-- ARGV[4]  the largest of them
-- ARGV     for each stream: name, number of pointers, then the pointers
--
-- Returns 0 where the session is dead (fenced), else for each stream a code:
--   1  leased     the lease was free, or its session dead; it is the caller's now
--   2  mine       the lease was the caller's before; nothing was acknowledged
--   3  elsewhere  another session, which lives, has the lease; acknowledged
--   4  parked     acknowledged
--   5  gone       none of the pointers is pending for the caller; nothing was written
-- Codes 1 to 4 concern the pointers that are pending for the caller. Where those
-- are not all of them, an array of the code and those pointers stands in its place.
--
-- Only a pointer pending for the caller may be acknowledged or leased upon: one
-- that went to another session may be all that this session's work hangs on.

local group, me = ARGV[1], ARGV[2]
if not alive(me) then return 0 end

local names, first, counts, given = {}, {}, {}, 0
local a = 5
while a <= #ARGV do
  local i = #names + 1
  names[i], counts[i], first[i] = ARGV[a], tonumber(ARGV[a + 1]), a + 2
  given = given + counts[i]
  a = a + 2 + counts[i]
end

-- One look at the range of all pointers answers for most of them: they were
-- delivered together. If the range holds others too, the look may have ended
-- before the last one.
local pending = {}
local found = redis.call('XPENDING', KEYS[2], group, ARGV[3], ARGV[4], given, me)
for i = 1, #found do pending[found[i][1]] = true end
local whole = #found < given

local function is_pending(pointer)
  if pending[pointer] or whole then return pending[pointer] end
  return #redis.call('XPENDING', KEYS[2], group, pointer, pointer, 1, me) > 0
end

local known = {}
local function lives(session)
  if known[session] == nil then known[session] = alive(session) end
  return known[session]
end

local leases = redis.call('HMGET', KEYS[3], unpack(names))
local parked = redis.call('HMGET', KEYS[4], unpack(names))
local replies, taken, done = {}, {}, {}
for i = 1, #names do
  local kept = {}
  for k = first[i], first[i] + counts[i] - 1 do
    if is_pending(ARGV[k]) then kept[#kept + 1] = ARGV[k] end
  end
  local code
  if #kept == 0 then
    code = 5
  elseif parked[i] then
    code = 4
  elseif leases[i] == me then
    code = 2
  elseif leases[i] and lives(leases[i]) then
    code = 3
  else
    code = 1
    taken[#taken + 1] = names[i]
    taken[#taken + 1] = me
  end
  if code == 3 or code == 4 then
    for k = 1, #kept do done[#done + 1] = kept[k] end
  end
  if code == 5 or #kept == counts[i] then
    replies[i] = code
  else
    table.insert(kept, 1, code)
    replies[i] = kept
  end
end
if #taken > 0 then redis.call('HSET', KEYS[3], unpack(taken)) end
acknowledge(group, done)
return replies
