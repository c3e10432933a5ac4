"""Tools for who tests with this library: each module stands by itself, none is loaded by another
part of it.

    strategies   what travels on the wire, for hypothesis
    pair         two connections, a wire between them, a clock that is a float
    links        what a Link of one's own has to hold
    streams      what a stream given by ``connect=`` has to hold
    runtimes     what a loop of one's own around a Connection has to hold
    scripted     a gate whose faults are ordered one by one
    background   that gate on loopback, in a thread of its own
    plugin       the same as a fixture of pytest: ``rtm_gate``
"""
