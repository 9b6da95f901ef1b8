-- Tells a session what the registry has of streams of one partition that it has leased,
-- and gives it a number for each that is above all given before.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:heads
-- KEYS[3]  {ns:p}:info
-- KEYS[4]  {ns:p}:numbers
-- KEYS[5]  {ns:p}:leases:<group>
-- ARGV[1]  session
-- ARGV[2…] streams
--
-- Returns 0 where the session is dead (fenced), else three replies for each stream: the
-- number, 0 where the lease is not the caller's; the head, '0' where there is none; and
-- what is to be known of it.
--
-- That the lease is looked at here makes the numbers grow from one owner of a stream to
-- the next: one that was stuck since its claim is not given a higher one later.

local me = ARGV[1]
if not alive(me) then return 0 end
local names = {}
for k = 2, #ARGV do names[k - 1] = ARGV[k] end
local leases = redis.call('HMGET', KEYS[5], unpack(names))
local heads = redis.call('HMGET', KEYS[2], unpack(names))
local info = redis.call('HMGET', KEYS[3], unpack(names))
local number = numbers(KEYS[4], #names)
local replies = {}
for i = 1, #names do
  replies[3 * i - 2] = leases[i] == me and number + i or 0
  replies[3 * i - 1] = heads[i] or '0'
  replies[3 * i] = info[i] or ''
end
return replies
