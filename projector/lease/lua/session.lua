-- Put in front of every script that asks whether a session is alive. In all of
-- them KEYS[1] is {ns:p}:sessions.
--
-- A session is dead when it is missing or its deadline has passed by the clock
-- of this server. Whoever sees a passed deadline deletes the session, which
-- makes death final: nothing ever puts a deleted session back.

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local NOW = clock()

local function alive(session)
  local deadline = redis.call('HGET', KEYS[1], session)
  if not deadline then return false end
  if (tonumber(deadline) or 0) > NOW then return true end
  redis.call('HDEL', KEYS[1], session)
  return false
end
