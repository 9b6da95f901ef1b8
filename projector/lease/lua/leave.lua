-- Gives back, for a session that ends soon, what it is not at work on: its leases of
-- streams are dropped, and their pointers are pending for nobody who lives, so that a sweep
-- takes them over while the session finishes the rest. Nothing is acknowledged. Where
-- there are any, others are told by an entry in the log, as by the end of a session.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:log
-- KEYS[3]  {ns:p}:leases:<group>
-- KEYS[4]  {ns:p}:draining, or nothing where the session goes on
-- ARGV[1]  group
-- ARGV[2]  session
-- ARGV     for each stream: name, number of pointers, then the pointers
--
-- Returns 1, or 0 where the session is dead (fenced).
--
-- The consumer they are pending for then is named as no session ever is. Only pointers
-- pending for the caller may be moved: others may be at work upon one that is theirs.

local group, me = ARGV[1], ARGV[2]
if not alive(me) then return 0 end

-- A session that leaves is no longer counted upon to read (sweep.lua). It knows of that
-- itself, which the letter says.
if KEYS[4] then redis.pcall('HSETNX', KEYS[4], me, NOW .. 's') end

local names, moved = {}, {}

-- Moves what was collected, a bounded number at a time.
local function move()
  if #moved == 0 then return end
  local call = {'XCLAIM', KEYS[2], group, me .. '.left', 0, unpack(moved)}
  call[#call + 1] = 'JUSTID'
  redis.call(unpack(call))
  moved = {}
end

local a = 3
while a <= #ARGV do
  names[#names + 1] = ARGV[a]
  for k = a + 2, a + 1 + tonumber(ARGV[a + 1]) do
    if #redis.call('XPENDING', KEYS[2], group, ARGV[k], ARGV[k], 1, me) > 0 then moved[#moved + 1] = ARGV[k] end
    if #moved == 1000 then move() end
  end
  a = a + 2 + tonumber(ARGV[a + 1])
end
move()
if #names > 0 then
  local leases, mine = redis.call('HMGET', KEYS[3], unpack(names)), {}
  for i = 1, #names do
    if leases[i] == me then mine[#mine + 1] = names[i] end
  end
  if #mine > 0 then redis.call('HDEL', KEYS[3], unpack(mine)) end
end
-- As long as some of it waits it is told again: the session itself may have read what it told.
local left = redis.pcall('XPENDING', KEYS[2], group, '-', '+', 1, me .. '.left')
if not left.err and #left > 0 then
  redis.pcall('XADD', KEYS[2], '*', 'w', me .. '.left')
end
return 1
