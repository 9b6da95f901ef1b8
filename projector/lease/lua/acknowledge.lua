-- Put in front of every script that acknowledges pointers. In all of them
-- KEYS[2] is {ns:p}:log.
--
-- XACK does not ask for whom a pointer is pending. The caller has made sure that
-- it may.

local ARGUMENTS = 1000 -- what Lua can pass in one call is limited

local function acknowledge(group, pointers)
  for i = 1, #pointers, ARGUMENTS do
    redis.call('XACK', KEYS[2], group, unpack(pointers, i, math.min(i + ARGUMENTS - 1, #pointers)))
  end
end
