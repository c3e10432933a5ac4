"""The rules of a gate, one subject in each module. ``gate.decisions`` puts them together.

keeping    what the store is asked for, and who waits for it
presence   who is logged in, who is in which room
askers     is it a user who asks, a server, an operator?
rates      how often
bans       by operators: from the project, in groups, in rooms
blocks     by users, of other users
logins     auth, bye, ping, login tokens, kickout
rooms      enter, leave
groups     members
rights     who may send to whom
mail       mids, mtime, history ids; who is told
messages   text messages
files      file tokens and file quests
history    history and unread
"""
