-- Gives pointers pending for dead sessions to the caller.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:log
-- KEYS[3]  {ns:p}:draining
-- ARGV[1]  group
-- ARGV[2]  session
-- ARGV[3]  how many pointers to take at most, up to 1000
--
-- Returns 0 where the caller's session is dead (fenced), else an array:
--   how many pointers are now pending for the caller
--   1 where pointers of dead sessions may be left, else 0
--   in how many ms the next of the other sessions dies unless it sends a
--   heartbeat, 0 where there is none
--   an array of the group's consumers whose sessions live and do not leave, the caller
--   among them
--   then each entry taken, as XRANGE gives it
--
-- Whose session is missing is dead as well, so it walks the consumers of the
-- group, not the sessions: a command that was late can have delivered pointers
-- to a session that ended before.

local group, me, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not alive(me) then return 0 end

local deadlines, soonest = {}, 0
local stored = redis.call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do
  local left = (tonumber(stored[i + 1]) or 0) - NOW
  if left <= 0 then
    redis.call('HDEL', KEYS[1], stored[i])
  else
    deadlines[stored[i]] = true
    if stored[i] ~= me and (soonest == 0 or left < soonest) then soonest = left end
  end
end

-- That a session was asked to end its process may learn after its death, where it was
-- stuck or cut off; but not for ever.
local KEPT, leaving = 3600000, {}
local marked = redis.call('HGETALL', KEYS[3])
for i = 1, #marked, 2 do
  leaving[marked[i]] = true
  local since = tonumber(string.match(marked[i + 1], '^%d+')) or 0
  if not deadlines[marked[i]] and since + KEPT < NOW then redis.call('HDEL', KEYS[3], marked[i]) end
end

local own, more, taken, members = 0, 0, {}, {me}

-- Takes what a dead consumer has pending, up to the limit.
local function take(consumer)
  local asked = limit - #taken
  local found = redis.call('XPENDING', KEYS[2], group, '-', '+', asked, consumer)
  if #found == 0 then return end
  if #found == asked then more = 1 end

  -- One look at the range of all of them finds most entries: they were delivered
  -- together. If the range holds many others, it ends before the last one.
  local entries = {}
  local range = redis.call('XRANGE', KEYS[2], found[1][1], found[#found][1], 'COUNT', 2 * #found)
  for i = 1, #range do entries[range[i][1]] = range[i] end
  local whole = #range < 2 * #found

  local call = {'XCLAIM', KEYS[2], group, me, 0}
  for i = 1, #found do
    local id = found[i][1]
    local entry = entries[id]
    if not entry and not whole then entry = redis.call('XRANGE', KEYS[2], id, id)[1] end
    if entry then
      call[#call + 1] = id
      taken[#taken + 1] = entry
    else
      -- Somebody deleted it from the log. Nothing can be learned from it.
      redis.call('XACK', KEYS[2], group, id)
    end
  end
  -- Without JUSTID, which would not count it as another delivery.
  if #call > 5 then
    redis.call(unpack(call))
  end
end

local consumers = redis.call('XINFO', 'CONSUMERS', KEYS[2], group)
for c = 1, #consumers do
  local name, pending
  for f = 1, #consumers[c], 2 do
    if consumers[c][f] == 'name' then name = consumers[c][f + 1] end
    if consumers[c][f] == 'pending' then pending = consumers[c][f + 1] end
  end
  if name == me then
    own = pending
  elseif deadlines[name] then
    if not leaving[name] then members[#members + 1] = name end
  elseif pending > 0 then
    if #taken < limit then take(name) else more = 1 end
  end
end

local reply = {own + #taken, more, soonest, members}
for i = 1, #taken do reply[i + 4] = taken[i] end
return reply
