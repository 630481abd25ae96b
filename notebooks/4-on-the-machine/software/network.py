"""Two tries to reach the world outside: by name, and by an address that is reserved for examples."""

import socket

for what, host in (("by name", "huggingface.co"), ("by address", "192.0.2.1")):
    try:
        socket.create_connection((host, 443), timeout=5).close()
        print(f"{what}: reached")
    except OSError as error:
        print(f"{what}: {type(error).__name__}, {error.strerror}")
