-- Ends the work on streams of one partition that are committed to their heads.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:log
-- KEYS[3]  {ns:p}:leases:<group>
-- KEYS[4]  {ns:p}:heads
-- KEYS[5]  {ns:p}:info, where the streams shall leave the registry with that, or nothing
-- ARGV[1]  group
-- ARGV[2]  session
-- ARGV     for each stream: name, committed version, number of pointers, then
--          the pointers
--
-- Returns 0 where the session is dead (fenced), else for each stream a code and
-- its head ('0' where there is none):
--   1  done      the lease is dropped and the pointers are acknowledged
--   2  behind    the head is another than the version; the lease stays
--   3  not mine  the lease is not the caller's; nothing was written

local group, me = ARGV[1], ARGV[2]
if not alive(me) then return 0 end

local names, first = {}, {}
local a = 3
while a <= #ARGV do
  local i = #names + 1
  names[i], first[i] = ARGV[a], a
  a = a + 3 + tonumber(ARGV[a + 2])
end

local leases = redis.call('HMGET', KEYS[3], unpack(names))
local heads = redis.call('HMGET', KEYS[4], unpack(names))
local replies, dropped, done = {}, {}, {}
for i = 1, #names do
  -- Behind the version stands a letter where the stream has ended.
  local head, f = string.gsub(heads[i] or '0', '[dt]$', ''), first[i]
  local code
  if leases[i] ~= me then
    code = 3
  elseif head ~= ARGV[f + 1] then
    code = 2
  else
    code = 1
    dropped[#dropped + 1] = names[i]
    for k = f + 3, f + 2 + tonumber(ARGV[f + 2]) do done[#done + 1] = ARGV[k] end
  end
  replies[2 * i - 1], replies[2 * i] = code, head
end
if #dropped > 0 then redis.call('HDEL', KEYS[3], unpack(dropped)) end
acknowledge(group, done)
if KEYS[5] and #dropped > 0 then
  redis.call('HDEL', KEYS[4], unpack(dropped))
  redis.call('HDEL', KEYS[5], unpack(dropped))
  -- A stream may be leased for weeks, and its pointer keeps trim from all behind it.
  for i = 1, #done, ARGUMENTS do
    redis.call('XDEL', KEYS[2], unpack(done, i, math.min(i + ARGUMENTS - 1, #done)))
  end
end
return replies
