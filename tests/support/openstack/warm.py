"""Runs the real `openstack` client without its start.

The client takes more than a second to load before it does anything. Here it is loaded once and forked for every command:

    warm.py serve SOCKET        loads it and serves until standard input is closed; OS_CLOUD names a cloud to load it with
    warm.py run SOCKET WORDS    runs one command, with this process's environment, directory and streams
"""
import os
import sys


def run(path, words):
    # Started for every command: what it imports is most of its time.
    import _socket

    ask = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    ask.connect(path)
    text = ascii({"words": words, "env": dict(os.environ), "cwd": os.getcwd()}).encode()
    streams = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2))
    ask.sendmsg([len(text).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    ask.sendall(text)
    code = ask.recv(1)
    # One that was killed has no code to tell.
    os._exit(code[0] if code else 70)


def command(given):
    import ast
    import socket

    length, fds, _, _ = socket.recv_fds(given, 4, 3)
    size = int.from_bytes(length, "big")
    text = b""
    while len(text) < size:
        part = given.recv(size - len(text))
        if not part:  # Whoever asked was killed.
            return
        text += part
    asked = ast.literal_eval(text.decode())
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv = ["openstack", *asked["words"]]
    from openstackclient import shell

    try:
        code = shell.main(asked["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    sys.stdout.flush()
    sys.stderr.flush()
    given.sendall(bytes([(code or 0) & 255]))


def load():
    import contextlib
    import gc
    import importlib.metadata
    import logging

    from openstackclient import shell
    from osc_lib.clientmanager import ClientCache, ClientManager

    groups = ("openstack.common", "openstack.compute.v2", "openstack.identity.v3", "openstack.volume.v3",
              "openstack.cli", "openstack.cli.base", "openstack.cli.extension", "cliff.formatter.list",
              "cliff.formatter.show", "keystoneauth1.plugin")
    for group in groups:
        for entry in importlib.metadata.entry_points(group=group):
            try:
                entry.load()
            except Exception:  # A formatter may want what is not installed, and nobody asks for it.
                pass
    remember()
    # Much is loaded by the first use of a service only.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        for words in ("volume list", "server list", "keypair list", "limits show --absolute", "image show linux",
                      "network show net", "security group show ssh", "flavor show small"):
            shell.main([*words.split(), "-f", "json"])
        # It writes its log to what the streams were then, and keeps the services of the cloud it found.
        logging.getLogger().handlers.clear()
        for kept in vars(ClientManager).values():
            if isinstance(kept, ClientCache):
                kept._handle = None
    gc.collect()
    gc.freeze()


def remember():
    """Keeps what every command works out anew and alike, for most of its time."""
    import functools
    import types

    import stevedore
    from cliff import commandmanager
    from os_service_types.service_types import ServiceTypes

    commandmanager.stevedore = types.SimpleNamespace(ExtensionManager=functools.cache(stevedore.ExtensionManager))
    all_types = ServiceTypes().all_types_by_service_type
    ServiceTypes.all_types_by_service_type = property(lambda _: all_types)
    known, plain = {}, commandmanager.CommandManager._is_module_ignored

    def ignored(name, modules):
        key = (name, *modules)
        if key not in known:
            known[key] = plain(name, modules)
        return known[key]

    commandmanager.CommandManager._is_module_ignored = staticmethod(ignored)


def serve(path):
    import select
    import signal
    import socket

    load()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready and not os.read(0, 1):
            return
        if listener in ready:
            given, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                status = 70
                try:
                    command(given)
                    status = 0
                finally:
                    os._exit(status)
            given.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        run(sys.argv[2], sys.argv[3:])
