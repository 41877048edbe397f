"""Fifty services for half an hour, with a broker and connections that break all the time.

Every twenty seconds the broker ends, killed and stopped in turn, and starts again up to
three seconds later. One in ten connections, those of reconnects included, loses the rest of a
message. All services publish all the time. What is held against them:

* Commands. When broker and services say that all are connected, and no cut is to come, the
  operator gives each command once: all must answer, the exit code must be 0, and the applications
  must have been paused and resumed, each exactly once. Of commands given during an outage
  nothing is promised.
* Plain items. The broker lets services in only when the consumer is subscribed, so that it is
  never absent while there is something to get. Then every item that was accepted must have come, in
  order, and what came twice must be counted by the outbox as sent again. What a killed broker
  had confirmed and still had in its memory is promised by nobody; it is counted apart, and only
  within a quarter of a second of the kill.
* Durable items. Each is in the stream once, whatever was sent again; read back in the end.
* Files: nothing is left in the outboxes' files, nothing failed in the log, and every process ends
  with 0.
* Memory, open files, delayed calls and Python objects of each process are as many in the last
  quarter as in the first, after a few rounds of warming up.
"""
