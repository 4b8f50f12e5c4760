"""What runs inside Redis, in one step each.

A lock is a hash with the fields `claim` (which acquisition has it), `token` and `holder` (who shows as its owner), that
expires with its lease. KEYS[1] is the lock.
"""

from typing import Final

TAKE: Final = """
local claim, lease, holder = ARGV[1], ARGV[2], ARGV[3]
local held = redis.call('HMGET', KEYS[1], 'claim', 'token', 'holder')
if not held[1] then
  -- Greater than all tokens before: also if the counter was lost with the server's memory, thanks to the clock.
  local time = redis.call('TIME')
  local last = tonumber(redis.call('GET', KEYS[2]) or '0')
  local token = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
  redis.call('SET', KEYS[2], token)
  redis.call('HSET', KEYS[1], 'claim', claim, 'token', token, 'holder', holder)
  redis.call('PEXPIRE', KEYS[1], lease)
  return {token, ''}
end
if held[1] == claim then  -- the answer to the first try got lost on its way
  return {held[2], ''}
end
for i = 3, #ARGV do
  if held[3] == ARGV[i] then
    return {held[2], held[3]}
  end
end
return false
"""
"""ARGV: claim, lease in ms, holder, its ancestors. KEYS[2] is the counter. Answers with token and host, or nil."""

RENEW: Final = """
if redis.call('HGET', KEYS[1], 'claim') == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
"""
"""ARGV: claim, lease in ms. Answers 1, or 0 if the claim has lost the lock."""

RENAME: Final = """
if redis.call('HGET', KEYS[1], 'claim') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'holder', ARGV[2])
  return 1
end
return 0
"""
"""ARGV: claim, heir. Answers as RENEW."""

DROP: Final = """
if redis.call('HGET', KEYS[1], 'claim') == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""
"""ARGV: claim. Answers as RENEW."""
