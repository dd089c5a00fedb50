"""Becomes a server that reaches nothing but its own folder and its own loopback interface.

    enclose.py FOLDER PROGRAM ARGUMENT...

What a restored Vault has in it would otherwise act on the world: it rotates passwords of databases, revokes
credentials at their services, and writes to the audit log of its configuration of then. The server gets a network
of its own, whose only interface is the loopback, and a root folder in memory with its folder and its program.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys

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


def main(folder, program, *arguments):
    user, group = os.getuid(), os.getgid()
    require("unshare", libc.unshare(NEW_USER | NEW_MOUNTS | NEW_IPC | NEW_NETWORK))
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{user} {user} 1")
    write("/proc/self/gid_map", f"{group} {group} 1")
    with socket.socket() as one:
        name = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(one, GET_FLAGS, name))[1]
        fcntl.ioctl(one, SET_FLAGS, struct.pack("16sH14x", b"lo", flags | UP))
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
    os.chdir(folder)
    os.execv(program, (program, *arguments))


try:
    main(*sys.argv[1:])
except OSError as error:
    sys.exit(f"cannot enclose the server: {error}")
