"""Becomes servers that reach nothing but their folder, their loopback interface, and so each other.

    enclose.py FOLDER RELAY PROGRAM CONFIGURATION...

What a restored Vault has in it would otherwise act on the world: it rotates passwords of databases, revokes
credentials at their services, and writes to the audit log of its configuration of then. One server starts for each
CONFIGURATION. They get a network of their own, whose only interface is the loopback, and a root folder in memory with
their folder and their program. RELAY is empty, or PORT=SOCKET: what a server sends to that port of its loopback
interface arrives at that socket outside.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys
import threading

NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_NETWORK = 0x20000, 0x8000000, 0x10000000, 0x40000000
READ_ONLY, NO_SETUID, NO_DEVICES, REMOUNT, BIND, WITH_ALL_BELOW, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 1

libc = ctypes.CDLL(None, use_errno=True)


def require(name, result):
    if result != 0:
        sys.exit(f"cannot enclose the server: {name}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, kind, flags, options=None):
    source, target, kind, options = (one and os.fsencode(one) for one in (source, target, kind, options))
    require("mount", libc.mount(source, target, kind, ctypes.c_ulong(flags), options))


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def pump(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(listener, path):
    while True:
        client, _ = listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(path)
        except OSError:
            client.close()
            continue
        for pair in ((client, server), (server, client)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


def relay(port, path):
    """A process beside the server, which ends with its group."""
    listener = socket.create_server(("127.0.0.1", int(port)))
    if os.fork() == 0:
        try:
            serve(listener, path)
        finally:
            os._exit(0)
    listener.close()


def swallow(path):
    """Takes what an audit device of type `syslog` says, in a process beside the server."""
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(path)
    if os.fork() == 0:
        try:
            while True:
                log.recv(1 << 16)
        finally:
            os._exit(0)
    log.close()


def become(program, configuration):
    os.execv(program, (program, "server", f"-config={configuration}"))


def main(folder, outside, program, first, *others):
    user, group = os.getuid(), os.getgid()
    require("unshare", libc.unshare(NEW_USER | NEW_MOUNTS | NEW_IPC | NEW_NETWORK))
    write("/proc/self/setgroups", "deny")
    # Its own root there, and nobody else here: an audit device makes folders that only root can enter.
    write("/proc/self/uid_map", f"0 {user} 1")
    write("/proc/self/gid_map", f"0 {group} 1")
    with socket.socket() as one:
        name = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(one, GET_FLAGS, name))[1]
        fcntl.ioctl(one, SET_FLAGS, struct.pack("16sH14x", b"lo", flags | UP))
    if outside:
        relay(*outside.split("=", 1))
    root = os.path.join(folder, "root")
    mount(None, "/", None, WITH_ALL_BELOW | PRIVATE)
    mount("tmpfs", root, "tmpfs", NO_SETUID | NO_DEVICES, "size=256m,mode=700")
    for path in (folder, os.path.dirname(program)):
        os.makedirs(root + path, exist_ok=True)
        mount(path, root + path, None, BIND)
    mount(None, root + os.path.dirname(program), None, BIND | REMOUNT | READ_ONLY | NO_SETUID)
    os.mkdir(root + "/dev")
    for name in ("/dev/null", "/dev/urandom"):
        write(root + name, "")
        mount(name, root + name, None, BIND)
    os.chroot(root)
    swallow("/dev/log")
    os.chdir(folder)
    for other in others:
        # A process beside the first server, which ends with its group.
        if os.fork() == 0:
            become(program, other)
    become(program, first)


try:
    main(*sys.argv[1:])
except OSError as error:
    sys.exit(f"cannot enclose the server: {error}")
