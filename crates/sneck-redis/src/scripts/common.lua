-- What all scripts begin with. All rules of the lock are here and in the files beside this one: no client ever sees half of a step.
--
-- KEYS: the lock, the queue, the readers, the counter. ARGV[1]: what the family's names begin with. ARGV[2]: who asks, or nothing.
-- An id is 'x' or 's' (exclusive, shared), 24 characters for the connection, a dot, and a number.
local lock, queue, readers, counter = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local family, id = ARGV[1], ARGV[2]
local call = redis.call
local OURS, SHARED = 'sneck:x', 'sneck:shared'
-- The counter of a lock that nobody uses any more goes after 30 days, in ms: the clock has then long overtaken it.
local FORGOTTEN = '2592000000'

-- Numbers of this size would be written as 1.7e+15.
local function digits(number)
  return string.format('%.0f', number)
end

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local micros = time[1] * 1000000 + time[2]

local function about(who)
  return family .. 'by:' .. who
end

local function channel(who)
  return family .. 'to:' .. string.sub(who, 2, 25)
end

local function is_shared(who)
  return string.sub(who, 1, 1) == 's'
end

-- Until when the last one of the readers may hold it.
local function latest()
  return tonumber(call('ZRANGE', readers, -1, -1, 'WITHSCORES')[2])
end

-- How it is held: 'free', 'alone', 'shared', 'foreign'; and what stands there.
local function holding()
  local kind = call('TYPE', lock)['ok']
  if kind == 'none' then
    return 'free', ''
  end
  if kind ~= 'string' then
    return 'foreign', ''
  end
  local value = call('GET', lock)
  if value == SHARED then
    call('ZREMRANGEBYSCORE', readers, '-inf', now)
    if call('EXISTS', readers) == 1 then
      return 'shared', value
    end
    call('DEL', lock)
    return 'free', ''
  end
  if string.sub(value, 1, #OURS) == OURS then
    return 'alone', value
  end
  return 'foreign', value
end

-- Whether one who waits is there still: it has spoken lately, and its connection stands.
local function is_there(who)
  return call('EXISTS', about(who)) == 1 and call('PUBSUB', 'NUMSUB', channel(who))[2] > 0
end

-- The first of those who wait. Those who are gone are forgotten.
local function first()
  while true do
    local who = call('ZRANGE', queue, 0, 0)[1]
    if not who or is_there(who) then
      return who
    end
    call('ZREM', queue, who)
    call('DEL', about(who))
  end
end

-- Wake the first one, and nobody else, if it can go in.
local function advance(state)
  if state ~= 'free' and state ~= 'shared' then
    return
  end
  local who = first()
  if who and (state == 'free' or is_shared(who)) then
    call('PUBLISH', channel(who), 'wake ' .. who)
  end
end

-- The next token: it grows, and if the counter is lost, the clock has overtaken it.
local function draw()
  local token = digits(math.max(tonumber(call('GET', counter) or 0) + 1, micros))
  call('SET', counter, token, 'PX', FORGOTTEN)
  return token
end

-- So long as the last reader may hold it, and no longer. (A server without memory to spare allows this, and would not allow SET.)
local function settle()
  local left = digits(latest() - now)
  call('PEXPIRE', lock, left)
  call('PEXPIRE', readers, left)
end
